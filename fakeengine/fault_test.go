package fakeengine_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

// open begins a call and returns a function that leaves it and waits until the
// client's side is over.
func (s served) open(t testing.TB, body string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+chatPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if response, err := s.client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

// faulty serves an engine whose calls are all struck by one fault.
func faulty(t testing.TB, f fakeengine.Fault) served {
	t.Helper()
	return mustServe(t, fakeengine.Script{Faults: []fakeengine.Fault{f}})
}

func TestFaultsBeforeHeaders(t *testing.T) {
	t.Parallel()
	for name, extra := range map[string]string{"plain": "", "streamed": `,"stream":true`} {
		body := chat("hello", extra)
		t.Run(name+": refuse closes without an answer", func(t *testing.T) {
			t.Parallel()
			if status, _, err := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultRefuse}).post(t, chatPath, body); !errors.Is(err, io.EOF) {
				t.Errorf("status %d, error %v", status, err)
			}
		})
		for kind, want := range map[fakeengine.FaultKind]int{fakeengine.FaultError500: 500, fakeengine.FaultError503: 503} {
			t.Run(name+": "+string(kind), func(t *testing.T) {
				t.Parallel()
				status, answer, err := faulty(t, fakeengine.Fault{Kind: kind}).post(t, chatPath, body)
				if err != nil || status != want || !strings.Contains(answer, `"scripted error"`) {
					t.Errorf("status %d %s, error %v", status, answer, err)
				}
			})
		}
		t.Run(name+": hang_before_headers lasts until the engine's end", func(t *testing.T) {
			t.Parallel()
			engine := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultHangBeforeHeaders})
			killed := make(chan struct{})
			go func() {
				defer close(killed)
				if engine.WaitInFlight(t.Context(), 1) == nil {
					engine.Kill(9)
				}
			}()
			if status, _, err := engine.post(t, chatPath, body); !errors.Is(err, io.EOF) {
				t.Errorf("status %d, error %v", status, err)
			}
			<-killed
			mustReach(t, engine.WaitIdle(t.Context()))
			if cancelled := engine.Stats().Cancelled; cancelled != 0 {
				t.Errorf("%d calls count as cancelled, but the engine left first", cancelled)
			}
		})
	}
}

