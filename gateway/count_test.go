package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthhq/berth/fakeengine"

	berth "github.com/berthhq/berth"
)

// parsed is a call as far as the gateway reads it before it reserves.
func (h *house) parsed(t testing.TB, body string) *call {
	t.Helper()
	object, err := checkBody([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	c := &call{dialect: openAI{}, route: h.route, live: h.table.live(h.route.DeploymentID), key: h.Snapshot().Keys[hashKey(keyText)], model: deployed}
	if c.request, err = c.dialect.parse(object, http.Header{}, c.route); err != nil {
		t.Fatal(err)
	}
	return c
}

// What is counted is what the engine reports as used, and no usage record is made.
func TestACountIsTheUsageOfTheCall(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{PromptTokens: &fakeengine.PromptRule{PerCall: 7, PerMessage: 5, PerWord: 3}}}})
	for i, messages := range []string{
		`[{"role":"user","content":"one two three"}]`,
		`[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"one "},{"type":"text","text":"two"}]}]`,
	} {
		body := fmt.Sprintf(`{"model":%q,"messages":%s}`, deployed, messages)
		got, err := h.countCall(t.Context(), h.parsed(t, body))
		used := at(h.post(t, chatPath, body).json(t), "usage", "prompt_tokens")
		if err != nil || float64(got) != used {
			t.Errorf("%s: counted %d, %v; used %v", messages, got, err, used)
		}
		h.meter.wait(t, i+1)
	}
	if n := len(h.meter.records); n != 2 {
		t.Errorf("%d records of 2 calls", n)
	}
}

// slowCounter is an engine that counts when it is let, and every prompt as 11 tokens.
type slowCounter struct {
	asked, inside, most atomic.Int64
	let                 chan struct{}
}

func (s *slowCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	n := s.inside.Add(1)
	defer s.inside.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	select {
	case <-s.let:
	case <-r.Context().Done():
	}
	_, _ = w.Write([]byte(`{"input_tokens":11}`))
}

func TestCountsAreFewAtOnceAndRemembered(t *testing.T) {
	t.Parallel()
	engine := &slowCounter{let: make(chan struct{})}
	h := open(t, plan{engine: engine})
	var all sync.WaitGroup
	for i := range 20 {
		c := h.parsed(t, chat(fmt.Sprint("prompt ", i)))
		all.Go(func() {
			if got, err := h.countCall(t.Context(), c); got != 11 || err != nil {
				t.Errorf("counted %d, %v", got, err)
			}
		})
	}
	for range 20 {
		engine.let <- struct{}{}
	}
	all.Wait()
	if most := engine.most.Load(); most > countsAtOnce {
		t.Errorf("%d counts at once", most)
	}
	close(engine.let)
	for _, body := range []string{chat("prompt 3"), chat("prompt 3", `"max_tokens":5`, `"temperature":1`)} {
		if got, err := h.countCall(t.Context(), h.parsed(t, body)); got != 11 || err != nil || engine.asked.Load() != 20 {
			t.Errorf("%s: counted %d, %v; the engine was asked %d times", body, got, err, engine.asked.Load())
		}
	}
	for _, body := range []string{chat("prompt 3", `"enable_thinking":true`), chat("prompt 3", `"tools":[]`)} {
		before := engine.asked.Load()
		if _, err := h.countCall(t.Context(), h.parsed(t, body)); err != nil || engine.asked.Load() != before+1 {
			t.Errorf("%s: %v; another prompt was not asked for", body, err)
		}
	}
	for i := range 2 * countsKept {
		_, _ = h.countCall(t.Context(), h.parsed(t, chat(fmt.Sprint(i))))
	}
	if l := h.table.live("dep_1"); len(l.counts.known) != countsKept || l.counts.recent.Len() != countsKept {
		t.Errorf("%d counts are kept", len(l.counts.known))
	}
}

func TestACountThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		status int
		want   string
	}{
		"no number": {`{"count":3}`, 200, "ModelServiceFailed"},
		"garbage":   {`<html>`, 200, "ModelServiceFailed"},
		"refused":   {`{"error":{"message":"no such role"}}`, 400, "no such role"},
		"broken":    {`{}`, 500, "ModelServiceFailed"},
	} {
		h := open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.answer))
		})})
		if _, err := h.countCall(t.Context(), h.parsed(t, chat("x"))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	h := open(t, plan{engine: &slowCounter{let: make(chan struct{})}})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fail(problemBusy).because(errCountLate))
	if _, err := h.countCall(ctx, h.parsed(t, chat("x"))); !errors.Is(err, errCountLate) {
		t.Errorf("late: %v", err)
	}
	h = open(t, plan{dialect: mute{}})
	if _, err := h.countCall(t.Context(), h.parsed(t, chat("x"))); !errors.Is(err, errNoCount) {
		t.Errorf("an engine that cannot count: %v", err)
	}
}

// mute is an engine that cannot count.
type mute struct{ llama }

func (mute) Traits() berth.EngineTraits { return berth.EngineTraits{} }

func (mute) Count(berth.EngineCall) (berth.EngineCount, bool) { return berth.EngineCount{}, false }
