package fakeengine

import (
	"context"
	"net/http"
	"sync"
)

// Stats are an engine's counters at one moment. They tell the truth whatever the
// calls' faults make their answers say.
type Stats struct {
	// Calls is the number of calls that came with the right key to a started
	// engine, on the endpoints that do work: chat, completions, embeddings.
	Calls int
	// InFlight is how many of them have not ended yet.
	InFlight int
	// Waiting is how many of those in flight wait for a slot.
	Waiting int
	// Ended is how many have ended, in whatever way.
	Ended int
	// Cancelled is how many ended because the client went away.
	Cancelled int

	// PromptTokens counts the prompts that were read, cached tokens included.
	PromptTokens int64
	// CachedTokens is the part of PromptTokens that was cached.
	CachedTokens int64
	// OutputTokens counts the tokens that were produced, reasoning and those of
	// cancelled calls included.
	OutputTokens int64

	// LastPath, LastHeader and LastBody are what the last call sent. They are
	// shared and must not be changed.
	LastPath   string
	LastHeader http.Header
	LastBody   []byte
}

// Running is how many calls have a slot.
func (s Stats) Running() int { return s.InFlight - s.Waiting }

// tally keeps the counters and wakes who waits for them.
type tally struct {
	mu      sync.Mutex
	stats   Stats
	changed chan struct{} // closed at the next change; nil while nobody waits
}

// update changes the counters and returns them.
func (t *tally) update(change func(*Stats)) Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	return t.stats
}

// read returns the counters and a channel that is closed when they change.
func (t *tally) read() (Stats, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.stats, t.changed
}

func (t *tally) wait(ctx context.Context, reached func(Stats) bool) error {
	for {
		stats, changed := t.read()
		if reached(stats) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Stats returns the counters now.
func (e *Engine) Stats() Stats {
	e.tally.mu.Lock()
	defer e.tally.mu.Unlock()
	return e.tally.stats
}

// Wait blocks until the counters are as reached wants them, or returns the cause
// of ctx's end. A state that passes between two changes of the counters may be
// missed, so ask for what stays true. reached is called without locks held.
func (e *Engine) Wait(ctx context.Context, reached func(Stats) bool) error {
	return e.tally.wait(ctx, reached)
}

// WaitInFlight blocks until at least n calls are in flight, or returns the cause
// of ctx's end.
func (e *Engine) WaitInFlight(ctx context.Context, n int) error {
	return e.Wait(ctx, func(s Stats) bool { return s.InFlight >= n })
}

// WaitIdle blocks until no call is in flight, or returns the cause of ctx's end.
func (e *Engine) WaitIdle(ctx context.Context) error {
	return e.Wait(ctx, func(s Stats) bool { return s.InFlight == 0 })
}

// WaitCancelled blocks until at least n calls were cancelled by their clients
// since the engine was made, or returns the cause of ctx's end.
func (e *Engine) WaitCancelled(ctx context.Context, n int) error {
	return e.Wait(ctx, func(s Stats) bool { return s.Cancelled >= n })
}
