package gateway

import (
	"bytes"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// anthropic is the dialect of Anthropic's messages (api.md 9.7). Its max_tokens counts
// thinking, too.
type anthropic struct {
	counting bool // the body is for count_tokens, which needs no max_tokens
}

var _ dialect = anthropic{}

// anthropicFields is the allowlist of the Anthropic dialect. What asks for more than text
// of this model, such as mcp_servers, is not on it.
var anthropicFields = fields{
	"model":         {use: useOurs},
	"messages":      {use: useOurs, check: array("messages")},
	"system":        {use: useOurs, check: checkSystem},
	"max_tokens":    {use: useOurs},
	"stream":        {use: useOurs, check: boolean("stream")},
	"thinking":      {use: useOurs, check: object("thinking")},
	"tools":         {use: useOurs, check: array("tools")},
	"tool_choice":   {use: useOurs, check: object("tool_choice")},
	"output_config": {use: useOurs, check: object("output_config")},

	"stop_sequences": {use: useOurs, check: checkStopSequences},
	"temperature":    sampling["temperature"],
	"top_p":          sampling["top_p"],
	"top_k":          sampling["top_k"],

	"metadata":      {use: useIgnore},
	"cache_control": {use: useIgnore},
	"service_tier":  {use: useIgnore},
	"container":     {use: useIgnore},
	"speed":         {use: useIgnore},
	"inference_geo": {use: useIgnore},
	"diagnostics":   {use: useIgnore},
}

func checkSystem(v value) string {
	if v.isString() || v.isArray() {
		return ""
	}
	return "'system' must be a string or a list of text blocks"
}

func checkStopSequences(v value) string {
	if !v.isArray() {
		return "'stop_sequences' must be a list of strings"
	}
	for element := range elements(v) {
		if !element.isString() {
			return "'stop_sequences' must be a list of strings"
		}
		if len(element.inner()) == 0 {
			return "'stop_sequences' holds an empty string, which would end every answer; leave it out"
		}
	}
	return ""
}

// copies: messages and tools, texts on their way into them, and what is known of each
// block of a message meanwhile.
func (anthropic) copies(body value) int64 {
	const blockBytes = 256
	return 3*int64(len(body)) + blockBytes*int64(bytes.Count(body, []byte("{")))
}

// parse writes the body anew, in the words that engines understand. What the members mean
// together is known only when all were read.
func (d anthropic) parse(body value, _ http.Header, route *berth.Route) (request, error) {
	r := request{operation: chatting, n: 1}
	var said struct{ messages, system, thinking, tools, choice, output value }
	err := anthropicFields.read(body, "", &r, func(name string, v value) error {
		switch name {
		case "model":
			r.model = bytes.Clone(v)
		case "messages":
			said.messages = v
		case "system":
			said.system = v
		case "thinking":
			said.thinking = v
		case "tools":
			said.tools = v
		case "tool_choice":
			said.choice = v
		case "output_config":
			said.output = v
		case "stop_sequences":
			r.pass("stop", v)
		default: // max_tokens and stream
			return r.common(name, v)
		}
		return nil
	})
	switch {
	case err != nil:
		return r, err
	case r.maxTokens == 0 && !d.counting:
		return r, invalid("Field required: max_tokens") // conformance 158
	case said.messages == nil:
		return r, invalid("Field required: messages")
	}
	if err = r.readAnthropicThinking(said.thinking); err != nil {
		return r, err
	}
	if err = r.readAnthropicTools(said.tools, said.choice); err != nil {
		return r, err
	}
	if err = r.readOutputConfig(said.output); err != nil {
		return r, err
	}
	if r.prompt, err = readTurns(said.system, said.messages); err != nil {
		return r, err
	}
	err = r.decide(route)
	r.collected = !r.stream && (r.thinks() || r.prompt.begun) // engines tell of thinking tokens in a stream only
	return r, err
}

// readAnthropicThinking takes {"type":"enabled","budget_tokens":n}. A type that leaves the
// decision to the model is the model's default. A budget beyond max_tokens bounds nothing.
func (r *request) readAnthropicThinking(thinking value) error {
	for name, v := range members(thinking) {
		switch string(name) {
		case "type":
			switch v.text() {
			case "enabled", "disabled":
				on := v.text() == "enabled"
				r.thinking = &on
			case "adaptive", "between_tools":
			default:
				return invalid("'thinking.type' must be enabled, disabled or adaptive")
			}
		case "budget_tokens":
			n, ok := v.integer()
			if v.present() && (!ok || n < 1) {
				return invalid("'thinking.budget_tokens' must be a positive integer")
			}
			r.budget = n
		case "display": // whether the text is shown; here it always is
		default:
			return unsupported("thinking", name)
		}
	}
	if thinking != nil && !member(thinking, "type").present() {
		return invalid("Field required: thinking.type")
	}
	if r.maxTokens > 0 {
		r.budget = min(r.budget, r.maxTokens)
	}
	return nil
}

// readOutputConfig takes a JSON schema for the answer. effort is a hint that no engine
// here knows.
func (r *request) readOutputConfig(config value) error {
	for name, v := range members(config) {
		switch {
		case string(name) == "effort" || v.isNull():
		case string(name) != "format":
			return unsupported("output_config", name)
		case member(v, "type").text() != "json_schema" || !member(v, "schema").isObject():
			return invalid(`'output_config.format' must be an object with "type":"json_schema" and a schema`)
		default:
			format := append([]byte(`{"type":"json_schema","json_schema":{"name":"answer","schema":`), member(v, "schema")...)
			r.format = "json_schema"
			r.pass("response_format", append(format, `}}`...))
		}
	}
	return nil
}

// unsupported refuses a member of an object by its name.
func unsupported(where string, name []byte) error {
	return invalid("The parameter %q is not supported; leave it out.", where+"."+string(name))
}

func (anthropic) bound(_ *request, b Bounds) time.Duration { return b.Call }

func (anthropic) writer(c *call) writer {
	if c.request.stream {
		return &anthropicStream{call: c}
	}
	return &anthropicWhole{call: c}
}

// failure appends Anthropic's error with the native code and message beside it, which all
// clients tolerate and newer ones read.
func (anthropic) failure(dst []byte, f *failure, requestID string) []byte {
	dst = append(dst, `{"type":"error","error":{"type":"`...)
	dst = append(dst, api.AnthropicErrorType(f.status)...)
	dst = append(dst, `","message":`...)
	dst = appendString(dst, f.nativeMessage())
	dst = append(dst, `},"request_id":`...)
	dst = appendString(dst, requestID)
	dst = append(dst, `,"code":`...)
	dst = appendString(dst, f.code)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, f.nativeMessage())
	return append(dst, '}')
}
