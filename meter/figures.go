package meter

import (
	"maps"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// Figures are what the meter has done since it was opened.
type Figures struct {
	Calls map[[2]string]int64 // by class and end
	// Of these calls; Cached is part of Input, Thinking of Output.
	Input, Cached, Output, Thinking int64
	Records                         int64 // written
	Unkept                          int64 // that found no room: of refused calls
	// Behind is the age of the oldest marks that are not in the store, 0 when all are.
	Behind time.Duration
}

// tally counts figures.
type tally struct {
	mu sync.Mutex
	f  Figures
}

func (t *tally) add(batch []berth.UsageRecord) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f.Calls == nil {
		t.f.Calls = map[[2]string]int64{}
	}
	t.f.Records += int64(len(batch))
	for i := range batch {
		r := &batch[i]
		t.f.Calls[[2]string{string(r.Class), string(r.End)}]++
		t.f.Input, t.f.Cached = t.f.Input+r.InputTokens, t.f.Cached+r.CachedTokens
		t.f.Output, t.f.Thinking = t.f.Output+r.OutputTokens, t.f.Thinking+r.ThinkingTokens
	}
}

func (t *tally) drop(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.f.Unkept += n
}

// Figures returns what has been done so far.
func (m *Meter) Figures() Figures {
	m.figures.mu.Lock()
	defer m.figures.mu.Unlock()
	f := m.figures.f
	f.Calls = maps.Clone(f.Calls)
	if folded := m.folded.Load(); folded > 0 {
		if behind := m.opt.Now().Sub(instant(folded)); behind > time.Second { // less is the usual pause
			f.Behind = behind
		}
	}
	return f
}
