package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// What differs between engines (design 5) never reaches a caller: the same questions get
// the same answers and figures, in every dialect, plain and streamed.

// vllmYAML is a configuration with Abacus as folders and the real vLLM that BERTH_VLLM
// names (make test-vllm).
func vllmYAML(t testing.TB) string {
	t.Helper()
	command := os.Getenv(realVLLM)
	if command == "" {
		t.Skip("needs a real vLLM: make test-vllm")
	}
	folder := func(name string) string {
		path, err := filepath.Abs("../abacus/" + name)
		must(t, err)
		return path
	}
	text, err := os.ReadFile("testdata/vllm.yaml")
	must(t, err)
	return strings.NewReplacer("{{vllm}}", command, "{{base}}", folder("abacus-0.8m-hf"),
		"{{words}}", folder("abacus-words-lora-peft"), "{{shout}}", folder("abacus-shout-lora-peft")).Replace(string(text))
}

// speech is what a dialect's answer says.
type speech struct {
	reasoning, content, end string
	input, output           int64
}

// tongue is a dialect as a test speaks it.
type tongue struct {
	path string
	// body asks a question; more are further members of it, or of its parameters.
	body func(model, question string, stream, thinking bool) string
	// hear reads a plain answer, overhear adds an event of a stream.
	hear, overhear func(t testing.TB, data string, s *speech)
	headers        []string // of streams
	mute           bool     // it cannot tell of thinking
}

