package gateway

import (
	"slices"
	"sync"
)

// What a call is expected to write that does not say how much it may (design 7).
const (
	historyLength   = 256
	expectedAtFirst = 256 // tokens
	percentile      = 95
	recomputeEvery  = 16 // answers between two sorts of the history
)

// history remembers the lengths of the last answers of a deployment. The zero value is
// ready; it is safe for concurrent use.
type history struct {
	mu       sync.Mutex
	lengths  []int64
	next     int
	added    int
	expected int64
}

// add remembers the length of an answer in tokens.
func (h *history) add(length int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lengths) < historyLength {
		h.lengths = append(h.lengths, length)
	} else {
		h.lengths[h.next] = length
		h.next = (h.next + 1) % historyLength
	}
	if h.added%recomputeEvery == 0 {
		sorted := slices.Sorted(slices.Values(h.lengths))
		h.expected = sorted[len(sorted)*percentile/100]
	}
	h.added++
}

// expect returns the length that 95 of 100 answers do not exceed.
func (h *history) expect() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.added == 0 {
		return expectedAtFirst
	}
	return max(h.expected, 1)
}
