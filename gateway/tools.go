package gateway

import "strconv"

// toolCall is a tool call put together from the fragments of a stream. Its values are
// copies.
type toolCall struct {
	index     int64
	id        value  // string
	name      value  // string
	arguments []byte // inner part of a JSON string
}

// mergeToolCalls adds fragments to the calls that they continue.
func mergeToolCalls(calls []toolCall, fragments value) []toolCall {
	position := int64(0)
	for fragment := range elements(fragments) {
		index, ok := member(fragment, "index").integer()
		if !ok {
			index = position
		}
		position++
		calls = mergeToolCall(calls, index, fragment)
	}
	return calls
}

func mergeToolCall(calls []toolCall, index int64, fragment value) []toolCall {
	at := -1
	for i := range calls {
		if calls[i].index == index {
			at = i
		}
	}
	if at < 0 {
		at = len(calls)
		calls = append(calls, toolCall{index: index})
	}
	c := &calls[at]
	if id := member(fragment, "id"); len(c.id) == 0 && id.isString() {
		c.id = append(c.id, id...)
	}
	function := member(fragment, "function")
	if name := member(function, "name"); len(c.name) == 0 && name.isString() {
		c.name = append(c.name, name...)
	}
	if arguments := member(function, "arguments"); arguments.isString() {
		c.arguments = append(c.arguments, arguments.inner()...)
	}
	return calls
}

// appendFragments appends tool calls, or pieces of them, without nulls. The arguments of a
// function are always a string: official clients join them as they come (api.md 9.4).
func appendFragments(dst []byte, fragments value) []byte {
	dst = append(dst, '[')
	firstFragment := true
	for fragment := range elements(fragments) {
		dst = append(appendComma(dst, &firstFragment), '{')
		first := true
		for name, v := range members(fragment) {
			if v.isNull() {
				continue
			}
			dst = append(appendString(appendComma(dst, &first), string(name)), ':')
			if string(name) == "function" {
				dst = appendFunction(dst, v)
			} else {
				dst = appendWithoutNulls(dst, v)
			}
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendFunction(dst []byte, function value) []byte {
	dst = append(dst, '{')
	first := true
	for name, v := range members(function) {
		if !v.isNull() {
			dst = append(appendString(appendComma(dst, &first), string(name)), ':')
			dst = appendWithoutNulls(dst, v)
		}
	}
	if !member(function, "arguments").present() {
		dst = append(appendComma(dst, &first), `"arguments":""`...)
	}
	return append(dst, '}')
}

func appendMergedCalls(dst []byte, calls []toolCall) []byte {
	dst = append(dst, '[')
	for i, c := range calls {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"index":`...), c.index, 10)
		dst = appendOr(append(dst, `,"id":`...), c.id, `""`)
		dst = appendOr(append(dst, `,"type":"function","function":{"name":`...), c.name, `""`)
		dst = append(append(append(dst, `,"arguments":"`...), c.arguments...), `"}}`...)
	}
	return append(dst, ']')
}