func TestFaultsOfStreams(t *testing.T) {
	t.Parallel()
	const events = 1 + 5 + 1 + 1 // opening, five tokens, closing, [DONE]
	body := chat("count to 5", `,"stream":true`)
	for name, test := range map[string]struct {
		fault  fakeengine.Fault
		cut    bool
		events int
		last   string // part of the last event
		odd    string // part of the event where the fault struck
	}{
		"cut at the head":                {fault: fakeengine.Fault{Kind: fakeengine.FaultCutStream}, cut: true},
		"cut in the middle":              {fault: fakeengine.Fault{Kind: fakeengine.FaultCutStream, AfterEvents: 3}, cut: true, events: 3, last: `" 2"`},
		"cut before [DONE]":              {fault: fakeengine.Fault{Kind: fakeengine.FaultCutStream, AfterEvents: events - 1}, cut: true, events: events - 1, last: `"stop"`},
		"a fault after the end is none":  {fault: fakeengine.Fault{Kind: fakeengine.FaultCutStream, AfterEvents: events}, events: events, last: "[DONE]"},
		"an error in the middle":         {fault: fakeengine.Fault{Kind: fakeengine.FaultError500, AfterEvents: 2}, events: 3, last: `{"error":{"code":500,`},
		"garbage, and on":                {fault: fakeengine.Fault{Kind: fakeengine.FaultGarbage, AfterEvents: 2}, events: events + 1, last: "[DONE]", odd: `{"choices":[{"index`},
		"a huge line of 1 MiB, and on":   {fault: fakeengine.Fault{Kind: fakeengine.FaultHugeLine, AfterEvents: 2}, events: events + 1, last: "[DONE]", odd: strings.Repeat("x", 1<<20)},
		"a huge line of 9 bytes, and on": {fault: fakeengine.Fault{Kind: fakeengine.FaultHugeLine, AfterEvents: 2, Bytes: 9}, events: events + 1, last: "[DONE]", odd: `"xxxxxxxxx"`},
		"crash in the middle":            {fault: fakeengine.Fault{Kind: fakeengine.FaultCrash, AfterEvents: 3}, cut: true, events: 3, last: `" 2"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := faulty(t, test.fault)
			status, answer, err := engine.post(t, chatPath, body)
			if status != http.StatusOK || errors.Is(err, io.ErrUnexpectedEOF) != test.cut {
				t.Fatalf("status %d, error %v", status, err)
			}
			got := dataOf([]byte(answer))
			if len(got) != test.events {
				t.Fatalf("%d events, want %d: %.300q", len(got), test.events, got)
			}
			if test.last != "" && !strings.Contains(got[len(got)-1], test.last) {
				t.Errorf("last event %.300q, want %q", got[len(got)-1], test.last)
			}
			if test.odd != "" && !strings.Contains(got[test.fault.AfterEvents], test.odd) {
				t.Errorf("struck event %.300q, want %.300q", got[test.fault.AfterEvents], test.odd)
			}
			if want := test.fault.Kind == fakeengine.FaultCrash; (engine.ExitCode() == 139) != want {
				t.Errorf("exit code %d", engine.ExitCode())
			}
		})
	}
}

func TestFaultsOfPlainAnswers(t *testing.T) {
	t.Parallel()
	for path, body := range map[string]string{
		chatPath: chat("37+85", ""), "/v1/completions": prompt("37+85", ""), "/v1/embeddings": `{"input":"37+85"}`,
	} {
		t.Run(path+" cut", func(t *testing.T) {
			t.Parallel()
			status, answer, err := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultCutStream}).post(t, path, body)
			if status != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) || answer == "" {
				t.Errorf("status %d %q, error %v", status, answer, err)
			}
		})
		t.Run(path+" garbage", func(t *testing.T) {
			t.Parallel()
			status, answer, err := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultGarbage}).post(t, path, body)
			if status != http.StatusOK || err != nil || answer != `{"id":"garbage","choices":[{"index` {
				t.Errorf("status %d %q, error %v", status, answer, err)
			}
		})
		t.Run(path+" no usage", func(t *testing.T) {
			t.Parallel()
			_, answer, err := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultNoUsage}).post(t, path, body)
			if err != nil || answer == "" || strings.Contains(answer, "usage") {
				t.Errorf("%q, error %v", answer, err)
			}
		})
		t.Run(path+" wrong usage", func(t *testing.T) {
			t.Parallel()
			engine := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultWrongUsage})
			_, answer, err := engine.post(t, path, body)
			if err != nil || !strings.Contains(answer, `"prompt_tokens":100`) {
				t.Errorf("%q, error %v", answer, err)
			}
			if n := engine.Stats().PromptTokens; n > 5 {
				t.Errorf("the counter lies too: %d", n)
			}
		})
	}
	t.Run("a huge line ends the content", func(t *testing.T) {
		t.Parallel()
		engine := faulty(t, fakeengine.Fault{Kind: fakeengine.FaultHugeLine, Bytes: 5})
		_, answer, err := engine.post(t, chatPath, chat("37+85", ""))
		if err != nil || !strings.Contains(answer, `"122xxxxx"`) {
			t.Errorf("%q, error %v", answer, err)
		}
	})
}

func TestUsageFaultsOfStreams(t *testing.T) {
	t.Parallel()
	body := chat("37+85", `,"stream":true,"stream_options":{"include_usage":true}`)
	for kind, want := range map[fakeengine.FaultKind]string{
		fakeengine.FaultNoUsage: "", fakeengine.FaultWrongUsage: "1005 1001 2006", "": "5 1 6",
	} {
		script := fakeengine.Script{}
		if kind != "" {
			script.Faults = []fakeengine.Fault{{Kind: kind}}
		}
		got := mustStreamed(t, mustAsk(t, mustNew(t, script, fakeengine.Options{}), http.MethodPost, chatPath, body, http.StatusOK))
		if figures := got.Usage; figures != "" && mustFigures(t, figures) != want || figures == "" && want != "" {
			t.Errorf("%q: usage %s, want %q", kind, figures, want)
		}
	}
}

func TestFaultsChooseTheirCalls(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{Faults: []fakeengine.Fault{
		{Kind: fakeengine.FaultError500, Call: 2},
		{Kind: fakeengine.FaultError503, Match: "boom"},
		{Kind: fakeengine.FaultError500, Call: 5, Match: "never said"},
	}}, fakeengine.Options{})
	for i, call := range []struct {
		path, body string
		status     int
	}{
		{chatPath, chat("hello", ""), 200},
		{chatPath, chat("boom", ""), 500}, // the first fault that fits is taken
		{chatPath, chat("big boom", ""), 503},
		{"/v1/completions", prompt("boom", ""), 503},
		{chatPath, chat("hello", ""), 200},
		{"/v1/embeddings", `{"input":["a","boom"]}`, 503},
		{chatPath, `{"messages":[{"role":"user","content":"boom"},{"role":"user","content":"hello"}]}`, 200},
		{"/v1/chat/completions/input_tokens", chat("boom", ""), 200},
	} {
		t.Logf("request %d", i+1)
		mustAsk(t, engine, http.MethodPost, call.path, call.body, call.status)
	}
	if calls := engine.Stats().Calls; calls != 7 {
		t.Errorf("%d calls counted, want 7", calls)
	}
}
