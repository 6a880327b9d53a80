package sse

import "bytes"

// scanner finds the end of a block: the blank line after its lines. It remembers
// how far it came, so that a block that arrives in many pieces is searched once.
// The zero value stands at the head of a block.
//
// A carriage return ends a line at once, whatever follows, so that the events of
// a CR stream are not held back until the next one begins. The line feed of a
// CRLF pair is therefore taken afterwards. The blank line of a block whose lines
// end in CRLF is expected to end in CRLF too: only there does the scanner wait
// for the byte behind the carriage return, because a client that looks for line
// feeds only must be given it with the event it closes.
type scanner struct {
	line    int  // offset of the line being looked at
	seen    int  // no line end stands before this offset, from line on
	afterCR bool // the line before ended in a carriage return; a line feed may belong to it
	crlf    bool // the line before ended in CRLF
}

// scan looks at the block's bytes so far and returns its length with the blank
// line, and whether that was found. last says that no more bytes will come. b
// must not begin with a line end.
func (s *scanner) scan(b []byte, last bool) (length int, whole bool) {
	for s.line < len(b) {
		if s.afterCR {
			s.afterCR, s.crlf = false, b[s.line] == '\n'
			if s.crlf {
				s.line++
				continue
			}
		}
		n := lineEnd(b[max(s.line, s.seen):])
		if n < 0 {
			s.seen = len(b)
			return 0, false
		}
		end := max(s.line, s.seen) + n
		if end == s.line {
			return s.blank(b, last)
		}
		s.line, s.afterCR, s.crlf = end+1, b[end] == '\r', false
	}
	return 0, false
}

// blank returns the length of a block whose blank line begins at s.line.
func (s *scanner) blank(b []byte, last bool) (length int, whole bool) {
	end := s.line + 1
	if b[s.line] == '\n' || !s.crlf {
		return end, true
	}
	if end == len(b) {
		return end, last
	}
	if b[end] == '\n' {
		end++
	}
	return end, true
}

// lineEnd returns the index of the first line feed or carriage return in b, or -1.
// It searches in steps, for a stream that knows only one of the two would
// otherwise be searched to its end for the other at every line.
func lineEnd(b []byte) int {
	const step = 512
	for from := 0; from < len(b); from += step {
		part := b[from:min(from+step, len(b))]
		lf := bytes.IndexByte(part, '\n')
		if lf >= 0 {
			part = part[:lf]
		}
		if cr := bytes.IndexByte(part, '\r'); cr >= 0 {
			return from + cr
		}
		if lf >= 0 {
			return from + lf
		}
	}
	return -1
}
