package sse

import (
	"bytes"
	"errors"
	"io"
)

// DefaultMaxEventBytes is the bound of a Reader that was given none: 1 MiB.
const DefaultMaxEventBytes = 1 << 20

const (
	// The buffer begins small, for thousands of streams that wait, and grows when a read
	// fills it: fewer reads for fast ones.
	firstBufferBytes = 1 << 10
	largeBufferBytes = 16 << 10
	maxEmptyReads    = 100
)

// ErrEventTooLarge is returned by Reader.Next for an event of more bytes than
// the reader's bound, line ends included.
var ErrEventTooLarge = errors.New("sse: event larger than the reader's bound")

// Reader splits a stream into events. It is not safe for concurrent use.
type Reader struct {
	src io.Reader
	max int   // largest event, bytes of its block
	err error // what ends the stream; returned once the buffer is used up

	buf        []byte // unread input is buf[start:end]
	start, end int
	block      scanner // how far the block that begins at start is understood
	first      bool    // nothing was taken yet: a byte order mark may stand here

	joined []byte // data of an event of several data lines
}

// NewReader returns a Reader of src that refuses events of more than
// maxEventBytes bytes; 0 or less means DefaultMaxEventBytes. Its buffer begins
// at 1 KiB and grows to the largest event seen, never beyond the bound, and to 16 KiB
// when as much comes at once.
func NewReader(src io.Reader, maxEventBytes int) *Reader {
	if maxEventBytes <= 0 {
		maxEventBytes = DefaultMaxEventBytes
	}
	return &Reader{src: src, max: maxEventBytes, first: true}
}

// Reset makes the reader read src from its beginning and keeps the buffer, so
// that readers can be pooled. Events returned earlier are no longer valid.
func (r *Reader) Reset(src io.Reader) {
	*r = Reader{src: src, max: r.max, first: true, buf: r.buf, joined: r.joined}
}

// Next returns the next event, valid until the next call of Next or Reset. It
// blocks only while no whole event has arrived.
//
// At the end of the stream it returns io.EOF, after a last event that no blank
// line closed. It returns ErrEventTooLarge at the bound and any other error of
// the source as it is; the unfinished event before such an error is dropped,
// for it was cut. Every error is final: later calls return it again.
func (r *Reader) Next() (Event, error) {
	for {
		if !r.skipPreamble() {
			r.fill()
			continue
		}
		length, whole := r.block.scan(r.buf[r.start:r.end], r.err != nil)
		switch {
		case length > r.max || !whole && r.end-r.start > r.max:
			r.start, r.end, r.err = 0, 0, ErrEventTooLarge
			return Event{}, r.err
		case whole:
			return r.take(length), nil
		case r.end > r.start && errors.Is(r.err, io.EOF):
			return r.take(r.end - r.start), nil
		case r.err != nil:
			return Event{}, r.err
		}
		r.fill()
	}
}

// Buffered reports whether a whole event stands in the buffer, so that Next returns it
// without reading. False also stands for the end of the stream and for what cannot be
// told without the next byte. Events returned earlier stay valid.
func (r *Reader) Buffered() bool {
	if r.start == r.end || !r.skipPreamble() {
		return false
	}
	length, whole := r.block.scan(r.buf[r.start:r.end], r.err != nil)
	return whole && length <= r.max
}

// Wait reads until Next has something to return, be it the end. It is what Next would do
// by itself, with less of the stack: for thousands of streams that wait.
func (r *Reader) Wait() {
	for r.err == nil && !r.Buffered() && r.end-r.start <= r.max {
		r.fill()
	}
}

// skipPreamble drops what may stand before an event and is part of none: a byte
// order mark at the head of the stream, and blank lines. It returns false if the
// bytes so far do not tell whether a mark stands here.
func (r *Reader) skipPreamble() bool {
	const mark = "\ufeff"
	if r.first {
		head := r.buf[r.start:r.end]
		if len(head) < len(mark) && r.err == nil && string(head) == mark[:len(head)] {
			return false
		}
		if bytes.HasPrefix(head, []byte(mark)) {
			r.start += len(mark)
		}
		r.first = false
	}
	if r.block != (scanner{}) {
		return true
	}
	for r.start < r.end && (r.buf[r.start] == '\n' || r.buf[r.start] == '\r') {
		r.start++
	}
	return true
}

// take returns the first length unread bytes as an event.
func (r *Reader) take(length int) Event {
	raw := r.buf[r.start : r.start+length : r.start+length]
	r.start += length
	r.block = scanner{}
	return r.parse(raw)
}

// fill reads once from the source. It makes room first: at the front of the
// buffer, else by doubling it up to one byte more than the bound, which is what
// it takes to see that an event is too large.
func (r *Reader) fill() {
	full := r.end == len(r.buf) && len(r.buf) < largeBufferBytes
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) || full {
		size := min(2*len(r.buf), r.max+1)
		grown := make([]byte, max(size, firstBufferBytes))
		copy(grown, r.buf[:r.end])
		r.buf = grown
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 || err != nil {
			r.err = err
			return
		}
	}
	r.err = io.ErrNoProgress
}
