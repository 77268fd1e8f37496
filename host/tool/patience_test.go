package tool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := WithPatience(context.Background(), time.Minute)
		defer cancel()
		time.Sleep(40 * time.Second)
		first, second := Pause(ctx), Pause(ctx)
		time.Sleep(time.Hour)
		first()
		first() // once is enough
		time.Sleep(time.Hour)
		if ctx.Err() != nil {
			t.Fatal("it ended while a person was asked")
		}
		second()
		time.Sleep(19 * time.Second)
		if ctx.Err() != nil {
			t.Fatal("it ended too early")
		}
		time.Sleep(2 * time.Second)
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Fatalf("it did not end: %v", context.Cause(ctx))
		}
		Pause(ctx)() // changes nothing any more
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Fatal("it came back")
		}
		Pause(context.Background())() // no clock
		outer, stop := context.WithCancel(context.Background())
		inner, done := WithPatience(outer, time.Hour)
		defer done()
		resume := Pause(inner)
		stop()
		resume()
		if !errors.Is(context.Cause(inner), context.Canceled) {
			t.Errorf("a pause outlives what it lies in: %v", context.Cause(inner))
		}
	})
}

// TestGoesOn: news gives a call its time again, old news does not, and in the end it is over all the same.
func TestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := WithPatience(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			if !GoesOn(ctx, float64(i)) && ctx.Err() == nil {
				t.Fatal("news is none")
			}
			if GoesOn(ctx, float64(i)) {
				t.Fatal("old news is news")
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel = WithPatience(t.Context(), 2*time.Minute)
		defer cancel()
		begin = time.Now()
		resume := Pause(ctx)
		time.Sleep(time.Hour)
		GoesOn(ctx, 1)
		resume()
		for i := 2; ctx.Err() == nil; i++ {
			GoesOn(ctx, float64(i))
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
		}
		if took := time.Since(begin); took != time.Hour+MaxPatience {
			t.Errorf("it took %v", took)
		}
	})
}
