package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstBodyBytes  = 4 << 10
	pooledBodyBytes = 64 << 10 // larger buffers are left to the collector
)

// bodies hands out buffers for request bodies, within a bound for each and for all of
// them together, with what is written anew of them for engines.
type bodies struct {
	each, all int64
	held      atomic.Int64
	pool      sync.Pool
}

// share is what somebody holds of the bytes for all bodies. The zero value is nothing.
type share struct {
	owner *bodies
	bytes int64
}

// set makes it so many bytes; false, and no change: the bound for all is reached.
func (s *share) set(bytes int64) bool {
	more := bytes - s.bytes
	if more == 0 {
		return true
	}
	if s.owner.held.Add(more) > s.owner.all && more > 0 {
		s.owner.held.Add(-more)
		return false
	}
	s.bytes = bytes
	return true
}

// bodiesFull refuses a call for whose body there is no room among all of them.
func bodiesFull() *failure {
	return fail(problemBusy).after(time.Second).say("The server holds as many request bodies as it may; try again later.")
}

// body is a buffer with users: the one it was made for, and whoever called retain.
type body struct {
	bytes []byte
	users atomic.Int32
	held  share
}

// take returns an empty buffer with one user.
func (b *bodies) take() *body {
	buffer, ok := b.pool.Get().(*body)
	if !ok {
		buffer = &body{held: share{owner: b}}
	}
	buffer.users.Store(1)
	return buffer
}

func (b *body) retain() { b.users.Add(1) }

// free ends one use; the last one gives the buffer back.
func (b *body) free() {
	if b.users.Add(-1) > 0 {
		return
	}
	b.held.set(0)
	if cap(b.bytes) <= pooledBodyBytes {
		b.bytes = b.bytes[:0]
		b.held.owner.pool.Put(b)
	}
}

// read reads a whole request body. The caller frees what it returns.
func (b *bodies) read(r *http.Request) (*body, error) {
	if r.ContentLength > b.each {
		return nil, fail(problemTooLarge).finally()
	}
	buffer := b.take()
	// A length that is only announced makes no more room than a small body needs.
	if err := buffer.fill(r.Body, max(min(r.ContentLength+1, pooledBodyBytes), firstBodyBytes)); err != nil {
		buffer.free()
		return nil, err
	}
	return buffer, nil
}

// fill reads src to its end; size is how much room to make first.
func (b *body) fill(src io.Reader, size int64) error {
	for {
		if err := b.grow(size); err != nil {
			return err
		}
		n, err := src.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case int64(len(b.bytes)) > b.held.owner.each:
			return fail(problemTooLarge).finally()
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return invalid("The body did not arrive in time; send it again, faster.")
		case err != nil:
			return invalid("The body ended before all of it was here; send it again.").because(err)
		}
		if len(b.bytes) == cap(b.bytes) {
			size = min(2*int64(cap(b.bytes)), b.held.owner.each+1)
		}
	}
}

// grow makes the buffer hold size bytes.
func (b *body) grow(size int64) error {
	if !b.held.set(max(size, int64(cap(b.bytes)), b.held.bytes)) {
		return bodiesFull()
	}
	if int64(cap(b.bytes)) < size {
		b.bytes = append(make([]byte, 0, size), b.bytes...)
	}
	return nil
}

// upload is a reading by net/http, which may go on for a moment after the answer has
// come: the buffer stays until it is closed.
type upload struct {
	bytes.Reader
	body   *body
	closed atomic.Bool
}

func (b *body) upload() *upload {
	b.retain()
	u := &upload{body: b}
	u.Reset(b.bytes)
	return u
}

func (u *upload) Close() error {
	if !u.closed.Swap(true) {
		u.body.free()
	}
	return nil
}

// again is another reading of the same body.
func (b *body) again() (io.ReadCloser, error) { return b.upload(), nil }
