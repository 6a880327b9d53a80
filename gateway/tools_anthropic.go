package gateway

import "bytes"

// readAnthropicTools writes tools, and which of them are to be called, as engines take
// them.
func (r *request) readAnthropicTools(tools, choice value) error {
	named, forced, err := r.readToolChoice(choice)
	if err != nil {
		return err
	}
	list, first, found := []byte{'['}, true, false
	for tool := range elements(tools) {
		t, err := readTool(tool)
		if err != nil {
			return err
		}
		if named != nil && !bytes.Equal(unescape(t.name.inner()), unescape(named.inner())) {
			continue
		}
		found = true
		list = t.append(appendComma(list, &first))
	}
	switch {
	case found:
		list = append(list, ']')
		r.tools = list
		r.pass("tools", r.tools)
	case named != nil:
		return invalid("'tool_choice.name' is %q, which is not the name of a tool.", named.text())
	case forced:
		return invalid("'tool_choice' needs tools; send them, or leave it out.")
	}
	return nil
}

// readToolChoice says which tools are to be called. One that is asked for by name becomes
// the only one offered, which all engines understand; they differ in how they are told a
// name. It is returned, and whether one must be called at all.
func (r *request) readToolChoice(choice value) (named value, forced bool, err error) {
	if choice == nil {
		return nil, false, nil
	}
	for name, v := range members(choice) {
		switch string(name) {
		case "type":
		case "name":
			named = v
		case "disable_parallel_tool_use":
			on, ok := v.boolean()
			switch {
			case v.present() && !ok:
				return nil, false, invalid("'tool_choice.disable_parallel_tool_use' must be a boolean")
			case on:
				r.pass("parallel_tool_calls", value("false"))
			}
		default:
			return nil, false, unsupported("tool_choice", name)
		}
	}
	switch member(choice, "type").text() {
	case "auto":
		return nil, false, nil
	case "none":
		r.pass("tool_choice", value(`"none"`))
		return nil, false, nil
	case "any":
		named = nil
	case "tool":
		if !named.isString() {
			return nil, false, invalid("Field required: tool_choice.name")
		}
	default:
		return nil, false, invalid("'tool_choice.type' must be auto, any, tool or none")
	}
	r.pass("tool_choice", value(`"required"`))
	return named, true, nil
}

// clientTool is a tool that the client runs. Its values are parts of the body.
type clientTool struct{ name, description, schema, strict value }

// readTool refuses tools of a server, which nobody runs here, and what changes how tools
// are found or called. Hints about caching and streaming are ignored.
func readTool(tool value) (clientTool, error) {
	if !tool.isObject() {
		return clientTool{}, invalid("'tools' must be a list of objects")
	}
	if kind := member(tool, "type"); kind.present() && kind.text() != "custom" {
		return clientTool{}, invalid("Tools of the type %q are not available here; describe a tool of yours with name and input_schema.", kind.text())
	}
	var t clientTool
	for name, v := range members(tool) {
		if v.isNull() {
			continue
		}
		switch string(name) {
		case "type", "cache_control", "eager_input_streaming":
		case "name":
			t.name = v
		case "description":
			t.description = v
		case "input_schema":
			t.schema = v
		case "strict":
			t.strict = v
		default:
			return t, unsupported("tools", name)
		}
	}
	switch {
	case !t.name.isString() || len(t.name.inner()) == 0:
		return t, invalid("Field required: tools.name")
	case !t.schema.isObject():
		return t, invalid("Field required: tools.input_schema")
	case t.description != nil && !t.description.isString():
		return t, invalid("'tools.description' must be a string")
	}
	if _, ok := t.strict.boolean(); t.strict != nil && !ok {
		return t, invalid("'tools.strict' must be a boolean")
	}
	return t, nil
}

// append adds the tool as OpenAI describes one.
func (t *clientTool) append(dst []byte) []byte {
	dst = append(dst, `{"type":"function","function":{"name":`...)
	dst = append(dst, t.name...)
	dst = appendMember(dst, "description", t.description)
	dst = appendMember(dst, "parameters", t.schema)
	dst = appendMember(dst, "strict", t.strict)
	return append(dst, `}}`...)
}
