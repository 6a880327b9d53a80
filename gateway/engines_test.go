package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	berth "github.com/berthhq/berth"
)

// What engines were seen to do that no specification says.

// An engine's tool calls reach both dialects whole, without nulls.
func TestToolCalls(t *testing.T) {
	t.Parallel()
	chunks := []string{
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}],"timings":{"prompt_n":3,"cache_n":2,"predicted_n":1}}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":"{\"a\""}}]}}],"timings":{"prompt_n":3,"cache_n":2,"predicted_n":2}}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]}}]}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"system_fingerprint":"of-the-engine"}`,
		`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":2}},"timings":{"prompt_n":3,"predicted_n":9}}`,
	}
	h := open(t, plan{engine: canned(chunks)})
	tools := `"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]`

	native := h.post(t, nativePath, generation("x", tools)).json(t)
	calls := at(native, "output", "choices", 0, "message", "tool_calls")
	want := `[{"function":{"arguments":"{\"a\":1}","name":"f"},"id":"c1","index":0,"type":"function"},{"function":{"arguments":"{}","name":"g"},"id":"c2","index":1,"type":"function"}]`
	if got, _ := json.Marshal(calls); string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if at(native, "output", "choices", 0, "finish_reason") != "tool_calls" || at(native, "usage", "prompt_tokens_details", "cached_tokens") != 2.0 {
		t.Errorf("got %v", native)
	}
	for _, got := range []result{
		h.post(t, chatPath, chat("x", tools, `"stream":true`)),
		h.post(t, nativePath, generation("x", tools, `"incremental_output":true`), "X-DashScope-SSE: enable"),
	} {
		for _, bad := range []string{`"id":null`, `"type":null`, `"name":null`, "timings", "of-the-engine"} {
			if strings.Contains(got.body, bad) {
				t.Errorf("%s reached the client: %s", bad, got.body)
			}
		}
		if !strings.Contains(got.body, `{"index":0,"function":{"arguments":"{\"a\""}}`) {
			t.Errorf("a fragment is missing: %s", got.body)
		}
	}
	for _, r := range h.meter.wait(t, 3) {
		if r.End != berth.EndToolCalls || r.InputTokens != 5 || r.CachedTokens != 2 || r.OutputTokens != 9 {
			t.Errorf("record %+v", r)
		}
	}
}

