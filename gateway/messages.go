package gateway

import "bytes"

// prompt is what a call gives the model to read.
type prompt struct {
	content  value // as the engine takes it: messages, every content of them a string; a text; inputs
	count    int64 // of messages, texts or inputs
	bytes    int64 // of all texts
	rendered int64 // of them, what is no text but JSON, which templates write anew
	calls    bool  // tools were called in it
	begun    bool  // it ends with a beginning of the answer
}

// readMessages checks the elements of a list of messages. Contents may be strings or lists of text
// parts; lists are joined, because templates of text models know strings only and
// because engines fetch what other parts point at.
func readMessages(list value) (prompt, error) {
	p := prompt{content: list}
	var r messageReader
	for message := range elements(list) {
		if err := r.read(message); err != nil {
			return prompt{}, err
		}
		p.count++
	}
	switch {
	case p.count == 0:
		return prompt{}, invalid("[] is too short")
	case !r.user:
		return prompt{}, invalid("The input messages do not contain elements with the role of user.")
	case r.parts:
		p.content = joinParts(list)
	}
	p.bytes, p.rendered, p.calls, p.begun = r.bytes, r.rendered, r.calling, r.begun
	return p, nil
}

// messageReader checks messages one after the other.
type messageReader struct {
	bytes    int64
	rendered int64 // of bytes, in members that are neither texts nor lists of them
	user     bool  // there is a message of a user
	calling  bool  // a message with tool calls came before
	parts    bool  // some content is a list
	begun    bool  // the last message is the model's
}

func (r *messageReader) read(message value) error {
	if !message.isObject() {
		return invalid("'messages' must be a list of objects")
	}
	var role string
	var content, calls value
	for name, v := range members(message) {
		switch string(name) {
		case "role":
			role = v.text()
			continue
		case "content":
			content = v
		case "tool_calls":
			calls = v
		}
		r.bytes += textBytes(v)
		if !v.isString() && string(name) != "content" {
			r.rendered += int64(len(v))
		}
	}
	if err := r.role(role, calls); err != nil {
		return err
	}
	r.begun = role == "assistant"
	return r.content(content, role == "assistant" && calls.present())
}

// textBytes bounds the text in a member: without the quotes of a string.
func textBytes(v value) int64 {
	if v.isString() {
		return int64(len(v.inner()))
	}
	return int64(len(v))
}

func (r *messageReader) role(role string, calls value) error {
	switch role {
	case "":
		return invalid("Field required: role")
	case "user":
		r.user = true
	case "assistant":
		r.calling = r.calling || hasElements(calls)
	case "tool":
		if !r.calling {
			return invalid(`messages with role "tool" must be a response to a preceeding message with "tool_calls"`)
		}
	case "system":
	default:
		return invalid("The role %q is not known; use system, user, assistant or tool.", role)
	}
	return nil
}

func (r *messageReader) content(content value, optional bool) error {
	switch {
	case content.isString():
		return nil
	case content.isArray():
		r.parts = true
		return checkParts(content)
	case content.present():
		return invalid("input content must be a string.")
	case optional:
		return nil
	}
	return invalid("The content field is a required field.")
}

// checkParts refuses parts that are not text. cache_control is a hint that official
// clients may send.
func checkParts(parts value) error {
	for part := range elements(parts) {
		for name, v := range members(part) {
			switch string(name) {
			case "type":
				if v.text() != "text" {
					return invalid("input content must be a string.")
				}
			case "text", "cache_control":
			default:
				return invalid("Content parts of the kind %q are not supported; this model takes text.", string(name))
			}
		}
		if !member(part, "text").isString() {
			return invalid("input content must be a string.")
		}
	}
	return nil
}

// joinParts writes messages anew, with lists of text parts joined to strings.
func joinParts(list value) value {
	out := append(make([]byte, 0, len(list)), '[')
	firstMessage := true
	for message := range elements(list) {
		out = append(appendComma(out, &firstMessage), '{')
		firstMember := true
		for name, v := range members(message) {
			out = appendString(appendComma(out, &firstMember), string(name))
			out = append(out, ':')
			if string(name) == "content" && v.isArray() {
				out = appendParts(out, v)
			} else {
				out = append(out, v...)
			}
		}
		out = append(out, '}')
	}
	return append(out, ']')
}

func appendParts(dst []byte, parts value) []byte {
	dst = append(dst, '"')
	for part := range elements(parts) {
		dst = append(dst, member(part, "text").inner()...)
	}
	return append(dst, '"')
}

// says reports whether word, in lower case, stands somewhere in the messages.
func (p *prompt) says(word string) bool {
	return bytes.Contains(bytes.ToLower(p.content), []byte(word))
}
