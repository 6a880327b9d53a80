package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/berthhq/berth/fakeengine"
)

// openScripted opens a gateway before one engine, which follows another script from the next
// call on.
func openScripted(t *testing.T) (h *house, follow func(fakeengine.Script)) {
	t.Helper()
	var engine atomic.Pointer[fakeengine.Engine]
	h = open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { engine.Load().ServeHTTP(w, r) })})
	return h, func(s fakeengine.Script) { engine.Store(fakeengine.New(s, fakeengine.Options{})) }
}

// speech draws what an engine says and thinks, with signs that a dialect may have to escape.
func speech(t *rapid.T) fakeengine.Script {
	word := rapid.StringMatching(`[a-zé"\\€😀<]{1,6}`)
	return fakeengine.Script{
		Reply:     strings.Join(rapid.SliceOfN(word, 1, 6).Draw(t, "reply"), " "),
		Reasoning: strings.Join(rapid.SliceOfN(word, 0, 4).Draw(t, "reasoning"), " "),
	}
}

// What a client reads is the same whether it streams or not, in every dialect.
// conformance 92
func TestStreamedEqualsPlain(t *testing.T) {
	t.Parallel()
	h, follow := openScripted(t)
	rapid.Check(t, func(rt *rapid.T) {
		script := speech(rt)
		options := []string{fmt.Sprintf(`"enable_thinking":%v`, script.Reasoning != "")}
		if limit := rapid.IntRange(0, 6).Draw(rt, "max_tokens"); limit > 0 {
			options = append(options, fmt.Sprintf(`"max_tokens":%d`, limit))
		}
		if n := rapid.IntRange(1, 3).Draw(rt, "n"); n > 1 {
			options = append(options, fmt.Sprintf(`"n":%d`, n))
		}
		follow(script)

		plain := readOpenAI(h.post(t, chatPath, chat("x", options...)).json(t), "message")
		streamed := said{}
		for _, c := range datas(t, h.post(t, chatPath, chat("x", append(options, `"stream":true,"stream_options":{"include_usage":true}`)...)).body) {
			streamed.add(readOpenAI(c, "delta"))
		}
		compare(rt, "OpenAI", plain, streamed)

		plain = readNative(h.post(t, nativePath, generation("x", options...)).json(t))
		streamed = said{}
		for _, f := range datas(t, h.post(t, nativePath, generation("x", append(options, `"incremental_output":true`)...), "X-DashScope-SSE: enable").body) {
			streamed.add(readNative(f))
		}
		compare(rt, "native incremental", plain, streamed)

		if script.Reasoning == "" {
			all := datas(t, h.post(t, nativePath, generation("x", options...), "X-DashScope-SSE: enable").body)
			compare(rt, "native cumulative", plain, readNative(all[len(all)-1]))
		}
	})
}

// said is what a client has read, by answer.
type said struct {
	content, reasoning, finish [4]string
	input, output, thinking    any
}

func (s *said) add(o said) {
	for i := range s.content {
		s.content[i] += o.content[i]
		s.reasoning[i] += o.reasoning[i]
		if o.finish[i] != "" && o.finish[i] != "null" {
			s.finish[i] = o.finish[i]
		}
	}
	if o.input != nil {
		s.input, s.output, s.thinking = o.input, o.output, o.thinking
	}
}

func (s *said) read(choice any, message string) {
	index, _ := at(choice, "index").(float64)
	s.content[int(index)], _ = at(choice, message, "content").(string)
	s.reasoning[int(index)], _ = at(choice, message, "reasoning_content").(string)
	s.finish[int(index)], _ = at(choice, "finish_reason").(string)
}

func readOpenAI(v map[string]any, message string) (s said) {
	for _, choice := range v["choices"].([]any) {
		s.read(choice, message)
	}
	s.input, s.output = at(v, "usage", "prompt_tokens"), at(v, "usage", "completion_tokens")
	s.thinking = at(v, "usage", "completion_tokens_details", "reasoning_tokens")
	return s
}

func readNative(v map[string]any) (s said) {
	for _, choice := range at(v, "output", "choices").([]any) {
		s.read(choice, "message")
	}
	s.input, s.output = at(v, "usage", "input_tokens"), at(v, "usage", "output_tokens")
	s.thinking = at(v, "usage", "output_tokens_details", "reasoning_tokens")
	return s
}

func compare(t *rapid.T, dialect string, plain, streamed said) {
	if plain != streamed {
		t.Fatalf("%s: plain %+v, streamed %+v", dialect, plain, streamed)
	}
}
