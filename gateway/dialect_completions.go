package gateway

import (
	"bytes"
	"net/http"

	berth "github.com/berthhq/berth"
)

// openAICompletions is the OpenAI dialect of text completions: the model goes on writing
// where the prompt ends, without a chat template, and so without thinking or tools.
type openAICompletions struct{ openAI }

var _ dialect = openAICompletions{}

// completionTokens is the largest output of a call that does not say one, as OpenAI has
// it.
const completionTokens = 16

var completionFields = with(fields{
	"model":          {use: useOurs},
	"prompt":         {use: useOurs},
	"stream":         sampling["stream"],
	"stream_options": openAIFields["stream_options"],
	"n":              sampling["n"],
	"max_tokens":     sampling["max_tokens"],
	"logprobs":       {use: useOurs, check: checkCompletionLogprobs},

	"echo":    {use: useIgnore, check: off("echo", "The parameter echo is not available here; leave it out, and put the prompt before the answer yourself.")},
	"suffix":  {use: useIgnore, check: empty("suffix")},
	"best_of": {use: useIgnore, check: exactly("best_of", 1, "The parameter best_of is not available here; leave it out, and ask for n answers instead.")},
	"user":    {use: useIgnore},
}, pick(sampling, "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed", "stop"))

func (openAICompletions) parse(body value, _ http.Header, route *berth.Route) (request, error) {
	r := request{operation: completing, n: 1}
	logprobs := false
	err := completionFields.read(body, "", &r, func(name string, v value) error {
		switch name {
		case "model":
			r.model = bytes.Clone(v)
		case "prompt":
			return r.readPrompt(v)
		case "stream_options":
			return r.readStreamOptions(v)
		case "logprobs":
			logprobs = true
			r.pass(name, v)
		default:
			return r.common(name, v)
		}
		return nil
	})
	if err == nil {
		err = r.decideCompletion(route)
	}
	r.collected = !r.stream && r.n > 1
	if err == nil && r.collected && logprobs {
		err = invalid("The parameter logprobs needs n to be 1, or a stream; leave it out.")
	}
	return r, err
}

func (openAICompletions) copies(value) int64 { return 0 }

// readPrompt takes a text, also as the only one of a list.
func (r *request) readPrompt(v value) error {
	text, count := v, 1
	if v.isArray() {
		count = 0
		for text = range elements(v) {
			count++
		}
	}
	switch {
	case count > 1 && !text.isString(), count == 1 && !text.isString():
		return invalid("The parameter prompt must be a text; token ids are not available here.")
	case count > 1:
		return invalid("The parameter prompt must be one text; send a call for each.")
	case count == 0 || len(text.inner()) == 0:
		return invalid("The parameter prompt is empty; send a text.")
	}
	r.prompt = prompt{content: text, count: 1, bytes: int64(len(text.inner()))}
	return nil
}

func (r *request) decideCompletion(route *berth.Route) error {
	ceiling := ceilingOf(route)
	switch {
	case r.prompt.count == 0:
		return invalid("Field required: prompt")
	case r.maxTokens < 0 || r.maxTokens > ceiling:
		return invalid("Range of max_tokens should be [1, %d]", ceiling)
	case r.maxTokens == 0:
		r.maxTokens = min(completionTokens, ceiling)
	}
	r.engineMax, r.declared = r.maxTokens, r.maxTokens
	return nil
}

var textShape = openAIShape{id: "cmpl-", whole: "text_completion", chunk: "text_completion", legacy: true}

func (openAICompletions) writer(c *call) writer {
	if c.request.stream {
		return newOpenAIStream(c, textShape)
	}
	return &openAIWhole{call: c, shape: textShape}
}
