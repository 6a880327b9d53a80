package gateway

import "slices"

// readTurns writes Anthropic's system text and messages as the messages that engines
// take. Texts keep their escapes and are joined as they are.
func readTurns(system, list value) (prompt, error) {
	t := turns{out: []byte{'['}, first: true, calls: map[string]bool{}}
	if err := t.readSystem(system, list); err != nil {
		return prompt{}, err
	}
	count := 0
	for message := range elements(list) {
		count++
		if err := t.read(message); err != nil {
			return prompt{}, err
		}
	}
	if count == 0 {
		return prompt{}, invalid("[] is too short")
	}
	return readMessages(append(t.out, ']'))
}

// turns are the messages written so far.
type turns struct {
	out   []byte
	first bool
	calls map[string]bool // ids of the tools called so far
}

// readSystem writes one message of the system text and of the messages with that role,
// which newer clients send (api.md 9.7), with an empty line between them.
func (t *turns) readSystem(system, list value) error {
	var text []byte
	present := false
	add := func(content value) error {
		if present {
			text = append(text, `\n\n`...)
		}
		present = true
		blocks, err := readBlocks(content, "system")
		for _, b := range blocks {
			text = append(text, b.text.inner()...)
		}
		return err
	}
	if system != nil {
		if err := add(system); err != nil {
			return err
		}
	}
	for message := range elements(list) {
		if member(message, "role").text() != "system" {
			continue
		}
		if err := add(member(message, "content")); err != nil {
			return err
		}
	}
	if present {
		t.open("system", text)
		t.close()
	}
	return nil
}

// read writes one message.
func (t *turns) read(message value) error {
	if !message.isObject() {
		return invalid("'messages' must be a list of objects")
	}
	for name := range members(message) {
		if n := string(name); n != "role" && n != "content" {
			return unsupported("messages", name)
		}
	}
	role := member(message, "role").text()
	switch role {
	case "":
		return invalid("Field required: role")
	case "system":
		return nil // it was read
	case "user", "assistant":
	default:
		return invalid("The role %q is not known; use user or assistant.", role)
	}
	blocks, err := readBlocks(member(message, "content"), role)
	switch {
	case err != nil:
		return err
	case role == "user":
		return t.user(blocks)
	}
	t.assistant(blocks)
	return nil
}

// user writes the results of tools, which models expect right behind the calls, and then
// the text.
func (t *turns) user(blocks []block) error {
	var text []byte
	says := len(blocks) == 0
	for i := range blocks {
		b := &blocks[i]
		if b.kind == "text" {
			says = true
			text = append(text, b.text.inner()...)
			continue
		}
		if err := t.result(b); err != nil {
			return err
		}
	}
	if says {
		t.open("user", text)
		t.close()
	}
	return nil
}

// result writes the result of a tool. Engines have no word for one that failed.
func (t *turns) result(b *block) error {
	if !t.calls[b.id.text()] {
		return invalid("The tool_result for %q answers no tool_use of a message before it.", b.id.text())
	}
	parts, err := readBlocks(b.content, "tool_result")
	if err != nil {
		return err
	}
	var text []byte
	if b.failed {
		text = append(text, "Error: "...)
	}
	for _, part := range parts {
		text = append(text, part.text.inner()...)
	}
	t.open("tool", text)
	t.out = appendMember(t.out, "tool_call_id", b.id)
	t.close()
	return nil
}

// assistant writes what the model said before, its reasoning included: templates keep of
// that what the model was trained to see again.
func (t *turns) assistant(blocks []block) {
	var text, reasoning, calls []byte
	first := true
	for i := range blocks {
		switch b := &blocks[i]; b.kind {
		case "text":
			text = append(text, b.text.inner()...)
		case "thinking":
			reasoning = append(reasoning, b.text.inner()...)
		case "tool_use":
			t.calls[b.id.text()] = true
			calls = append(appendComma(calls, &first), `{"id":`...)
			calls = append(calls, b.id...)
			calls = append(calls, `,"type":"function","function":{"name":`...)
			calls = append(calls, b.name...)
			calls = append(calls, `,"arguments":`...)
			calls = append(appendString(calls, string(b.input)), `}}`...)
		}
	}
	t.open("assistant", text)
	if reasoning != nil {
		t.out = appendQuoted(append(t.out, `,"reasoning_content":`...), reasoning)
	}
	if calls != nil {
		t.out = append(append(append(t.out, `,"tool_calls":[`...), calls...), ']')
	}
	t.close()
}

