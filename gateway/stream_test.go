package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// conformance 88, 89, 90, 91, 93
func TestNativeFramesByteForByte(t *testing.T) {
	t.Parallel()
	const id = "2b2b2b2b-0000-4000-8000-000000000000"
	frame := func(n int, output, usage string) string {
		return fmt.Sprintf("id:%d\nevent:result\n:HTTP_STATUS/200\ndata:"+
			`{"output":{%s},"usage":{%s,"prompt_tokens_details":{"cached_tokens":0}},"request_id":"%s"}`+"\n\n", n, output, usage, id)
	}
	message := func(content, finish string) string {
		return fmt.Sprintf(`"choices":[{"message":{"content":%q,"role":"assistant"},"finish_reason":%q}]`, content, finish)
	}
	usage := func(output int) string {
		return fmt.Sprintf(`"total_tokens":%d,"input_tokens":7,"output_tokens":%d`, 7+output, output)
	}
	thought := func(content, reasoning, finish string) string {
		return fmt.Sprintf(`"choices":[{"message":{"content":%q,"reasoning_content":%q,"role":"assistant"},"finish_reason":%q}]`, content, reasoning, finish)
	}
	thoughtUsage := func(output, reasoning int) string {
		return usage(output) + fmt.Sprintf(`,"output_tokens_details":{"reasoning_tokens":%d}`, reasoning)
	}
	for name, tc := range map[string]struct {
		path   string
		body   string
		script fakeengine.Script
		want   []string
	}{
		"each event repeats all text unless told otherwise": {
			path: nativePath, body: generation("count to 2"),
			want: []string{
				frame(1, message("1", "null"), usage(1)), frame(2, message("1 2", "null"), usage(2)), frame(3, message("1 2", "stop"), usage(2)),
			},
		},
		"incremental": {
			path: nativePath, body: generation("count to 2", `"incremental_output":true`),
			want: []string{
				frame(1, message("1", "null"), usage(1)), frame(2, message(" 2", "null"), usage(2)), frame(3, message("", "stop"), usage(2)),
			},
		},
		"incremental text": {
			path: nativePath, body: generation("count to 2", `"incremental_output":true,"result_format":"text"`),
			want: []string{
				frame(1, `"text":"1","finish_reason":"null"`, usage(1)), frame(2, `"text":" 2","finish_reason":"null"`, usage(2)),
				frame(3, `"text":"","finish_reason":"stop"`, usage(2)),
			},
		},
		"thinking is incremental by itself": {
			path: nativePath, body: generation("x y z", `"enable_thinking":true`),
			script: fakeengine.Script{Reasoning: "hm", Reply: "yes"},
			want: []string{
				frame(1, thought("", "hm", "null"), thoughtUsage(1, 1)), frame(2, thought("yes", "", "null"), thoughtUsage(2, 1)),
				frame(3, thought("", "", "stop"), thoughtUsage(2, 1)),
			},
		},
		"the multimodal path": {
			path: multimodalPath, body: generation("count to 1", `"incremental_output":true`),
			want: []string{
				frame(1, `"choices":[{"message":{"content":[{"text":"1"}],"role":"assistant"},"finish_reason":"null"}]`, usage(1)),
				frame(2, `"choices":[{"message":{"content":[],"role":"assistant"},"finish_reason":"stop"}]`, usage(1)),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, plan{scripts: []fakeengine.Script{tc.script}})
			got := h.post(t, tc.path, tc.body, "X-DashScope-SSE: enable", "X-Request-Id: "+id)
			if ct := got.header.Get("Content-Type"); ct != "text/event-stream" {
				t.Errorf("content type %q", ct)
			}
			if want := strings.Join(tc.want, ""); got.body != want {
				t.Errorf("got\n%s\nwant\n%s", got.body, want)
			}
		})
	}
}

// conformance 100, 101, 102, 103
func TestOpenAIChunks(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for _, withUsage := range []bool{false, true} {
		got := h.post(t, chatPath, chat("count to 2", `"stream":true,"stream_options":{"include_usage":`+strconv.FormatBool(withUsage)+`}`))
		if !strings.HasSuffix(got.body, "data: [DONE]\n\n") {
			t.Errorf("no [DONE] at the end of %q", got.body)
		}
		chunks := datas(t, got.body)
		id, created := chunks[0]["id"], chunks[0]["created"]
		if !strings.HasPrefix(id.(string), "chatcmpl-") {
			t.Errorf("id %v", id)
		}
		var texts []any
		for i, c := range chunks {
			if c["id"] != id || c["created"] != created || c["model"] != deployed || c["object"] != "chat.completion.chunk" {
				t.Errorf("chunk %d is of another call: %v", i, c)
			}
			if role := at(c, "choices", 0, "delta", "role"); (role != nil) != (i == 0) {
				t.Errorf("chunk %d has the role %v", i, role)
			}
			texts = append(texts, at(c, "choices", 0, "delta", "content"))
			if i == 3 {
				break
			}
		}
		if want := []any{"", "1", " 2", ""}; !slices.Equal(texts, want) {
			t.Errorf("contents %q, want %q", texts, want)
		}
		if at(chunks[3], "choices", 0, "finish_reason") != "stop" || at(chunks[2], "choices", 0, "finish_reason") != nil {
			t.Errorf("finish reasons are wrong: %v", chunks)
		}
		if !withUsage {
			if strings.Contains(got.body, `"usage"`) || len(chunks) != 4 {
				t.Errorf("usage was not asked for: %s", got.body)
			}
			continue
		}
		last := chunks[len(chunks)-1]
		if len(chunks) != 5 || len(last["choices"].([]any)) != 0 || at(last, "usage", "total_tokens") != 9.0 {
			t.Errorf("last chunk %v", last)
		}
	}
}

