package h1

import (
	"bytes"
	"strconv"
)

// head is what is used of an answer's header.
type head struct {
	status  int
	length  int64 // of the body; -1: chunked, or up to the end of the connection
	chunked bool
	keep    bool // the connection may be used again
}

// head reads one header. io.EOF stands for an end before its first byte.
func (r *reader) head() (head, error) {
	for seen := 0; ; {
		if size := headSize(r.buffered(), seen); size > 0 {
			text := r.buffered()[:size]
			r.start += size
			return parseHead(text)
		}
		if seen = len(r.buffered()); seen >= maxHeadBytes {
			return head{}, malformed("a header of more than %d bytes", maxHeadBytes)
		}
		if err := r.fill(maxHeadBytes); err != nil {
			if seen > 0 {
				err = cutShort(err)
			}
			return head{}, err
		}
	}
}

// headSize returns the length of the header at the beginning of b, its empty line
// included, 0 while it is not whole. The first seen bytes were looked at before.
func headSize(b []byte, seen int) int {
	for from := max(seen-2, 0); ; {
		n := bytes.IndexByte(b[from:], '\n')
		if n < 0 {
			return 0
		}
		from += n + 1
		rest := b[from:]
		switch {
		case len(rest) > 0 && rest[0] == '\n':
			return from + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return from + 2
		}
	}
}

// parseHead reads a whole header.
func parseHead(text []byte) (head, error) {
	line, rest := cutLine(text)
	h, err := parseStatus(line)
	if err != nil {
		return head{}, err
	}
	length, closing, keepAlive := int64(-1), false, false
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			break
		}
		name, v, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(name) {
			return head{}, malformed("a header line that is none")
		}
		v = bytes.Trim(v, " \t")
		switch {
		case is(name, "content-length"):
			n, ok := digits(v)
			if !ok || length >= 0 && length != n {
				return head{}, malformed("a wrong Content-Length")
			}
			length = n
		case is(name, "transfer-encoding"):
			if !is(v, "chunked") || h.chunked {
				return head{}, malformed("a transfer encoding other than chunked")
			}
			h.chunked = true
		case is(name, "connection"):
			closing, keepAlive = closing || has(v, "close"), keepAlive || has(v, "keep-alive")
		}
	}
	if !h.keep {
		h.keep = keepAlive && !h.chunked // HTTP/1.0, which knows no chunks
	}
	h.keep = h.keep && !closing
	h.bodyOf(length)
	return h, nil
}

// bodyOf decides where the body ends (RFC 9112, section 6.3).
func (h *head) bodyOf(length int64) {
	switch {
	case h.status < 200 || h.status == 204 || h.status == 304:
		h.chunked, h.length = false, 0
	case h.chunked:
		h.keep = h.keep && length < 0 // both: somebody between was fooled, or tries to fool
		h.length = -1
	case length < 0:
		h.length, h.keep = -1, false
	default:
		h.length = length
	}
}

// has reports whether option is in a list with commas.
func has(list []byte, option string) bool {
	for v := range bytes.SplitSeq(list, []byte(",")) {
		if is(bytes.Trim(v, " \t"), option) {
			return true
		}
	}
	return false
}

// parseStatus reads the first line: "HTTP/1.1 200 OK". keep is what the version says.
func parseStatus(line []byte) (h head, err error) {
	const version = "HTTP/1."
	if len(line) < len("HTTP/1.1 200") || string(line[:len(version)]) != version || line[8] != ' ' {
		return h, malformed("no HTTP/1 status line")
	}
	switch line[7] {
	case '1':
		h.keep = true
	case '0':
	default:
		return h, malformed("an unknown version of HTTP")
	}
	if len(line) > 12 && line[12] != ' ' {
		return h, malformed("a wrong status")
	}
	status, ok := digits(line[9:12])
	if !ok || status < 100 {
		return h, malformed("a wrong status")
	}
	h.status = int(status)
	return h, nil
}

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest
}

// digits reads a number that is nothing but digits.
func digits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// is compares without regard to case; lower is in lower case.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken reports whether b can be the name of a header line.
func isToken(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == '(' || c == ')' || c == '"' || c == '/' || c == ',' {
			return false
		}
	}
	return len(b) > 0
}
