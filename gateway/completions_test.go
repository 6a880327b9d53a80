package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

const completionsPath = "/v1/completions"

func completion(prompt string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"prompt":%s%s}`, deployed, prompt, joined(more))
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	plain := h.post(t, completionsPath, completion(`"count to 5"`, `"max_tokens":64`))
	v := plain.json(t)
	text := fmt.Sprint(at(v, "choices", 0, "text"))
	if plain.status != http.StatusOK || text == "" || v["object"] != "text_completion" || !strings.HasPrefix(fmt.Sprint(v["id"]), "cmpl-") ||
		at(v, "choices", 0, "finish_reason") != "stop" || at(v, "usage", "completion_tokens") == 0.0 || v["model"] != deployed {
		t.Errorf("%d %s", plain.status, plain.body)
	}
	streamed := h.post(t, completionsPath, completion(`["count to 5"]`, `"max_tokens":64`, `"stream":true`, `"stream_options":{"include_usage":true}`))
	var joinedText strings.Builder
	chunks := datas(t, streamed.body)
	for i, chunk := range chunks {
		if chunk["id"] != chunks[0]["id"] || chunk["object"] != "text_completion" {
			t.Errorf("%v", chunk)
		}
		if last := i == len(chunks)-1; last != (chunk["usage"] != nil) {
			t.Errorf("usage of chunk %d: %v", i, chunk["usage"])
		}
		if piece, ok := at(chunk, "choices", 0, "text").(string); ok {
			joinedText.WriteString(piece)
		}
	}
	if joinedText.String() != text || !strings.HasSuffix(streamed.body, "data: [DONE]\n\n") {
		t.Errorf("streamed %q, want %q", joinedText.String(), text)
	}
	two := h.post(t, completionsPath, completion(`"count to 5"`, `"max_tokens":64`, `"n":2`)).json(t)
	if at(two, "choices", 1, "text") != text || at(two, "choices", 1, "index") != 1.0 {
		t.Errorf("%v", two)
	}
	records := h.meter.wait(t, 3)
	if records[0].OutputTokens == 0 || records[1].OutputTokens != records[0].OutputTokens || records[2].OutputTokens != 2*records[0].OutputTokens {
		t.Errorf("%+v", records)
	}
}

func TestACompletionThatDoesNotSayHowLong(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{}}})
	v := h.post(t, completionsPath, completion(`"count to 50"`)).json(t)
	if at(v, "usage", "completion_tokens") != 16.0 || at(v, "choices", 0, "finish_reason") != "length" {
		t.Errorf("%v", v)
	}
}

func TestCompletionsRefuse(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for body, sentence := range map[string]string{
		completion(`["a","b"]`):                        "The parameter prompt must be one text",
		completion(`[1,2]`):                            "The parameter prompt must be a text; token ids",
		completion(`[[1,2]]`):                          "The parameter prompt must be a text; token ids",
		completion(`""`):                               "The parameter prompt is empty",
		completion(`[]`):                               "The parameter prompt is empty",
		`{"model":"` + deployed + `"}`:                 "Field required: prompt",
		completion(`"a"`, `"echo":true`):               "The parameter echo is not available here",
		completion(`"a"`, `"suffix":"b"`):              "The parameter suffix is not available here",
		completion(`"a"`, `"best_of":2`):               "The parameter best_of is not available here",
		completion(`"a"`, `"logprobs":6`):              "Range of logprobs should be [0, 5]",
		completion(`"a"`, `"logprobs":true`):           "Range of logprobs should be [0, 5]",
		completion(`"a"`, `"logprobs":1`, `"n":2`):     "The parameter logprobs needs n to be 1",
		completion(`"a"`, `"n":5`):                     "Range of n should be [1, 4]",
		completion(`"a"`, `"max_tokens":0`):            "Range of max_tokens should be [1, ",
		completion(`"a"`, `"n_predict":9`):             `The parameter "n_predict" is not supported`,
		completion(`"a"`, `"enable_thinking":true`):    `The parameter "enable_thinking" is not supported`,
		completion(`"a"`, `"messages":[]`):             `The parameter "messages" is not supported`,
		completion(`"a"`, `"logit_bias":{"50256":-1}`): `The parameter "logit_bias" is not supported`,
	} {
		got := h.post(t, completionsPath, body)
		if said := fmt.Sprint(at(got.json(t), "error", "message")); got.status != http.StatusBadRequest || !strings.HasPrefix(said, sentence) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := h.post(t, completionsPath, completion(`"a"`, `"echo":false`, `"suffix":""`, `"best_of":1`, `"user":"me"`)); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// llama.cpp tells probabilities of completions as it does of chats, vLLM in OpenAI's
// older way. Callers get the older way.
func TestProbabilitiesOfCompletions(t *testing.T) {
	t.Parallel()
	const usage = `,"usage":{"prompt_tokens":1,"completion_tokens":2}}`
	for engine, logprobs := range map[string]string{
		"llama.cpp": `{"content":[{"id":5,"token":"é","bytes":[195,169],"logprob":-0.5,"top_logprobs":[{"token":"é","logprob":-0.5},{"token":"b","logprob":-2},{"token":"b","logprob":-3}]},{"token":"b","logprob":-1,"top_logprobs":[]}]}`,
		"vLLM":      `{"tokens":["é","b"],"token_logprobs":[-0.5,-1],"top_logprobs":[{"é":-0.5,"b":-2},{}],"text_offset":[0,1],"own":1}`,
	} {
		h := open(t, plan{engine: saying(`{"choices":[{"index":0,"text":"éb","finish_reason":"length","logprobs":` + logprobs + `}]` + usage)})
		got := h.post(t, completionsPath, completion(`"a"`, `"logprobs":2`))
		if !strings.Contains(got.body, `"logprobs":{"tokens":["é","b"],"token_logprobs":[-0.5,-1],"top_logprobs":[{"é":-0.5,"b":-2},{}],"text_offset":[0,1]}`) {
			t.Errorf("%s: %s", engine, got.body)
		}
	}
	h := open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, token := range []string{"é", "b"} {
			_, _ = fmt.Fprintf(w, `data: {"choices":[{"index":0,"text":%q,"finish_reason":null,"logprobs":{"content":[{"token":%q,"logprob":-1,"top_logprobs":[]}]}}]}`+"\n\n", token, token)
		}
		_, _ = fmt.Fprint(w, `data: {"choices":[{"index":0,"text":"","finish_reason":"stop","logprobs":null}]`+usage+"\n\ndata: [DONE]\n\n")
	})})
	got := h.post(t, completionsPath, completion(`"a"`, `"logprobs":0`, `"stream":true`))
	for _, want := range []string{`"text_offset":[0]`, `"text_offset":[1]`, `"logprobs":null`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %s in %s", want, got.body)
		}
	}
}
