package engine

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

// As vLLM writes them: with labels, as floating numbers, beside others whose names begin
// alike.
const countersOfVLLM = `# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="abacus"} 191.0
vllm:prompt_tokens_total{engine="1",model_name="aba}cus"} 9.0
vllm:prompt_tokens_created{engine="0",model_name="abacus"} 1.7954430672861254e+09
vllm:prompt_tokens_by_source_total{engine="0",source="local_cache_hit"} 7.0
vllm:prompt_tokens_cached_total{engine="0",model_name="abacus"} 128.0
vllm:generation_tokens_total{engine="0",model_name="abacus"} 1.97e+02
vllm:num_requests_running{engine="0",model_name="abacus"} 2.0
vllm:num_requests_waiting{engine="0",model_name="abacus"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 5.0
`

func TestCountersAreRead(t *testing.T) {
	t.Parallel()
	vllm, llama := vllm{}.Counters(), llamaCpp{}.Counters()
	const llamaText = "llamacpp:prompt_tokens_total 10\nllamacpp:prompt_tokens_cached_total 5 1795443140000\nllamacpp:tokens_predicted_total 3\nllamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n"
	for name, c := range map[string]struct {
		from Counters
		text string
		want Tokens
		err  string
	}{
		"vLLM":               {vllm, countersOfVLLM, Tokens{200, 128, 197, 3}, ""},
		"llama.cpp":          {llama, llamaText, Tokens{15, 5, 3, 1}, ""},
		"one is missing":     {llama, strings.Replace(llamaText, "predicted", "guessed", 1), Tokens{15, 5, 0, 1}, "does not count llamacpp:tokens_predicted_total"},
		"one is no number":   {llama, strings.Replace(llamaText, " 3", " NaN?", 1), Tokens{15, 5, 0, 1}, "tokens_predicted_total"},
		"one is below 0":     {llama, strings.Replace(llamaText, " 3", " -3", 1), Tokens{15, 5, 0, 1}, "tokens_predicted_total"},
		"something else":     {vllm, "<html>", Tokens{}, "does not count"},
		"an endless counter": {llama, strings.Replace(llamaText, " 3", " +Inf", 1), Tokens{15, 5, 0, 1}, "tokens_predicted_total"},
	} {
		got, err := c.from.parse([]byte(c.text))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %+v, %v; want %+v, %q", name, got, err, c.want, c.err)
		}
	}
}

func TestCountersOfTheFakeEngine(t *testing.T) {
	t.Parallel()
	e := fakeengine.New(fakeengine.Script{CachedTokens: 2}, fakeengine.Options{Key: "k"})
	server := httptest.NewServer(e)
	defer server.Close()
	at := Endpoint{URL: server.URL, Key: "k"}
	if _, err := ask(t.Context(), server.Client(), at, http.MethodPost, "/v1/chat/completions", []byte(`{"messages":[{"role":"user","content":"37+85"}]}`)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadCounters(t.Context(), server.Client(), at, NewFake(FakeConfig{}).(Counted).Counters())
	if want := (Tokens{Input: 5, Cached: 2, Output: 1}); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := ReadCounters(t.Context(), server.Client(), Endpoint{URL: server.URL}, fake{}.Counters()); err == nil {
		t.Error("without the key it answers")
	}
}
