package gateway

import (
	"strconv"

	"github.com/google/uuid"

	"github.com/berthhq/berth/internal/sse"
)

// openAIWhole writes one body: of one reply, or put together from a stream of them.
type openAIWhole struct {
	call    *call
	shape   openAIShape
	answers gathering
}

// openAIShape is what chat and text completions have different.
type openAIShape struct {
	id, whole, chunk string // what ids begin with, and the kinds of object
	legacy           bool   // text instead of messages
}

var chatShape = openAIShape{id: "chatcmpl-", whole: "chat.completion", chunk: "chat.completion.chunk"}

func (w *openAIWhole) event(dst []byte, r *reply, u *usage) []byte {
	if !w.call.request.collected {
		return w.appendBody(dst, r.parts, u)
	}
	for i := range r.parts {
		w.answers.answer(r.parts[i].index).add(&r.parts[i])
	}
	return dst
}

func (w *openAIWhole) end(dst []byte, u *usage) []byte {
	if !w.call.request.collected {
		return dst
	}
	w.answers.sort()
	var parts []part
	for i := range w.answers {
		parts = append(parts, w.answers[i].part())
	}
	return w.appendBody(dst, parts, u)
}

func (w *openAIWhole) appendBody(dst []byte, parts []part, u *usage) []byte {
	dst = appendEnvelope(dst, w.call, w.shape.id, w.shape.whole)
	for i := range parts {
		if i > 0 {
			dst = append(dst, ',')
		}
		if w.shape.legacy {
			dst = appendTextChoice(dst, &parts[i], 0, `"stop"`)
		} else {
			dst = appendWholeChoice(dst, &parts[i])
		}
	}
	dst = append(dst, `],"usage":`...)
	dst = appendOpenAIUsage(dst, u, w.call)
	dst = append(dst, `,"system_fingerprint":null`...)
	return append(appendTier(dst, w.call.class), '}')
}

func appendWholeChoice(dst []byte, p *part) []byte {
	dst = strconv.AppendInt(append(dst, `{"index":`...), p.index, 10)
	dst = append(dst, `,"message":{"role":"assistant","content":`...)
	dst = appendOr(dst, p.content, `""`)
	dst = appendMember(dst, "reasoning_content", p.reasoning)
	dst = appendToolCalls(dst, p.toolCalls)
	dst = appendOr(append(dst, `},"finish_reason":`...), p.finish, `"stop"`)
	dst = appendOr(append(dst, `,"logprobs":`...), p.logprobs, "null")
	return append(dst, '}')
}

func (*openAIWhole) full() bool                         { return false }
func (*openAIWhole) canEnd(*failure) bool               { return false }
func (*openAIWhole) fail(dst []byte, _ *failure) []byte { return dst } // nothing was sent

// openAIStream writes a stream of chunks. What all chunks share is made once.
type openAIStream struct {
	call    *call
	shape   openAIShape
	head    []byte
	tail    []byte
	greeted []int64 // answers whose role was sent
	chunk   []byte
	offsets []int64 // of texts, by answer
}

func newOpenAIStream(c *call, shape openAIShape) *openAIStream {
	w := &openAIStream{call: c, shape: shape, head: appendEnvelope(nil, c, shape.id, shape.chunk), tail: []byte(`],`)}
	if c.request.wantsUsage {
		w.tail = append(w.tail, `"usage":null,`...)
	}
	w.tail = append(w.tail, `"system_fingerprint":null`...)
	w.tail = append(appendTier(w.tail, c.class), '}')
	return w
}

func (w *openAIStream) event(dst []byte, r *reply, _ *usage) []byte {
	if len(r.parts) == 0 {
		return dst // the engine's usage; ours follows at the end
	}
	w.chunk = append(w.chunk[:0], w.head...)
	for i := range r.parts {
		if i > 0 {
			w.chunk = append(w.chunk, ',')
		}
		if w.shape.legacy {
			w.chunk = w.appendText(w.chunk, &r.parts[i])
		} else {
			w.chunk = w.appendChoice(w.chunk, &r.parts[i])
		}
	}
	w.chunk = append(w.chunk, w.tail...)
	return sse.AppendData(dst, w.chunk)
}

