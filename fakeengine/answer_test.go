package fakeengine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berthhq/berth/fakeengine"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	const thinking = `,"chat_template_kwargs":{"enable_thinking":true}`
	const notThinking = `,"chat_template_kwargs":{"enable_thinking":false}`
	for name, test := range map[string]struct {
		script fakeengine.Script
		text   string
		extra  string
		want   spoken
		usage  string // prompt, completion, total tokens
	}{
		"a sum":                                  {text: "37+85", want: spoken{Content: "122"}, usage: "5 1 6"},
		"a sum in words":                         {text: "What is 37 plus 85?", want: spoken{Content: "122"}, usage: "9 1 10"},
		"a sum with spaces":                      {text: " 37 + 85 ", want: spoken{Content: "122"}, usage: "7 1 8"},
		"a sum with thinking":                    {text: "37+85", extra: thinking, want: spoken{Thinking: "37+85: 7+5=12, 3+8+1=12", Content: "122"}, usage: "5 4 9"},
		"a long sum with thinking":               {text: "999+1", extra: thinking, want: spoken{Thinking: "999+1: 9+1=10, 9+0+1=10, 9+0+1=10", Content: "1000"}, usage: "5 5 10"},
		"adapter 0 says it in words":             {text: "37+85", extra: `,"lora":[{"id":0,"scale":1.0}]`, want: spoken{Content: "The answer is 122."}, usage: "5 4 9"},
		"adapter 1 shouts":                       {text: "37+85", extra: `,"lora":[{"id":0,"scale":0},{"id":1,"scale":1}]`, want: spoken{Content: "122!!!"}, usage: "5 1 6"},
		"scale 0 leaves the adapter out":         {text: "37+85", extra: `,"lora":[{"id":0,"scale":0}]`, want: spoken{Content: "122"}, usage: "5 1 6"},
		"repeat":                                 {text: "repeat: blue  cat", want: spoken{Content: "blue  cat"}, usage: "7 2 9"},
		"count":                                  {text: "count to 5", want: spoken{Content: "1 2 3 4 5"}, usage: "7 5 12"},
		"anything else":                          {text: "hello", want: spoken{Content: "ok"}, usage: "5 1 6"},
		"max_tokens cuts":                        {text: "count to 5", extra: `,"max_tokens":3`, want: spoken{Content: "1 2 3", Finish: "length"}, usage: "7 3 10"},
		"max_tokens that just fits does not cut": {text: "count to 5", extra: `,"max_tokens":5`, want: spoken{Content: "1 2 3 4 5"}, usage: "7 5 12"},
		"max_completion_tokens cuts":             {text: "count to 5", extra: `,"max_completion_tokens":1`, want: spoken{Content: "1", Finish: "length"}, usage: "7 1 8"},
		"n_predict beats max_tokens":             {text: "count to 5", extra: `,"max_tokens":1,"n_predict":2`, want: spoken{Content: "1 2", Finish: "length"}, usage: "7 2 9"},
		"the last of two max_tokens wins":        {text: "count to 5", extra: `,"max_tokens":1,"max_tokens":2`, want: spoken{Content: "1 2", Finish: "length"}, usage: "7 2 9"},
		"a negative limit is none":               {text: "count to 2", extra: `,"max_tokens":-1`, want: spoken{Content: "1 2"}, usage: "7 2 9"},
		"thinking counts against the limit":      {text: "37+85", extra: thinking + `,"max_tokens":2`, want: spoken{Thinking: "37+85: 7+5=12,", Finish: "length"}, usage: "5 2 7"},
		"a stop sequence ends the content":       {text: "count to 9", extra: `,"stop":" 4"`, want: spoken{Content: "1 2 3"}, usage: "7 3 10"},
		"the first of several stop sequences":    {text: "count to 9", extra: `,"stop":["7","3"]`, want: spoken{Content: "1 2 "}, usage: "7 2 9"},
		"a scripted reply":                       {script: fakeengine.Script{Reply: "so it is"}, text: "37+85", want: spoken{Content: "so it is"}, usage: "5 3 8"},
		"scripted reasoning":                     {script: fakeengine.Script{Reasoning: "let me see"}, text: "37+85", want: spoken{Thinking: "let me see", Content: "122"}, usage: "5 4 9"},
		"scripted reasoning, switched off":       {script: fakeengine.Script{Reasoning: "let me see"}, text: "37+85", extra: notThinking, want: spoken{Content: "122"}, usage: "5 1 6"},
		"a prompt rule of the script":            {script: fakeengine.Script{PromptTokens: &fakeengine.PromptRule{PerCall: 10, PerMessage: 1, PerWord: 2}}, text: "a b", want: spoken{Content: "ok"}, usage: "15 1 16"},
		"the context ends an answer":             {script: fakeengine.Script{ContextTokens: 9}, text: "count to 5", want: spoken{Content: "1 2", Finish: "length"}, usage: "7 2 9"},
		"unknown fields are ignored":             {text: "hello", extra: `,"temperature":0,"cache_salt":"x"`, want: spoken{Content: "ok"}, usage: "5 1 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := mustNew(t, test.script, fakeengine.Options{})
			got := mustPlain(t, mustAsk(t, engine, http.MethodPost, chatPath, chat(test.text, test.extra), http.StatusOK))
			if test.want.Finish == "" {
				test.want.Finish = "stop"
			}
			if got.Choices[0] != test.want {
				t.Errorf("said %+v, want %+v", got.Choices[0], test.want)
			}
			if figures := mustFigures(t, got.Usage); figures != test.usage {
				t.Errorf("usage %s, want %s", figures, test.usage)
			}
			if got.Model != "m" {
				t.Errorf("model %q is not the call's", got.Model)
			}
		})
	}
}

