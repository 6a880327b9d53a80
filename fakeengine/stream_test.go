package fakeengine_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berthhq/berth/fakeengine"
)

func TestStreamShape(t *testing.T) {
	t.Parallel()
	const head = `{"id":"ID-1","object":"OBJECT","created":1790000000,"model":"m","choices":[`
	for name, test := range map[string]struct {
		path, body, head string
		want             []string
	}{
		"a chat": {
			chatPath, chat("count to 2", `,"stream":true`),
			strings.NewReplacer("ID", "chatcmpl", "OBJECT", "chat.completion.chunk").Replace(head),
			[]string{
				`{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
				`{"index":0,"delta":{"content":"1"},"finish_reason":null}]}`,
				`{"index":0,"delta":{"content":" 2"},"finish_reason":null}]}`,
				`{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			},
		},
		"a chat with thinking, two choices and usage": {
			chatPath, chat("hello", `,"n":2,"max_tokens":1,"stream":true,"stream_options":{"include_usage":true},"chat_template_kwargs":{"enable_thinking":true}`),
			strings.NewReplacer("ID", "chatcmpl", "OBJECT", "chat.completion.chunk").Replace(head),
			[]string{
				`{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
				`{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
				`{"index":0,"delta":{"reasoning_content":"I"},"finish_reason":null}]}`,
				`{"index":1,"delta":{"reasoning_content":"I"},"finish_reason":null}]}`,
				`{"index":0,"delta":{},"finish_reason":"length"}]}`,
				`{"index":1,"delta":{},"finish_reason":"length"}]}`,
				`],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":2}}}`,
			},
		},
		"a text completion with running usage": {
			"/v1/completions", prompt("1+1", `,"stream":true,"stream_options":{"continuous_usage_stats":true}`),
			strings.NewReplacer("ID", "cmpl", "OBJECT", "text_completion").Replace(head),
			[]string{
				`{"index":0,"text":"2","finish_reason":null}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}}`,
				`{"index":0,"text":"","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}}`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := mustNew(t, fakeengine.Script{}, fakeengine.Options{Now: func() time.Time { return time.Unix(1790000000, 0) }})
			got := dataOf(mustAsk(t, engine, http.MethodPost, test.path, test.body, http.StatusOK))
			if len(got) != len(test.want)+1 || got[len(got)-1] != "[DONE]" {
				t.Fatalf("events %q, want %d and [DONE]", got, len(test.want))
			}
			for i, want := range test.want {
				if got[i] != test.head+want {
					t.Errorf("event %d is\n%s, want\n%s", i, got[i], test.head+want)
				}
			}
		})
	}
}

func TestCancelIsSeen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script fakeengine.Script
		extra  string
	}{
		"in a slow stream":          {fakeengine.Script{TokensPerSecond: 0.001}, `,"stream":true`},
		"in a slow plain call":      {fakeengine.Script{TokensPerSecond: 0.001}, ""},
		"while the prompt is read":  {fakeengine.Script{PromptTokensPerSecond: 0.001}, ""},
		"in a stream that hangs":    {fakeengine.Script{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangMidStream, AfterEvents: 1}}}, `,"stream":true`},
		"in a call without headers": {fakeengine.Script{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangBeforeHeaders}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := mustServe(t, test.script)
			leave := engine.open(t, chat("count to 3", test.extra))
			mustReach(t, engine.WaitInFlight(t.Context(), 1))
			leave()
			mustReach(t, engine.WaitCancelled(t.Context(), 1))
			mustReach(t, engine.WaitIdle(t.Context()))
			if stats := engine.Stats(); stats.Calls != 1 || stats.Ended != 1 || stats.Cancelled != 1 {
				t.Errorf("counters %+v", stats)
			}
		})
	}
}

func mustReach(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
