package gateway

import (
	"bytes"
	"net/http"
	"slices"

	berth "github.com/berthhq/berth"
)

// openAIResponses is the OpenAI dialect of responses (api.md 9.8). Nothing is stored: a
// call says all that the model is to read. Its max_output_tokens counts thinking.
type openAIResponses struct{ openAI }

var _ dialect = openAIResponses{}

var responsesFields = with(pick(sampling, "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "repetition_penalty",
	"seed", "parallel_tool_calls", "enable_thinking", "thinking_budget", "stream", "enable_search", "search_options"), fields{
	"model":             {use: useOurs},
	"input":             {use: useOurs},
	"instructions":      {use: useOurs, check: text("instructions")},
	"max_output_tokens": {use: useOurs},
	"tools":             {use: useOurs, check: array("tools")},
	"tool_choice":       {use: useOurs},
	"text":              {use: useOurs, check: object("text")},
	"reasoning":         {use: useOurs, check: object("reasoning")},
	"stream_options":    {use: useOurs, check: object("stream_options")},

	"previous_response_id": {use: useIgnore, check: unavailable("previous_response_id", "nothing is stored; send the whole conversation as input")},
	"conversation":         {use: useIgnore, check: unavailable("conversation", "nothing is stored; send the whole conversation as input")},
	"background":           {use: useIgnore, check: off("background", "The parameter background is not available here; leave it out, or stream the answer.")},
	"include":              {use: useIgnore, check: emptyList("include")},
	"truncation":           {use: useIgnore, check: oneOf("truncation", "disabled")},
	"store":                {use: useIgnore, check: boolean("store")},
	"user":                 {use: useIgnore},
	"metadata":             {use: useIgnore},
	"service_tier":         {use: useIgnore},
	"safety_identifier":    {use: useIgnore},
	"prompt_cache_key":     {use: useIgnore},
})

// unavailable refuses every value.
func unavailable(name, why string) func(value) string {
	return func(value) string { return "The parameter " + name + " is not available here: " + why + "." }
}

func emptyList(name string) func(value) string {
	return func(v value) string {
		for range elements(v) {
			return "The parameter " + name + " is not available here; leave it out."
		}
		return array(name)(v)
	}
}

func (openAIResponses) parse(body value, _ http.Header, route *berth.Route) (request, error) {
	r := request{operation: chatting, n: 1}
	var instructions, input, tools, choice value
	err := responsesFields.read(body, "", &r, func(name string, v value) error {
		switch name {
		case "model":
			r.model = bytes.Clone(v)
		case "input":
			input = v
		case "instructions":
			instructions = v
		case "tools":
			tools = v
		case "tool_choice":
			choice = v
		case "max_output_tokens":
			r.lengthName = name
			return r.common("max_tokens", v)
		case "text":
			return r.readTextFormat(v)
		case "reasoning":
			return r.readEffort(v)
		case "stream_options":
			return r.readStreamOptions(v)
		default:
			return r.common(name, v)
		}
		return nil
	})
	if err == nil && input == nil {
		err = invalid("Field required: input")
	}
	if err == nil {
		r.prompt, err = readItems(instructions, input)
	}
	if err == nil {
		err = r.readFunctions(tools, choice)
	}
	if err == nil {
		err = r.decide(route)
	}
	r.echo = appendEcho(nil, instructions, tools, choice)
	r.collected = !r.stream // one way of putting items together
	return r, err
}

// copies: messages, tools, and what the answer repeats.
func (openAIResponses) copies(body value) int64 { return 3 * int64(len(body)) }

// appendEcho appends the members of an answer that repeat the request.
func appendEcho(dst []byte, instructions, tools, choice value) []byte {
	dst = appendOr(append(dst, `,"instructions":`...), instructions, "null")
	dst = appendOr(append(dst, `,"tools":`...), tools, "[]")
	return appendOr(append(dst, `,"tool_choice":`...), choice, `"auto"`)
}

// readEffort: none means no thinking, any other effort thinking.
func (r *request) readEffort(reasoning value) error {
	for name, v := range members(reasoning) {
		switch string(name) {
		case "effort":
			if !v.present() || r.thinking != nil {
				continue
			}
			if sentence := oneOf("reasoning.effort", "none", "minimal", "low", "medium", "high", "xhigh", "max")(v); sentence != "" {
				return invalid("%s", sentence)
			}
			r.thinking = new(v.text() != "none")
		case "summary", "generate_summary": // what was thought is told as it is
		default:
			return unsupported("reasoning", name)
		}
	}
	return nil
}

// readTextFormat writes text.format as chats have it.
func (r *request) readTextFormat(text value) error {
	for name, v := range members(text) {
		switch {
		case string(name) != "format":
			return unsupported("text", name)
		case !v.present():
			continue
		}
		format := append(append([]byte(`{"type":`), member(v, "type")...), '}')
		if member(v, "type").text() == "json_schema" {
			format = []byte(`{"type":"json_schema","json_schema":{`)
			first := true
			for name, v := range members(v) {
				if string(name) != "type" {
					format = appendString(appendComma(format, &first), string(name))
					format = append(append(format, ':'), v...)
				}
			}
			format = append(format, "}}"...)
		}
		kind := member(v, "type").text()
		if kind == "json_schema" && !member(v, "schema").isObject() {
			return invalid("Field required: text.format.schema")
		}
		if kind != "text" && kind != "json_object" && kind != "json_schema" {
			return invalid("'text.format' must be an object whose 'type' is text, json_object or json_schema")
		}
		return r.common("response_format", format)
	}
	return nil
}

