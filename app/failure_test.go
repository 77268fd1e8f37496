package app

import (
	"fmt"
	"testing"

	"cordon/host/consent"
)

func TestRefusedAnswersHaveCodes(t *testing.T) {
	seen := map[string]error{}
	for _, err := range []error{consent.ErrStale, consent.ErrMismatch, consent.ErrEarly, consent.ErrTyped, consent.ErrSecond, consent.ErrTimedOut} {
		f := FailureOf(fmt.Errorf("answer: %w", err))
		if f.Code == "CRD-GEN-01" || f.Means == "" || seen[f.Code] != nil {
			t.Errorf("%v: %+v, the same as for %v", err, f, seen[f.Code])
		}
		seen[f.Code] = err
	}
}