// A client that goes away takes its engine's call with it, and what it was told is
// settled.
func TestCancelledClientCancelsTheEngine(t *testing.T) {
	t.Parallel()
	hang := fakeengine.Script{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangMidStream, AfterEvents: 3}}}
	for name, tc := range map[string]struct {
		path, body string
		streams    bool
		source     berth.Source
	}{
		"OpenAI stream": {chatPath, chat("count to 5", `"stream":true`), true, berth.SourceCounted},
		"native stream": {nativePath, generation("count to 5", `"stream":true`), true, berth.SourceCounted},
		"OpenAI plain":  {chatPath, chat("count to 5"), false, berth.SourceUnknown},
		"native plain":  {nativePath, generation("count to 5"), false, berth.SourceUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := &fixedLimiter{}
			h := open(t, plan{scripts: []fakeengine.Script{hang}, limiter: limits, route: func(r *berth.Route) { r.Limits.Tokens = 1000 }})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			gone := make(chan error, 1)
			if tc.streams {
				response, err := h.client.Do(h.request(ctx, t, http.MethodPost, tc.path, tc.body))
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				readUntil(t, response.Body, ` 2"`)
			} else {
				request := h.request(ctx, t, http.MethodPost, tc.path, tc.body)
				go func() {
					_, err := h.client.Do(request)
					gone <- err
				}()
				defer func() { <-gone }() //nolint:errcheck // the client's own doing
				must(t, h.engines[0].WaitInFlight(waiting(t), 1))
			}
			cancel()
			must(t, h.engines[0].WaitCancelled(waiting(t), 1))

			r := h.meter.wait(t, 1)[0]
			if r.End != berth.EndClientGone || r.Source != tc.source || r.Billable != tc.streams {
				t.Errorf("record %+v", r)
			}
			h.Close()
			want := limits.asked[0] // nobody knows better
			if tc.streams {
				want = Tokens{Requests: 1, Input: 7, Output: 2, Content: 2}
			}
			if len(limits.settled) != 1 || limits.settled[0] != want {
				t.Errorf("settled %+v, want %+v", limits.settled, want)
			}
		})
	}
}

func waiting(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readUntil reads lines until one has the text.
func readUntil(t *testing.T, r io.Reader, text string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("%q never came: %v", text, lines.Err())
}

// A client that stops reading does not hold its engine for ever.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	chunk := `data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 100_000) + `"}}]}` + "\n\n"
	h := open(t, plan{
		bounds: Bounds{StreamIdle: time.Second},
		engine: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, chunk)
			}
		}),
	})
	response, err := h.client.Do(h.request(t.Context(), t, http.MethodPost, chatPath, chat("x", `"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if r := h.meter.wait(t, 1)[0]; r.End != berth.EndClientGone {
		t.Errorf("record %+v", r)
	}
}

// A deadline for one answer does not outlive it: the connection is good for the next.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	h := open(t, plan{bounds: Bounds{StreamIdle: time.Second}})
	for i := range 2 {
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
		response, err := h.client.Do(h.request(ctx, t, http.MethodPost, chatPath, chat("x", `"stream":true`)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || !strings.Contains(string(body), "[DONE]") || reused != (i > 0) {
			t.Errorf("call %d: %v, reused %v: %s", i, err, reused, body)
		}
		<-time.After(1100 * time.Millisecond) // past the first answer's deadline, which must do nothing
	}
}

// Events that came together may go out together, but none waits for what comes later:
// the engine hangs here in the middle of something else.
func TestEventsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	event := func(text string) string {
		return `data: {"choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\n\n"
	}
	for name, sent := range map[string]string{
		"the next event is cut":     event("one") + event("two") + "data: {",
		"a heartbeat comes after":   event("one") + event("two") + ": here\n\n",
		"blank lines come after":    event("one") + event("two") + "\n\n",
		"an event without a choice": event("one") + event("two") + `data: {"choices":[]}` + "\n\n",
		"more than is sent at once": strings.Repeat(event("one"), 2000) + event("two"),
	} {
		for path, body := range map[string]string{
			chatPath: chat("x", `"stream":true`), nativePath: generation("x", `"stream":true,"incremental_output":true`),
		} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				h := open(t, plan{engine: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, sent)
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				})})
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				response, err := h.client.Do(h.request(ctx, t, http.MethodPost, path, body))
				must(t, err)
				defer response.Body.Close()
				readUntil(t, response.Body, `"two"`)
			})
		}
	}
}

// A failure does not take with it what came before it, even in the same moment.
func TestFailureBehindAnEvent(t *testing.T) {
	t.Parallel()
	h := open(t, plan{engine: canned([]string{`{"choices":[{"index":0,"delta":{"content":"one"}}]}`, `{"error":{"message":"out of memory"}}`})})
	for path, body := range map[string]string{
		chatPath: chat("x", `"stream":true`), nativePath: generation("x", `"stream":true,"incremental_output":true`),
	} {
		got := h.post(t, path, body)
		if list := frames(got.body); got.status != 200 || len(list) != 2 || !strings.Contains(list[0], `"one"`) || !strings.Contains(list[1], "ModelServiceFailed") {
			t.Errorf("%s: %d %q", path, got.status, got.body)
		}
	}
	for _, r := range h.meter.wait(t, 2) {
		if r.End != berth.EndEngineFailed || r.Source != berth.SourceCounted || r.OutputTokens != 1 || r.Billable {
			t.Errorf("record %+v", r)
		}
	}
}
