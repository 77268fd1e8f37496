package confine

import (
	"slices"
	"testing"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// TestObservingOnlyTells: what is refused without observation is refused with it, by the same answer, and what goes on goes on. Told of
// is exactly what names a path or an address.
func TestObservingOnlyTells(t *testing.T) {
	flags := []uint64{0, unix.AT_EMPTY_PATH, unix.O_CREAT, 0o4755, unix.O_CREAT | 0o4755}
	told := func(nr uint32, shared bool, net spec.Net, args [6]uint64) bool {
		return slices.ContainsFunc(spec.AllNamed(), func(n spec.Named) bool {
			address := n.Asks == spec.AsksConnect || n.Asks == spec.AsksBind
			if n.Nr != nr || shared && (address || n.Asks == spec.AsksLook) || address && net == spec.NetNone {
				return false
			}
			return n.Flags < 0 || n.Asks == spec.AsksOpen || args[n.Flags]&unix.AT_EMPTY_PATH == 0
		})
	}
	each := func(f func(d data)) {
		for nr := range uint32(601) {
			for _, x := range flags {
				for _, y := range flags {
					f(data{nr, auditArch, [6]uint64{x, y, x, y, x, y}})
					f(data{nr, auditArch, [6]uint64{0, 0, x, y}})
				}
			}
		}
	}
	for _, r := range []rules{{net: spec.NetNone, shared: true}, {net: spec.NetHosts, shared: true, signals: true}} {
		before, err := filter(r)
		if err != nil {
			t.Fatal(err)
		}
		r.observe = true
		after, err := filter(r)
		if err != nil {
			t.Fatal(err)
		}
		each(func(d data) {
			was, _ := interpret(t, before, d)
			is, _ := interpret(t, after, d)
			want := was
			if was == actAllow && told(d.nr, true, r.net, d.args) {
				want = actNotify
			}
			if is != want {
				t.Fatalf("%+v: %#x, without observation %#x, want %#x", d, is, was, want)
			}
		})
	}
	for _, net := range []spec.Net{spec.NetNone, spec.NetLoopback, spec.NetHosts} {
		f, err := observing(&spec.Spec{Observe: true, Net: net})
		if err != nil {
			t.Fatal(err)
		}
		each(func(d data) {
			want := uint32(actAllow)
			if told(d.nr, false, net, d.args) {
				want = actNotify
			}
			if got, _ := interpret(t, f, d); got != want {
				t.Fatalf("net %d: %+v: %#x, want %#x", net, d, got, want)
			}
		})
	}
	for _, s := range []spec.Spec{{}, {Observe: true, Shared: true}} {
		if f, err := observing(&s); f != nil || err != nil {
			t.Errorf("%+v has a filter of its own: %v, %v", s, f, err)
		}
	}
}
