package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// What an answer may be besides its body.
const (
	firstBufferBytes = 2 << 10
	// largeBufferBytes is what the buffer grows to when an engine sends more at once than
	// it holds: fewer reads for fast streams, and little memory for slow ones.
	largeBufferBytes = 16 << 10
	maxHeadBytes     = 32 << 10
	maxChunkLine     = 1 << 10
	maxTrailerBytes  = 32 << 10
	maxInformational = 8
	maxEmptyReads    = 100
)

// ErrMalformed is what an answer that is no HTTP/1.1, or beyond a bound, is refused with.
var ErrMalformed = errors.New("h1: malformed answer")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// reader buffers what comes over a connection.
type reader struct {
	src        io.Reader
	buf        []byte // what came and is not used yet is buf[start:end]
	start, end int
}

func (r *reader) empty() bool { return r.start == r.end }

func (r *reader) buffered() []byte { return r.buf[r.start:r.end] }

// fill reads once, at least a byte, into a buffer of at most most bytes. Positions in
// buffered stay true; slices of it do not.
func (r *reader) fill(most int) error {
	r.makeRoom(most)
	if r.end == len(r.buf) {
		return malformed("a line or header of more than %d bytes", most)
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 {
			return nil // an error comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (r *reader) makeRoom(most int) {
	full := r.end == len(r.buf) && r.end > 0
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.start > 0 && r.end == len(r.buf) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	size := len(r.buf)
	switch {
	case size == 0:
		size = firstBufferBytes
	case full && size < largeBufferBytes:
		size = largeBufferBytes
	case r.end == size:
		size = min(2*size, most)
	}
	if size > len(r.buf) {
		grown := make([]byte, size)
		r.end = copy(grown, r.buf[r.start:r.end])
		r.start, r.buf = 0, grown
	}
}

// line returns the next line without its end, valid until the next use of the reader. A
// line feed ends it, with or without a carriage return before it.
func (r *reader) line(most int) ([]byte, error) {
	for seen := 0; ; {
		here := r.buffered()
		if n := bytes.IndexByte(here[seen:], '\n'); n >= 0 {
			if seen+n >= most {
				return nil, malformed("a line of more than %d bytes", most)
			}
			r.start += seen + n + 1
			return bytes.TrimSuffix(here[:seen+n], []byte("\r")), nil
		}
		if len(here) >= most {
			return nil, malformed("a line of more than %d bytes", most)
		}
		seen = len(here)
		if err := r.fill(max(most, largeBufferBytes)); err != nil {
			return nil, cutShort(err)
		}
	}
}

// cutShort: an end where none may be.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