// readFunctions writes tools as chats have them. One that is asked for by name becomes
// the only one offered, which all engines understand.
func (r *request) readFunctions(tools, choice value) error {
	named := member(choice, "name")
	switch {
	case choice.isObject() && (member(choice, "type").text() != "function" || !named.isString()):
		return invalid("'tool_choice' must be auto, none, required or a function's name")
	case choice.isObject():
		r.pass("tool_choice", value(`"required"`))
	case choice.present():
		if sentence := oneOf("tool_choice", "auto", "none", "required")(choice); sentence != "" {
			return invalid("%s", sentence)
		}
		r.pass("tool_choice", choice)
	}
	list, first := []byte{'['}, true
	for tool := range elements(tools) {
		if kind := member(tool, "type").text(); kind != "function" {
			return invalid("Tools of the type %q are not available here; send functions.", kind)
		}
		if member(tool, "name").text() == "" {
			return invalid("Field required: tools.name")
		}
		if named != nil && member(tool, "name").text() != named.text() {
			continue
		}
		list = append(appendComma(list, &first), `{"type":"function","function":{`...)
		firstMember := true
		for name, v := range members(tool) {
			switch string(name) {
			case "type":
			case "name", "description", "parameters", "strict":
				if v.present() {
					list = appendString(appendComma(list, &firstMember), string(name))
					list = append(append(list, ':'), v...)
				}
			default:
				return unsupported("tools", name)
			}
		}
		list = append(list, "}}"...)
	}
	switch {
	case !first:
		return r.common("tools", append(list, ']'))
	case named != nil, choice.text() == "required":
		return invalid("'tool_choice' asks for a function that is not among the tools; send it, or leave tool_choice out.")
	}
	return nil
}

// readItems writes instructions and input as the messages of a chat.
func readItems(instructions, input value) (prompt, error) {
	t := items{out: []byte{'['}, first: true}
	if instructions.present() {
		t.message("system", instructions)
	}
	if input.isString() {
		t.message("user", input)
	} else {
		for item := range elements(input) {
			if err := t.read(item); err != nil {
				return prompt{}, err
			}
		}
	}
	t.endCalls()
	return readMessages(append(t.out, ']'))
}

// items are the messages written so far.
type items struct {
	out     []byte
	first   bool
	calling bool // the last message has calls, and is open for more
}

func (t *items) message(role string, content value) {
	t.endCalls()
	t.out = append(append(append(appendComma(t.out, &t.first), `{"role":"`...), role...), `","content":`...)
	t.out = append(append(t.out, content...), '}')
}

// read writes one item of the input.
func (t *items) read(item value) error {
	switch kind := member(item, "type").text(); kind {
	case "", "message":
		return t.readMessage(item)
	case "reasoning", "item_reference":
		if kind == "reasoning" {
			return nil // templates leave out what was thought before
		}
		return invalid("Input items of the type %q are not available here: nothing is stored.", kind)
	case "function_call":
		return t.call(item)
	case "function_call_output":
		id, output := member(item, "call_id"), member(item, "output")
		if !id.isString() || !output.isString() {
			return invalid("An input item of the type function_call_output needs the strings call_id and output.")
		}
		t.endCalls()
		t.out = append(append(appendComma(t.out, &t.first), `{"role":"tool","tool_call_id":`...), id...)
		t.out = append(append(append(t.out, `,"content":`...), output...), '}')
		return nil
	default:
		return invalid("Input items of the type %q are not available here; send messages and function calls.", kind)
	}
}

func (t *items) readMessage(item value) error {
	role := member(item, "role").text()
	if role == "developer" {
		role = "system"
	}
	if !slices.Contains([]string{"system", "user", "assistant"}, role) {
		return invalid("The role %q is not known; use system, developer, user or assistant.", role)
	}
	content := member(item, "content")
	if !content.isArray() {
		if !content.isString() {
			return invalid("The content field is a required field.")
		}
		t.message(role, content)
		return nil
	}
	text := []byte{'"'}
	for part := range elements(content) {
		switch kind := member(part, "type").text(); kind {
		case "input_text", "output_text", "text":
			if !member(part, "text").isString() {
				return invalid("input content must be a string.")
			}
			text = append(text, member(part, "text").inner()...)
		default:
			return invalid("Content parts of the type %q are not supported; this model takes text.", kind)
		}
	}
	t.message(role, append(text, '"'))
	return nil
}

// call writes a call of a function; calls that follow each other are of one message.
func (t *items) call(item value) error {
	id, name, arguments := member(item, "call_id"), member(item, "name"), member(item, "arguments")
	if !id.isString() || !name.isString() || !arguments.isString() {
		return invalid("An input item of the type function_call needs the strings call_id, name and arguments.")
	}
	if t.calling {
		t.out = append(t.out, ',')
	} else {
		t.out = append(appendComma(t.out, &t.first), `{"role":"assistant","content":"","tool_calls":[`...)
		t.calling = true
	}
	t.out = append(append(t.out, `{"id":`...), id...)
	t.out = append(append(t.out, `,"type":"function","function":{"name":`...), name...)
	t.out = append(append(append(t.out, `,"arguments":`...), arguments...), "}}"...)
	return nil
}

func (t *items) endCalls() {
	if t.calling {
		t.out = append(t.out, "]}"...)
		t.calling = false
	}
}
