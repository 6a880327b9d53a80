package gateway

import (
	"bytes"
	"encoding/json"
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
	if c.MaxTokens > 0 {
		list = append(list, rawField("max_tokens", c.MaxTokens))
	}
	if c.Stream {
		list = append(list, rawField("stream", true),
			rawField("stream_options", map[string]any{"include_usage": true, "continuous_usage_stats": true}))
	}
	return list
}

func (l llama) Count(c berth.EngineCall) (berth.EngineCount, bool) {
	return berth.EngineCount{Path: "/v1/chat/completions/input_tokens", Fields: l.Fields(c), Member: "input_tokens"}, true
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

	mu      sync.Mutex
	opened  int
	records []berth.UsageRecord
	changed chan struct{}
}

func (m *memoryMeter) Open() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return &berth.Error{Code: berth.CodeUnavailable, Message: "The journal is full; try again later.", RetryAfter: 7 * time.Second}
	}
	m.opened++
	return nil
}

func (m *memoryMeter) Close(r berth.UsageRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, r)
	close(m.changed)
	m.changed = make(chan struct{})
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
	settled []Tokens
}

func (l *fixedLimiter) Reserve(_ time.Time, _ berth.Limits, ask Tokens) (Reservation, *Refusal) {
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
