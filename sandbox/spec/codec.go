package spec

import (
	"encoding/binary"
	"errors"
	"math"
)

// Errors of Decode. They are values, not formatted text: the launcher links no formatting code, which would be a
// third of its start time.
var (
	ErrVersion = errors.New("read spec: the launcher is of another version than its caller")
	ErrShort   = errors.New("read spec: it ends too early")
	ErrLong    = errors.New("read spec: bytes follow its end, or a list is too long")
)

// Encode returns the Spec as bytes: integers little-endian, strings and lists preceded by their length, fields in the
// order of their declaration. At most MaxSpecBytes, or nil.
func (s *Spec) Encode() []byte {
	var e encoder
	e.num(Version)
	e.strs(s.Argv)
	e.strs(s.Path)
	e.strs(s.Env)
	e.str(s.Dir)
	e.str(s.Hostname)
	e.num(uint64(len(s.Mounts)))
	for _, m := range s.Mounts {
		e.str(m.Source)
		e.str(m.Target)
		e.flag(m.Write)
		e.flag(m.Device)
		e.flag(m.Optional)
		e.num(m.Access)
	}
	e.num(uint64(len(s.Links)))
	for _, l := range s.Links {
		e.str(l.Path)
		e.str(l.To)
	}
	e.strs(s.Dirs)
	e.num(uint64(len(s.Files)))
	for _, f := range s.Files {
		e.str(f.Path)
		e.str(f.Data)
	}
	e.num(uint64(s.TmpBytes))
	e.num(uint64(s.Net))
	e.num(uint64(len(s.Listen)))
	for _, port := range s.Listen {
		e.num(uint64(port))
	}
	e.num(uint64(s.Landlock.ABI))
	e.num(s.Landlock.Handled)
	e.num(s.Landlock.Scoped)
	e.num(s.Landlock.Private)
	e.num(s.Landlock.Proc)
	e.num(uint64(len(s.Limits)))
	for _, l := range s.Limits {
		e.num(uint64(l.Resource))
		e.num(l.Max)
	}
	e.num(uint64(s.Join))
	e.flag(s.Into)
	e.flag(s.Shared)
	e.flag(s.Signals)
	e.str(s.Outside)
	e.flag(s.Observe)
	if len(e.b) > MaxSpecBytes {
		return nil
	}
	return e.b
}

// Decode is the inverse of Encode. It accepts nothing that Encode would not have written.
func Decode(b []byte) (*Spec, error) {
	d := decoder{b: b}
	if d.num() != Version {
		return nil, ErrVersion
	}
	s := &Spec{Argv: d.strs(), Path: d.strs(), Env: d.strs(), Dir: d.str(), Hostname: d.str()}
	for range d.count() {
		s.Mounts = append(s.Mounts, Mount{Source: d.str(), Target: d.str(), Write: d.flag(), Device: d.flag(), Optional: d.flag(), Access: d.num()})
	}
	for range d.count() {
		s.Links = append(s.Links, Link{Path: d.str(), To: d.str()})
	}
	s.Dirs = d.strs()
	for range d.count() {
		s.Files = append(s.Files, File{Path: d.str(), Data: d.str()})
	}
	s.TmpBytes = int64(d.num())
	s.Net = Net(d.upTo(uint64(NetHosts)))
	for range d.count() {
		s.Listen = append(s.Listen, uint16(d.upTo(math.MaxUint16)))
	}
	s.Landlock = Landlock{ABI: int(d.num()), Handled: d.num(), Scoped: d.num(), Private: d.num(), Proc: d.num()}
	for range d.count() {
		s.Limits = append(s.Limits, Limit{Resource: int(d.num()), Max: d.num()})
	}
	s.Join, s.Into = int(d.num()), d.flag()
	s.Shared, s.Signals, s.Outside, s.Observe = d.flag(), d.flag(), d.str(), d.flag()
	switch {
	case d.err != nil:
		return nil, d.err
	case len(b) > MaxSpecBytes || len(d.b) > 0 || s.Join < 0 || s.Join > MaxJoin || len(s.Listen) > MaxListen || s.Into && s.Join != 1 || s.Net < NetNone || s.Net > NetHosts:
		return nil, ErrLong
	}
	return s, nil
}

type encoder struct{ b []byte }

func (e *encoder) num(n uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, n) }
func (e *encoder) str(s string) { e.num(uint64(len(s))); e.b = append(e.b, s...) }
func (e *encoder) flag(f bool) {
	if f {
		e.num(1)
	} else {
		e.num(0)
	}
}
func (e *encoder) strs(ss []string) {
	e.num(uint64(len(ss)))
	for _, s := range ss {
		e.str(s)
	}
}

// decoder reads until its first error; after that everything it returns is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	d.b, d.err = nil, err
}

func (d *decoder) num() uint64 {
	if len(d.b) < 8 {
		if d.err == nil {
			d.fail(ErrShort)
		}
		return 0
	}
	n := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return n
}

// upTo is a number that cannot be larger.
func (d *decoder) upTo(most uint64) uint64 {
	n := d.num()
	if n > most {
		d.fail(ErrLong)
		return 0
	}
	return n
}

// count is a list's length; every element takes at least eight bytes, so a longer list is a lie.
func (d *decoder) count() int {
	n := d.num()
	if n > uint64(len(d.b)/8) || n > math.MaxInt32 {
		d.fail(ErrLong)
		return 0
	}
	return int(n)
}

func (d *decoder) str() string {
	n := d.num()
	if n > uint64(len(d.b)) {
		d.fail(ErrShort)
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) flag() bool {
	n := d.num()
	if n > 1 {
		d.fail(ErrLong)
	}
	return n == 1
}

func (d *decoder) strs() []string {
	var ss []string
	for range d.count() {
		ss = append(ss, d.str())
	}
	return ss
}
