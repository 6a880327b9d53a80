package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// recorded is a connection over which the same bytes come for every request.
type recorded struct {
	net.Conn
	in io.Reader
}

func (r recorded) Write(p []byte) (int, error) { return len(p), nil }
func (r recorded) Read(p []byte) (int, error)  { return r.in.Read(p) }
func (r recorded) Close() error                { return nil }

func read(text []byte, slow bool) (status int, body []byte, err error) {
	var in io.Reader = bytes.NewReader(text)
	if slow {
		in = iotest.OneByteReader(in)
	}
	c := New(Options{Dial: func(context.Context, string) (net.Conn, error) { return recorded{in: in}, nil }})
	defer c.Close()
	response, err := c.Post(context.Background(), requestTo("a:1", "x"))
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// Whatever an engine says is read without a panic and without end, and the same when it
// comes byte by byte. What we take net/http takes as well, and alike.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.0 200 OK\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nConnection: close\r\ncontent-length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n1\nx\n0\n\n", "HTTP/1.1 204\r\n\r\nx",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		status, body, err := read(text, false)
		slowStatus, slowBody, slowErr := read(text, true)
		if status != slowStatus || !bytes.Equal(body, slowBody) || (err == nil) != (slowErr == nil) {
			t.Fatalf("at once %d %q %v, byte by byte %d %q %v", status, body, err, slowStatus, slowBody, slowErr)
		}
		if err != nil || bytes.Contains(text, []byte("HTTP/1.0")) {
			return // net/http knows no chunks there; curl does
		}
		reference := bufio.NewReader(bytes.NewReader(text))
		response, err := http.ReadResponse(reference, &http.Request{Method: http.MethodPost})
		for err == nil && response.StatusCode < 200 {
			response, err = http.ReadResponse(reference, &http.Request{Method: http.MethodPost})
		}
		if err != nil {
			if strings.Contains(err.Error(), "malformed MIME header") || strings.Contains(err.Error(), "invalid header") {
				return // it looks at values that are not used here
			}
			t.Fatalf("net/http refuses it: %v", err)
		}
		want, err := io.ReadAll(response.Body)
		if response.StatusCode != status || err == nil && !bytes.Equal(body, want) {
			t.Fatalf("net/http reads %d %q", response.StatusCode, want)
		}
	})
}
