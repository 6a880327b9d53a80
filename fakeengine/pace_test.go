package fakeengine_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthhq/berth/fakeengine"
)

// The clock of these tests is synctest's, so every duration is exact.

func TestPace(t *testing.T) {
	t.Parallel()
	const plain, streamed = "", `,"stream":true`
	for name, test := range map[string]struct {
		script fakeengine.Script
		calls  int
		extra  string
		want   time.Duration // until the last of the calls has ended
	}{
		"no rate takes no time":                    {fakeengine.Script{}, 1, streamed, 0},
		"a stream takes its tokens' time":          {fakeengine.Script{TokensPerSecond: 10}, 1, streamed, 2 * time.Second},
		"so does a plain call":                     {fakeengine.Script{TokensPerSecond: 10}, 1, plain, 2 * time.Second},
		"choices are produced side by side":        {fakeengine.Script{TokensPerSecond: 10}, 1, `,"n":4`, 2 * time.Second},
		"calls are, too":                           {fakeengine.Script{TokensPerSecond: 10}, 5, streamed, 2 * time.Second},
		"unless they slow each other down":         {fakeengine.Script{TokensPerSecond: 10, Slowdown: 0.5}, 3, streamed, 4 * time.Second},
		"the prompt is read first":                 {fakeengine.Script{PromptTokensPerSecond: 7, TokensPerSecond: 10}, 1, streamed, 3 * time.Second},
		"but not what is cached":                   {fakeengine.Script{PromptTokensPerSecond: 1, CachedTokens: 6, TokensPerSecond: 10}, 1, streamed, 3 * time.Second},
		"without a slot a call waits":              {fakeengine.Script{Slots: 1, TokensPerSecond: 10}, 3, streamed, 6 * time.Second},
		"a call that waits slows down nobody else": {fakeengine.Script{Slots: 1, TokensPerSecond: 10, Slowdown: 1}, 3, plain, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				engine := mustNew(t, test.script, fakeengine.Options{})
				begin := time.Now()
				var calls sync.WaitGroup
				for range test.calls {
					calls.Go(func() {
						mustAsk(t, engine, http.MethodPost, chatPath, chat("count to 20", test.extra), http.StatusOK)
					})
				}
				calls.Wait()
				if took := time.Since(begin); took.Round(time.Microsecond) != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
			})
		})
	}
}

func TestCancelStopsTheTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := mustNew(t, fakeengine.Script{TokensPerSecond: 10}, fakeengine.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 550*time.Millisecond)
		defer cancel()
		recorder := httptest.NewRecorder()
		body := strings.NewReader(chat("count to 20", `,"stream":true`))
		engine.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodPost, chatPath, body))
		stats := engine.Stats()
		if stats.Cancelled != 1 || stats.OutputTokens != 5 {
			t.Errorf("counters %+v, want 5 tokens and 1 cancelled call", stats)
		}
		if events := dataOf(recorder.Body.Bytes()); len(events) != 1+5 {
			t.Errorf("%d events, want the opening and 5 tokens", len(events))
		}
	})
}

func TestCancelGivesUpWaitingForASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := mustNew(t, fakeengine.Script{Slots: 1, TokensPerSecond: 1}, fakeengine.Options{})
		var first sync.WaitGroup
		first.Go(func() {
			mustAsk(t, engine, http.MethodPost, chatPath, chat("count to 9", ""), http.StatusOK)
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body := strings.NewReader(chat("hello", ""))
		engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, chatPath, body))
		if stats := engine.Stats(); stats.Cancelled != 1 || stats.Waiting != 0 || stats.Running() != 1 {
			t.Errorf("counters %+v", stats)
		}
		first.Wait()
	})
}
