package gateway

import (
	"strconv"

	"github.com/google/uuid"

	"github.com/berthhq/berth/internal/sse"
)

// responsesWriter writes the items of an answer: as events while they come, and whole at
// the end.
type responsesWriter struct {
	call    *call
	id      string
	items   []responseItem
	started bool
	open    bool // the last item is going on
	events  int64
	data    []byte
}

// responseItem is one piece of an answer's output. Texts are inner parts of JSON strings.
type responseItem struct {
	kind     string // reasoning, message or function_call
	id       string
	text     []byte
	index    int64 // of a function's call in the engine's answer
	callID   value
	function value
}

func (openAIResponses) writer(c *call) writer {
	return &responsesWriter{call: c, id: "resp_" + uuid.NewString()}
}

func (w *responsesWriter) event(dst []byte, r *reply, _ *usage) []byte {
	dst = w.start(dst)
	for i := range r.parts {
		p := &r.parts[i]
		if len(p.reasoning) > len(`""`) {
			dst = w.add(w.want(dst, "reasoning", 0, nil), p.reasoning.inner())
		}
		if len(p.content) > len(`""`) {
			dst = w.add(w.want(dst, "message", 0, nil), p.content.inner())
		}
		position := int64(0)
		for fragment := range elements(p.toolCalls) {
			index, ok := member(fragment, "index").integer()
			if !ok {
				index = position
			}
			position++
			dst = w.want(dst, "function_call", index, fragment)
			if arguments := member(member(fragment, "function"), "arguments"); arguments.isString() && len(arguments.inner()) > 0 {
				dst = w.add(dst, arguments.inner())
			}
		}
	}
	return dst
}

// start tells once that there will be an answer.
func (w *responsesWriter) start(dst []byte) []byte {
	if w.started {
		return dst
	}
	w.started = true
	for _, name := range []string{"response.created", "response.in_progress"} {
		dst = w.frame(dst, name, func(d []byte) []byte {
			return w.appendResponse(append(d, `,"response":`...), "in_progress", nil)
		})
	}
	return dst
}

// want makes the last item one of the kind, a new one if need be.
func (w *responsesWriter) want(dst []byte, kind string, index int64, fragment value) []byte {
	if w.open {
		if last := &w.items[len(w.items)-1]; last.kind == kind && last.index == index {
			return dst
		}
		dst = w.finish(dst)
	}
	item := responseItem{kind: kind, index: index, id: itemIDs[kind] + uuid.NewString()}
	if kind == "function_call" {
		item.callID = append(item.callID, member(fragment, "id")...)
		item.function = append(item.function, member(member(fragment, "function"), "name")...)
	}
	w.items = append(w.items, item)
	w.open = true
	dst = w.frame(dst, "response.output_item.added", func(d []byte) []byte {
		return w.appendItem(append(w.appendIndex(d), `,"item":`...), &item, "in_progress")
	})
	if part := parts[kind]; part != "" {
		dst = w.frame(dst, part+"_part.added", func(d []byte) []byte { return w.appendPart(w.appendPlace(d), &item) })
	}
	return dst
}

// What items and their events are called.
var (
	itemIDs = map[string]string{"reasoning": "rs_", "message": "msg_", "function_call": "fc_"}
	parts   = map[string]string{"message": "response.content", "reasoning": "response.content"}
	deltas  = map[string]string{
		"reasoning": "response.reasoning_text", "message": "response.output_text", "function_call": "response.function_call_arguments",
	}
)

// add lets the last item grow.
func (w *responsesWriter) add(dst, inner []byte) []byte {
	item := &w.items[len(w.items)-1]
	item.text = append(item.text, inner...)
	return w.frame(dst, deltas[item.kind]+".delta", func(d []byte) []byte {
		d = appendQuoted(append(w.appendPlace(d), `,"delta":`...), inner)
		if item.kind == "message" {
			d = append(d, `,"logprobs":[]`...)
		}
		return d
	})
}

// finish ends the last item.
func (w *responsesWriter) finish(dst []byte) []byte {
	w.open = false
	item := &w.items[len(w.items)-1]
	dst = w.frame(dst, deltas[item.kind]+".done", func(d []byte) []byte {
		d = w.appendPlace(d)
		switch item.kind {
		case "function_call":
			d = appendOr(append(d, `,"name":`...), orNil(item.function), `""`)
			return appendQuoted(append(d, `,"arguments":`...), item.text)
		case "message":
			d = append(d, `,"logprobs":[]`...)
		}
		return appendQuoted(append(d, `,"text":`...), item.text)
	})
	if part := parts[item.kind]; part != "" {
		dst = w.frame(dst, part+"_part.done", func(d []byte) []byte { return w.appendPart(w.appendPlace(d), item) })
	}
	return w.frame(dst, "response.output_item.done", func(d []byte) []byte {
		return w.appendItem(append(w.appendIndex(d), `,"item":`...), item, "completed")
	})
}

func orNil(v value) value {
	if len(v) == 0 {
		return nil
	}
	return v
}

func (*responsesWriter) full() bool           { return false }
func (*responsesWriter) canEnd(*failure) bool { return false }

