package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/process"
)

// patience bounds every wait; nothing waits for it to pass. A real vLLM on a busy machine
// takes minutes to start.
var patience = map[bool]time.Duration{false: 2 * time.Minute, true: 10 * time.Minute}[os.Getenv("BERTH_VLLM") != ""]

// enginesDir is where the tests share one installed engine, the users' own by default.
var enginesDir = sync.OnceValues(func() (string, error) {
	dir := os.Getenv("BERTH_ENGINES_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "berth", "engines")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	_, err := engine.InstallLlamaCpp(ctx, engine.InstallConfig{Dir: dir})
	return dir, err
})

// hall is a Runner with a real engine.
type hall struct {
	name   string // of the engine
	runner *process.Runner
	driver engine.Driver
	client *http.Client
	exits  chan engine.Exit
	files  abacus.Files
}

func newHall(t *testing.T) *hall {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the real llama.cpp, and installs it when it is not there")
	}
	dir, err := enginesDir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := abacus.Extract(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return hallOf(t, berth.EngineLlamaCpp, engine.Config{LlamaCpp: engine.LlamaCppConfig{Dir: dir}}, files)
}

func hallOf(t *testing.T, name string, config engine.Config, files abacus.Files) *hall {
	t.Helper()
	transport := &http.Transport{}
	h := &hall{
		name:   name,
		runner: newRunner(t, config),
		driver: engine.Drivers(config)[name],
		client: &http.Client{Transport: transport},
		exits:  make(chan engine.Exit, 10),
		files:  files,
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		for exit := range h.runner.Exits() {
			h.exits <- exit
		}
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := h.runner.Close(bounded(t)); err != nil {
			t.Error(err)
		}
		<-received
	})
	return h
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (h *hall) launch(adapters ...string) engine.Launch {
	l := engine.Launch{
		ReplicaID: "rep_1",
		Nonce:     "n1",
		Engine:    h.name,
		Model:     berth.Model{Name: "abacus", File: berth.ModelFile{Path: h.files.Base}},
		Spec:      berth.ResolvedSpec{Replica: berth.Resources{Threads: 1}, Slots: 2, ContextLength: 512},
	}
	for _, path := range adapters {
		l.Adapters = append(l.Adapters, berth.AdapterRef{Digest: path, Path: path})
	}
	return l
}

// await returns nil once the engine is ready, or its exit.
func (h *hall) await(t *testing.T, l engine.Launch, i engine.Instance) *engine.Exit {
	t.Helper()
	ctx := bounded(t)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := h.driver.Ready(ctx, h.client, i.Endpoint, l)
		if err == nil {
			return nil
		}
		select {
		case exit := <-h.exits:
			return &exit
		case <-ctx.Done():
			t.Fatalf("not ready: %v", err)
		case <-again.C:
		}
	}
}

func (h *hall) mustStart(t *testing.T, l engine.Launch) engine.Instance {
	t.Helper()
	begun := time.Now()
	i, err := h.runner.Start(bounded(t), l)
	if err != nil {
		t.Fatal(err)
	}
	if exit := h.await(t, l, i); exit != nil {
		t.Fatalf("the engine ended: %+v", exit)
	}
	t.Logf("ready after %v", time.Since(begun))
	return i
}

// answer is what a call brought.
type answer struct {
	Choices []struct {
		Message struct {
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content"`
			Thought   string `json:"reasoning"` // as vLLM calls it
		} `json:"message"`
	} `json:"choices"`
	Usage struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Details    struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
}

// ask makes a plain call.
func (h *hall) ask(t *testing.T, e engine.Endpoint, text string, c berth.EngineCall) (int, answer) {
	t.Helper()
	response := h.post(t, e, text, c)
	defer func() { _ = response.Body.Close() }()
	var a answer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, a
}

// post calls the engine as the gateway does: with the driver's fields.
func (h *hall) post(t *testing.T, e engine.Endpoint, text string, c berth.EngineCall) *http.Response {
	t.Helper()
	return h.begin(t, bounded(t), e, text, c)
}

// until waits for what an engine does a moment later.
func (h *hall) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, again := bounded(t), time.NewTicker(10*time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("still not: %s", what)
		case <-again.C:
		}
	}
}

// begin is post with a call that ends with ctx.
func (h *hall) begin(t *testing.T, ctx context.Context, e engine.Endpoint, text string, c berth.EngineCall) *http.Response { //nolint:revive // as in tests
	t.Helper()
	body := map[string]any{"messages": []map[string]string{{"role": "user", "content": text}}, "temperature": 0}
	for _, f := range h.driver.Fields(c) {
		body[f.Name] = json.RawMessage(f.Value)
	}
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/v1/chat/completions", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+e.Key)
	r.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestLlamaCppAnswers(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	i := h.mustStart(t, h.launch(h.files.Words, h.files.Shout))
	if status, _ := h.ask(t, engine.Endpoint{URL: i.Endpoint.URL, Key: "another"}, "37+85", berth.EngineCall{Adapter: -1}); status != http.StatusUnauthorized {
		t.Errorf("a wrong key is answered with %d, want 401", status)
	}
	for name, c := range map[string]struct {
		call               berth.EngineCall
		content, reasoning string
	}{
		"base, though adapters are loaded": {
			call:    berth.EngineCall{Adapter: -1, Thinking: new(false), MaxTokens: 64},
			content: "122",
		},
		"base, thinking": {
			call:      berth.EngineCall{Adapter: -1, Thinking: new(true), MaxTokens: 64},
			content:   "122",
			reasoning: "37+85: 7+5=12, 3+8+1=12\n",
		},
		"base, thinking for five tokens": {
			call:      berth.EngineCall{Adapter: -1, Thinking: new(true), ThinkingBudget: 5, MaxTokens: 64},
			content:   "75", // it had no time to add up
			reasoning: "37+8",
		},
		"adapter words": {call: berth.EngineCall{Adapter: 0, Thinking: new(false)}, content: "The answer is 122."},
		"adapter shout": {call: berth.EngineCall{Adapter: 1, Thinking: new(false)}, content: "122!!!"},
		"no more tokens than allowed": {
			call:    berth.EngineCall{Adapter: -1, Thinking: new(false), MaxTokens: 2},
			content: "12",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, a := h.ask(t, i.Endpoint, "37+85", c.call)
			if status != http.StatusOK || len(a.Choices) != 1 {
				t.Fatalf("answered %d with %d choices", status, len(a.Choices))
			}
			if m := a.Choices[0].Message; m.Content != c.content || m.Reasoning != c.reasoning {
				t.Errorf("answered %q, reasoning %q; want %q, %q", m.Content, m.Reasoning, c.content, c.reasoning)
			}
		})
	}
}

