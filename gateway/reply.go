package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
)

// reply is one JSON object of an engine: a chunk of a stream or a whole answer. Its
// values are parts of what was read.
type reply struct {
	parts   []part
	usage   figures // members usage
	running figures // llama.cpp's timings: what came so far
	failed  bool    // there is an error member
}

// part is what a reply says of one of the call's answers.
type part struct {
	index     int64
	content   value // string, or nil
	reasoning value // string, or nil
	toolCalls value // array with elements, or nil
	logprobs  value // object, or nil
	finish    value // string, or nil while the answer goes on
	vector    value // embeddings: array of numbers, or base64; nil for none
}

// text reports whether the part carries something that was generated.
func (p *part) text() bool {
	return len(p.content) > len(`""`) || len(p.reasoning) > len(`""`) || p.toolCalls != nil
}

// figures are token counts as an engine reports them. cached and thinking are −1 where
// it does not say.
type figures struct {
	known                           bool
	input, cached, output, thinking int64
}

var (
	errGarbage     = errors.New("the engine's answer is no JSON object with what the operation makes")
	errEngineError = errors.New("the engine reported an error within its answer")
)

// read parses data into r, whose slices are used again.
func (r *reply) read(data []byte, o *operation) error {
	complete, ok := r.readQuickly(data, o)
	if !ok {
		if complete, ok = r.readAnything(data, o); !ok {
			return errGarbage
		}
	}
	switch {
	case r.failed:
		return errEngineError
	case !complete:
		return errGarbage
	}
	return nil
}

// readQuickly reads what engines write in one pass; false: it has given up (scan.go).
// complete says that the list is there.
func (r *reply) readQuickly(data []byte, o *operation) (complete, ok bool) {
	*r = reply{parts: r.parts[:0]}
	s := scan{b: bytes.Trim(data, " \n\r\t")}
	complete = s.reply(r, o)
	return complete, !s.lost
}

// readAnything does the same for any JSON object; false: it is none.
func (r *reply) readAnything(data []byte, o *operation) (complete, ok bool) {
	*r = reply{parts: r.parts[:0]}
	object, ok := checkReply(data)
	if !ok {
		return false, false
	}
	for name, v := range members(object) {
		switch string(name) {
		case o.list:
			complete = v.isArray()
			for element := range elements(v) {
				r.parts = append(r.parts, readPart(element))
			}
		case "usage":
			r.usage = readUsage(v, o)
		case "timings":
			r.running = readTimings(v)
		case "error":
			r.failed = v.present()
		}
	}
	return complete, true
}

// sort puts the answers in the order of their indices.
func (r *reply) sort() {
	slices.SortFunc(r.parts, func(a, b part) int { return cmp.Compare(a.index, b.index) })
}

func readPart(choice value) part {
	var p part
	for name, v := range members(choice) {
		switch string(name) {
		case "index":
			p.index, _ = v.integer()
		case "finish_reason":
			p.finish = onlyString(v)
		case "logprobs":
			if v.isObject() {
				p.logprobs = readLogprobs(v)
			}
		case "delta", "message":
			p.readMessage(v)
		case "text":
			p.content = onlyString(v)
		case "embedding":
			if v.isArray() || v.isString() {
				p.vector = v
			}
		}
	}
	return p
}

// readMessage takes what was said. Engines name the reasoning in two ways.
func (p *part) readMessage(message value) {
	for name, v := range members(message) {
		switch string(name) {
		case "content":
			p.content = onlyString(v)
		case "reasoning_content", "reasoning":
			if s := onlyString(v); s != nil {
				p.reasoning = s
			}
		case "tool_calls":
			for range elements(v) {
				p.toolCalls = v
				break
			}
		}
	}
}

func onlyString(v value) value {
	if v.isString() {
		return v
	}
	return nil
}

func readUsage(v value, o *operation) figures {
	f := figures{cached: -1, thinking: -1}
	var input, output bool
	for name, v := range members(v) {
		switch string(name) {
		case "prompt_tokens":
			f.input, input = count(v)
		case "completion_tokens":
			f.output, output = count(v)
		case "prompt_tokens_details":
			if n, ok := count(member(v, "cached_tokens")); ok {
				f.cached = n
			}
		case "completion_tokens_details":
			if n, ok := count(member(v, "reasoning_tokens")); ok {
				f.thinking = n
			}
		}
	}
	f.known = input && (output || !o.writes)
	f.cached, f.thinking = min(f.cached, f.input), min(f.thinking, f.output)
	return f
}

// readTimings reads llama.cpp's running figures, where the prompt's are without the
// cached tokens.
func readTimings(v value) figures {
	f := figures{thinking: -1}
	var prompt, output bool
	for name, v := range members(v) {
		switch string(name) {
		case "prompt_n":
			f.input, prompt = count(v)
		case "cache_n":
			f.cached, _ = count(v)
		case "predicted_n":
			f.output, output = count(v)
		}
	}
	f.input += f.cached
	f.known = prompt && output
	return f
}

// maxCount is more tokens than any call has; a larger figure is the engine's mistake.
const maxCount = 1 << 40

func count(v value) (int64, bool) {
	n, ok := v.integer()
	if !ok || n < 0 || n > maxCount {
		return 0, false
	}
	return n, true
}
