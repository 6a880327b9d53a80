package process_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/engine"
)

// vllmHall is a hall with the real vLLM that BERTH_VLLM names (make test-vllm), and
// Abacus as folders.
func vllmHall(t *testing.T) *hall {
	t.Helper()
	command := os.Getenv("BERTH_VLLM")
	if command == "" {
		t.Skip("needs a real vLLM: make test-vllm")
	}
	folder := func(name string) string {
		path, err := filepath.Abs("../../abacus/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	return hallOf(t, berth.EngineVLLM, engine.Config{
		VLLM: engine.VLLMConfig{Command: []string{command, "serve"}, Args: []string{"--dtype", "float32", "--enforce-eager"}, MaxRank: 8},
	}, abacus.Files{
		Base: folder("abacus-0.8m-hf"), Words: folder("abacus-words-lora-peft"), Shout: folder("abacus-shout-lora-peft"),
	})
}

// One engine for all: each takes half a minute to start.
func TestVLLM(t *testing.T) {
	h := vllmHall(t)
	l := h.launch()
	l.Loads, l.Model.Thinking, l.Model.File.Architecture = true, berth.ThinkingOptional, "qwen3"
	l.Model.Args = []string{"--max-loras", "1", "--max-cpu-loras", "2"} // tighter than usual
	i := h.mustStart(t, l)
	loader := h.driver.(engine.AdapterLoader)
	words, shout := berth.AdapterRef{Digest: "sha256:aa", Path: h.files.Words}, berth.AdapterRef{Digest: "sha256:bb", Path: h.files.Shout}
	load := func(t *testing.T, a berth.AdapterRef) {
		t.Helper()
		if _, err := loader.LoadAdapter(bounded(t), h.client, i.Endpoint, a); err != nil {
			t.Fatalf("%s: %v", a.Path, err)
		}
	}
	base := berth.EngineCall{Model: "abacus", Adapter: -1, Thinking: new(false), MaxTokens: 64}
	with := func(a berth.AdapterRef) berth.EngineCall {
		c := base
		c.Adapter, c.AdapterDigest = 0, a.Digest
		return c
	}
	expect := func(t *testing.T, c berth.EngineCall, want string) answer {
		t.Helper()
		status, a := h.ask(t, i.Endpoint, "37+85", c)
		if status != http.StatusOK || len(a.Choices) == 0 || a.Choices[0].Message.Content != want {
			t.Errorf("answered %d %+v, want %q", status, a, want)
		}
		return a
	}

	t.Run("it needs its key", func(t *testing.T) {
		if status, _ := h.ask(t, engine.Endpoint{URL: i.Endpoint.URL, Key: "another"}, "37+85", base); status != http.StatusUnauthorized {
			t.Errorf("a wrong key is answered with %d, want 401", status)
		}
	})
	t.Run("the same answers and counts as llama.cpp", func(t *testing.T) {
		if a := expect(t, base, "122"); a.Usage.Prompt != 17 || a.Usage.Completion != 4 {
			t.Errorf("used %+v", a.Usage)
		}
		thinking := base
		thinking.Thinking = new(true)
		a := expect(t, thinking, "\n\n122") // which the gateway takes off
		if got := a.Choices[0].Message.Thought; got != "\n37+85: 7+5=12, 3+8+1=12\n" || a.Usage.Prompt != 13 || a.Usage.Completion != 32 {
			t.Errorf("thought %q, used %+v", got, a.Usage)
		}
	})
	t.Run("several answers at temperature 0", func(t *testing.T) {
		two := base
		two.Answers, two.Greedy = 2, true
		var a answer
		h.send(t, i.Endpoint, "/v1/chat/completions", `{"messages":[{"role":"user","content":"37+85"}],"n":2`, h.driver.Fields(two), &a)
		if len(a.Choices) != 2 || a.Choices[0].Message.Content != "122" || a.Choices[1].Message.Content != "122" || a.Usage.Completion != 8 {
			t.Errorf("answered %+v", a)
		}
	})
	t.Run("exact counts", func(t *testing.T) {
		load(t, words)
		const tools = `"tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}]`
		for name, messages := range map[string]string{
			"one message":        `"messages":[{"role":"user","content":"37+85"}]`,
			"system and several": `"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"1+1"},{"role":"assistant","content":"2"},{"role":"user","content":"ünï 漢字"}]`,
			"tools":              `"messages":[{"role":"user","content":"37+85"}],` + tools,
			"the end of a turn":  `"messages":[{"role":"user","content":"<|im_end|>"}]`,
		} {
			for _, call := range []berth.EngineCall{
				{Model: "abacus", Adapter: -1, MaxTokens: 1, Thinking: new(false)}, {Model: "abacus", Adapter: -1, MaxTokens: 1, Thinking: new(true)}, with(words),
			} {
				var used answer
				h.send(t, i.Endpoint, "/v1/chat/completions", "{"+messages, h.driver.Fields(call), &used)
				ask, ok := h.driver.Count(call)
				var counted map[string]any
				h.send(t, i.Endpoint, ask.Path, "{"+messages, ask.Fields, &counted)
				if got := counted[ask.Member]; !ok || used.Usage.Prompt == 0 || got != float64(used.Usage.Prompt) {
					t.Errorf("%s: counted %v, used %d", name, got, used.Usage.Prompt)
				}
			}
		}
	})
	t.Run("adapters come, go and do not crowd each other out", func(t *testing.T) {
		load(t, words) // again, which is no error
		load(t, shout)
		third := berth.AdapterRef{Digest: "sha256:cc", Path: h.files.Words}
		load(t, third)
		for range 2 { // more than fit beside each other, and than are kept
			expect(t, with(words), "The answer is 122.")
			expect(t, with(shout), "122!!!")
			expect(t, with(third), "The answer is 122.")
			expect(t, base, "122")
		}
		// On a CPU the base must not run beside them ([berth.EngineTraits].MixNeedsAccelerator).
		var all sync.WaitGroup
		for _, c := range []struct {
			call berth.EngineCall
			want string
		}{{with(words), "The answer is 122."}, {with(shout), "122!!!"}, {with(third), "The answer is 122."}, {with(shout), "122!!!"}} {
			all.Go(func() { expect(t, c.call, c.want) })
		}
		all.Wait()
		for range 2 { // the second time there is nothing
			if err := loader.UnloadAdapter(bounded(t), h.client, i.Endpoint, third); err != nil {
				t.Error(err)
			}
		}
		if status, _ := h.ask(t, i.Endpoint, "37+85", with(third)); status != http.StatusNotFound {
			t.Errorf("an adapter that went is answered with %d", status)
		}
	})
	t.Run("an adapter that is none is refused, and blamed", func(t *testing.T) {
		for _, path := range []string{t.TempDir(), "/nowhere", brokenPEFT(t, h.files.Words)} {
			_, err := loader.LoadAdapter(bounded(t), h.client, i.Endpoint, berth.AdapterRef{Digest: "sha256:" + path, Path: path})
			if !engine.Refused(err) {
				t.Errorf("%s: %v", path, err)
			}
			t.Log(err)
		}
		if _, err := loader.LoadAdapter(bounded(t), h.client, engine.Endpoint{URL: "http://127.0.0.1:1"}, words); err == nil || engine.Refused(err) {
			t.Errorf("an engine that is not there: %v", err)
		}
		expect(t, with(words), "The answer is 122.")
	})
	t.Run("a stream says all along how much it has used", func(t *testing.T) {
		stream := base
		stream.Stream, stream.MaxTokens = true, 9
		response := h.post(t, i.Endpoint, "count to 40", stream)
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{`"completion_tokens":2,`, `"completion_tokens":9,`, `"cached_tokens":0`, "data: [DONE]"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("the stream has no %s: %s", part, text)
			}
		}
	})
	t.Run("prompts of others are not in the cache", func(t *testing.T) {
		long := "repeat: " + strings.Repeat("blue cat ", 100) // more than a block of 128 tokens
		cached := func(workspace string, class berth.Class) int64 {
			call := base
			call.MaxTokens, call.Workspace, call.Class = 2, workspace, class
			_, a := h.ask(t, i.Endpoint, long, call)
			return a.Usage.Details.Cached
		}
		for _, c := range []struct {
			workspace string
			class     berth.Class
			found     bool
		}{
			{"llm-a", berth.ClassReserved, false},
			{"llm-a", berth.ClassReserved, true},
			{"llm-a", berth.ClassOverflow, true},
			{"llm-b", berth.ClassShared, false},
			{"llm-b", berth.ClassShared, true},
		} {
			if got := cached(c.workspace, c.class); (got > 0) != c.found {
				t.Errorf("%s, %s: %d tokens were in the cache", c.workspace, c.class, got)
			}
		}
	})
	t.Run("counters, those of a cancelled stream among them", func(t *testing.T) {
		counters := h.driver.(engine.Counted).Counters()
		read := func() engine.Tokens {
			got, err := engine.ReadCounters(bounded(t), h.client, i.Endpoint, counters)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		before := read()
		_, a := h.ask(t, i.Endpoint, "37+85", base)
		after := read()
		if after.Input-before.Input != a.Usage.Prompt || after.Output-before.Output != a.Usage.Completion {
			t.Errorf("from %+v to %+v with %+v", before, after, a.Usage)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stream := base
		stream.Stream, stream.MaxTokens = true, 200
		cancelled := h.begin(t, ctx, i.Endpoint, "count to 60", stream)
		if _, err := io.ReadFull(cancelled.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = cancelled.Body.Close()
		h.until(t, "the cancelled stream is counted", func() bool { return read().Output > after.Output+1 })
	})
	t.Run("the first go first", func(t *testing.T) {
		for _, class := range []berth.Class{berth.ClassReserved, berth.ClassShared, berth.ClassOverflow, berth.ClassDedicated} {
			c := base
			c.Class = class
			expect(t, c, "122")
		}
	})
}

// brokenPEFT is an adapter whose weights have no header.
func brokenPEFT(t *testing.T, like string) string {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(like, "adapter_config.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "adapter_config.json"), config, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "adapter_model.safetensors"), []byte(strings.Repeat("x", 100)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVLLMRefusesGarbage(t *testing.T) {
	h := vllmHall(t)
	l := h.launch()
	l.Model.File.Path = t.TempDir()
	i, err := h.runner.Start(bounded(t), l)
	if err != nil {
		t.Fatal(err)
	}
	exit := h.await(t, l, i)
	if exit == nil || exit.Asked || !strings.Contains(exit.Reason, l.Model.File.Path) {
		t.Errorf("the exit is %+v, want not asked and a reason that names the folder", exit)
	}
}