// llama.cpp tells of several answers one by one, in any order, and of each one's usage at
// its end: the call used the sum of them.
func TestSeveralAnswersOfLlamaCpp(t *testing.T) {
	t.Parallel()
	const figures = `"usage":{"prompt_tokens":12,"completion_tokens":%d},"timings":{"cache_n":3,"prompt_n":9,"predicted_n":%d}`
	h := open(t, plan{engine: canned([]string{
		`{"choices":[{"index":1,"delta":{"role":"assistant","content":null}}],"timings":{"cache_n":3,"prompt_n":9,"predicted_n":1}}`,
		`{"choices":[{"index":1,"delta":{"content":"b"}}],"timings":{"cache_n":3,"prompt_n":9,"predicted_n":2}}`,
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}],"timings":{"cache_n":3,"prompt_n":9,"predicted_n":4}}`,
		`{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}`,
		`{"choices":[],` + fmt.Sprintf(figures, 3, 3) + `}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`,
		`{"choices":[],` + fmt.Sprintf(figures, 5, 5) + `}`,
	})})
	for path, body := range map[string]string{
		chatPath: chat("x", `"n":2`), nativePath: generation("x", `"n":2`),
		chatPath + "/": chat("x", `"n":2,"stream":true`), nativePath + "/": generation("x", `"n":2,"stream":true`),
	} {
		h.post(t, path, body)
	}
	for _, r := range h.meter.wait(t, 4) {
		if r.InputTokens != 12 || r.CachedTokens != 3 || r.OutputTokens != 8 || r.Source != berth.SourceEngine {
			t.Errorf("record %+v", r)
		}
	}
	whole := h.post(t, chatPath, chat("x", `"n":2`)).json(t)
	if readOpenAI(whole, "message").content != [4]string{"a", "b"} || at(whole, "choices", 0, "index") != 0.0 {
		t.Errorf("got %v", whole)
	}
}

// canned is an engine that streams the same chunks to every call.
func canned(chunks []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, chunk := range append(slices.Clone(chunks), "[DONE]") {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", chunk)
		}
	})
}

// An engine may close a kept connection in the moment in which the next call is sent on
// it. This one does so for certain: it reads the second request of each connection and
// hangs up.
func TestEngineThatClosesKeptConnections(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { answerOnce(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		served.Wait()
	})
	h := open(t, plan{route: func(r *berth.Route) { r.Targets[0].URL = "http://" + listener.Addr().String() }})
	for range 5 {
		if got := h.post(t, chatPath, chat("x")); got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
}

// answerOnce answers one request and hangs up at the next.
func answerOnce(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	requests := bufio.NewReader(conn)
	for i := range 2 {
		r, err := http.ReadRequest(requests)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if i == 0 {
			const body = `{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}`
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}
}

// Engines that wander off are not followed.
func TestRedirectsOfEnginesAreNotFollowed(t *testing.T) {
	t.Parallel()
	h := open(t, plan{engine: http.RedirectHandler("http://127.0.0.1:1/", http.StatusTemporaryRedirect)})
	if got := h.post(t, chatPath, chat("x")); got.status != 500 || at(got.json(t), "error", "code") != "ModelServiceFailed" {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// A call goes to its engine in one piece, header and body, unless it is large. A large
// one arrives whole as well.
func TestCallsGoOutInOnePiece(t *testing.T) {
	t.Parallel()
	came := make(chan int64, 1)
	h := open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		came <- n
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}`)
	})})
	var writes atomic.Int64
	h.Gateway.engines = newEngines(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return countedWrites{conn, &writes}, err
	})
	for _, size := range []int{100, 3000, 50_000, 100_000} {
		writes.Store(0)
		if got := h.post(t, chatPath, chat(strings.Repeat("x", size))); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if n := writes.Load(); size < 4000 && n != 1 {
			t.Errorf("%d bytes of text took %d writes", size, n)
		}
		if n := <-came; n < int64(size) {
			t.Errorf("%d bytes came of a text of %d", n, size)
		}
	}
}

type countedWrites struct {
	net.Conn
	n *atomic.Int64
}

func (c countedWrites) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

// What engines leave null, or out, crashes official clients: deltas, types, arguments,
// figures.
// conformance 154
func TestCompatibleStreamsHoldNoNulls(t *testing.T) {
	t.Parallel()
	h := open(t, plan{engine: canned([]string{
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":null}}],"usage":null}`,
		`{"choices":[{"index":0,"delta":null}]}`,
		`{"choices":[{"index":0}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":null}}]}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":"{\"a\":1}"}}]}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g"}}]}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"type":null,"function":{}}]}}]}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":null,"prompt_tokens_details":{"cached_tokens":null},"completion_tokens_details":{"reasoning_tokens":null}}}`,
	})})
	got := h.post(t, chatPath, chat("x", `"tools":[{"type":"function","function":{"name":"f"}}],"stream":true,"stream_options":{"include_usage":true}`))
	arguments := map[any]string{}
	fragments := 0
	for _, chunk := range datas(t, got.body) {
		choices := at(chunk, "choices").([]any)
		if len(choices) == 0 {
			if usage, _ := json.Marshal(chunk["usage"]); strings.Contains(string(usage), "null") || at(chunk, "usage", "total_tokens") != 14.0 {
				t.Errorf("usage %s", usage)
			}
			continue
		}
		delta, ok := at(choices, 0, "delta").(map[string]any)
		if !ok {
			t.Fatalf("a delta is no object: %v", chunk)
		}
		calls, _ := delta["tool_calls"].([]any)
		for _, c := range calls {
			fragments++
			if kind, has := c.(map[string]any)["type"]; has && kind != "function" {
				t.Errorf("a tool call of the type %v", kind)
			}
			piece, ok := at(c, "function", "arguments").(string)
			if !ok {
				t.Errorf("arguments are no string: %v", c)
			}
			arguments[at(c, "index")] += piece
		}
	}
	if fragments != 4 || arguments[0.0] != `{"a":1}` || arguments[1.0] != "" {
		t.Errorf("%d fragments, %v of %s", fragments, arguments, got.body)
	}
}
