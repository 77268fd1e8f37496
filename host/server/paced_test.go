package server

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cordon/host/audit"
	"cordon/host/wire"
)

// endless is text without end.
type endless string

func (e endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		n += copy(b[n:], e)
	}
	return n, nil
}

// TestPaced: a burst comes at once, a flood at its pace, and a pause makes room for the next burst.
func TestPaced(t *testing.T) {
	for name, c := range map[string]struct {
		text endless
		cost float64 // of a byte
	}{"long lines": {endless(strings.Repeat("x", 4095) + "\n"), 1 + 64.0/4096}, "empty lines": {"\n", 65}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slowed := 0
				p := &paced{src: c.text, slow: func() { slowed++ }}
				b := make([]byte, 4096)
				read := func(during time.Duration) (cost float64) {
					for began := time.Now(); ; {
						n, _ := p.Read(b)
						if time.Since(began) > during {
							return cost
						}
						cost += float64(n) * c.cost
					}
				}
				if got := read(0); got < paceBurst-300_000 || got > paceBurst+300_000 {
					t.Errorf("%.0f bytes came at once", got)
				}
				if got := read(10 * time.Second); got < 9*paceRate || got > 11*paceRate {
					t.Errorf("%.0f bytes came in 10 s", got)
				}
				time.Sleep(5 * time.Hour)
				if got := read(0); got < paceBurst-300_000 {
					t.Errorf("%.0f bytes came at once after a pause", got)
				}
				if slowed != 1 {
					t.Errorf("it was told %d times", slowed)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // whoever has ended does not hold up its end
		over := make(chan struct{})
		p := &paced{src: endless("\n"), over: over}
		b, began := make([]byte, 4096), time.Now()
		for p.credit >= 0 {
			_, _ = p.Read(b)
		}
		close(over)
		for range 1000 {
			_, _ = p.Read(b)
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("it was waited for %v", waited)
		}
	})
	p := &paced{src: bytes.NewReader(make([]byte, paceBurst/2)), slow: func() { t.Error("a burst is no flood") }}
	b := make([]byte, 4096)
	for {
		if _, err := p.Read(b); err != nil {
			break
		}
	}
}

// TestStderrFlood: a server that floods its standard error works on, is named for it once, and does not take a processor.
func TestStderrFlood(t *testing.T) {
	r := newRig(t, "stderr-flood")
	r.start()
	r.waitFor("the finding", func(v View) bool {
		return slices.ContainsFunc(v.Oddities, func(o Oddity) bool { return o.Code == wire.StderrFlood })
	})
	before, lines := processorTime(t), r.view().StderrLines
	time.Sleep(2 * time.Second)
	if used := processorTime(t) - before; used > 500*time.Millisecond {
		t.Errorf("reading took %v of processor time in 2 s", used)
	}
	if n := r.view().StderrLines - lines; n == 0 || n > 1000 { // of 6 kB
		t.Errorf("%d lines came in 2 s", n)
	}
	r.works()
	n := 0
	for _, e := range r.journal.of(audit.FindingMade) {
		if e.Rule == string(wire.StderrFlood) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it was recorded %d times", n)
	}
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // ticks of USER_HZ
}