// open begins a message with the inner part of its text.
func (t *turns) open(role string, text []byte) {
	t.out = append(appendComma(t.out, &t.first), `{"role":"`...)
	t.out = append(append(t.out, role...), `","content":`...)
	t.out = appendQuoted(t.out, text)
}

func (t *turns) close() { t.out = append(t.out, '}') }

// block is a content block. Its values are parts of the body.
type block struct {
	kind    string
	text    value // of text and thinking
	id      value // of tool_use, or the one that a tool_result answers
	name    value
	input   value
	content value // of a tool_result: a string or blocks, nil for none
	failed  bool
}

// blockPlaces are the kinds of blocks that are understood, and where each may stand.
var blockPlaces = map[string][]string{
	"text":              {"user", "assistant", "system", "tool_result"},
	"thinking":          {"assistant"},
	"redacted_thinking": {"assistant"},
	"tool_use":          {"assistant"},
	"tool_result":       {"user"},
}

// readBlocks reads a content, which is a string, one block of text, or a list of blocks.
// place is the role of the message, or the block that it stands in. Only a tool's result
// may be without one.
func readBlocks(content value, place string) ([]block, error) {
	switch {
	case content.isString():
		return []block{{kind: "text", text: content}}, nil
	case content.isArray():
	case !content.present() && place == "tool_result":
		return nil, nil
	case !content.present():
		return nil, invalid("Field required: content")
	default:
		return nil, invalid("'content' must be a string or a list of blocks")
	}
	var blocks []block
	for v := range elements(content) {
		b, err := readBlock(v)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(blockPlaces[b.kind], place) {
			return nil, invalid("A content block of the type %s cannot stand in %s.", b.kind, place)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

func readBlock(v value) (block, error) {
	b := block{kind: member(v, "type").text()}
	switch {
	case !v.isObject():
		return b, invalid("'content' must be a string or a list of blocks")
	case b.kind == "":
		return b, invalid("Field required: content.type")
	case blockPlaces[b.kind] == nil:
		return b, invalid("Content blocks of the type %q are not supported; this model takes text.", b.kind)
	}
	for name, v := range members(v) {
		if err := b.take(string(name), v); err != nil {
			return b, err
		}
	}
	err := b.complete()
	return b, err
}

// blockMembers are the members of each kind of block. What clients got in an answer and
// send again, and hints about caching, is ignored.
var blockMembers = map[string][]string{
	"text":              {"type", "text", "cache_control", "citations"},
	"thinking":          {"type", "thinking", "signature", "cache_control"},
	"redacted_thinking": {"type", "data", "cache_control"},
	"tool_use":          {"type", "id", "name", "input", "cache_control", "caller"},
	"tool_result":       {"type", "tool_use_id", "content", "is_error", "cache_control"},
}

func (b *block) take(name string, v value) error {
	if !slices.Contains(blockMembers[b.kind], name) {
		if v.isNull() {
			return nil
		}
		return unsupported("content", []byte(name))
	}
	switch name {
	case "text", "thinking":
		b.text = v
	case "id", "tool_use_id":
		b.id = v
	case "name":
		b.name = v
	case "input":
		b.input = v
	case "content":
		b.content = v
	case "is_error":
		failed, ok := v.boolean()
		if v.present() && !ok {
			return invalid("'is_error' must be a boolean")
		}
		b.failed = failed
	}
	return nil
}

// complete refuses a block without what its kind is made of.
func (b *block) complete() error {
	for _, needed := range []struct {
		kind, name string
		there      bool
	}{
		{"text", "text", b.text.isString()},
		{"thinking", "thinking", b.text.isString()},
		{"tool_use", "id", b.id.isString()},
		{"tool_use", "name", b.name.isString()},
		{"tool_use", "input", b.input.isObject()},
		{"tool_result", "tool_use_id", b.id.isString()},
	} {
		if b.kind == needed.kind && !needed.there {
			return invalid("Field required: content.%s", needed.name)
		}
	}
	return nil
}