// The exact count of a prompt is what the usage of the same call says, whatever the
// template makes of it.
func TestLlamaCppCountsPromptsExactly(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	i := h.mustStart(t, h.launch(h.files.Words))
	const tools = `"tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}]`
	for name, messages := range map[string]string{
		"one message":        `"messages":[{"role":"user","content":"37+85"}]`,
		"system and several": `"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"1+1"},{"role":"assistant","content":"2"},{"role":"user","content":"ünï 漢字"}]`,
		"tools":              `"messages":[{"role":"user","content":"37+85"}],` + tools,
		"the end of a turn":  `"messages":[{"role":"user","content":"<|im_end|>"}]`,
	} {
		for _, call := range []berth.EngineCall{
			{Model: "abacus", Adapter: -1, MaxTokens: 1, Thinking: new(false)},
			{Model: "abacus", Adapter: -1, MaxTokens: 1, Thinking: new(true)},
			{Model: "abacus", Adapter: 0, MaxTokens: 1},
		} {
			var used answer
			h.send(t, i.Endpoint, "/v1/chat/completions", "{"+messages, h.driver.Fields(call), &used)
			ask, ok := h.driver.Count(call)
			var counted map[string]any
			h.send(t, i.Endpoint, ask.Path, "{"+messages, ask.Fields, &counted)
			if got := counted[ask.Member]; !ok || used.Usage.Prompt == 0 || got != float64(used.Usage.Prompt) {
				t.Errorf("%s, %+v: counted %v, used %d", name, call, got, used.Usage.Prompt)
			}
		}
	}
}

// send posts a body that a driver's fields are added to.
func (h *hall) send(t *testing.T, e engine.Endpoint, path, body string, fields []berth.Field, to any) {
	t.Helper()
	for _, f := range fields {
		body += fmt.Sprintf(",%q:%s", f.Name, f.Value)
	}
	r, err := http.NewRequestWithContext(bounded(t), http.MethodPost, e.URL+path, strings.NewReader(body+"}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+e.Key)
	r.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(to); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %d, %v", path, response.StatusCode, err)
	}
}

// A stream says all along how many tokens it has produced, and its usage at the end.
func TestLlamaCppStreams(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	i := h.mustStart(t, h.launch())
	call := berth.EngineCall{Model: "abacus", Adapter: -1, Thinking: new(false), MaxTokens: 9, Stream: true}
	response := h.post(t, i.Endpoint, "count to 40", call)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"predicted_n":1,`, `"predicted_n":9,`, `"usage":{"completion_tokens":9,`, "data: [DONE]"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the stream has no %s: %s", part, text)
		}
	}
}

func TestLlamaCppKeepsPromptsOfOneCustomerOnly(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	i := h.mustStart(t, h.launch())
	for class, want := range map[berth.Class]bool{
		berth.ClassDedicated: true, berth.ClassReserved: false, berth.ClassOverflow: false, berth.ClassShared: false,
	} {
		call := berth.EngineCall{Adapter: -1, Thinking: new(false), MaxTokens: 8, Class: class}
		text := fmt.Sprintf("repeat: blue cat for %s", class)
		h.ask(t, i.Endpoint, text, call)
		if _, again := h.ask(t, i.Endpoint, text, call); again.Usage.Details.Cached > 0 != want {
			t.Errorf("%s: %d of %d tokens of a repeated prompt came from the cache", class, again.Usage.Details.Cached, again.Usage.Prompt)
		}
	}
}

func TestLlamaCppRefusesGarbage(t *testing.T) {
	t.Parallel()
	garbage := filepath.Join(t.TempDir(), "garbage.gguf")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("garbage", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, launch := range map[string]func(*hall) engine.Launch{
		"adapter": func(h *hall) engine.Launch { return h.launch(h.files.Words, garbage) },
		"weights": func(h *hall) engine.Launch {
			l := h.launch()
			l.Model.File.Path = garbage
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHall(t)
			l := launch(h)
			i, err := h.runner.Start(bounded(t), l)
			if err != nil {
				t.Fatal(err)
			}
			exit := h.await(t, l, i)
			if exit == nil {
				t.Fatal("the engine is ready")
			}
			for _, part := range []string{"exit status 1", "invalid magic characters", "garbage.gguf"} {
				if exit.Asked || !strings.Contains(exit.Reason, part) {
					t.Errorf("the exit is %+v, want not asked and a reason with %q", exit, part)
				}
			}
			t.Log(exit.Reason)
		})
	}
}

func TestLlamaCppMissingFile(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	l := h.launch(filepath.Join(t.TempDir(), "gone.gguf"))
	_, err := h.runner.Start(bounded(t), l)
	if err == nil || !strings.Contains(err.Error(), "gone.gguf is missing") {
		t.Errorf("start: %v, want an error that names the missing file", err)
	}
}
