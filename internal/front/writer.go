package front

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	togetherBytes = 8 << 10  // a larger piece is written beside what waits
	keptBytes     = 16 << 10 // a larger buffer is left to the collector
)

// writer writes one answer: with the Content-Length that the handler sets, else in chunks.
type writer struct {
	conn    *conn
	header  http.Header
	names   []string
	out     []byte // waits to be written
	status  int    // 0: not begun
	chunked bool
	left    int64 // of the Content-Length
	closes  bool  // the connection ends with the answer
	err     error
}

var (
	_ http.ResponseWriter = (*writer)(nil)
	_ http.Flusher        = (*writer)(nil)
)

func (w *writer) begin() {
	clear(w.header)
	w.status, w.chunked, w.left, w.closes, w.err = 0, false, 0, false, nil
	if w.out = w.out[:0]; cap(w.out) > keptBytes {
		w.out = nil
	}
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	w.chunked = true
	if list := w.header["Content-Length"]; len(list) == 1 {
		if n, err := strconv.ParseInt(list[0], 10, 64); err == nil && n >= 0 {
			w.chunked, w.left = false, n
		}
	}
	w.closes = w.conn.server.down.Load()
	w.out = append(w.out, "HTTP/1.1 "...)
	w.out = strconv.AppendInt(w.out, int64(status), 10)
	w.out = append(append(append(w.out, ' '), http.StatusText(status)...), "\r\n"...)
	w.names = w.names[:0]
	for name := range w.header {
		w.names = append(w.names, name)
	}
	slices.Sort(w.names)
	for _, name := range w.names {
		for _, v := range w.header[name] {
			w.line(name, v)
		}
	}
	w.out = append(append(append(w.out, "Date: "...), date(time.Now())...), "\r\n"...)
	if w.chunked {
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.closes {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	w.out = append(w.out, "\r\n"...)
}

func (w *writer) line(name, v string) {
	if strings.ContainsAny(v, "\r\n") { // of which a client could make lines of its own
		v = strings.NewReplacer("\r", " ", "\n", " ").Replace(v)
	}
	w.out = append(append(append(append(w.out, name...), ": "...), v...), "\r\n"...)
}

// Write implements http.ResponseWriter. What is small waits for the rest, or for a flush.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !w.chunked && int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	}
	if w.chunked {
		w.out = append(strconv.AppendInt(w.out, int64(len(p)), 16), "\r\n"...)
	} else {
		w.left -= int64(len(p))
	}
	if len(p) < togetherBytes {
		w.out = append(w.out, p...)
	} else {
		pieces := net.Buffers{w.out, p}
		_, err := pieces.WriteTo(w.conn.net)
		w.wrote(err)
	}
	if w.chunked {
		w.out = append(w.out, "\r\n"...)
	}
	if len(w.out) > togetherBytes {
		w.flush()
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

func (w *writer) flush() {
	if len(w.out) > 0 && w.err == nil {
		_, err := w.conn.net.Write(w.out)
		w.wrote(err)
	}
}

// wrote notes how a write ended: nobody is there to read more after one that failed.
func (w *writer) wrote(err error) {
	w.out = w.out[:0]
	if err != nil {
		w.err = err
		w.conn.gone()
	}
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController flushes by.
func (w *writer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	w.flush()
	return w.err
}

// SetWriteDeadline is for http.ResponseController.
func (w *writer) SetWriteDeadline(t time.Time) error { return w.conn.net.SetWriteDeadline(t) }

// finish ends the answer; false when the connection cannot be used again.
func (w *writer) finish() bool {
	if w.status == 0 {
		w.header["Content-Length"] = []string{"0"}
	}
	w.WriteHeader(http.StatusOK)
	if w.chunked {
		w.out = append(w.out, "0\r\n\r\n"...)
	}
	w.flush()
	return w.err == nil && w.left == 0 && !w.closes
}

// second is a moment as it stands in a header.
type second struct {
	unix int64
	text string
}

var lastSecond atomic.Pointer[second]

func date(now time.Time) string {
	s := lastSecond.Load()
	if s == nil || s.unix != now.Unix() {
		s = &second{now.Unix(), now.UTC().Format(http.TimeFormat)}
		lastSecond.Store(s)
	}
	return s.text
}
