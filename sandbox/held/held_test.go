package held

import (
	"os"
	"strings"
	"testing"
	"time"
)

// What is left is noticed; what goes in a moment is not.
func TestSettle(t *testing.T) {
	before := Now()
	if before.Descriptors == 0 || before.Goroutines == 0 || before.Mounts == 0 || before.Resident == 0 {
		t.Errorf("counted %+v", before)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if !Now().More(before) {
		t.Error("an open file is not noticed")
	}
	time.AfterFunc(50*time.Millisecond, func() { f.Close() })
	if err := Settle(before); err != nil {
		t.Error(err)
	}
	less := before
	less.Goroutines = 0
	if err := settle(less, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "goroutine") {
		t.Errorf("goroutines are not noticed: %v", err)
	}
}
