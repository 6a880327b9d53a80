package gateway

import (
	"bytes"
	"unicode/utf8"
)

// scan reads an engine's JSON in one pass, which checks it and finds what a reply is made
// of. It knows what engines write: one line, names without escapes, no surrogates, little
// nesting. Of the rest it says that it has given up, and the slow way decides
// (checkReply); what it does not give up is valid there, and read the same.
type scan struct {
	b     []byte
	i     int
	depth int
	lost  bool // it has given up
}

// scanDepth is the nesting that it follows.
const scanDepth = 64

// reply fills r from an object, and reports whether its list is one.
func (s *scan) reply(r *reply, o *operation) (complete bool) {
	for more := s.enter('{', '}'); more; more = s.more('}') {
		switch name := s.name(); string(name) {
		case o.list:
			complete = s.at('[')
			if !complete {
				s.skip()
				continue
			}
			for more := s.enter('[', ']'); more; more = s.more(']') {
				r.parts = append(r.parts, part{})
				s.part(&r.parts[len(r.parts)-1])
			}
		case "usage":
			r.usage = s.usage(o)
		case "timings":
			r.running = s.timings()
		case "error":
			r.failed = s.skip().present()
		default:
			s.skip()
		}
	}
	s.lost = s.lost || s.i != len(s.b)
	return complete
}

func (s *scan) part(p *part) {
	for more := s.members(); more; more = s.more('}') {
		switch name := s.name(); string(name) {
		case "index":
			p.index, _ = s.skip().integer()
		case "finish_reason":
			p.finish = onlyString(s.skip())
		case "logprobs":
			if v := s.skip(); v.isObject() && !s.lost {
				p.logprobs = readLogprobs(v)
			}
		case "delta", "message":
			s.message(p)
		case "text":
			p.content = onlyString(s.skip())
		case "embedding":
			if v := s.skip(); v.isArray() || v.isString() {
				p.vector = v
			}
		default:
			s.skip()
		}
	}
}

func (s *scan) message(p *part) {
	for more := s.members(); more; more = s.more('}') {
		switch name := s.name(); string(name) {
		case "content":
			p.content = onlyString(s.skip())
		case "reasoning_content", "reasoning":
			if v := onlyString(s.skip()); v != nil {
				p.reasoning = v
			}
		case "tool_calls":
			if v := s.skip(); v.isArray() && len(bytes.Trim(v.inner(), " \t")) > 0 {
				p.toolCalls = v
			}
		default:
			s.skip()
		}
	}
}

func (s *scan) usage(o *operation) figures {
	f := figures{cached: -1, thinking: -1}
	var input, output bool
	for more := s.members(); more; more = s.more('}') {
		switch name := s.name(); string(name) {
		case "prompt_tokens":
			f.input, input = count(s.skip())
		case "completion_tokens":
			f.output, output = count(s.skip())
		case "prompt_tokens_details":
			s.detail("cached_tokens", &f.cached)
		case "completion_tokens_details":
			s.detail("reasoning_tokens", &f.thinking)
		default:
			s.skip()
		}
	}
	f.known = input && (output || !o.writes)
	f.cached, f.thinking = min(f.cached, f.input), min(f.thinking, f.output)
	return f
}

// detail takes the first member of that name, if it is a count.
func (s *scan) detail(wanted string, to *int64) {
	found := false
	for more := s.members(); more; more = s.more('}') {
		name := s.name()
		v := s.skip()
		if found || string(name) != wanted {
			continue
		}
		found = true
		if n, ok := count(v); ok {
			*to = n
		}
	}
}

func (s *scan) timings() figures {
	f := figures{thinking: -1}
	var prompt, output bool
	for more := s.members(); more; more = s.more('}') {
		switch name := s.name(); string(name) {
		case "prompt_n":
			f.input, prompt = count(s.skip())
		case "cache_n":
			f.cached, _ = count(s.skip())
		case "predicted_n":
			f.output, output = count(s.skip())
		default:
			s.skip()
		}
	}
	f.input += f.cached
	f.known = prompt && output
	return f
}

// The steps. Once it has given up, every loop over members or elements ends.

