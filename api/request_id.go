package api

import "net/http"

// requestIDHeaders may carry a client's own request id; the first that does wins
// (api.md 2.1, statement 9).
var requestIDHeaders = []string{"X-Acs-Req-Uuid", "X-Dashscope-Requestid", "X-Request-Id"}

// maxRequestID bounds what a client may choose as its request id, in bytes.
const maxRequestID = 128

// RequestID returns the id that a client chose for its request, or "" when it chose none
// that can be repeated as it is in a header, in JSON and in a log. Servers call it.
func RequestID(h http.Header) string {
	for _, name := range requestIDHeaders {
		if id := h.Get(name); id != "" && len(id) <= maxRequestID && plain(id) {
			return id
		}
	}
	return ""
}

func plain(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
