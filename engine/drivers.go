package engine

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	berth "github.com/berthhq/berth"
)

// Config is what the drivers need to know of this installation.
type Config struct {
	LlamaCpp LlamaCppConfig
	VLLM     VLLMConfig
	Fake     FakeConfig
	Endpoint EndpointConfig
}

// Drivers returns every driver by its name.
func Drivers(c Config) map[string]Driver {
	drivers := map[string]Driver{}
	for _, d := range []Driver{NewLlamaCpp(c.LlamaCpp), NewVLLM(c.VLLM), NewFake(c.Fake), NewEndpoint(c.Endpoint)} {
		drivers[d.Traits().Name] = d
	}
	return drivers
}

// contextLength is the number of tokens of one slot; 0 leaves it to the engine.
func contextLength(l Launch) int64 {
	for _, tokens := range []int64{l.Spec.ContextLength, l.Model.ContextLength, l.Model.File.ContextLength} {
		if tokens > 0 {
			return tokens
		}
	}
	return 0
}

// The words that engines have in common.

// openAIFields says a call as far as all OpenAI-compatible engines understand it.
// streamOptions asks for usage at the end of a stream or, where the engine can, all
// along, so that a stream that breaks off has said how far it came.
func openAIFields(c berth.EngineCall, streamOptions string) []berth.Field {
	fields := make([]berth.Field, 0, 8)
	if c.Model != "" {
		// Names of models have no character that needs an escape.
		fields = append(fields, berth.Field{Name: "model", Value: []byte(`"` + c.Model + `"`)})
	}
	if c.MaxTokens > 0 {
		fields = append(fields, berth.Field{Name: "max_tokens", Value: strconv.AppendInt(nil, c.MaxTokens, 10)})
	}
	if c.Stream {
		fields = append(fields,
			berth.Field{Name: "stream", Value: []byte("true")},
			berth.Field{Name: "stream_options", Value: []byte(streamOptions)})
	}
	return fields
}

// templated reports whether the engine writes the prompt of a call with the model's chat
// template.
func templated(c berth.EngineCall) bool {
	return c.Operation == berth.OperationChat || c.Operation == ""
}

// blames is what engines mean by their answers: 400 and 422 are about the request.
func blames(status int, said string) string {
	if status == http.StatusBadRequest || status == http.StatusUnprocessableEntity {
		return said
	}
	return ""
}

// inputRange is the documented sentence for a prompt that is too long (api.md 3.3).
func inputRange(most int64) string {
	return "Range of input length should be [1, " + strconv.FormatInt(most, 10) + "]"
}

// Options of streams: OpenAI's own, and with vLLM's addition of usage in every event.
const (
	usageAtEnd = `{"include_usage":true}`
	usageAlong = `{"include_usage":true,"continuous_usage_stats":true}`
)

// withBudget adds a bound of the thinking by the engine's name for it.
func withBudget(fields []berth.Field, name string, tokens int64) []berth.Field {
	if tokens <= 0 {
		return fields
	}
	return append(fields, berth.Field{Name: name, Value: strconv.AppendInt(nil, tokens, 10)})
}

// withThinking adds the switch of chat templates, in the words of llama.cpp, vLLM and
// SGLang, where thinking was decided.
func withThinking(fields []berth.Field, thinking *bool) []berth.Field {
	if thinking == nil {
		return fields
	}
	return append(fields, berth.Field{
		Name:  "chat_template_kwargs",
		Value: []byte(`{"enable_thinking":` + strconv.FormatBool(*thinking) + `}`),
	})
}

// adapterName is what an adapter is called in engines that know it by a name: the same
// in every start, and telling nobody whose it is.
func adapterName(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return "berth-adapter-" + cmp.Or(hex, digest)
}
