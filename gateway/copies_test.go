package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// Many large bodies at once, in dialects that write them anew: what the client sent, what
// was made of it and the body for the engine stay within the bound for all of them together.
func TestRewrittenBodiesAreWithinTheBound(t *testing.T) {
	t.Parallel()
	const all, calls = 16 << 20, 48
	text := strings.Repeat("word ", 100_000)
	for name, c := range map[string]struct{ path, body string }{
		"Anthropic":         {messagesPath, message(text)},
		"responses":         {responsesPath, respond(strconv.Quote(text))},
		"native, a history": {nativePath, fmt.Sprintf(`{"model":%q,"input":{"prompt":%q,"history":[{"user":"a","bot":"b"}]}}`, deployed, text)},
		"OpenAI, in parts":  {chatPath, fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":[{"type":"text","text":%q}]}]}`, deployed, text)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var inside, each atomic.Int64
			answer := make(chan struct{})
			h := open(t, plan{
				bounds: Bounds{BodiesInFlight: all},
				engine: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n, _ := io.Copy(io.Discard, r.Body)
					each.Store(n)
					inside.Add(1)
					<-answer
					w.WriteHeader(http.StatusInternalServerError)
				}),
			})
			var refused atomic.Int64
			var made sync.WaitGroup
			for range calls {
				made.Go(func() {
					got, err := h.client.Do(h.request(t.Context(), t, http.MethodPost, c.path, c.body))
					if err != nil {
						t.Error(err)
						return
					}
					defer got.Body.Close()
					if got.StatusCode == http.StatusTooManyRequests {
						refused.Add(1)
					} else if got.StatusCode != http.StatusInternalServerError {
						said, _ := io.ReadAll(got.Body)
						t.Errorf("%d: %s", got.StatusCode, said)
					}
				})
			}
			for deadline := time.Now().Add(patience); inside.Load()+refused.Load() < calls; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("%d calls are at the engine and %d are refused, of %d", inside.Load(), refused.Load(), calls)
					break
				}
			}
			n := inside.Load()
			if real := n * (int64(len(c.body)) + 2*each.Load()); n == 0 || real > all || real > h.bodies.held.Load() {
				t.Errorf("%d calls hold %d bytes, of which %d are counted; %d may be", n, real, h.bodies.held.Load(), all)
			}
			close(answer)
			made.Wait()
			h.Close()
			if held := h.bodies.held.Load(); held != 0 {
				t.Errorf("%d bytes are still held", held)
			}
		})
	}
}

// What an answer repeats of its request is held, and counted, until the call has ended.
func TestWhatAnAnswerRepeatsIsCounted(t *testing.T) {
	t.Parallel()
	g := &Gateway{bodies: bodies{each: 8 << 20, all: 64 << 20}}
	text := fmt.Sprintf(`{"model":%q,"input":"a","instructions":%q}`, deployed, strings.Repeat("x", 1<<20))
	c := &call{dialect: openAIResponses{}, route: &berth.Route{ContextLength: 1 << 20}, body: g.bodies.take()}
	if err := g.parse(c, value(text), http.Header{}); err != nil {
		t.Fatal(err)
	}
	if held := g.bodies.held.Load(); held < 2<<20 { // messages and echo
		t.Errorf("%d bytes are counted of two copies of a MiB", held)
	}
	c.freeBody()
	if held := g.bodies.held.Load(); held < 1<<20 || held > 3<<19 {
		t.Errorf("%d bytes are counted of a copy of a MiB", held)
	}
	g.depart(c)
	if held := g.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// What is counted before an engine's body is written is what it takes, and before a body is
// written anew as much as that takes, or more.
func TestBytesOfBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(`say \"it\" `, 2000)
	tools := `"tools":[` + strings.TrimSuffix(strings.Repeat(`{"name":"f","input_schema":{"type":"object"}},`, 300), ",") + `]`
	blocks := strings.TrimSuffix(strings.Repeat(`{"type":"text","text":"a"},`, 3000), ",")
	for name, c := range map[string]struct {
		d    dialect
		body string
		copy bool
	}{
		"OpenAI":             {openAI{}, chat("a", `"temperature":1,"repetition_penalty":1.1,"stop":["x"],"n":2`), false},
		"OpenAI, in parts":   {openAI{}, fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":[%s]}]}`, deployed, blocks), true},
		"Anthropic":          {anthropic{}, message("a", tools, `"system":"`+long+`"`), true},
		"Anthropic, blocks":  {anthropic{}, fmt.Sprintf(`{"model":%q,"max_tokens":9,"messages":[{"role":"user","content":[%s]}]}`, deployed, blocks), true},
		"responses":          {openAIResponses{}, respond(`"a"`, `"instructions":"`+long+`"`), true},
		"native":             {native{}, generation("a"), false},
		"native, exchanges":  {native{}, fmt.Sprintf(`{"model":%q,"input":{"prompt":"a","history":[%s]}}`, deployed, strings.TrimSuffix(strings.Repeat(`{"user":"a","bot":"b"},`, 5000), ",")), true},
		"completions":        {openAICompletions{}, completion(`"a"`), false},
		"OpenAI embeddings":  {openAIEmbeddings{}, fmt.Sprintf(`{"model":%q,"input":["a","b"]}`, deployed), false},
		"native embeddings":  {nativeEmbeddings{}, fmt.Sprintf(`{"model":%q,"input":{"texts":["a","b"]}}`, deployed), false},
		"OpenAI, all quoted": {openAI{}, chat("a", `"stop":"`+long[:22]+`"`), false},
	} {
		body := value(c.body)
		r, err := c.d.parse(body, http.Header{}, &berth.Route{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ours := llama{}.Fields(berth.EngineCall{Model: deployed, Adapter: -1, MaxTokens: 7, Stream: true})
		if most, got := r.engineBytes(ours), int64(len(appendEngineBody(nil, &r, ours))); got > most || got < most*9/10 {
			t.Errorf("%s: the engine's body has %d bytes, %d were counted", name, got, most)
		}
		copied := r.copied(body)
		if most := c.d.copies(body); copied > max(most, 64) {
			t.Errorf("%s: %d bytes were copied, at most %d were expected", name, copied, most)
		}
		if c.copy != (copied > 64) {
			t.Errorf("%s: %d bytes were copied", name, copied)
		}
	}
}
