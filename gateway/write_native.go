package gateway

import (
	"github.com/berthhq/berth/internal/sse"
)

// nativeWriter writes an answer of the native dialect: events, or one body at the end.
type nativeWriter struct {
	call       *call
	parts      bool // contents are lists of parts
	cumulative bool // each event repeats all so far
	answers    gathering
	frames     int   // sent so far
	seen       int64 // tokens of output, by the figures so far
	content    bool  // the last part was of the content
	cut        int64 // answers that reached max_tokens
	body       []byte
}

func (d native) writer(c *call) writer {
	return &nativeWriter{call: c, parts: d.parts, cumulative: c.request.cumulative()}
}

func (w *nativeWriter) event(dst []byte, r *reply, u *usage) []byte {
	for i := range r.parts {
		p := &r.parts[i]
		a := w.answers.answer(p.index)
		if w.isFull(a) {
			continue
		}
		a.add(p)
		w.weigh(a, p, u)
		w.cutAt(a, u)
		if !p.text() || !w.call.request.stream {
			continue
		}
		if w.cumulative {
			dst = w.appendFrame(dst, w.appendBody(w.body[:0], gathering{*a}, nil, u, false))
			continue
		}
		dst = w.appendFrame(dst, w.appendBody(w.body[:0], gathering{*a}, p.toolCalls, u, false))
		a.forget()
	}
	return dst
}

// weigh counts a piece of content as the tokens that it is, where the engine says how many
// there were since the last: several may come together. The first one after the thinking
// is one, since the marks between them count as well.
func (w *nativeWriter) weigh(a *gathered, p *part, u *usage) {
	came := u.output - w.seen
	w.seen = u.output
	isContent := len(p.content) > len(`""`)
	if isContent && w.content && w.call.request.n == 1 && came > 1 {
		a.written += came - 1 // one is counted already
	}
	w.content = isContent
}

// cutAt ends an answer at max_tokens where the engine was told a larger sum, because
// thinking comes on top.
func (w *nativeWriter) cutAt(a *gathered, u *usage) {
	if w.isFull(a) {
		w.cut++
		a.finish = value(`"length"`)
		u.finish = a.finish
	}
}

func (w *nativeWriter) isFull(a *gathered) bool {
	r := &w.call.request
	return r.engineMax != r.maxTokens && a.written >= r.maxTokens
}

func (w *nativeWriter) full() bool { return w.cut == w.call.request.n }

// canEnd: a plain call that takes too long ends with the text so far (api.md 9.3).
func (w *nativeWriter) canEnd(f *failure) bool {
	return f.problem == problemTimeout && !w.call.request.stream && len(w.answers) > 0
}

func (w *nativeWriter) end(dst []byte, u *usage) []byte {
	w.answers.sort()
	w.body = w.appendBody(w.body[:0], w.answers, nil, u, true)
	if !w.call.request.stream {
		return append(dst, w.body...)
	}
	return w.appendFrame(dst, w.body)
}

func (w *nativeWriter) fail(dst []byte, f *failure) []byte {
	w.frames++
	return sse.AppendError(dst, w.frames, f.status, f.appendNative(nil, w.call.id))
}

func (w *nativeWriter) appendFrame(dst, body []byte) []byte {
	w.body = body
	w.frames++
	return sse.AppendResult(dst, w.frames, body)
}

// appendBody appends what one event, or the whole answer, says. fragments are tool calls
// that are told as they came instead of put together.
func (w *nativeWriter) appendBody(dst []byte, answers gathering, fragments value, u *usage, last bool) []byte {
	dst = append(dst, `{"output":{`...)
	if w.call.request.textFormat {
		dst = w.appendText(dst, answers, last)
	} else {
		dst = append(dst, `"choices":[`...)
		for i := range answers {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = w.appendChoice(dst, &answers[i], fragments, last)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `},"usage":`...)
	dst = w.appendUsage(dst, u)
	dst = append(dst, `,"request_id":"`...)
	dst = append(dst, w.call.id...)
	dst = append(dst, '"')
	return append(appendTier(dst, w.call.class), '}')
}

func (w *nativeWriter) appendText(dst []byte, answers gathering, last bool) []byte {
	var a gathered
	if len(answers) > 0 {
		a = answers[0]
	}
	dst = appendQuoted(append(dst, `"text":`...), a.content)
	return appendFinish(append(dst, `,"finish_reason":`...), &a, last)
}

func (w *nativeWriter) appendChoice(dst []byte, a *gathered, fragments value, last bool) []byte {
	dst = w.appendContent(append(dst, `{"message":{"content":`...), a.content)
	if w.call.request.thinks() || len(a.reasoning) > 0 {
		dst = appendQuoted(append(dst, `,"reasoning_content":`...), a.reasoning)
	}
	dst = append(dst, `,"role":"assistant"`...)
	switch {
	case fragments != nil:
		dst = appendToolCalls(dst, fragments)
	case len(a.calls) > 0:
		dst = appendMergedCalls(append(dst, `,"tool_calls":`...), a.calls)
	}
	dst = appendFinish(append(dst, `},"finish_reason":`...), a, last)
	if len(a.logprobs) > 0 {
		dst = appendLogprobs(append(dst, `,"logprobs":`...), a.logprobs)
	}
	if w.call.request.n > 1 {
		dst = appendFigure(dst, `,"index":`, a.index)
	}
	return append(dst, '}')
}

func (w *nativeWriter) appendContent(dst, inner []byte) []byte {
	switch {
	case !w.parts:
		return appendQuoted(dst, inner)
	case len(inner) == 0:
		return append(dst, "[]"...)
	}
	return append(appendQuoted(append(dst, `[{"text":`...), inner), `}]`...)
}

// appendFinish appends the string "null", which is not JSON's null, until the end.
// An answer that was not finished then has met a bound of ours.
func appendFinish(dst []byte, a *gathered, last bool) []byte {
	if !last {
		return append(dst, `"null"`...)
	}
	return appendOr(dst, a.finish, `"length"`)
}

func (w *nativeWriter) appendUsage(dst []byte, u *usage) []byte {
	dst = appendFigure(dst, `{"total_tokens":`, u.input+u.output)
	dst = appendFigure(dst, `,"input_tokens":`, u.input)
	dst = appendFigure(dst, `,"output_tokens":`, u.output)
	if w.call.request.thinks() || u.thinking > 0 {
		dst = append(appendFigure(dst, `,"output_tokens_details":{"reasoning_tokens":`, u.thinking), '}')
	}
	dst = appendPromptDetails(dst, u, w.call)
	if _, output, ok := w.call.provisioned(u); ok {
		dst = append(appendFigure(dst, `,"completion_tokens_details":{"provisioned_tokens":`, output), '}')
	}
	return append(dst, '}')
}
