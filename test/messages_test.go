package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// Anthropic's messages on the real engine and on the fake one, held to the contract to the
// last event.
// conformance 157-162, and 164, 165
func TestMessages(t *testing.T) {
	t.Parallel()
	for engine, c := range map[string]struct {
		b     *berth
		model string
	}{
		"llama.cpp": {withProcesses(t, abacusYAML(t)), "abacus"},
		"fake":      {inProcess(t, fakeYAML(t, map[string]string{"abacus": `{"cached_tokens": 2}`})), "abacus"},
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			d := c.b.running(t, api.CreateDeployment{ModelName: c.model, Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
			m := messages{c.b, d.DeployedModel}
			t.Run("plain, streamed and counted", m.saysTheSame)
			t.Run("refusals", m.refuses)
		})
	}
}

type messages struct {
	*berth
	model string
}

func (m messages) body(members string) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":256,"temperature":0,%s}`, m.model, members)
}

func (m messages) post(t *testing.T, path, members string) answer {
	t.Helper()
	return m.send(t, "POST", path, m.body(members), "Authorization", "", "X-Api-Key", m.Key)
}

func (m messages) saysTheSame(t *testing.T) {
	for _, members := range []string{
		`"messages":[{"role":"user","content":"37+85"}]`,
		`"messages":[{"role":"user","content":[{"type":"text","text":"37"},{"type":"text","text":"+85"}]}],"thinking":{"type":"enabled","budget_tokens":1024}`,
		`"messages":[{"role":"user","content":"count to 20"}],"stop_sequences":[" 9"],"system":"Be short."`,
	} {
		var plain, streamed map[string]any
		must(t, json.Unmarshal([]byte(m.post(t, "/apps/anthropic/v1/messages", members).body), &plain))
		got := m.post(t, "/v1/messages", members+`,"stream":true`)
		if kind := got.header.Get("Content-Type"); kind != "text/event-stream" {
			t.Fatalf("%s: %s", kind, got.body)
		}
		var text, thought string
		for line := range strings.SplitSeq(got.body, "\n") {
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				continue
			}
			var event struct {
				Type  string
				Delta struct {
					Text, Thinking string
					StopReason     string `json:"stop_reason"`
				}
			}
			must(t, json.Unmarshal([]byte(data), &event))
			text, thought = text+event.Delta.Text, thought+event.Delta.Thinking
			if event.Type == "message_delta" {
				must(t, json.Unmarshal([]byte(data), &streamed))
			}
		}
		said, _ := json.Marshal(plain["content"])
		wanted := []map[string]string{{"type": "text", "text": text}}
		if thought != "" {
			wanted = append([]map[string]string{{"type": "thinking", "thinking": thought, "signature": ""}}, wanted...)
		}
		if want, _ := json.Marshal(wanted); string(said) != string(want) {
			t.Errorf("plain %s, streamed %s", said, want)
		}
		reason, _ := at(streamed, "delta.stop_reason")
		if reason != plain["stop_reason"] || reason != "end_turn" || used(t, plain) != used(t, streamed) {
			t.Errorf("plain %v, streamed %v", plain, streamed)
		}
		counted := m.post(t, "/apps/anthropic/v1/messages/count_tokens", members)
		if want := fmt.Sprintf(`{"input_tokens":%.0f}`, used(t, plain)); counted.body != want {
			t.Errorf("counted %s, used %s", counted.body, want)
		}
	}
}

// used is the prompt's length as an answer tells it.
func used(t *testing.T, answer map[string]any) (sum float64) {
	t.Helper()
	for _, name := range []string{"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"} {
		n, ok := at(answer, "usage."+name)
		if !ok {
			t.Fatalf("no %s in %v", name, answer)
		}
		sum += n.(float64)
	}
	return sum
}

func (m messages) refuses(t *testing.T) {
	for members, want := range map[string]string{
		`"messages":[]`: "invalid_request_error",
		`"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://127.0.0.1/"}}]}]`: "invalid_request_error",
	} {
		var body any
		got := m.post(t, "/apps/anthropic/v1/messages", members)
		must(t, json.Unmarshal([]byte(got.body), &body))
		if kind, _ := at(body, "error.type"); kind != want || got.status != 400 || got.header.Get("Request-Id") == "" {
			t.Errorf("%s: %d %s", members, got.status, got.body)
		}
	}
	got := m.send(t, "POST", "/apps/anthropic/v1/messages", m.body(`"messages":[]`), "Authorization", "", "X-Api-Key", "sk-wrong")
	if got.status != 401 || !strings.Contains(got.body, "authentication_error") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