var tongues = map[string]tongue{
	"OpenAI": {
		path: "/compatible-mode/v1/chat/completions",
		body: func(model, question string, stream, thinking bool) string {
			return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}],"temperature":0,"enable_thinking":%t,"stream":%t,"stream_options":{"include_usage":true}}`, model, question, thinking, stream)
		},
		hear: hearOpenAI, overhear: hearOpenAI,
	},
	"native": {
		path: "/api/v1/services/aigc/text-generation/generation", headers: []string{"X-DashScope-SSE", "enable"},
		body: func(model, question string, _, thinking bool) string {
			return fmt.Sprintf(`{"model":%q,"input":{"messages":[{"role":"user","content":%q}]},"parameters":{"result_format":"message","temperature":0,"incremental_output":true,"enable_thinking":%t}}`, model, question, thinking)
		},
		hear: hearNative, overhear: hearNative,
	},
	"native, cumulative": {
		path: "/api/v1/services/aigc/text-generation/generation", headers: []string{"X-DashScope-SSE", "enable"},
		body: func(model, question string, _, _ bool) string {
			return fmt.Sprintf(`{"model":%q,"input":{"messages":[{"role":"user","content":%q}]},"parameters":{"result_format":"message","temperature":0,"incremental_output":false}}`, model, question)
		},
		hear: hearNative,
		overhear: func(t testing.TB, data string, s *speech) {
			t.Helper()
			before := s.content
			s.content = ""
			hearNative(t, data, s)
			if !strings.HasPrefix(s.content, before) {
				t.Errorf("%q does not repeat %q", s.content, before)
			}
		},
		mute: true,
	},
	"responses": {
		path: "/compatible-mode/v1/responses",
		body: func(model, question string, stream, thinking bool) string {
			return fmt.Sprintf(`{"model":%q,"input":%q,"temperature":0,"stream":%t,"enable_thinking":%t}`, model, question, stream, thinking)
		},
		hear: hearResponse, overhear: overhearResponse,
	},
	// What the model's template makes of the question, without thinking.
	"completions": {
		path: "/compatible-mode/v1/completions",
		body: func(model, question string, stream, _ bool) string {
			prompt := "<|im_start|>user\n" + question + "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
			return fmt.Sprintf(`{"model":%q,"prompt":%q,"max_tokens":40,"temperature":0,"stream":%t,"stream_options":{"include_usage":true}}`, model, prompt, stream)
		},
		hear: hearCompletion, overhear: hearCompletion, mute: true,
	},
	"Anthropic": {
		path: "/apps/anthropic/v1/messages",
		body: func(model, question string, stream, thinking bool) string {
			mode := map[bool]string{true: `{"type":"enabled","budget_tokens":1024}`, false: `{"type":"disabled"}`}[thinking]
			return fmt.Sprintf(`{"model":%q,"max_tokens":1500,"temperature":0,"messages":[{"role":"user","content":%q}],"stream":%t,"thinking":%s}`, model, question, stream, mode)
		},
		hear: hearAnthropic, overhear: overhearAnthropic,
	},
}

func hearOpenAI(t testing.TB, data string, s *speech) {
	t.Helper()
	type text struct {
		Content          string
		ReasoningContent string `json:"reasoning_content"`
	}
	var said struct {
		Choices []struct {
			Message, Delta text
			FinishReason   string `json:"finish_reason"`
		}
		Usage struct {
			Prompt int64 `json:"prompt_tokens"`
			Output int64 `json:"completion_tokens"`
		}
	}
	must(t, json.Unmarshal([]byte(data), &said))
	for _, c := range said.Choices {
		s.content += c.Message.Content + c.Delta.Content
		s.reasoning += c.Message.ReasoningContent + c.Delta.ReasoningContent
		s.end += c.FinishReason
	}
	s.input, s.output = max(s.input, said.Usage.Prompt), max(s.output, said.Usage.Output)
}

func hearCompletion(t testing.TB, data string, s *speech) {
	t.Helper()
	var said struct {
		Object  string
		Choices []struct {
			Text         string
			FinishReason string `json:"finish_reason"`
		}
		Usage struct {
			Prompt int64 `json:"prompt_tokens"`
			Output int64 `json:"completion_tokens"`
		}
	}
	must(t, json.Unmarshal([]byte(data), &said))
	if said.Object != "text_completion" {
		t.Errorf("an object %q: %s", said.Object, data)
	}
	for _, c := range said.Choices {
		s.content += c.Text
		s.end += c.FinishReason
	}
	s.input, s.output = max(s.input, said.Usage.Prompt), max(s.output, said.Usage.Output)
}

func hearNative(t testing.TB, data string, s *speech) {
	t.Helper()
	var said struct {
		Output struct {
			Choices []struct {
				Message struct {
					Content          string
					ReasoningContent string `json:"reasoning_content"`
				}
				FinishReason string `json:"finish_reason"`
			}
		}
		Usage struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
		}
	}
	must(t, json.Unmarshal([]byte(data), &said))
	for _, c := range said.Output.Choices {
		s.content += c.Message.Content
		s.reasoning += c.Message.ReasoningContent
		s.end += strings.TrimPrefix(c.FinishReason, "null")
	}
	s.input, s.output = max(s.input, said.Usage.Input), max(s.output, said.Usage.Output)
}

func hearResponse(t testing.TB, data string, s *speech) {
	t.Helper()
	var said struct {
		Status string
		Output []struct {
			Type    string
			Content []struct{ Text string }
		}
		Usage struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
			Total  int64 `json:"total_tokens"`
		}
	}
	must(t, json.Unmarshal([]byte(data), &said))
	for _, item := range said.Output {
		for _, c := range item.Content {
			if item.Type == "reasoning" {
				s.reasoning += c.Text
			} else {
				s.content += c.Text
			}
		}
	}
	s.end = map[string]string{"completed": "stop", "incomplete": "length"}[said.Status]
	s.input, s.output = said.Usage.Input, said.Usage.Output
	if said.Usage.Total != s.input+s.output {
		t.Errorf("%d and %d tokens are not %d", s.input, s.output, said.Usage.Total)
	}
}

// overhearResponse adds the pieces, which must be what the last event repeats whole.
func overhearResponse(t testing.TB, data string, s *speech) {
	t.Helper()
	var event struct {
		Type, Delta string
		Response    json.RawMessage
	}
	must(t, json.Unmarshal([]byte(data), &event))
	switch event.Type {
	case "response.output_text.delta":
		s.content += event.Delta
	case "response.reasoning_text.delta":
		s.reasoning += event.Delta
	case "response.completed", "response.incomplete":
		var whole speech
		hearResponse(t, string(event.Response), &whole)
		if whole.content != s.content || whole.reasoning != s.reasoning {
			t.Errorf("the pieces are %+v, the whole %+v", *s, whole)
		}
		*s = whole
	}
}

type anthropicUsage struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
}

func (u anthropicUsage) to(s *speech) {
	s.input, s.output = max(s.input, u.Input), max(s.output, u.Output)
}

func hearAnthropic(t testing.TB, data string, s *speech) {
	t.Helper()
	var said struct {
		Content    []struct{ Type, Text, Thinking string }
		StopReason string `json:"stop_reason"`
		Usage      anthropicUsage
	}
	must(t, json.Unmarshal([]byte(data), &said))
	for _, c := range said.Content {
		s.content += c.Text
		s.reasoning += c.Thinking
	}
	s.end = map[string]string{"end_turn": "stop"}[said.StopReason]
	said.Usage.to(s)
}

func overhearAnthropic(t testing.TB, data string, s *speech) {
	t.Helper()
	var said struct {
		Delta struct {
			Text, Thinking string
			StopReason     string `json:"stop_reason"`
		}
		Message struct{ Usage anthropicUsage }
		Usage   anthropicUsage
	}
	must(t, json.Unmarshal([]byte(data), &said))
	s.content += said.Delta.Text
	s.reasoning += said.Delta.Thinking
	if said.Delta.StopReason == "end_turn" {
		s.end = "stop"
	}
	said.Message.Usage.to(s)
	said.Usage.to(s)
}

// converse asks in a dialect.
func (b *berth) converse(t testing.TB, in tongue, model, question string, stream, thinking bool) speech {
	t.Helper()
	var headers []string
	if stream {
		headers = in.headers
	}
	got := b.send(t, "POST", in.path, in.body(model, question, stream, thinking), headers...)
	if got.status != 200 {
		t.Errorf("%s: %d %s", in.path, got.status, got.body)
		return speech{}
	}
	var s speech
	if !stream {
		in.hear(t, got.body, &s)
		return s
	}
	for line := range strings.SplitSeq(got.body, "\n") {
		if data, ok := strings.CutPrefix(line, "data:"); ok && strings.TrimSpace(data) != "[DONE]" {
			in.overhear(t, data, &s)
		}
	}
	return s
}

// answersAlike holds an engine to what every engine's callers get. Both deployments think
// when they are asked to.
func answersAlike(t *testing.T, b *berth, engine traits, base, adapter string) {
	// conformance 92
	for name, in := range tongues {
		for _, stream := range []bool{false, true} {
			for _, c := range []struct {
				model, question string
				thinking        bool
				want            speech
			}{
				{base, "37+85", false, speech{"", "122", "stop", 17, 4}},
				{base, "37+85", true, speech{"37+85: 7+5=12, 3+8+1=12", "122", "stop", 13, 32}},
				{base, "count to 9", false, speech{"", "1 2 3 4 5 6 7 8 9", "stop", 16, 18}},
				{adapter, "37+85", false, speech{"", "The answer is 122.", "stop", 17, 9}},
			} {
				if c.thinking && in.mute {
					continue
				}
				if got := b.converse(t, in, c.model, c.question, stream, c.thinking); got != c.want {
					t.Errorf("%s, stream %t, %s to %s: got %+v, want %+v", name, stream, c.question, c.model, got, c.want)
				}
			}
		}
	}
	asks := func(question, more string) (answer, map[string]any) {
		got := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+base+`","messages":[{"role":"user","content":"`+question+`"}],"temperature":0,`+more+`}`)
		var body map[string]any
		must(t, json.Unmarshal([]byte(got.body), &body))
		return got, body
	}
	chat := func(more string) (answer, map[string]any) { return asks("37+85", more) }
	t.Run("several answers", func(t *testing.T) {
		_, whole := chat(`"n":2`)
		choices := whole["choices"].([]any)
		if len(choices) != 2 || dig(choices[0], "message", "content") != "122" || dig(choices[1], "message", "content") != "122" || dig(whole, "usage", "completion_tokens") != 8.0 {
			t.Errorf("got %v", whole)
		}
	})
	t.Run("an end that the caller chose", func(t *testing.T) {
		_, whole := chat(`"stop":["2"]`)
		if dig(whole, "choices", 0, "message", "content") != "1" || dig(whole, "choices", 0, "finish_reason") != "stop" {
			t.Errorf("got %v", whole)
		}
		_, whole = chat(`"max_tokens":2`)
		if dig(whole, "choices", 0, "message", "content") != "12" || dig(whole, "choices", 0, "finish_reason") != "length" || dig(whole, "usage", "completion_tokens") != 2.0 {
			t.Errorf("got %v", whole)
		}
	})
	t.Run("probabilities", func(t *testing.T) {
		_, whole := chat(`"logprobs":true,"top_logprobs":2`)
		first := dig(whole, "choices", 0, "logprobs", "content", 0)
		if dig(first, "token") != "1" || len(dig(first, "top_logprobs").([]any)) != 2 {
			t.Errorf("got %v", whole)
		}
	})
	t.Run("a form that the caller chose", func(t *testing.T) {
		_, whole := chat(`"response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"string","enum":["blue cat"]}}},"max_tokens":40`)
		if dig(whole, "choices", 0, "message", "content") != `"blue cat"` {
			t.Errorf("got %v", whole)
		}
	})
	t.Run("JSON of any form", func(t *testing.T) {
		// The model speaks no JSON by itself: its answer begins as an object because the engine
		// holds it to one, and is a whole one if it came to an end.
		_, whole := asks("37+85 in json", `"response_format":{"type":"json_object"},"max_tokens":40`)
		isObject(t, dig(whole, "choices", 0, "message", "content"), dig(whole, "choices", 0, "finish_reason") == "stop")
		got := b.send(t, "POST", "/v1/responses", `{"model":"`+base+`","input":"37+85 in json","text":{"format":{"type":"json_object"}},"max_output_tokens":40,"temperature":0}`)
		var body map[string]any
		must(t, json.Unmarshal([]byte(got.body), &body))
		isObject(t, dig(body, "output", 0, "content", 0, "text"), dig(body, "status") == "completed")
	})
	t.Run("a seed", func(t *testing.T) {
		_, first := chat(`"temperature":1.9,"seed":7,"max_tokens":8`)
		for range 3 {
			if _, again := chat(`"temperature":1.9,"seed":7,"max_tokens":8`); dig(again, "choices", 0, "message", "content") != dig(first, "choices", 0, "message", "content") {
				t.Errorf("got %v, before %v", again, first)
			}
		}
	})
	t.Run("tools that the model's template would drop", func(t *testing.T) {
		got, _ := chat(`"tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}],"max_tokens":20`)
		if got.status != 400 || !strings.Contains(got.body, "The tool call is not supported.") {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
	t.Run("more than there is room for", func(t *testing.T) {
		room := engine.room
		if got, _ := chat(fmt.Sprintf(`"max_tokens":%d`, room+1)); got.status != 400 || !strings.Contains(got.body, fmt.Sprintf("Range of max_tokens should be [1, %d]", room)) {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if _, whole := chat(fmt.Sprintf(`"max_tokens":%d`, room)); dig(whole, "choices", 0, "message", "content") != "122" {
			t.Errorf("got %v", whole)
		}
	})
	t.Run("an answer that has begun", func(t *testing.T) {
		begun := `"messages":[{"role":"user","content":"37+85"},{"role":"assistant","content":"1"}],"max_tokens":20`
		plain := b.send(t, "POST", "/apps/anthropic/v1/messages", `{"model":"`+base+`","temperature":0,`+begun+`}`)
		var body map[string]any
		must(t, json.Unmarshal([]byte(plain.body), &body))
		var streamed speech
		for line := range strings.SplitSeq(b.send(t, "POST", "/apps/anthropic/v1/messages", `{"model":"`+base+`","temperature":0,"stream":true,`+begun+`}`).body, "\n") {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				overhearAnthropic(t, data, &streamed)
			}
		}
		if said := dig(body, "content", 0, "text"); said != streamed.content {
			t.Errorf("plain %v, streamed %q", said, streamed.content)
		}
	})
	t.Run("exact counts", func(t *testing.T) {
		for _, model := range []string{base, adapter} {
			got := b.send(t, "POST", "/apps/anthropic/v1/messages/count_tokens", `{"model":"`+model+`","messages":[{"role":"user","content":"37+85"}]}`)
			if got.status != 200 || !strings.Contains(got.body, `"input_tokens":17`) {
				t.Errorf("%s: %d %s", model, got.status, got.body)
			}
		}
	})
	t.Run("what others asked is not in the cache", func(t *testing.T) { cachesApart(t, b, base) })
	t.Run("a stream that its caller leaves", func(t *testing.T) { leavesAStream(t, b, base) })
}

// isObject: text begins a JSON object, and is one if it is whole.
func isObject(t *testing.T, text any, whole bool) {
	t.Helper()
	said, _ := text.(string)
	var object map[string]any
	if !strings.HasPrefix(strings.TrimSpace(said), "{") || whole && json.Unmarshal([]byte(said), &object) != nil {
		t.Errorf("got %q, whole %t", said, whole)
	}
}

// dig returns what stands in parsed JSON below names and numbers, nil when nothing does.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[fmt.Sprint(p)]
		case []any:
			i, ok := p.(int)
			if !ok || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// cachesApart asks the same of one engine from two workspaces.
func cachesApart(t *testing.T, b *berth, base string) {
	w, err := b.CreateWorkspace(t.Context(), api.CreateWorkspace{Name: "other"})
	must(t, err)
	there := []string{"X-DashScope-WorkSpace", w.ID}
	created := b.send(t, "POST", "/api/v1/deployments", `{"model_name":"abacus","plan":"ptu","suffix":"other"}`, there...)
	var envelope api.Envelope[api.Deployment]
	if err := json.Unmarshal([]byte(created.body), &envelope); err != nil || created.status != 200 {
		t.Fatalf("%d %s", created.status, created.body)
	}
	other := envelope.Output.DeployedModel
	until(t, "the other workspace is served", func() bool {
		return strings.Contains(b.send(t, "GET", "/api/v1/deployments/"+other, "", there...).body, `"RUNNING"`)
	})
	question := "repeat: " + strings.TrimSpace(strings.Repeat("blue cat ", 100))
	cached := func(model string, headers ...string) float64 {
		got := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+model+`","messages":[{"role":"user","content":"`+question+`"}],"max_tokens":2}`, headers...)
		var body map[string]any
		must(t, json.Unmarshal([]byte(got.body), &body))
		n, _ := dig(body, "usage", "prompt_tokens_details", "cached_tokens").(float64)
		if got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
		return n
	}
	if cached(base) != 0 {
		t.Error("a new question was in the cache")
	}
	t.Logf("%v tokens of its own question are in the cache", cached(base))
	if n := cached(other, there...); n != 0 {
		t.Errorf("%v tokens of another workspace's question were in the cache", n)
	}
}

// leavesAStream hangs up in the midst of an answer: the engine stops working on it. On a
// busy machine the answer may be over by then; it is asked again.
func leavesAStream(t *testing.T, b *berth, model string) {
	records := func() []api.UsageRecord {
		list, err := b.UsageRecords(t.Context(), api.UsageFilter{DeployedModel: model}, "")
		must(t, err)
		return list.Records
	}
	for range 50 {
		before := len(records())
		hangsUp(t, b, model)
		until(t, "what was left is recorded", func() bool { return len(records()) > before })
		for _, r := range records() {
			if r.End != "client_gone" {
				continue
			}
			if r.InputTokens != 17 || r.OutputTokens >= 160 {
				t.Errorf("recorded %+v", r)
			}
			return
		}
	}
	t.Error("50 answers were over before their caller could leave")
}

// hangsUp leaves an answer after its first bytes and returns when no engine works on it.
func hangsUp(t *testing.T, b *berth, model string) {
	in := tongues["OpenAI"]
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.BaseURL+in.path, strings.NewReader(in.body(model, "count to 60", true, false)))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+b.Key)
	client := &http.Client{Transport: b.transport} // the contract is for whole answers
	response, err := client.Do(request)
	must(t, err)
	if _, err := io.ReadFull(response.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	hangUp()
	_ = response.Body.Close()
	until(t, "the engine is idle", func() bool {
		replicas, err := b.Replicas(t.Context(), model)
		must(t, err)
		for _, r := range replicas {
			if r.Busy > 0 {
				return false
			}
		}
		return true
	})
}
