package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// session is one connection of the program, from its first byte to its Connection in the log. Its goroutine owns it.
type session struct {
	p       *Proxy
	client  net.Conn
	in      *bufio.Reader         // of client
	cutBoth func(error)           // ends the session at once, with the reason
	answer  func(*refusal) []byte // puts a refusal into the protocol that the program speaks
	busy    bool                  // there are too many: only refuse
	saw     Connection            // what is reported
	told    bool                  // saw has been reported
}

// serve handles one connection of the program and closes it. A panic refuses that connection alone.
func (p *Proxy) serve(ctx context.Context, conn net.Conn, busy bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer conn.Close()
	defer cutWhenDone(ctx, conn)()
	s := &session{p: p, client: conn, in: bufio.NewReaderSize(conn, maxHead), cutBoth: cancel, busy: busy}
	defer func() {
		if v := recover(); v != nil {
			cut(conn)
			if !s.told {
				s.report(BadRequest, fmt.Sprintf("internal error: %T", v))
			}
		}
	}()
	if p.forward != nil {
		s.begin()
		p.forward(ctx, s)
		return
	}
	wait := orDefault(p.HeadTimeout, defaultHead)
	if busy {
		wait = min(wait, busyHead)
	}
	_ = conn.SetDeadline(time.Now().Add(wait))
	first, err := s.in.Peek(1)
	if err != nil {
		return // nothing was asked
	}
	s.begin()
	if first[0] == socksVersion {
		s.speakSOCKS(ctx)
	} else {
		s.speakHTTP(ctx)
	}
}

// begin notes when the session began and for which call.
func (s *session) begin() {
	s.saw.Began = time.Now()
	if s.p.Active != nil {
		s.saw.Call = s.p.Active()
	}
}

// open reaches t, or refuses and returns nil.
func (s *session) open(ctx context.Context, t target) *origin {
	s.saw.Host, s.saw.Port = t.host, t.port
	if s.busy {
		s.refuse(refuse(Busy, "too many connections at once"))
		return nil
	}
	_ = s.client.SetDeadline(time.Time{}) // reach has time-outs of its own, then Idle holds
	o, err := s.p.reach(ctx, t)
	if err != nil {
		s.refuse(err)
		return nil
	}
	return o
}

// carry runs talk between the program and o, closes o and reports. talk returns a refusal when the program has had no
// answer yet, and must have ended every goroutine that uses o.
func (s *session) carry(ctx context.Context, o *origin, talk func() *refusal) {
	s.saw.Addr, s.saw.Reason = o.addr, o.reason
	limit := orDefault(s.p.Idle, defaultIdle)
	idle := time.AfterFunc(limit, func() { s.cutBoth(fmt.Errorf("nothing was sent either way for %s", limit)) })
	o.busy = func() { idle.Reset(limit) }
	release := cutWhenDone(ctx, o.Conn)
	refused := func() *refusal {
		defer idle.Stop()
		defer release()
		defer o.Conn.Close() // while ctx still cuts: saying goodbye in TLS may block
		return talk()
	}()
	s.saw.Sent, s.saw.Received = o.sent, o.received
	switch {
	case ctx.Err() != nil:
		s.addReason("cut: " + context.Cause(ctx).Error())
		s.report("", s.saw.Reason)
	case refused != nil:
		s.refuse(refused)
	default:
		s.report("", s.saw.Reason)
		finish(s.client)
	}
}

func (s *session) addReason(why string) {
	if s.saw.Reason != "" {
		why = s.saw.Reason + "; " + why
	}
	s.saw.Reason = why
}

// refuse reports, answers and closes.
func (s *session) refuse(err error) {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = refuse(BadRequest, "%v", err)
	}
	s.addReason(r.reason)
	if r.detail != "" {
		s.saw.Reason += ": " + r.detail
	}
	s.report(r.code, s.saw.Reason)
	_ = s.client.SetDeadline(time.Now().Add(linger))
	if _, err := s.client.Write(s.answer(r)); err == nil {
		finish(s.client)
	}
}

func (s *session) report(code Code, reason string) {
	s.saw.Took, s.saw.Refused, s.saw.Reason, s.told = time.Since(s.saw.Began), code, reason, true
	s.p.observe(s.saw)
}

// broken is what is said of a request that did not come whole.
func broken(err error) *refusal {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case ok && timeout.Timeout():
		return refuse(BadRequest, "the request did not come whole in time")
	case errors.Is(err, bufio.ErrBufferFull):
		return refuse(BadRequest, "the request head is longer than %d bytes", maxHead)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(BadRequest, "the request broke off")
	}
	return refuse(BadRequest, "the request cannot be read: %v", err)
}