func (s *scan) giveUp() { s.lost, s.i = true, len(s.b) }

func (s *scan) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scan) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t') {
		s.i++
	}
}

// members begins an object, and skips anything else.
func (s *scan) members() bool {
	if !s.at('{') {
		s.skip()
		return false
	}
	return s.enter('{', '}')
}

// enter goes behind an opening bracket and reports whether it is not empty.
func (s *scan) enter(opening, closing byte) bool {
	if !s.at(opening) || s.depth == scanDepth {
		s.giveUp()
		return false
	}
	s.i++
	s.space()
	if s.at(closing) {
		s.i++
		return false
	}
	s.depth++
	return true
}

// more goes on to the next member or element and reports whether there is one.
func (s *scan) more(closing byte) bool {
	s.space()
	switch {
	case s.at(','):
		s.i++
		s.space()
		return true
	case s.at(closing):
		s.i++
		s.depth--
	default:
		s.giveUp()
	}
	return false
}

// name goes behind a member's name and its colon.
func (s *scan) name() []byte {
	if !s.at('"') {
		s.giveUp()
		return nil
	}
	start := s.i + 1
	if s.text() {
		s.giveUp()
		return nil
	}
	end := s.i - 1
	s.space()
	if !s.at(':') {
		s.giveUp()
		return nil
	}
	s.i++
	s.space()
	if s.lost {
		return nil
	}
	return s.b[start:end]
}

// skip goes behind a value and returns it, nil once it has given up.
func (s *scan) skip() value {
	start := s.i
	if start == len(s.b) {
		s.giveUp()
		return nil
	}
	switch s.b[start] {
	case '"':
		s.text()
	case '{':
		for more := s.enter('{', '}'); more; more = s.more('}') {
			s.name()
			s.skip()
		}
	case '[':
		for more := s.enter('[', ']'); more; more = s.more(']') {
			s.skip()
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		s.number()
	}
	if s.lost {
		return nil
	}
	return s.b[start:s.i:s.i]
}

func (s *scan) literal(text string) {
	if len(s.b)-s.i < len(text) || string(s.b[s.i:s.i+len(text)]) != text {
		s.giveUp()
		return
	}
	s.i += len(text)
}

// number: a minus, digits without a zero before them, a fraction, an exponent.
func (s *scan) number() {
	if s.at('-') {
		s.i++
	}
	if s.at('0') {
		s.i++
	} else {
		s.digits()
	}
	if s.at('.') {
		s.i++
		s.digits()
	}
	if s.at('e') || s.at('E') {
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		s.digits()
	}
}

// digits: at least one.
func (s *scan) digits() {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	if s.i == start {
		s.giveUp()
	}
}

// What a byte is in a string.
const (
	plainByte   = 1 << iota
	foreignByte // part of a longer character, which is looked at when the string has ended
)

var byteKinds = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf:
			t[c] = foreignByte
		case c >= ' ' && c != '"' && c != '\\':
			t[c] = plainByte
		}
	}
	return t
}()

// text goes behind a string and reports whether something in it is escaped.
func (s *scan) text() (escaped bool) {
	b, i, kinds := s.b, s.i+1, byte(0)
	for {
		for i < len(b) && byteKinds[b[i]] != 0 {
			kinds |= byteKinds[b[i]]
			i++
		}
		switch {
		case i == len(b):
			s.giveUp()
			return false
		case b[i] == '"':
			if kinds&foreignByte != 0 && !utf8.Valid(b[s.i:i]) {
				s.giveUp()
				return false
			}
			s.i = i + 1
			return escaped
		case b[i] != '\\' || i+1 == len(b):
			s.giveUp()
			return false
		}
		escaped = true
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if !isPlainUnit(b[i+2:]) {
				s.giveUp()
				return false
			}
			i += 6
		default:
			s.giveUp()
			return false
		}
	}
}

// isPlainUnit reports whether b begins with four hexadecimal digits that are a character
// by themselves.
func isPlainUnit(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	for _, c := range b[:4] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return b[0]|0x20 != 'd' || b[1] < '8' // no surrogate; D is 0x44
}
