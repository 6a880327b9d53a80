package front

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// head reads a header, its empty line included, into the connection's request. It returns
// nil for one that is not quite plain.
func (c *conn) head(text []byte) http.Handler {
	line, rest, _ := bytes.Cut(text, crlf)
	path, ok := bytes.CutPrefix(line, []byte("POST "))
	if !ok {
		return nil
	}
	if path, ok = bytes.CutSuffix(path, []byte(" HTTP/1.1")); !ok {
		return nil
	}
	handler := c.server.opt.Handlers[string(path)]
	if handler == nil {
		return nil
	}
	lines := string(rest[:len(rest)-len(crlf)])
	clear(c.request.Header)
	c.values = c.values[:0]
	c.request.Host, c.request.ContentLength = "", -1
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		if !c.line(line) {
			return nil
		}
	}
	if c.request.Host == "" || c.request.ContentLength < 0 || c.request.ContentLength > c.server.opt.MostBody {
		return nil
	}
	c.url.Path = string(path)
	c.request.RequestURI = c.url.Path
	return handler
}

// line takes one line of a header; false when it is not plain.
func (c *conn) line(line string) bool {
	name, v, ok := strings.Cut(line, ":")
	if !ok || !isName(name) || !isValue(v) {
		return false
	}
	v = strings.Trim(v, " \t")
	r := c.request
	switch name = textproto.CanonicalMIMEHeaderKey(name); name {
	case "Host":
		if r.Host != "" || !isHost(v) {
			return false
		}
		r.Host = v
		return true
	case "Content-Length":
		n, err := strconv.ParseUint(v, 10, 62)
		if err != nil || r.ContentLength >= 0 {
			return false
		}
		r.ContentLength = int64(n) //nolint:gosec // of 62 bits
	case "Connection":
		if !strings.EqualFold(v, "keep-alive") {
			return false
		}
	case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te":
		return false
	}
	if had := r.Header[name]; had != nil {
		r.Header[name] = append(had, v)
		return true
	}
	c.values = append(c.values, v)
	end := len(c.values)
	r.Header[name] = c.values[end-1 : end : end]
	return true
}

// isName reports whether text is a token (RFC 9110, 5.6.2).
func isName(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		case strings.IndexByte("!#$%&'*+.^`|~", c) >= 0:
		default:
			return false
		}
	}
	return text != ""
}

// isValue reports whether text has no control characters but tabs.
func isValue(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isHost is stricter than the standard: a name or an address, and a port.
func isHost(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte(".-_:[]", c) >= 0:
		default:
			return false
		}
	}
	return text != ""
}
