package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"
)

// mostIdleBytes is what a stream may keep while nothing comes: memory of the heap and of
// stacks, with net/http's side of it and the test's own connections, which are a few KiB.
// One more doubling of its stack is beyond it.
const mostIdleBytes = 40 << 10

// Thousands of streams wait for their engines at any time.
func TestIdleStreamsAreSmall(t *testing.T) { //nolint:paralleltest // others would be measured
	if raceDetector {
		t.Skip("the race detector needs memory as well")
	}
	const streams = 400
	h := open(t, plan{})
	h.logger = slog.New(slog.DiscardHandler)
	h.Gateway.engines = newEngines(func(context.Context, string, string) (net.Conn, error) {
		return &silent{closed: make(chan struct{})}, nil
	})
	before := inUse()
	for range streams {
		h.openIdle(t)
	}
	each := (inUse() - before) / streams
	if each > mostIdleBytes {
		t.Errorf("a stream over which nothing comes takes %d bytes, more than %d", each, mostIdleBytes)
	}
}

// openIdle makes a streamed call of which one event comes.
func (h *house) openIdle(t *testing.T) {
	t.Helper()
	at, err := url.Parse(h.url)
	must(t, err)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", at.Host)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	body := chat(words, `"stream":true`)
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", chatPath, keyText, len(body), body)
	must(t, err)
	readUntil(t, conn, `"idle"`)
}

// inUse is the memory of heap and stacks.
func inUse() int64 {
	for range 3 { // twice empties pools
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// silent is a connection to an engine that sends one event and nothing more.
type silent struct {
	net.Conn
	said   bool
	once   sync.Once
	closed chan struct{}
}

func (c *silent) Write(p []byte) (int, error) { return len(p), nil }

func (c *silent) Read(p []byte) (int, error) {
	if !c.said {
		c.said = true
		const event = `data: {"choices":[{"index":0,"delta":{"content":"idle"}}]}` + "\n\n"
		return copy(p, fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", http.StatusOK, len(event), event)), nil
	}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *silent) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
