//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestQuantilesAreThoseOfTheSamples(t *testing.T) {
	t.Parallel()
	var samples []time.Duration
	for i := range 100 {
		samples = append(samples, time.Duration(100-i)*time.Millisecond)
	}
	var f figures
	f.took("thing", "9 ms", samples, ", such")
	f.took("nothing", "", nil, "")
	var out strings.Builder
	f.print(&out)
	for _, want := range []string{"51.0 ms", "100.0 ms", "100 times, such", "9 ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
