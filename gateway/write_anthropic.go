package gateway

import (
	"github.com/google/uuid"

	"github.com/berthhq/berth/internal/sse"
)

// anthropicWhole writes one message: of one reply, or put together from a stream.
type anthropicWhole struct {
	call    *call
	answers gathering
}

func (w *anthropicWhole) event(dst []byte, r *reply, u *usage) []byte {
	switch {
	case w.call.request.collected:
		for i := range r.parts {
			w.answers.answer(r.parts[i].index).add(&r.parts[i])
		}
		return dst
	case len(r.parts) == 0:
		return w.appendMessage(dst, &part{}, u)
	}
	return w.appendMessage(dst, &r.parts[0], u)
}

func (w *anthropicWhole) end(dst []byte, u *usage) []byte {
	if !w.call.request.collected {
		return dst
	}
	p := part{}
	if len(w.answers) > 0 {
		p = w.answers[0].part()
	}
	return w.appendMessage(dst, &p, u)
}

// appendMessage appends an answer with its blocks in the order thinking, text, tools.
func (w *anthropicWhole) appendMessage(dst []byte, p *part, u *usage) []byte {
	dst = appendMessageHead(dst, w.call)
	first := true
	if len(p.reasoning) > len(`""`) {
		dst = append(appendComma(dst, &first), `{"type":"thinking","thinking":`...)
		dst = append(append(dst, p.reasoning...), `,"signature":""}`...)
	}
	if len(p.content) > len(`""`) {
		dst = append(appendComma(dst, &first), `{"type":"text","text":`...)
		dst = append(append(dst, p.content...), '}')
	}
	for call := range elements(p.toolCalls) {
		function := member(call, "function")
		dst = appendToolUse(appendComma(dst, &first), member(call, "id"), member(function, "name"))
		dst = append(append(dst, toolInput(member(function, "arguments"))...), '}')
	}
	dst = append(dst, `],"stop_reason":`...)
	dst = append(dst, stopReason(p.finish, p.toolCalls != nil)...)
	dst = append(dst, `,"stop_sequence":null,"usage":`...)
	dst = appendAnthropicUsage(dst, u, w.call)
	return append(appendTier(dst, w.call.class), '}')
}

func (*anthropicWhole) full() bool                         { return false }
func (*anthropicWhole) canEnd(*failure) bool               { return false }
func (*anthropicWhole) fail(dst []byte, _ *failure) []byte { return dst } // nothing was sent

// appendMessageHead appends a message up to its blocks. Nothing of the engine's is in it.
func appendMessageHead(dst []byte, c *call) []byte {
	dst = append(dst, `{"id":"msg_`...)
	dst = append(dst, uuid.NewString()...)
	dst = append(dst, `","type":"message","role":"assistant","model":`...)
	dst = append(dst, c.request.model...)
	return append(dst, `,"content":[`...)
}

// appendToolUse appends a block up to the value of its input.
func appendToolUse(dst []byte, id, name value) []byte {
	dst = append(dst, `{"type":"tool_use","id":`...)
	if len(id) > len(`""`) && id.isString() {
		dst = append(dst, id...)
	} else {
		dst = append(append(append(dst, `"toolu_`...), uuid.NewString()...), '"')
	}
	dst = append(dst, `,"name":`...)
	if !name.isString() {
		name = value(`""`)
	}
	return append(append(dst, name...), `,"input":`...)
}

// toolInput returns the object in a string of arguments. Arguments that are none, because
// the answer ended in them, are an empty one.
func toolInput(arguments value) []byte {
	if arguments.isString() {
		if object, ok := checkReply(unescape(arguments.inner())); ok {
			return object
		}
	}
	return []byte(`{}`)
}

// stopReason maps a finish reason. Engines call it a stop, too, when the only tool
// offered was called.
func stopReason(finish value, called bool) string {
	switch finish.text() {
	case "length":
		return `"max_tokens"`
	case "tool_calls":
		return `"tool_use"`
	}
	if called {
		return `"tool_use"`
	}
	return `"end_turn"`
}

// appendAnthropicUsage appends usage, whose input_tokens leave cached ones out.
func appendAnthropicUsage(dst []byte, u *usage, c *call) []byte {
	dst = appendFigure(dst, `{"input_tokens":`, u.input-u.cached)
	dst = appendFigure(dst, `,"output_tokens":`, u.output)
	dst = appendFigure(dst, `,"cache_creation_input_tokens":0,"cache_read_input_tokens":`, u.cached)
	input, output, reserved := c.provisioned(u)
	if thinks := c.request.thinks() || u.thinking > 0; thinks || reserved {
		dst = append(dst, `,"output_tokens_details":{`...)
		first := true
		if thinks {
			dst = appendFigure(appendComma(dst, &first), `"thinking_tokens":`, u.thinking)
		}
		if reserved {
			dst = appendFigure(appendComma(dst, &first), `"provisioned_tokens":`, output)
		}
		dst = append(dst, '}')
	}
	if reserved {
		dst = append(appendFigure(dst, `,"prompt_tokens_details":{"provisioned_tokens":`, input), '}')
	}
	return append(dst, '}')
}

