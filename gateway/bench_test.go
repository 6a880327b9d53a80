package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The first three benchmarks have client, gateway and engine in one process, over
// loopback.

func BenchmarkUnary(b *testing.B) { benchmark(b, chatPath, chat(words)) }

// BenchmarkStream is the same as a stream of 33 events.
func BenchmarkStream(b *testing.B) { benchmark(b, chatPath, chat(words, `"stream":true`)) }

func BenchmarkNativeStream(b *testing.B) {
	benchmark(b, nativePath, generation(words, `"stream":true`))
}

var words = strings.Repeat("word ", 100)

func benchmark(b *testing.B, path, body string) {
	h := open(b, plan{engine: instant()})
	h.logger = slog.New(slog.DiscardHandler)
	b.ReportAllocs()
	for b.Loop() {
		if got := h.post(b, path, body); got.status != 200 {
			b.Fatal(got.body)
		}
	}
}

// BenchmarkUnaryAlone is the gateway's own work for a plain call: no sockets.
func BenchmarkUnaryAlone(b *testing.B) { benchmarkAlone(b, chat(words)) }

// BenchmarkStreamAlone is the same for a stream of 33 events.
func BenchmarkStreamAlone(b *testing.B) { benchmarkAlone(b, chat(words, `"stream":true`)) }

func benchmarkAlone(b *testing.B, body string) {
	call := alone(b, body)
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}

// alone returns what makes a call to a gateway whose engine answers from memory.
func alone(t testing.TB, body string) func() {
	h := open(t, plan{})
	h.logger = slog.New(slog.DiscardHandler)
	h.Gateway.engines = newEngines(inMemoryEngine)
	t.Cleanup(h.Gateway.engines.close)
	serve := h.serve(openAI{})
	r := httptest.NewRequest(http.MethodPost, chatPath, nil)
	r.Header.Set("Authorization", "Bearer "+keyText)
	r.ContentLength = int64(len(body))
	return func() {
		w := httptest.NewRecorder()
		r.Body = io.NopCloser(strings.NewReader(body))
		if serve(w, r); w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
		h.meter.records = h.meter.records[:0]
	}
}

// What a call may allocate, the recorder of the answer included (about ten). Who needs
// more says why in the commit that raises the figure; who needs less lowers it.
func TestAllocations(t *testing.T) { //nolint:paralleltest // others would be counted
	if raceDetector {
		t.Skip("the race detector allocates as well")
	}
	for name, s := range map[string]struct {
		body string
		most float64
	}{
		"a plain call":          {chat(words), 68},
		"a stream of 33 events": {chat(words, `"stream":true`), 90},
	} {
		if got := testing.AllocsPerRun(500, alone(t, s.body)); got > s.most {
			t.Errorf("%s allocates %.0f times, more than %.0f", name, got, s.most)
		}
	}
}

// inMemory is a connection to an engine that has its answers ready and takes every write
// as one request.
type inMemory struct {
	net.Conn
	plain, stream []byte
	left          []byte
}

func inMemoryEngine(context.Context, string, string) (net.Conn, error) { return newInMemory(), nil }

func newInMemory() *inMemory {
	m := &inMemory{}
	for _, to := range []*[]byte{&m.plain, &m.stream} {
		w := httptest.NewRecorder()
		body := `{}`
		if to == &m.stream {
			body = `{"stream":true}`
		}
		instant().ServeHTTP(w, httptest.NewRequest(http.MethodPost, chatPath, strings.NewReader(body)))
		*to = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", w.Body.Len(), w.Body)
	}
	return m
}

func (m *inMemory) Write(p []byte) (int, error) {
	m.left = m.plain
	if bytes.Contains(p, []byte(`"stream":true`)) {
		m.left = m.stream
	}
	return len(p), nil
}

func (m *inMemory) Read(p []byte) (int, error) {
	n := copy(p, m.left)
	m.left = m.left[n:]
	return n, nil
}

func (m *inMemory) Close() error { return nil }

// instant is an engine that answers 32 tokens at once, from memory.
func instant() http.Handler {
	var stream []byte
	for i := range 32 {
		stream = fmt.Appendf(stream, `data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" token%d"}}],"created":1790000000,"id":"chatcmpl-0123456789abcdef","model":"abacus","system_fingerprint":"b1-1","object":"chat.completion.chunk"}`+"\n\n", i)
	}
	stream = append(stream, `data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}]}`+"\n\n"+
		`data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":32,"total_tokens":132}}`+"\n\ndata: [DONE]\n\n"...)
	plain := []byte(`{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":"` + strings.Repeat("token ", 32) +
		`"}}],"created":1790000000,"model":"abacus","system_fingerprint":"b1-1","object":"chat.completion","usage":{"completion_tokens":32,"prompt_tokens":100,"total_tokens":132},"id":"chatcmpl-0123456789abcdef"}`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.Write(stream)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(plain)
	})
}
