package h1

import (
	"bytes"
	"io"
	"net/http"
)

// body is the body of the answer that a connection carries.
type body struct {
	conn    *conn
	left    int64 // of the body, or of the chunk; -1: up to the end of the connection
	chunked bool
	begun   bool // a chunk was read, and its line end is next
	keep    bool
	err     error // what ended it
	closed  bool
}

// answer is an answer and its body in one piece of memory.
type answer struct {
	http.Response
	body body
}

// answer makes the answer whose body comes next over the connection.
func (c *conn) answer(h head) *http.Response {
	a := &answer{body: body{conn: c, left: h.length, chunked: h.chunked, keep: h.keep}}
	switch {
	case h.chunked:
		a.body.left = 0
	case h.length == 0:
		a.body.err = io.EOF
	}
	a.Response = http.Response{
		StatusCode: h.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: h.length, Body: &a.body,
	}
	return &a.Response
}

// Read implements io.Reader. It gives what is there, of several chunks if need be, and
// waits only for the first byte.
func (b *body) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) && b.err == nil {
		if n > 0 && !b.ready() {
			return n, nil
		}
		var more int
		more, b.err = b.read(p[n:])
		n += more
	}
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

// ready reports whether read gives something, or ends the body, without waiting.
func (b *body) ready() bool {
	here := b.conn.in.buffered()
	if b.left != 0 {
		return len(here) > 0
	}
	if b.begun {
		here = bytes.TrimPrefix(bytes.TrimPrefix(here, []byte("\r")), []byte("\n"))
	}
	return len(here) > 0 && here[0] != '0' && bytes.IndexByte(here, '\n') >= 0 // the last chunk is read when it is asked for
}

// read reads once. It returns 0 bytes and no error between chunks.
func (b *body) read(p []byte) (int, error) {
	if b.chunked && b.left == 0 {
		return 0, b.nextChunk()
	}
	n, err := b.take(p)
	if b.left > 0 {
		b.left -= int64(n)
		if b.left == 0 && !b.chunked {
			return n, io.EOF
		}
	}
	if err != nil && b.left >= 0 {
		err = cutShort(err)
	}
	return n, err
}

// take gives bytes of the body. What fits into p goes there without a detour.
func (b *body) take(p []byte) (n int, err error) {
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	in := &b.conn.in
	if in.empty() && !b.chunked && len(p) >= firstBufferBytes {
		return in.src.Read(p)
	}
	if in.empty() {
		if err := in.fill(largeBufferBytes); err != nil {
			return 0, err
		}
	}
	n = copy(p, in.buffered())
	in.start += n
	return n, nil
}

// nextChunk reads up to the data of the next chunk. After the last one, and its trailers,
// it returns io.EOF.
func (b *body) nextChunk() error {
	in := &b.conn.in
	if b.begun {
		line, err := in.line(len("\r\n"))
		if err != nil {
			return err
		}
		if len(line) > 0 {
			return malformed("a chunk that is longer than it says")
		}
	}
	line, err := in.line(maxChunkLine)
	if err != nil {
		return err
	}
	if b.left, err = chunkSize(line); err != nil {
		return err
	}
	b.begun = true
	if b.left > 0 {
		return nil
	}
	for most := maxTrailerBytes; ; {
		line, err := in.line(most)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
		if most -= len(line) + 1; most <= 0 {
			return malformed("trailers of more than %d bytes", maxTrailerBytes)
		}
	}
}

// chunkSize reads the line before a chunk. What follows a semicolon says nothing here.
func chunkSize(line []byte) (size int64, err error) {
	text, _, _ := bytes.Cut(line, []byte(";"))
	text = bytes.TrimRight(text, " \t")
	if len(text) == 0 || len(text) > 15 {
		return 0, malformed("a wrong chunk size")
	}
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, malformed("a wrong chunk size")
		}
		size = size<<4 | int64(c)
	}
	return size, nil
}

// Close implements io.Closer. The connection is kept if the body was read to its end.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.conn.finish(b.keep && b.err == io.EOF) //nolint:errorlint // exactly the end, nothing that wraps one
	return nil
}