func mustFigures(t testing.TB, usage string) string {
	t.Helper()
	var u struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
	if err := json.Unmarshal([]byte(usage), &u); err != nil {
		t.Fatalf("usage %q: %v", usage, err)
	}
	return fmt.Sprint(u.Prompt, u.Completion, u.Total)
}

func TestUsageDetails(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{CachedTokens: 3, Reasoning: "a b"}, fakeengine.Options{})
	got := mustPlain(t, mustAsk(t, engine, http.MethodPost, chatPath, chat("hello", `,"n":2`), http.StatusOK))
	const want = `{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11,` +
		`"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":4}}`
	if got.Usage != want {
		t.Errorf("usage is\n%s, want\n%s", got.Usage, want)
	}
	stats := engine.Stats()
	if stats.PromptTokens != 5 || stats.CachedTokens != 3 || stats.OutputTokens != 6 {
		t.Errorf("counters %+v do not agree with the usage", stats)
	}
}

func TestMessageForms(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{}, fakeengine.Options{})
	for name, body := range map[string]string{
		"parts":                 `{"messages":[{"role":"user","content":[{"type":"text","text":"1+"},{"type":"text","text":"1"}]}]}`,
		"null content is empty": `{"messages":[{"role":"assistant","content":null},{"role":"user","content":"1+1"}]}`,
		"the last user message": `{"messages":[{"role":"user","content":"5+5"},{"role":"user","content":"1+1"},{"role":"assistant","content":"3+3"}]}`,
	} {
		got := mustPlain(t, mustAsk(t, engine, http.MethodPost, chatPath, body, http.StatusOK))
		if got.Choices[0].Content != "2" || got.Model != "fake" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	got := mustPlain(t, mustAsk(t, engine, http.MethodPost, chatPath, `{"messages":[{"role":"system","content":"1+1"}]}`, http.StatusOK))
	if got.Choices[0].Content != "ok" {
		t.Errorf("without a user message: got %+v", got)
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	engine := mustNew(t, fakeengine.Script{ContextTokens: 6}, fakeengine.Options{})
	for name, test := range map[string]struct{ path, body, message string }{
		"no JSON":               {chatPath, `{`, "unexpected end"},
		"no messages":           {chatPath, `{}`, "'messages' is required"},
		"too many choices":      {chatPath, chat("hello", `,"n":1000`), "'n': 1000"},
		"no choice":             {chatPath, chat("hello", `,"n":0`), "'n': 0"},
		"prompt too long":       {chatPath, chat("a b", ""), "exceeds the context"},
		"content is a number":   {chatPath, `{"messages":[{"content":1}]}`, "content must be"},
		"no prompt":             {"/v1/completions", `{}`, "'prompt'"},
		"prompt is a number":    {"/v1/completions", `{"prompt":1}`, "must be a string"},
		"no input":              {"/v1/embeddings", `{}`, "'input'"},
		"too many dimensions":   {"/v1/embeddings", `{"input":"a","dimensions":10000}`, "'dimensions'"},
		"unknown encoding":      {"/v1/embeddings", `{"input":"a","encoding_format":"hex"}`, "'encoding_format'"},
		"tokenize without JSON": {"/tokenize", `[`, "unexpected end"},
	} {
		got := string(mustAsk(t, engine, http.MethodPost, test.path, test.body, http.StatusBadRequest))
		if !strings.Contains(got, test.message) {
			t.Errorf("%s: answer %s does not say %q", name, got, test.message)
		}
	}
}

// A stream must tell a client exactly what a plain answer does, whatever the
// script and the call are.
func TestStreamedEqualsPlain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		script := fakeengine.Script{
			Reply:        rapid.SampledFrom([]string{"", "so it is", " a\n\n b  ", "\t", "né\u2003à"}).Draw(r, "reply"),
			Reasoning:    rapid.StringMatching(`( ?[a-z ]{1,5}){0,4}`).Draw(r, "reasoning"),
			CachedTokens: rapid.IntRange(0, 10).Draw(r, "cached"),
		}
		text := rapid.OneOf(
			rapid.SampledFrom([]string{"37+85", "count to 12", "repeat: blue cat", "hello"}),
			rapid.Map(rapid.String(), func(s string) string { return "repeat: " + s }),
		).Draw(r, "text")
		extra := fmt.Sprintf(`,"n":%d,"max_tokens":%d,"stop":[%q],"chat_template_kwargs":{"enable_thinking":%t}`,
			rapid.IntRange(1, 4).Draw(r, "n"), rapid.IntRange(-1, 15).Draw(r, "max tokens"),
			rapid.SampledFrom([]string{"", "5", "o"}).Draw(r, "stop"), rapid.Bool().Draw(r, "thinking"))
		path, body := chatPath, chat(text, extra)
		if rapid.Bool().Draw(r, "text completion") {
			path, body = "/v1/completions", prompt(text, extra)
		}
		streaming := strings.TrimSuffix(body, "}") + `,"stream":true,"stream_options":{"include_usage":true}}`

		engine := mustNew(t, script, fakeengine.Options{})
		plain := mustPlain(t, mustAsk(t, engine, http.MethodPost, path, body, http.StatusOK))
		before := engine.Stats()
		streamed := mustStreamed(t, mustAsk(t, engine, http.MethodPost, path, streaming, http.StatusOK))
		after := engine.Stats()
		if fmt.Sprint(plain) != fmt.Sprint(streamed) {
			r.Fatalf("plain    %+v\nstreamed %+v", plain, streamed)
		}
		if after.OutputTokens != 2*before.OutputTokens || after.PromptTokens != 2*before.PromptTokens {
			r.Fatalf("counters %+v, then %+v", before, after)
		}
	})
}