func (w *responsesWriter) end(dst []byte, u *usage) []byte {
	dst = w.start(dst)
	if len(w.items) == 0 {
		dst = w.want(dst, "message", 0, nil) // a model may say nothing
	}
	if w.open {
		dst = w.finish(dst)
	}
	status := "completed"
	if u.finish.text() == "length" {
		status = "incomplete"
	}
	if !w.call.request.stream {
		return w.appendResponse(dst, status, u)
	}
	return w.frame(dst, "response."+status, func(d []byte) []byte {
		return w.appendResponse(append(d, `,"response":`...), status, u)
	})
}

// fail: clients of chats look for error, those of responses for the event's type.
func (w *responsesWriter) fail(dst []byte, f *failure) []byte {
	return w.frame(dst, "error", func(d []byte) []byte {
		body := value(f.appendOpenAI(nil, w.call.id))
		inside := member(body, "error")
		for _, name := range []string{"code", "message", "param"} {
			d = appendMember(d, name, member(inside, name))
		}
		return appendMember(d, "error", inside)
	})
}

// frame appends an event of a stream, nothing to a whole answer.
func (w *responsesWriter) frame(dst []byte, name string, body func([]byte) []byte) []byte {
	if !w.call.request.stream {
		return dst
	}
	w.data = append(append(append(w.data[:0], `{"type":"`...), name...), `","sequence_number":`...)
	w.data = append(body(strconv.AppendInt(w.data, w.events, 10)), '}')
	w.events++
	return sse.AppendNamed(dst, name, w.data)
}

func (w *responsesWriter) appendIndex(dst []byte) []byte {
	return appendFigure(dst, `,"output_index":`, int64(len(w.items)-1))
}

// appendPlace says which item, and which part of it, an event is about.
func (w *responsesWriter) appendPlace(dst []byte) []byte {
	item := &w.items[len(w.items)-1]
	dst = append(append(append(w.appendIndex(dst), `,"item_id":"`...), item.id...), '"')
	if item.kind != "function_call" {
		dst = append(dst, `,"content_index":0`...)
	}
	return dst
}

func (w *responsesWriter) appendPart(dst []byte, item *responseItem) []byte {
	return appendContentPart(append(dst, `,"part":`...), item)
}

func appendContentPart(dst []byte, item *responseItem) []byte {
	if item.kind == "reasoning" {
		return append(appendQuoted(append(dst, `{"type":"reasoning_text","text":`...), item.text), '}')
	}
	return append(appendQuoted(append(dst, `{"type":"output_text","text":`...), item.text), `,"annotations":[],"logprobs":[]}`...)
}

// appendItem appends an item; one that goes on is empty.
func (w *responsesWriter) appendItem(dst []byte, item *responseItem, status string) []byte {
	dst = append(append(dst, `{"type":"`...), item.kind...)
	dst = append(append(dst, `","id":"`...), item.id...)
	dst = append(append(append(dst, `","status":"`...), status...), '"')
	switch item.kind {
	case "function_call":
		dst = appendOr(append(dst, `,"call_id":`...), orNil(item.callID), `""`)
		dst = appendOr(append(dst, `,"name":`...), orNil(item.function), `""`)
		return append(appendQuoted(append(dst, `,"arguments":`...), item.text), '}')
	case "reasoning":
		dst = append(dst, `,"summary":[]`...)
	default:
		dst = append(dst, `,"role":"assistant"`...)
	}
	dst = append(dst, `,"content":[`...)
	if status != "in_progress" {
		dst = appendContentPart(dst, item)
	}
	return append(dst, "]}"...)
}

// appendResponse appends the answer as it stands; u is nil while it goes on.
func (w *responsesWriter) appendResponse(dst []byte, status string, u *usage) []byte {
	dst = append(append(append(dst, `{"id":"`...), w.id...), `","object":"response","created_at":`...)
	dst = strconv.AppendInt(dst, w.call.started.Unix(), 10)
	dst = append(append(append(dst, `,"status":"`...), status...), `","error":null,"incomplete_details":`...)
	if status == "incomplete" {
		dst = append(dst, `{"reason":"max_output_tokens"}`...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(append(dst, `,"model":`...), w.call.request.model...)
	dst = append(dst, w.call.request.echo...)
	dst = append(dst, `,"parallel_tool_calls":true,"previous_response_id":null,"store":false,"metadata":{},"output":[`...)
	if u != nil {
		for i := range w.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = w.appendItem(dst, &w.items[i], itemStatus(status, i == len(w.items)-1))
		}
	}
	dst = append(dst, `],"usage":`...)
	if u == nil {
		dst = append(dst, "null"...)
	} else {
		dst = appendResponsesUsage(dst, u, w.call)
	}
	return append(appendTier(dst, w.call.class), '}')
}

// itemStatus: the last item of an answer that was cut is what is incomplete.
func itemStatus(status string, last bool) string {
	if last {
		return status
	}
	return "completed"
}

func appendResponsesUsage(dst []byte, u *usage, c *call) []byte {
	input, output, reserved := c.provisioned(u)
	dst = appendFigure(dst, `{"input_tokens":`, u.input)
	dst = appendFigure(dst, `,"input_tokens_details":{"cached_tokens":`, u.cached)
	if reserved {
		dst = appendFigure(dst, `,"provisioned_tokens":`, input)
	}
	dst = appendFigure(dst, `},"output_tokens":`, u.output)
	dst = appendFigure(dst, `,"output_tokens_details":{"reasoning_tokens":`, u.thinking)
	if reserved {
		dst = appendFigure(dst, `,"provisioned_tokens":`, output)
	}
	return append(appendFigure(dst, `},"total_tokens":`, u.input+u.output), '}')
}
