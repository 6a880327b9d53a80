package h1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a [Client]; Dial is required.
type Options struct {
	// Dial connects to "host:port". It bounds its own time and says who may be reached.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Keep is how long an idle connection is kept, 4 s unless set: llama.cpp and uvicorn
	// close theirs after 5 s.
	Keep time.Duration
	// MostIdle bounds the idle connections to one address, 4096 unless set.
	MostIdle int
}

// Client makes calls. It is safe for concurrent use; calls to different addresses share
// no lock.
type Client struct {
	opt  Options
	mu   sync.Mutex // only for what is new
	pool sync.Map   // address -> *pool

	sweeping atomic.Bool
	timer    *time.Timer
	closed   atomic.Bool
}

const (
	defaultKeep     = 4 * time.Second
	defaultMostIdle = 4096
	// togetherBytes is the largest body that is copied behind its header; a larger one
	// goes out beside it, in the same system call.
	togetherBytes = 64 << 10
	// uploadWait is how long an engine may take to read a body that is larger.
	uploadWait = time.Minute
	// repeatWithin is how soon a used connection must turn out to be closed for the call
	// to be made again: later, an engine worked on it, or died of it.
	repeatWithin = time.Second
	// lastWords is how long an answer is waited for from an engine that stopped reading.
	lastWords = 100 * time.Millisecond
)

// New returns a client without connections. Close it.
func New(o Options) *Client {
	if o.Keep == 0 {
		o.Keep = defaultKeep
	}
	if o.MostIdle == 0 {
		o.MostIdle = defaultMostIdle
	}
	return &Client{opt: o}
}

// Request is one POST.
type Request struct {
	Address string // "host:port" to connect to
	// Head is the request line and the header lines, each with its CRLF, except for
	// Content-Length, which Post adds.
	Head string
	// Secret is the bearer token, "" for none. One that would end its header line is
	// refused.
	Secret string
	Body   []byte
}

// Post sends a request and returns the answer when its header has come. Informational
// answers are skipped. The answer has status, length and body, but no header; its body
// must be closed. r.Body is not used any more when Post returns.
//
// A call that meets a kept connection which the engine has closed is made again on a
// fresh one. The error of a connection that was refused is that of Dial, one of a call
// that ctx ended is ctx's cause. When ctx ends later, the connection is closed at once
// and reading the body fails.
func (c *Client) Post(ctx context.Context, r *Request) (*http.Response, error) {
	if !fitsHeader(r.Secret) {
		return nil, errSecret
	}
	if conn := c.poolOf(r.Address).take(c.opt.Keep); conn != nil {
		began := time.Now()
		response, err := conn.roundTrip(ctx, r)
		if err == nil {
			return response, nil
		}
		if !conn.silent || ctx.Err() != nil || time.Since(began) > repeatWithin {
			return nil, ended(ctx, err)
		}
	}
	raw, err := c.opt.Dial(ctx, r.Address)
	if err != nil {
		return nil, ended(ctx, err)
	}
	response, err := newConn(raw, c, c.poolOf(r.Address)).roundTrip(ctx, r)
	if err != nil {
		return nil, ended(ctx, err)
	}
	return response, nil
}

var errSecret = errors.New("h1: the secret has a character that no header may have")

// fitsHeader reports whether text may stand in a header line.
func fitsHeader(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] == 0x7f {
			return false
		}
	}
	return true
}

func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// conn is one connection.
type conn struct {
	net.Conn
	client *Client
	pool   *pool

	in      reader
	release func() bool // takes back that ctx closes the connection
	silent  bool        // it was closed before a byte of an answer
	since   time.Time   // when it became idle
}

func newConn(raw net.Conn, client *Client, p *pool) *conn {
	c := &conn{Conn: raw, client: client, pool: p}
	c.in.src = raw
	return c
}

// roundTrip sends the request and reads the answer's header. When it fails the
// connection is closed.
func (c *conn) roundTrip(ctx context.Context, r *Request) (*http.Response, error) {
	c.silent = false
	c.release = context.AfterFunc(ctx, func() { _ = c.Conn.Close() })
	writeErr := c.send(r)
	if writeErr != nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lastWords)) // an error is one of the read as well
	}
	head, err := c.readHead()
	if err != nil {
		c.drop()
		return nil, errors.Join(writeErr, err)
	}
	if writeErr != nil {
		head.keep = false
	}
	return c.answer(head), nil
}

// readHead reads up to the header of the final answer.
func (c *conn) readHead() (head, error) {
	for skipped := range maxInformational {
		h, err := c.in.head()
		switch {
		case err != nil:
			c.silent = skipped == 0 && c.in.empty() && !errors.Is(err, ErrMalformed)
			return head{}, err
		case h.status == http.StatusSwitchingProtocols:
			return head{}, fmt.Errorf("%w: it switches to another protocol", ErrMalformed)
		case h.status >= http.StatusOK:
			return h, nil
		}
	}
	return head{}, fmt.Errorf("%w: too many informational answers", ErrMalformed)
}

// heads are buffers for what is written.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// send writes the request at once.
func (c *conn) send(r *Request) error {
	buffer := heads.Get().(*[]byte)
	defer heads.Put(buffer)
	out := (*buffer)[:0]
	out = append(out, r.Head...)
	if r.Secret != "" {
		out = append(append(append(out, "Authorization: Bearer "...), r.Secret...), "\r\n"...)
	}
	out = append(strconv.AppendInt(append(out, "Content-Length: "...), int64(len(r.Body)), 10), "\r\n\r\n"...)
	if len(r.Body) <= togetherBytes {
		out = append(out, r.Body...)
		*buffer = out
		_, err := c.Conn.Write(out)
		return err
	}
	*buffer = out
	if err := c.Conn.SetWriteDeadline(time.Now().Add(uploadWait)); err != nil {
		return err
	}
	parts := net.Buffers{out, r.Body}
	if _, err := parts.WriteTo(c.Conn); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(time.Time{})
}

// finish ends the use of the connection by one call: it is kept when the answer was read
// to its end and nothing is wrong with it.
func (c *conn) finish(clean bool) {
	if !clean || !c.in.empty() || !c.release() {
		c.drop()
		return
	}
	c.release = nil
	c.keep()
}

func (c *conn) drop() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
	_ = c.Conn.Close() // nothing more is expected of it
}
