package sandbox

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// TestObservedCost measures what observing costs, when asked for.
func TestObservedCost(t *testing.T) {
	if os.Getenv("OBSERVED_COST") == "" {
		t.Skip("OBSERVED_COST is not set")
	}
	node, err := exec.LookPath("node")
	need(t, err == nil, "node")
	for _, tier := range []string{"strong", "medium"} {
		s := inTier(t, tier)
		took := map[bool][]time.Duration{}
		for range 100 {
			for _, observe := range []bool{false, true} {
				began := time.Now()
				p, err := s.Start(t.Context(), Profile{Observe: observe}, Command{Argv: []string{node, "-e", "0"}}, Files{Err: os.Stderr})
				if err != nil {
					t.Fatal(err)
				}
				if exit := p.Wait(); exit.Code() != 0 {
					t.Fatal(exit)
				}
				took[observe] = append(took[observe], time.Since(began))
			}
		}
		for _, d := range took {
			slices.Sort(d)
		}
		t.Logf("%s: node -e 0: %v, observed %v (medians of 100)", tier, took[false][50], took[true][50])
	}
}