// anthropicStream writes a message as named events, block by block.
type anthropicStream struct {
	call   *call
	begun  bool
	open   blockKind
	index  int64 // of the open block, else of the next one
	tool   int64 // the engine's number of the open tool call
	called bool  // there was a tool call
	data   []byte
}

// blockKind is what the block is that a stream is in.
type blockKind int

const (
	blockNone blockKind = iota
	blockThinking
	blockText
	blockTool
)

func (w *anthropicStream) event(dst []byte, r *reply, u *usage) []byte {
	dst = w.begin(dst, u)
	for i := range r.parts {
		p := &r.parts[i]
		if len(p.reasoning) > len(`""`) {
			dst = w.enter(dst, blockThinking, `{"type":"thinking","thinking":"","signature":""}`)
			dst = w.delta(dst, `"thinking_delta","thinking":`, p.reasoning)
		}
		if len(p.content) > len(`""`) {
			dst = w.enter(dst, blockText, `{"type":"text","text":""}`)
			dst = w.delta(dst, `"text_delta","text":`, p.content)
		}
		position := int64(0)
		for fragment := range elements(p.toolCalls) {
			dst = w.fragment(dst, fragment, position)
			position++
		}
	}
	return dst
}

// begin sends the message's head once, with what is known of the usage by then.
func (w *anthropicStream) begin(dst []byte, u *usage) []byte {
	if w.begun {
		return dst
	}
	w.begun = true
	w.data = appendMessageHead(append(w.data[:0], `{"type":"message_start","message":`...), w.call)
	w.data = append(w.data, `],"stop_reason":null,"stop_sequence":null,"usage":`...)
	w.data = appendAnthropicUsage(w.data, u, w.call)
	w.data = append(appendTier(w.data, w.call.class), `}}`...)
	return sse.AppendNamed(dst, "message_start", w.data)
}

// enter makes the open block one of the given kind.
func (w *anthropicStream) enter(dst []byte, kind blockKind, empty string) []byte {
	if w.open == kind {
		return dst
	}
	dst = w.leave(dst)
	return w.start(dst, kind, []byte(empty))
}

func (w *anthropicStream) start(dst []byte, kind blockKind, block []byte) []byte {
	w.open = kind
	w.data = appendFigure(w.data[:0], `{"type":"content_block_start","index":`, w.index)
	w.data = append(append(append(w.data, `,"content_block":`...), block...), '}')
	return sse.AppendNamed(dst, "content_block_start", w.data)
}

// leave ends the open block, if there is one.
func (w *anthropicStream) leave(dst []byte) []byte {
	switch w.open {
	case blockNone:
		return dst
	case blockThinking:
		dst = w.delta(dst, `"signature_delta","signature":`, value(`""`))
	}
	w.open = blockNone
	w.data = append(appendFigure(w.data[:0], `{"type":"content_block_stop","index":`, w.index), '}')
	w.index++
	return sse.AppendNamed(dst, "content_block_stop", w.data)
}

// delta adds to the open block; kind is the delta's type and the name of its only member.
func (w *anthropicStream) delta(dst []byte, kind string, v value) []byte {
	w.data = appendFigure(w.data[:0], `{"type":"content_block_delta","index":`, w.index)
	w.data = append(append(w.data, `,"delta":{"type":`...), kind...)
	w.data = append(append(w.data, v...), `}}`...)
	return sse.AppendNamed(dst, "content_block_delta", w.data)
}

// fragment adds to a tool call. One with another number than the open one's begins a
// block; engines finish each before the next.
func (w *anthropicStream) fragment(dst []byte, fragment value, position int64) []byte {
	number, ok := member(fragment, "index").integer()
	if !ok {
		number = position
	}
	function := member(fragment, "function")
	if w.open != blockTool || w.tool != number {
		dst = w.leave(dst)
		w.tool, w.called = number, true
		block := appendToolUse(nil, member(fragment, "id"), member(function, "name"))
		dst = w.start(dst, blockTool, append(block, `{}}`...))
	}
	if arguments := member(function, "arguments"); arguments.isString() && len(arguments) > len(`""`) {
		dst = w.delta(dst, `"input_json_delta","partial_json":`, arguments)
	}
	return dst
}

func (*anthropicStream) full() bool           { return false }
func (*anthropicStream) canEnd(*failure) bool { return false }

func (w *anthropicStream) end(dst []byte, u *usage) []byte {
	dst = w.leave(w.begin(dst, u))
	w.data = append(w.data[:0], `{"type":"message_delta","delta":{"stop_reason":`...)
	w.data = append(append(w.data, stopReason(u.finish, w.called)...), `,"stop_sequence":null},"usage":`...)
	w.data = append(appendAnthropicUsage(w.data, u, w.call), '}')
	dst = sse.AppendNamed(dst, "message_delta", w.data)
	return sse.AppendNamed(dst, "message_stop", []byte(`{"type":"message_stop"}`))
}

func (w *anthropicStream) fail(dst []byte, f *failure) []byte {
	return sse.AppendNamed(dst, "error", anthropic{}.failure(nil, f, w.call.id))
}
