package gateway

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// native is the dialect of the generation services (api.md 9.3).
type native struct {
	parts bool // contents in answers are lists of parts: the multimodal service
}

var _ dialect = native{}

func (native) parse(body value, h http.Header, route *berth.Route) (request, error) {
	r := request{operation: chatting, n: 1, thinkingApart: true}
	if h.Get("X-Dashscope-Async") == "enable" {
		return r, fail(problemAsync)
	}
	r.stream = h.Get("X-Dashscope-Sse") == "enable" || strings.Contains(h.Get("Accept"), "text/event-stream")
	if !member(body, "input").present() {
		return r, fail(problemNoInput)
	}
	if err := nativeFields.read(body, "", &r, r.nativeMember); err != nil {
		return r, err
	}
	r.collected = !r.stream // so that a call that takes too long has what there is
	err := r.decide(route)
	if err == nil {
		err = r.checkNative()
	}
	return r, err
}

// copies: contents that are lists of parts are joined, and a history, which is written as
// the messages that it stands for, may become three times as long.
func (native) copies(body value) int64 {
	const historyFactor = 4
	if len(body) <= pooledBodyBytes || member(member(body, "input"), "history") != nil {
		return historyFactor * int64(len(body))
	}
	return 2 * int64(len(body))
}

func (r *request) nativeMember(name string, v value) error {
	switch name {
	case "model":
		r.model = bytes.Clone(v)
	case "input":
		return r.readInput(v)
	case "parameters":
		return nativeParameters.read(v, "parameters.", r, r.nativeParameter)
	case "stream":
		return r.nativeParameter(name, v)
	}
	return nil
}

func (r *request) nativeParameter(name string, v value) error {
	switch name {
	case "result_format":
		r.textFormat = v.text() == "text"
	case "incremental_output":
		on, _ := v.boolean()
		r.incremental = &on
	case "stream":
		on, _ := v.boolean()
		r.stream = r.stream || on
	default:
		return r.common(name, v)
	}
	return nil
}

// readInput takes messages, or the older prompt with its history, or messages with a
// prompt as the last of them.
func (r *request) readInput(input value) error {
	var messages, history, prompt value
	err := nativeInput.read(input, "input.", r, func(name string, v value) error {
		switch name {
		case "messages":
			messages = v
		case "history":
			history = v
		case "prompt":
			prompt = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	for exchange := range elements(history) {
		if !exchange.isObject() {
			return invalid("'history' must be a list of objects with user and bot")
		}
	}
	if history != nil || prompt != nil {
		messages = appendTurns(messages, history, prompt)
	}
	if messages == nil {
		return nil // decide says what is missing
	}
	r.prompt, err = readMessages(messages)
	return err
}

// appendTurns adds the turns of a history and a prompt to a list of messages.
func appendTurns(messages, history, prompt value) value {
	list := []byte{'['}
	if messages != nil {
		list = append(list, bytes.TrimSpace(messages.inner())...)
	}
	first := len(list) == 1
	turn := func(role string, content value) {
		if !content.present() {
			return
		}
		list = append(appendComma(list, &first), `{"role":"`...)
		list = append(list, role...)
		list = append(list, `","content":`...)
		list = append(list, content...)
		list = append(list, '}')
	}
	for exchange := range elements(history) {
		turn("user", member(exchange, "user"))
		turn("assistant", member(exchange, "bot"))
	}
	turn("user", prompt)
	return append(list, ']')
}

// checkNative refuses combinations that only this dialect has.
func (r *request) checkNative() error {
	switch {
	case r.thinks() && r.textFormat:
		return invalid(`The result_format parameter must be "message" when enable_thinking is true`)
	case r.thinks() && r.stream && r.incremental != nil && !*r.incremental:
		return invalid(`The incremental_output parameter must be "true" when enable_thinking is true`)
	case r.textFormat && (r.n > 1 || r.tools != nil):
		return invalid(`The result_format parameter must be "message" when n is greater than 1 or tools are given`)
	}
	return nil
}

// cumulative reports whether each event repeats all text so far: the default, except
// when thinking.
func (r *request) cumulative() bool {
	switch {
	case !r.stream:
		return true // the only event is the last one
	case r.incremental != nil:
		return !*r.incremental
	}
	return !r.thinks()
}

func (native) bound(r *request, b Bounds) time.Duration {
	if r.stream {
		return b.Call
	}
	return b.NativeCall
}

func (native) failure(dst []byte, f *failure, requestID string) []byte {
	return f.appendNative(dst, requestID)
}
