package gateway

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// heard is what a client has read of a stream's one answer.
type heard struct {
	content, reasoning string
	cut                bool
	output             any
}

// A stream says the same in every dialect.
func TestStreamsSayTheSameInEveryDialect(t *testing.T) {
	t.Parallel()
	h, follow := openScripted(t)
	rapid.Check(t, func(rt *rapid.T) {
		script := speech(rt)
		thinks := script.Reasoning != ""
		limit := 100
		if !thinks { // max_tokens of the native dialect leaves thinking out
			limit = rapid.IntRange(1, 8).Draw(rt, "max_tokens")
		}
		follow(script)

		most, think := fmt.Sprintf(`"max_tokens":%d`, limit), fmt.Sprintf(`"enable_thinking":%v`, thinks)
		thinking := `"thinking":{"type":"disabled"}`
		if thinks {
			thinking = `"thinking":{"type":"enabled","budget_tokens":100}`
		}
		says := map[string]heard{
			"OpenAI":     heardOpenAI(t, h.post(t, chatPath, chat("x", most, think, `"stream":true`, `"stream_options":{"include_usage":true}`)).body),
			"native":     heardNative(t, h.post(t, nativePath, generation("x", most, think, `"incremental_output":true`), "X-DashScope-SSE: enable").body, false),
			"responses":  heardResponses(t, h.post(t, responsesPath, respond(`"x"`, fmt.Sprintf(`"max_output_tokens":%d`, limit), think, `"stream":true`)).body),
			"Anthropic":  heardAnthropic(t, h.post(t, messagesPath, chat("x", most, thinking, `"stream":true`)).body),
			"cumulative": {},
		}
		if !thinks {
			says["cumulative"] = heardNative(t, h.post(t, nativePath, generation("x", most, think), "X-DashScope-SSE: enable").body, true)
		} else {
			delete(says, "cumulative")
		}
		for dialect, said := range says {
			if want := says["OpenAI"]; said != want {
				rt.Fatalf("%s: %+v, OpenAI %+v", dialect, said, want)
			}
		}
	})
}

func str(v any) string { s, _ := v.(string); return s }

func heardOpenAI(t *testing.T, body string) (s heard) {
	for _, c := range datas(t, body) {
		delta := at(c, "choices", 0, "delta")
		s.content += str(at(delta, "content"))
		s.reasoning += str(at(delta, "reasoning_content"))
		s.cut = s.cut || at(c, "choices", 0, "finish_reason") == "length"
		if c["usage"] != nil {
			s.output = at(c, "usage", "completion_tokens")
		}
	}
	return s
}

func heardNative(t *testing.T, body string, cumulative bool) (s heard) {
	for _, c := range datas(t, body) {
		if cumulative {
			s.content, s.reasoning = "", ""
		}
		choice := at(c, "output", "choices", 0)
		s.content += str(at(choice, "message", "content"))
		s.reasoning += str(at(choice, "message", "reasoning_content"))
		s.cut = at(choice, "finish_reason") == "length"
		s.output = at(c, "usage", "output_tokens")
	}
	return s
}

func heardResponses(t *testing.T, body string) (s heard) {
	for _, e := range namedFrames(t, body) {
		switch e["type"] {
		case "response.output_text.delta":
			s.content += str(e["delta"])
		case "response.reasoning_text.delta":
			s.reasoning += str(e["delta"])
		case "response.incomplete", "response.completed":
			s.cut = e["type"] == "response.incomplete"
			s.output = at(e, "response", "usage", "output_tokens")
		}
	}
	return s
}

func heardAnthropic(t *testing.T, body string) (s heard) {
	for _, e := range datas(t, body) {
		s.content += str(at(e, "delta", "text"))
		s.reasoning += str(at(e, "delta", "thinking"))
		if e["type"] == "message_delta" {
			s.cut = at(e, "delta", "stop_reason") == "max_tokens"
			s.output = at(e, "usage", "output_tokens")
		}
	}
	return s
}
