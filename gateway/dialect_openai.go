package gateway

import (
	"bytes"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
)

// openAI is the dialect of chat completions (api.md 9.4). Its max_tokens counts
// thinking, as max_completion_tokens does.
type openAI struct{}

var _ dialect = openAI{}

func (openAI) parse(body value, _ http.Header, route *berth.Route) (request, error) {
	r := request{operation: chatting, n: 1}
	err := openAIFields.read(body, "", &r, func(name string, v value) error {
		switch name {
		case "model":
			r.model = bytes.Clone(v)
		case "stream_options":
			return r.readStreamOptions(v)
		case "max_completion_tokens":
			return r.common("max_tokens", v)
		}
		return r.common(name, v)
	})
	if err == nil {
		err = r.decide(route)
	}
	// Engines tell of several answers, and of thinking, in a stream only: llama.cpp
	// reports the tokens of one of n answers, and no thinking ones.
	// And llama.cpp repeats the beginning of an answer, which the client sent, in its plain
	// reply only.
	r.collected = !r.stream && (r.n > 1 || r.thinks() || r.prompt.begun)
	return r, err
}

func (r *request) readStreamOptions(options value) error {
	for name, v := range members(options) {
		switch string(name) {
		case "include_usage":
			on, ok := v.boolean()
			if v.present() && !ok {
				return invalid("'stream_options.include_usage' must be a boolean")
			}
			r.wantsUsage = on
		case "include_obfuscation": // padding against eavesdroppers; not made here
		default:
			return invalid("The parameter %q is not supported; leave it out.", "stream_options."+string(name))
		}
	}
	return nil
}

// copies: contents that are lists of parts are joined.
func (openAI) copies(body value) int64 { return int64(len(body)) }

func (openAI) bound(_ *request, b Bounds) time.Duration { return b.Call }

func (openAI) failure(dst []byte, f *failure, requestID string) []byte {
	return f.appendOpenAI(dst, requestID)
}

func (openAI) writer(c *call) writer {
	if c.request.stream {
		return newOpenAIStream(c, chatShape)
	}
	return &openAIWhole{call: c, shape: chatShape}
}
