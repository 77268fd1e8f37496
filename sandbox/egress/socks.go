package egress

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
)

// RFC 1928, without authentication: only the program's own sandbox can reach the listener.
//
//	program: 5 n methods…            we: 5 0
//	program: 5 1 0 type host port    we: 5 reply 0 1 0.0.0.0:0
const (
	socksVersion = 5
	socksConnect = 1
	socksIPv4    = 1
	socksName    = 3
	socksIPv6    = 4
)

// speakSOCKS serves one CONNECT in SOCKS5.
func (s *session) speakSOCKS(ctx context.Context) {
	s.saw.Method = "SOCKS5"
	t, refused := s.negotiate()
	if refused != nil {
		s.refuse(refused)
		return
	}
	o := s.open(ctx, t)
	if o == nil {
		return
	}
	s.carry(ctx, o, func() *refusal {
		if _, err := s.client.Write(socksReply(0)); err != nil {
			s.cutBoth(err)
			return nil
		}
		tunnel(s.client, s.in, o, o, s.cutBoth)
		return nil
	})
}

// negotiate reads until the program has said where it wants to go, and sets how it is answered.
func (s *session) negotiate() (target, *refusal) {
	s.answer = func(*refusal) []byte { return []byte{socksVersion, 0xff} }
	var b [4]byte
	if _, err := io.ReadFull(s.in, b[:2]); err != nil {
		return target{}, broken(err)
	}
	methods := make([]byte, b[1])
	if _, err := io.ReadFull(s.in, methods); err != nil {
		return target{}, broken(err)
	}
	none := false
	for _, m := range methods {
		none = none || m == 0
	}
	if !none {
		return target{}, refuse(BadRequest, "SOCKS5 without authentication only")
	}
	if _, err := s.client.Write([]byte{socksVersion, 0}); err != nil {
		return target{}, broken(err)
	}
	s.answer = answerSOCKS
	if _, err := io.ReadFull(s.in, b[:]); err != nil {
		return target{}, broken(err)
	}
	if b[0] != socksVersion || b[2] != 0 {
		return target{}, refuse(BadRequest, "not a request of SOCKS5")
	}
	if b[1] != socksConnect {
		s.answer = func(*refusal) []byte { return socksReply(7) }
		return target{}, refuse(BadRequest, "SOCKS5 with CONNECT only: no BIND, no UDP")
	}
	size := 0
	switch b[3] {
	case socksIPv4:
		size = 4
	case socksIPv6:
		size = 16
	case socksName:
		n, err := s.in.ReadByte()
		if err != nil {
			return target{}, broken(err)
		}
		size = int(n)
	default:
		s.answer = func(*refusal) []byte { return socksReply(8) }
		return target{}, refuse(BadRequest, "unknown kind of address in SOCKS5")
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(s.in, rest); err != nil {
		return target{}, broken(err)
	}
	host, port := string(rest[:size]), binary.BigEndian.Uint16(rest[size:])
	if b[3] != socksName {
		a, _ := netip.AddrFromSlice(rest[:size])
		host = a.String()
	}
	host, err := canonical(host)
	if err != nil {
		return target{}, refuse(BadRequest, "SOCKS5 target: %v", err)
	}
	if port == 0 {
		return target{}, refuse(BadRequest, "SOCKS5 target: port 0")
	}
	return target{host, port}, nil
}

func socksReply(code byte) []byte { return []byte{socksVersion, code, 0, socksIPv4, 0, 0, 0, 0, 0, 0} }

func answerSOCKS(r *refusal) []byte {
	switch r.code {
	case NotAllowed, ForbiddenAddress:
		return socksReply(2) // connection not allowed by ruleset
	case Unresolvable, Unreachable:
		return socksReply(4) // host unreachable
	}
	return socksReply(1) // general failure
}
