package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bufferBytes = 4 << 10 // a longer header is not plain
	// watchAfter is how long a handler may work until somebody looks whether the client is
	// still there: most are done before, and need nobody.
	watchAfter = 20 * time.Millisecond
)

// buffers are for connections that read a header, or have been idle since.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, bufferBytes)
	return &b
}}

var (
	crlf     = []byte("\r\n")
	headEnds = []byte("\r\n\r\n")
	longAgo  = time.Unix(1, 0)
)

// What a connection is doing, for those who want to close it.
const (
	waiting = int32(iota) // for the first byte of a request
	serving
	closed
)

// conn is one connection. Its request and writer serve one request after another.
type conn struct {
	server *Server
	net    net.Conn
	state  atomic.Int32
	bound  time.Time // the read deadline that is set
	known  bool      // something came already

	buf        []byte // what came and is not used yet is buf[start:end]
	start, end int

	request *http.Request
	url     url.URL
	values  []string // of the header
	left    int64    // of the body
	bounded bool     // the body has a deadline
	writer  writer

	gone  context.CancelFunc // ends the request's context
	timer *time.Timer        // until somebody looks
	mu    sync.Mutex         // guards what follows
	cond  sync.Cond
	busy  bool // the handler runs and has read the whole body
	reads bool // somebody looks
	stops bool // and shall stop
	extra [1]byte
	has   bool // extra was read
}

func newConn(s *Server, n net.Conn) *conn {
	c := &conn{server: s, net: n}
	c.cond.L = &c.mu
	ctx, cancel := context.WithCancel(context.Background())
	c.gone = cancel
	c.request = (&http.Request{
		Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &c.url, Header: http.Header{}, RemoteAddr: n.RemoteAddr().String(), Body: (*body)(c),
	}).WithContext(ctx)
	c.writer = writer{conn: c, header: http.Header{}}
	return c
}

// serve answers requests until one is not plain or the connection ends. It returns false
// when the connection goes on elsewhere, with the unread bytes.
func (c *conn) serve() (over bool) {
	defer c.gone()
	for {
		if c.start == c.end && !c.wait() {
			return true
		}
		text := c.buf[c.start:c.end]
		end := bytes.Index(text, headEnds)
		if end < 0 || !c.server.opt.Take() {
			return false
		}
		handler := c.head(text[:end+len(headEnds)])
		if handler == nil {
			return false
		}
		c.start += end + len(headEnds)
		if !c.answer(handler) {
			return true
		}
		c.state.Store(waiting)
		if c.server.down.Load() {
			return true
		}
	}
}

// wait reads the first bytes of a request.
func (c *conn) wait() bool {
	now := time.Now()
	if !c.known {
		c.known = true
		c.limit(now.Add(c.server.opt.First))
	} else if rest := c.bound.Sub(now); rest < c.server.opt.Idle*3/4 || rest > c.server.opt.Idle {
		c.limit(now.Add(c.server.opt.Idle))
	}
	if len(c.buf) < bufferBytes {
		c.buf = *buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	}
	n, err := c.net.Read(c.buf)
	c.start, c.end = 0, n
	return err == nil && n > 0
}

func (c *conn) limit(until time.Time) {
	c.bound = until
	_ = c.net.SetReadDeadline(until) // an error comes again with the next read
}

// answer lets a handler answer the request whose header was read; false ends the
// connection.
func (c *conn) answer(handler http.Handler) (more bool) {
	if !c.state.CompareAndSwap(waiting, serving) {
		return false
	}
	c.left, c.bounded = c.request.ContentLength, false
	c.writer.begin()
	defer func() {
		if cause := recover(); cause != nil {
			c.unwatch()
			more = false
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				c.server.opt.Logger.Error("panic while a request was answered", "cause", cause, "stack", string(debug.Stack()))
			}
		}
	}()
	if c.left == 0 {
		c.watch()
	}
	handler.ServeHTTP(&c.writer, c.request)
	c.unwatch()
	if !c.writer.finish() {
		return false
	}
	if c.left > 0 { // refused unread; the client may still be sending it
		_, err := io.Copy(io.Discard, (*body)(c))
		c.unwatch()
		if err != nil {
			return false
		}
	}
	return c.request.Context().Err() == nil
}

// watch lets somebody look soon whether the client is still there.
func (c *conn) watch() {
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(watchAfter, c.look)
	} else {
		c.timer.Reset(watchAfter)
	}
}

// look reads one byte while the handler works. An end is the client's.
func (c *conn) look() {
	c.mu.Lock()
	if !c.busy || c.reads || c.has {
		c.mu.Unlock()
		return
	}
	c.reads = true
	c.limit(time.Time{})
	if c.start == c.end && len(c.buf) == bufferBytes { // a long call needs it no more
		b := c.buf
		buffers.Put(&b)
		c.buf, c.start, c.end = nil, 0, 0
	}
	c.mu.Unlock()
	n, err := c.net.Read(c.extra[:])
	c.mu.Lock()
	c.reads, c.has = false, n > 0
	if err != nil && !c.stops {
		c.gone()
	}
	c.cond.Broadcast()
	c.mu.Unlock()
}

// unwatch ends the look and keeps what it read.
func (c *conn) unwatch() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if c.reads {
		c.stops = true
		c.limit(longAgo)
		for c.reads {
			c.cond.Wait()
		}
		c.stops = false
	}
	if c.has {
		c.has = false
		c.buf = append(c.buf[:c.end], c.extra[0])
		c.end++
		c.buf = c.buf[:cap(c.buf)]
	}
}

// body is a connection as the body of its request.
type body conn

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	c := (*conn)(b)
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := copy(p, c.buf[c.start:c.end]), error(nil)
	c.start += n
	if n == 0 && len(p) > 0 {
		if n, err = c.more(p); errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	if c.left -= int64(n); c.left == 0 {
		c.watch()
		return n, io.EOF
	}
	return n, err
}

// more reads a part of the body that was not there with the header.
func (c *conn) more(p []byte) (int, error) {
	if !c.bounded {
		c.bounded = true
		c.limit(time.Now().Add(c.server.opt.Body(c.request.ContentLength)))
	}
	return c.net.Read(p)
}

// Close implements io.Closer.
func (*body) Close() error { return nil }
