//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// minute is what a reservation speaks of.
const minute = time.Minute

// moments are when the calls of a reservation come: exactly as many at random in each
// minute as it has tokens for, and in every minute at the same offsets, so that no 60
// seconds have more. The last seconds of the first minute are left out, for what was
// admitted then has to end; each minute is a little late, for no call comes exactly when
// it should.
func moments(perMinute int, length time.Duration, random *rand.Rand) []time.Duration {
	const last, late = 2 * time.Second, 50 * time.Millisecond
	first := make([]time.Duration, perMinute)
	for i := range first {
		first[i] = time.Duration(random.Int64N(int64(minute - last)))
	}
	slices.Sort(first)
	var all []time.Duration
	for from := time.Duration(0); from < length; from += minute + late {
		for _, at := range first {
			if from+at < length {
				all = append(all, from+at)
			}
		}
	}
	return all
}

// sellable is how many calls per minute take the given percent of an engine's time, by what
// its tokens were found to cost.
func sellable(percent float64, input, output, inputNS, outputNS int64) int {
	each := time.Duration(input*inputNS + output*outputNS)
	return max(int(percent/100*float64(minute)/float64(each)), 1)
}

// quantile returns the smallest value that at least the given part of all do not exceed; 0
// of none.
func quantile(all []time.Duration, part float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}