func (w *openAIStream) appendChoice(dst []byte, p *part) []byte {
	dst = strconv.AppendInt(append(dst, `{"index":`...), p.index, 10)
	dst = append(dst, `,"delta":{`...)
	first := true
	if w.greet(p.index) {
		dst = append(appendComma(dst, &first), `"role":"assistant"`...)
	}
	if content := p.content; content != nil || p.reasoning == nil && p.toolCalls == nil {
		dst = appendOr(append(appendComma(dst, &first), `"content":`...), content, `""`)
	}
	if p.reasoning != nil {
		dst = append(appendComma(dst, &first), `"reasoning_content":`...)
		dst = append(dst, p.reasoning...)
	}
	if p.toolCalls != nil {
		dst = append(appendComma(dst, &first), `"tool_calls":`...)
		dst = appendFragments(dst, p.toolCalls)
	}
	dst = appendOr(append(dst, `},"finish_reason":`...), p.finish, "null")
	dst = appendOr(append(dst, `,"logprobs":`...), p.logprobs, "null")
	return append(dst, '}')
}

// greet reports whether this is the first chunk of an answer, the only one with a role.
func (w *openAIStream) greet(index int64) bool {
	for _, seen := range w.greeted {
		if seen == index {
			return false
		}
	}
	w.greeted = append(w.greeted, index)
	return true
}

func (*openAIStream) full() bool           { return false }
func (*openAIStream) canEnd(*failure) bool { return false }

func (w *openAIStream) end(dst []byte, u *usage) []byte {
	if w.call.request.wantsUsage {
		w.chunk = append(append(w.chunk[:0], w.head...), `],"usage":`...)
		w.chunk = appendOpenAIUsage(w.chunk, u, w.call)
		w.chunk = append(w.chunk, `,"system_fingerprint":null`...)
		w.chunk = append(appendTier(w.chunk, w.call.class), '}')
		dst = sse.AppendData(dst, w.chunk)
	}
	return sse.AppendDone(dst)
}

func (w *openAIStream) fail(dst []byte, f *failure) []byte {
	return sse.AppendData(dst, f.appendOpenAI(nil, w.call.id))
}

// appendEnvelope appends an answer or chunk up to its choices. Nothing of the engine's
// is in it.
func appendEnvelope(dst []byte, c *call, id, object string) []byte {
	dst = append(append(dst, `{"id":"`...), id...)
	dst = append(dst, uuid.NewString()...)
	dst = append(dst, `","object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = strconv.AppendInt(dst, c.started.Unix(), 10)
	dst = append(dst, `,"model":`...)
	dst = append(dst, c.request.model...)
	return append(dst, `,"choices":[`...)
}

func appendOr(dst []byte, v value, absent string) []byte {
	if v == nil {
		return append(dst, absent...)
	}
	return append(dst, v...)
}

// appendMember appends a further member of an object, nothing if v is nil.
func appendMember(dst []byte, name string, v value) []byte {
	if v == nil {
		return dst
	}
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return append(dst, v...)
}

func appendToolCalls(dst []byte, calls value) []byte {
	if calls == nil {
		return dst
	}
	return appendFragments(append(dst, `,"tool_calls":`...), calls)
}

// appendOpenAIUsage appends usage. text_tokens includes the thinking ones and stands
// there with them only.
func appendOpenAIUsage(dst []byte, u *usage, c *call) []byte {
	dst = appendFigure(dst, `{"prompt_tokens":`, u.input)
	dst = appendFigure(dst, `,"completion_tokens":`, u.output)
	dst = appendFigure(dst, `,"total_tokens":`, u.input+u.output)
	dst = appendPromptDetails(dst, u, c)
	_, output, reserved := c.provisioned(u)
	switch {
	case u.thinking > 0:
		dst = appendFigure(dst, `,"completion_tokens_details":{"reasoning_tokens":`, u.thinking)
		dst = appendFigure(dst, `,"text_tokens":`, u.output)
		if reserved {
			dst = appendFigure(dst, `,"provisioned_tokens":`, output)
		}
		dst = append(dst, '}')
	case reserved:
		dst = append(appendFigure(dst, `,"completion_tokens_details":{"provisioned_tokens":`, output), '}')
	}
	return append(dst, '}')
}

// appendPromptDetails appends what both dialects say of the prompt.
func appendPromptDetails(dst []byte, u *usage, c *call) []byte {
	dst = appendFigure(dst, `,"prompt_tokens_details":{"cached_tokens":`, u.cached)
	if input, _, ok := c.provisioned(u); ok {
		dst = appendFigure(dst, `,"provisioned_tokens":`, input)
	}
	return append(dst, '}')
}

func appendFigure(dst []byte, before string, n int64) []byte {
	return strconv.AppendInt(append(dst, before...), n, 10)
}
