//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A reservation is used to its last token and never beyond it: no 60 seconds have more
// calls than a minute has, and each minute has all of them.
func TestMomentsFillEachMinuteAndNoMore(t *testing.T) {
	t.Parallel()
	const perMinute = 50
	all := moments(perMinute, 5*time.Minute, rand.New(rand.NewPCG(1, 2)))
	if len(all) < 4*perMinute || !slices.IsSorted(all) {
		t.Fatalf("%d calls in 5 minutes, in order: %t", len(all), slices.IsSorted(all))
	}
	for i := range all {
		if i >= perMinute && all[i]-all[i-perMinute] <= time.Minute {
			t.Errorf("%d calls between %s and %s", perMinute+1, all[i-perMinute], all[i])
		}
	}
	if one := moments(perMinute, time.Minute, rand.New(rand.NewPCG(1, 2))); len(one) != perMinute {
		t.Errorf("%d calls in a minute", len(one))
	}
}

func TestSellable(t *testing.T) {
	t.Parallel()
	// 100 × 1 ms + 20 × 10 ms are 0.3 s of an engine; a quarter of a minute has 50 of them.
	if got := sellable(25, 100, 20, 1e6, 10e6); got != 50 {
		t.Errorf("%d calls", got)
	}
	if got := sellable(1, 1e6, 1e6, 1e9, 1e9); got != 1 {
		t.Errorf("of an engine that is too slow %d calls", got)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	all := []time.Duration{5, 1, 4, 2, 3}
	for part, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.95: 5, 1: 5} {
		if got := quantile(all, part); got != want {
			t.Errorf("%v: got %d, want %d", part, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of none")
	}
}

func TestRotated(t *testing.T) {
	t.Parallel()
	for times, want := range map[int]string{0: "a b c ", 1: "b c a ", 2: "c a b ", 3: "a b c ", 4: "b c a "} {
		if got := rotated("a b c ", times); got != want {
			t.Errorf("%d: %q, want %q", times, got, want)
		}
	}
}
