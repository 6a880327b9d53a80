package gateway

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// llama says calls as the llama.cpp driver does, as far as the fake engine listens.
type llama struct{}

func (llama) Fields(c berth.EngineCall) []berth.Field {
	list := []berth.Field{rawField("model", c.Model)}
	if c.Adapter >= 0 {
		list = append(list, rawField("lora", []map[string]any{{"id": c.Adapter, "scale": 1.0}}))
	}
	if c.Thinking != nil {
		list = append(list, rawField("chat_template_kwargs", map[string]any{"enable_thinking": *c.Thinking}))
	}
	if c.ThinkingBudget > 0 {
		list = append(list, rawField("thinking_budget_tokens", c.ThinkingBudget))
	}
	if c.MaxTokens > 0 {
		list = append(list, rawField("max_tokens", c.MaxTokens))
	}
	if c.Stream {
		list = append(list, rawField("stream", true),
			rawField("stream_options", map[string]any{"include_usage": true, "continuous_usage_stats": true}))
	}
	return list
}

func (llama) Traits() berth.EngineTraits { return berth.EngineTraits{ThinkingBudgets: true} }

func (l llama) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	return berth.EngineCount{Path: "/v1/chat/completions/input_tokens", Fields: l.Fields(c), Member: "input_tokens"}, true
}

func (llama) Refuses(berth.EngineCall, []berth.Field) string { return "" }

func (llama) Blames(status int, said string) string {
	if status == http.StatusBadRequest {
		return said
	}
	return ""
}

func rawField(name string, v any) berth.Field {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return berth.Field{Name: name, Value: raw}
}

// memoryMeter keeps records.
type memoryMeter struct {
	full bool

	beats    bool // at each look
	mu       sync.Mutex
	beat     uint32
	opened   []berth.UsageMark
	progress []berth.UsageMark
	closed   []berth.UsageMark
	records  []berth.UsageRecord
	changed  chan struct{}
}

func (m *memoryMeter) Open(mark *berth.UsageMark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return &berth.Error{Code: berth.CodeUnavailable, Message: "The journal is full; try again later.", RetryAfter: 7 * time.Second}
	}
	m.opened = append(m.opened, *mark)
	if mark.Ref == 0 {
		mark.Ref = int64(len(m.opened))
	}
	return nil
}

func (m *memoryMeter) Progress(mark *berth.UsageMark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progress = append(m.progress, *mark)
	close(m.changed)
	m.changed = make(chan struct{})
}

// waitFor waits for n marks of progress.
func (m *memoryMeter) waitFor(t testing.TB, n int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		have, changed := len(m.progress), m.changed
		m.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Errorf("%d of %d marks of progress came", have, n)
			return
		}
	}
}

func (m *memoryMeter) Beat() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.beats {
		m.beat++
	}
	return m.beat
}

func (m *memoryMeter) Close(mark *berth.UsageMark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full && mark.Ref == 0 {
		return // nothing was used
	}
	m.closed = append(m.closed, *mark)
	m.records = append(m.records, mark.UsageRecord)
	close(m.changed)
	m.changed = make(chan struct{})
}

// counts returns how many calls were opened, and how many of them closed.
func (m *memoryMeter) counts() (opened, closed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mark := range m.opened {
		if mark.Ref == 0 {
			opened++
		}
	}
	for _, mark := range m.closed {
		if mark.Ref != 0 {
			closed++
		}
	}
	return opened, closed
}

// wait returns the records once there are n of them.
func (m *memoryMeter) wait(t testing.TB, n int) []berth.UsageRecord {
	t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		records, changed := m.records, m.changed
		m.mu.Unlock()
		if len(records) >= n {
			return records
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d of %d usage records came", len(records), n)
		}
	}
}

// fixedLimiter answers every Reserve alike and keeps what it was told.
type fixedLimiter struct {
	refusal *Refusal

	mu      sync.Mutex
	asked   []Tokens
	shrunk  []int64 // input
	settled []Tokens
}

func (*fixedLimiter) Standing(_ time.Time, l berth.Limits) Standing {
	return Standing{Requests: Level{Limit: l.Requests, Used: l.Requests, Reset: time.Second}}
}

func (l *fixedLimiter) Reserve(_ time.Time, _ berth.Limits, ask Tokens, _ *Standing) (Reservation, *Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, ask)
	if l.refusal != nil {
		return nil, l.refusal
	}
	return &fixedReservation{limiter: l}, nil
}

type fixedReservation struct {
	limiter *fixedLimiter
	settled atomic.Bool
}

func (r *fixedReservation) Shrink(_ time.Time, to Tokens) {
	if r.settled.Load() {
		panic("settled before")
	}
	r.limiter.mu.Lock()
	defer r.limiter.mu.Unlock()
	r.limiter.shrunk = append(r.limiter.shrunk, to.Input)
}

func (r *fixedReservation) Settle(_ time.Time, used Tokens) {
	if r.settled.Swap(true) {
		panic("settled twice")
	}
	r.limiter.mu.Lock()
	defer r.limiter.mu.Unlock()
	r.limiter.settled = append(r.limiter.settled, used)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// quiet is a logger of nothing.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
