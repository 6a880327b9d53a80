package fakeengine_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthhq/berth/fakeengine"
)

func TestKeyGuardsEverythingButHealth(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{}, fakeengine.Options{Key: "right"})
	for _, route := range []string{
		"GET /health", "GET /v1/models", "POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings",
		"POST /tokenize", "POST /v1/chat/completions/input_tokens", "GET /metrics", "GET /slots", "GET /nowhere",
	} {
		for _, authorization := range []string{"", "Bearer wrong", "right", "Bearer right"} {
			method, path, _ := strings.Cut(route, " ")
			request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}"))
			request.Header.Set("Authorization", authorization)
			recorder := httptest.NewRecorder()
			engine.ServeHTTP(recorder, request)
			open := path == "/health" || authorization == "Bearer right"
			if (recorder.Code != http.StatusUnauthorized) != open {
				t.Errorf("%s with %q: status %d", route, authorization, recorder.Code)
			}
		}
	}
	if calls := engine.Stats().Calls; calls != 3 {
		t.Errorf("%d calls counted, want the 3 with the right key", calls)
	}
}

func TestStartDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		engine := mustNew(t, fakeengine.Script{StartDelayMS: 1500}, fakeengine.Options{})
		mustAsk(t, engine, http.MethodGet, "/health", "", http.StatusServiceUnavailable)
		mustAsk(t, engine, http.MethodPost, chatPath, chat("hello", ""), http.StatusServiceUnavailable)
		<-engine.Started()
		if took := time.Since(begin); took != 1500*time.Millisecond {
			t.Errorf("started after %v", took)
		}
		mustAsk(t, engine, http.MethodGet, "/health", "", http.StatusOK)
		mustAsk(t, engine, http.MethodPost, chatPath, chat("hello", ""), http.StatusOK)
		if calls := engine.Stats().Calls; calls != 1 {
			t.Errorf("%d calls counted, want 1", calls)
		}
	})
}

func TestCrashAfterCalls(t *testing.T) {
	t.Parallel()
	// Given an engine that dies with its second call, and a client that hangs
	engine := mustServe(t, fakeengine.Script{
		Crash:  &fakeengine.Crash{AfterCalls: 2, ExitCode: 7},
		Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangBeforeHeaders, Match: "hang"}},
	})
	leave := engine.open(t, chat("hang", ""))
	mustReach(t, engine.WaitInFlight(t.Context(), 1))
	// when two calls end
	for range 2 {
		if status, _, err := engine.post(t, chatPath, chat("hello", "")); status != http.StatusOK || err != nil {
			t.Fatalf("status %d, error %v", status, err)
		}
	}
	// then it is dead, the hanging call is cut, and no call gets an answer.
	<-engine.Died()
	mustReach(t, engine.WaitIdle(t.Context()))
	leave()
	if _, _, err := engine.post(t, chatPath, chat("hello", "")); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	if code := engine.ExitCode(); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

func TestKillBeforeStartedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{StartDelayMS: 1000}, fakeengine.Options{})
	if code := engine.ExitCode(); code != -1 {
		t.Errorf("exit code %d of a living engine", code)
	}
	engine.Kill(9)
	engine.Kill(1)
	if code := engine.ExitCode(); code != 9 {
		t.Errorf("exit code %d, want that of the first kill", code)
	}
}

func TestKillCutsOpenCalls(t *testing.T) {
	t.Parallel()
	// Given one call that is produced slowly and one that waits for its slot
	engine := mustServe(t, fakeengine.Script{Slots: 1, TokensPerSecond: 0.001})
	leaveFirst := engine.open(t, chat("count to 3", `,"stream":true`))
	mustReach(t, engine.Wait(t.Context(), func(s fakeengine.Stats) bool { return s.Running() == 1 }))
	leaveSecond := engine.open(t, chat("count to 3", ""))
	mustReach(t, engine.Wait(t.Context(), func(s fakeengine.Stats) bool { return s.Waiting == 1 }))
	// when the engine is killed
	engine.Kill(9)
	// then both end, and neither client is said to have left.
	mustReach(t, engine.WaitIdle(t.Context()))
	if stats := engine.Stats(); stats.Cancelled != 0 || stats.Ended != 2 {
		t.Errorf("counters %+v", stats)
	}
	leaveFirst()
	leaveSecond()
}

func TestStatsShowTheLastCall(t *testing.T) {
	t.Parallel()
	engine := mustServe(t, fakeengine.Script{})
	body := chat("hello", "")
	if _, _, err := engine.post(t, chatPath, body); err != nil {
		t.Fatal(err)
	}
	stats := engine.Stats()
	if stats.LastPath != chatPath || string(stats.LastBody) != body || stats.LastHeader.Get("Accept-Encoding") != "gzip" {
		t.Errorf("last call %s %s %v", stats.LastPath, stats.LastBody, stats.LastHeader)
	}
}

func TestWaitReturnsTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	engine := mustNew(t, fakeengine.Script{}, fakeengine.Options{})
	if err := engine.WaitInFlight(ctx, 1); !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func TestOversizedBody(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{}, fakeengine.Options{})
	mustAsk(t, engine, http.MethodPost, chatPath, strings.Repeat(" ", 64<<20+1), http.StatusRequestEntityTooLarge)
}

func TestInspection(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{Slots: 2, ContextTokens: 100, CachedTokens: 2, Model: "tiny"},
		fakeengine.Options{Now: func() time.Time { return time.Unix(1, 0) }})
	mustAsk(t, engine, http.MethodPost, chatPath, chat("count to 3", ""), http.StatusOK)
	for _, test := range []struct{ method, path, body, want string }{
		{"GET", "/health", "", `{"status":"ok"}`},
		{"GET", "/v1/models", "", `{"object":"list","data":[{"id":"tiny","object":"model","created":1,"owned_by":"fakeengine"}]}`},
		{"GET", "/slots", "", `[{"id":0,"n_ctx":100,"is_processing":false},{"id":1,"n_ctx":100,"is_processing":false}]`},
		{"POST", "/v1/chat/completions/input_tokens", chat("a b c", ""), `{"input_tokens":7}`},
		{"POST", "/tokenize", `{"content":""}`, `{"count":0,"max_model_len":100,"tokens":[]}`},
	} {
		if got := string(mustAsk(t, engine, test.method, test.path, test.body, http.StatusOK)); got != test.want {
			t.Errorf("%s answers\n%s, want\n%s", test.path, got, test.want)
		}
	}
	metrics := string(mustAsk(t, engine, http.MethodGet, "/metrics", "", http.StatusOK))
	for _, want := range []string{
		"# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 5\n",
		"\nllamacpp:prompt_tokens_cached_total 2\n", "\nllamacpp:tokens_predicted_total 3\n",
		"\nllamacpp:requests_processing 0\n", "\nllamacpp:requests_deferred 0\n",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q:\n%s", want, metrics)
		}
	}
}

func TestTokenizeGivesWordsTheirIDs(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{}, fakeengine.Options{})
	for _, body := range []string{`{"content":"a b a"}`, `{"prompt":"a b a"}`} {
		var got struct {
			Count  int
			Tokens []int
		}
		if err := json.Unmarshal(mustAsk(t, engine, http.MethodPost, "/tokenize", body, http.StatusOK), &got); err != nil {
			t.Fatal(err)
		}
		if got.Count != 3 || len(got.Tokens) != 3 || got.Tokens[0] != got.Tokens[2] || got.Tokens[0] == got.Tokens[1] {
			t.Errorf("%s: %+v", body, got)
		}
	}
}
