package spec

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func full() *Spec {
	return &Spec{Argv: []string{"a", "b c"}, Path: []string{"/bin"}, Env: []string{"A=1"}, Dir: "/", Hostname: "h",
		Mounts: []Mount{{"/a", "/b", true, false, true, 7}}, Links: []Link{{"/l", "t"}}, Dirs: []string{"/tmp"}, Files: []File{{"/f", "data"}},
		TmpBytes: 9, Net: NetLoopback, Listen: []uint16{80, 65535}, Landlock: Landlock{6, 1, 2, 3, 4}, Limits: []Limit{{1, 2}}, Join: 1, Into: true, Shared: true, Signals: true, Outside: "/o", Observe: true}
}

func TestDecodeInvertsEncode(t *testing.T) {
	for _, want := range []*Spec{{}, full()} {
		got, err := Decode(want.Encode())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := full().Encode()
	other := append([]byte{99}, good[1:]...)
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing": {nil, ErrVersion}, "another version": {other, ErrVersion},
		"a cut": {good[:len(good)-1], ErrShort}, "more": {append(bytes.Clone(good), 0), ErrLong},
	} {
		if _, err := Decode(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(full().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err == nil && !bytes.Equal(s.Encode(), b) {
			t.Errorf("accepted bytes that Encode would not have written")
		}
	})
}
