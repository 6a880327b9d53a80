package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What vLLM was seen to send: line breaks around the reasoning and before the content.
var chunksOfVLLM = []string{
	`{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":{"prompt_tokens":13,"total_tokens":13,"completion_tokens":0,"completion_tokens_details":{"reasoning_tokens":0}}}`,
	`{"choices":[{"index":0,"delta":{"reasoning":"\n"},"finish_reason":null}],"usage":{"prompt_tokens":13,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":1}}}`,
	`{"choices":[{"index":0,"delta":{"reasoning":"7+5\n"},"finish_reason":null}],"usage":{"prompt_tokens":13,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":3}}}`,
	`{"choices":[{"index":0,"delta":{"reasoning":"=12"},"finish_reason":null}],"usage":{"prompt_tokens":13,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":4}}}`,
	`{"choices":[{"index":0,"delta":{"reasoning":"\n"},"finish_reason":null}],"usage":{"prompt_tokens":13,"completion_tokens":6,"completion_tokens_details":{"reasoning_tokens":5}}}`,
	`{"choices":[{"index":0,"delta":{"content":"\n\n"},"finish_reason":null}],"usage":{"prompt_tokens":13,"completion_tokens":8,"completion_tokens_details":{"reasoning_tokens":5}}}`,
	`{"choices":[{"index":0,"delta":{"content":"12"},"finish_reason":null}],"usage":{"prompt_tokens":13,"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":5}}}`,
	`{"choices":[{"index":0,"delta":{"content":" \n"},"finish_reason":"stop","stop_reason":null,"token_ids":null}],"usage":{"prompt_tokens":13,"completion_tokens":10,"completion_tokens_details":{"reasoning_tokens":5}}}`,
	`{"choices":[],"usage":{"prompt_tokens":13,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0},"completion_tokens_details":{"reasoning_tokens":5}},"system_fingerprint":"vllm"}`,
}

func TestSpaceAroundReasoningStaysInTheEngine(t *testing.T) {
	t.Parallel()
	h := open(t, plan{engine: canned(chunksOfVLLM)})
	const thinking, stream = `"enable_thinking":true`, `"stream":true`
	whole := h.post(t, chatPath, chat("x", thinking)).json(t)
	message := at(whole, "choices", 0, "message")
	if at(message, "reasoning_content") != "7+5\n=12" || at(message, "content") != "12 \n" {
		t.Errorf("got %v", message)
	}
	if got := at(whole, "usage", "completion_tokens_details", "reasoning_tokens"); got != 5.0 {
		t.Errorf("%v tokens of reasoning", got)
	}
	streamed := h.post(t, chatPath, chat("x", thinking, stream))
	for _, bad := range []string{`"reasoning_content":"\n"`, `"content":"\n`, `"reasoning_content":""`, "stop_reason", "token_ids", `"fingerprint":"vllm"`} {
		if strings.Contains(streamed.body, bad) {
			t.Errorf("%s reached the client: %s", bad, streamed.body)
		}
	}
	if !strings.Contains(streamed.body, `"reasoning_content":"\n=12"`) {
		t.Errorf("a line break within the reasoning is lost: %s", streamed.body)
	}
}

// However an engine cuts its text into pieces, what comes out is the trimmed text.
func TestMarginsOfAnyPieces(t *testing.T) {
	t.Parallel()
	text := rapid.StringOfN(rapid.SampledFrom([]rune(" \n\t\\n\"ab")), 0, 12, -1)
	rapid.Check(t, func(r *rapid.T) {
		thought, said := text.Draw(r, "reasoning"), text.Draw(r, "content")
		var m margins
		var reasoning, content strings.Builder
		feed := func(name, all string) {
			for all != "" {
				n := rapid.IntRange(1, len(all)).Draw(r, "piece")
				quoted, _ := json.Marshal(all[:n])
				all = all[n:]
				var rep reply
				if err := rep.read([]byte(`{"choices":[{"index":0,"delta":{"`+name+`":`+string(quoted)+`}}]}`), chatting); err != nil {
					r.Fatal(err)
				}
				m.trim(&rep)
				for i := range rep.parts {
					reasoning.WriteString(rep.parts[i].reasoning.text())
					content.WriteString(rep.parts[i].content.text())
				}
			}
		}
		feed("reasoning", thought)
		feed("content", said)
		const space = " \n\r\t"
		want := said
		if thought != "" {
			want = strings.TrimLeft(said, space)
		}
		if got := reasoning.String(); got != strings.Trim(thought, space) {
			r.Errorf("of the reasoning %q came %q", thought, got)
		}
		if got := content.String(); got != want {
			r.Errorf("of the content %q came %q", said, got)
		}
	})
}

// What engines add to the probabilities of tokens stays in them.
func TestProbabilitiesAreThoseOfTheDocuments(t *testing.T) {
	t.Parallel()
	const token = `{"id":49,"token":"1","bytes":[49],"logprob":-0.5,"rank":1%s}`
	content := fmt.Sprintf(token, `,"top_logprobs":[`+fmt.Sprintf(token, "")+`,`+fmt.Sprintf(token, "")+`]`)
	h := open(t, plan{engine: canned([]string{
		`{"choices":[{"index":0,"delta":{"content":"1"},"logprobs":{"content":[` + content + `],"refusal":null},"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{},"logprobs":{"content":[]},"finish_reason":"stop"}]}`,
	})})
	const plain = `{"token":"1","bytes":[49],"logprob":-0.5`
	want := plain + `,"top_logprobs":[` + plain + `},` + plain + `}]}`
	for _, got := range []result{
		h.post(t, chatPath, chat("x", `"logprobs":true,"stream":true`)),
		h.post(t, nativePath, generation("x", `"logprobs":true`)),
	} {
		if !strings.Contains(got.body, `"logprobs":{"content":[`+want+`]}`) {
			t.Errorf("got %s", got.body)
		}
	}
}
