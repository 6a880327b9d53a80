package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func launchForTest() Launch {
	return Launch{
		ReplicaID: "rep_1",
		Model:     berth.Model{Name: "abacus", File: berth.ModelFile{Path: "/models/a.gguf"}, ContextLength: 32768},
		Spec:      berth.ResolvedSpec{Replica: berth.Resources{Threads: 3}, Slots: 4},
		Adapters:  []berth.AdapterRef{{Digest: "sha256:aa", Path: "/models/words.gguf"}, {Digest: "sha256:bb", Path: "/models/shout.gguf"}},
		GPUs:      []berth.Accelerator{{ID: "GPU-1"}, {ID: "GPU-2"}},
	}
}

func TestCommand(t *testing.T) {
	t.Setenv("BERTH_SECRET", "not for engines")
	t.Setenv("PATH", "/usr/bin:/bin")
	drivers := Drivers(Config{
		LlamaCpp: LlamaCppConfig{Command: []string{"sh", "llama-server"}},
		VLLM:     VLLMConfig{Command: []string{"vllm", "serve"}},
		Fake:     FakeConfig{Executable: "/bin/berth"},
	})
	for name, c := range map[string]struct{ args, key string }{
		"llamacpp": {
			"sh llama-server --model /models/a.gguf --alias abacus --host 127.0.0.1 --port 4711 --ctx-size 131072 --parallel 4" +
				" --cache-ram 0 --threads-http 256 --metrics --slots --jinja --no-webui --embeddings --pooling mean --threads 3 --n-gpu-layers 9999" +
				" --lora /models/words.gguf --lora /models/shout.gguf --lora-init-without-apply",
			"LLAMA_API_KEY=secret",
		},
		"vllm": {
			"vllm serve /models/a.gguf --served-model-name abacus --host 127.0.0.1 --port 4711 --max-num-seqs 4" +
				" --scheduling-policy priority --enable-prompt-tokens-details --max-model-len 32768 --tensor-parallel-size 2 --enable-lora --max-loras 2" +
				" --max-cpu-loras 8 --max-lora-rank 64 --lora-modules berth-adapter-aa=/models/words.gguf berth-adapter-bb=/models/shout.gguf",
			"VLLM_API_KEY=secret",
		},
		"fake": {
			"/bin/berth fake-engine --host 127.0.0.1 --port 4711 --script /models/a.gguf --adapter berth-adapter-aa --adapter berth-adapter-bb",
			"BERTH_ENGINE_KEY=secret",
		},
	} {
		command, err := drivers[name].Command(launchForTest(), Listen{Host: "127.0.0.1", Port: 4711, Key: "secret"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(command.Args, " "); got != c.args {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, c.args)
		}
		for _, want := range []string{c.key, "PATH=/usr/bin:/bin", "OMP_NUM_THREADS=3", "CUDA_VISIBLE_DEVICES=GPU-1,GPU-2"} {
			if !slices.Contains(command.Env, want) {
				t.Errorf("%s: the environment %q has no %s", name, command.Env, want)
			}
		}
		if all := strings.Join(append(command.Env, command.Args...), " "); strings.Contains(all, "not for engines") {
			t.Errorf("%s: Berth's own environment leaks", name)
		}
	}
}

func TestEnginesSeeTheirOwnAcceleratorsOnly(t *testing.T) {
	t.Parallel()
	drivers := Drivers(Config{
		LlamaCpp: LlamaCppConfig{Command: []string{"sh"}}, VLLM: VLLMConfig{Command: []string{"vllm"}}, Fake: FakeConfig{Executable: "/bin/berth"},
	})
	for name, c := range map[string]struct {
		gpus []berth.Accelerator
		want string
	}{
		"none":            {nil, "CUDA_VISIBLE_DEVICES= HIP_VISIBLE_DEVICES= ROCR_VISIBLE_DEVICES="},
		"two of NVIDIA":   {[]berth.Accelerator{{ID: "GPU-8f", Vendor: berth.VendorNVIDIA}, {ID: "GPU-1c", Vendor: berth.VendorNVIDIA}}, "CUDA_VISIBLE_DEVICES=GPU-8f,GPU-1c"},
		"one of AMD":      {[]berth.Accelerator{{ID: "GPU-18f68e602b6a790d", Vendor: berth.VendorAMD}}, "ROCR_VISIBLE_DEVICES=GPU-18f68e602b6a790d"},
		"of nobody knows": {[]berth.Accelerator{{ID: "0"}}, "CUDA_VISIBLE_DEVICES=0"},
	} {
		for _, driver := range []string{"llamacpp", "vllm", "fake"} {
			l := launchForTest()
			l.GPUs = c.gpus
			command, err := drivers[driver].Command(l, Listen{})
			if err != nil {
				t.Fatal(err)
			}
			var seen []string
			for _, e := range command.Env {
				if strings.Contains(e, "VISIBLE_DEVICES") {
					seen = append(seen, e)
				}
			}
			if got := strings.Join(seen, " "); got != c.want {
				t.Errorf("%s with %s: %s, want %s", driver, name, got, c.want)
			}
			args := strings.Join(command.Args, " ")
			if got := strings.Contains(args, "--n-gpu-layers 9999"); got != (driver == "llamacpp" && len(c.gpus) > 0) {
				t.Errorf("%s with %s: %s", driver, name, args)
			}
			if got := strings.Contains(args, "--tensor-parallel-size 2"); got != (driver == "vllm" && len(c.gpus) == 2) {
				t.Errorf("%s with %s: %s", driver, name, args)
			}
		}
	}
}

func TestCommandRefusesForGood(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	drivers := Drivers(Config{LlamaCpp: LlamaCppConfig{Dir: t.TempDir()}})
	for name, want := range map[string]string{
		"llamacpp": "run `berth engine install llamacpp`",
		"vllm":     "set engines.vllm.command",
		"fake":     "no executable",
		"endpoint": "no engine to start",
	} {
		_, err := drivers[name].Command(launchForTest(), Listen{})
		if !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a permanent error with %q", name, err, want)
		}
	}
	l := launchForTest()
	l.Adapters[1].Path = "/models/a,b.gguf"
	t.Setenv("PATH", "/usr/bin:/bin")
	if _, err := NewLlamaCpp(LlamaCppConfig{Command: []string{"sh"}}).Command(l, Listen{}); !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), "comma in /models/a,b.gguf") {
		t.Errorf("a comma: got %v", err)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	drivers := Drivers(Config{})
	full := berth.EngineCall{Model: "m", Adapter: 1, AdapterDigest: "sha256:bb", Workspace: "llm-w", Answers: 2, Greedy: true, Thinking: new(true), ThinkingBudget: 5, MaxTokens: 7, Stream: true, Class: berth.ClassShared}
	plain := berth.EngineCall{Model: "m", Adapter: -1, Workspace: "llm-w", Answers: 1, Greedy: true, Class: berth.ClassDedicated}
	for name, want := range map[string][2]string{
		"llamacpp": {
			`{"cache_prompt":false,"chat_template_kwargs":{"enable_thinking":true},"lora":[{"id":1,"scale":1}],"max_tokens":7,"model":"m","stream":true,"stream_options":{"include_usage":true},"thinking_budget_tokens":5,"timings_per_token":true}`,
			`{"cache_prompt":true,"lora":[{"id":0,"scale":0}],"model":"m"}`,
		},
		"vllm": {
			`{"cache_salt":"llm-w","chat_template_kwargs":{"enable_thinking":true},"max_tokens":7,"model":"berth-adapter-bb","priority":1,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"temperature":1,"thinking_token_budget":5,"top_k":1}`,
			`{"model":"m","priority":0}`,
		},
		"endpoint": {
			`{"chat_template_kwargs":{"enable_thinking":true},"max_tokens":7,"model":"m","stream":true,"stream_options":{"include_usage":true}}`,
			`{"model":"m"}`,
		},
		"fake": {
			`{"chat_template_kwargs":{"enable_thinking":true},"lora":[{"id":1,"scale":1}],"max_tokens":7,"model":"berth-adapter-bb","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"thinking_budget_tokens":5}`,
			`{"lora":[{"id":0,"scale":0}],"model":"m"}`,
		},
	} {
		for i, call := range []berth.EngineCall{full, plain} {
			body := map[string]json.RawMessage{}
			for _, f := range drivers[name].Fields(call) {
				body[f.Name] = f.Value
			}
			got, err := json.Marshal(body)
			if err != nil || string(got) != want[i] {
				t.Errorf("%s\ngot  %s, %v\nwant %s", name, got, err, want[i])
			}
		}
	}
}

// A count is asked with what decides about the prompt: the model or adapter and the
// mode of thinking.
func TestCount(t *testing.T) {
	t.Parallel()
	call := berth.EngineCall{Model: "m", Adapter: 1, AdapterDigest: "sha256:1", Thinking: new(true), MaxTokens: 7, Stream: true, Class: berth.ClassProbe}
	for name, want := range map[string]string{
		"llamacpp": `/v1/chat/completions/input_tokens input_tokens "m" {"enable_thinking":true}`,
		"vllm":     `/tokenize count "berth-adapter-1" {"enable_thinking":true}`,
		"fake":     `/v1/chat/completions/input_tokens input_tokens "berth-adapter-1" {"enable_thinking":true}`,
		"endpoint": "",
	} {
		ask, ok := Drivers(Config{})[name].Count(call)
		got := ""
		if ok {
			got = ask.Path + " " + ask.Member
		}
		for _, f := range ask.Fields {
			if f.Name == "model" || f.Name == "chat_template_kwargs" {
				got += " " + string(f.Value)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestReady(t *testing.T) {
	const token = `{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}}`
	spent := map[string]Spent{"a token from base and adapters": {3, 27, 12, 3, 0}, "a bad adapter": {2, 18, 8, 2, 0}, "no token": {Calls: 1}, "no JSON": {Unheard: 1}}
	var bodies []string
	for name, c := range map[string]struct {
		driver string
		answer http.HandlerFunc
		want   string
	}{
		"a token from base and adapters": {"llamacpp", func(w http.ResponseWriter, r *http.Request) {
			var body struct {
				Lora      json.RawMessage `json:"lora"`
				MaxTokens int             `json:"max_tokens"`
			}
			if r.Header.Get("Authorization") != "Bearer k" || json.NewDecoder(r.Body).Decode(&body) != nil || body.MaxTokens != 1 {
				w.WriteHeader(http.StatusBadRequest)
			}
			bodies = append(bodies, string(body.Lora))
			_, _ = w.Write([]byte(token))
		}, ""},
		"loading": {"llamacpp", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"error":{"message":"Loading model","code":503}}`))
		}, "the engine answered 503: Loading model"},
		"a bad adapter": {"llamacpp", func(w http.ResponseWriter, r *http.Request) {
			var body struct{ Lora []struct{ ID, Scale int } }
			if json.NewDecoder(r.Body).Decode(&body) == nil && body.Lora[0].ID == 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			_, _ = w.Write([]byte(token))
		}, "adapter /models/shout.gguf: the engine answered 500: "},
		"no token": {"vllm", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"choices":[]}`))
		}, "the engine answered without a token"},
		"no JSON": {"vllm", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`<html>`))
		}, "read the engine's answer: "},
		"an endpoint that refuses the key": {"endpoint", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/base/v4/models" {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = w.Write([]byte(`{"message":"bad key"}`))
		}, "the engine answered 401: bad key"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			e := Endpoint{URL: server.URL, Key: "k"}
			if c.driver == "endpoint" {
				e.URL += "/base/v4"
			}
			got, err := Drivers(Config{})[c.driver].Ready(t.Context(), server.Client(), e, launchForTest())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got != spent[name] {
				t.Errorf("spent %+v, want %+v", got, spent[name])
			}
		})
	}
	if want := []string{`[{"id":0,"scale":0}]`, `[{"id":0,"scale":1}]`, `[{"id":1,"scale":1}]`}; !slices.Equal(bodies, want) {
		t.Errorf("asked with lora %q, want %q", bodies, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewFake(FakeConfig{}).Ready(ctx, http.DefaultClient, Endpoint{URL: "http://127.0.0.1:1"}, Launch{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	remote := NewEndpoint(EndpointConfig{OpenKey: func(m berth.Model) (string, error) {
		if string(m.SealedKey) != "sealed" {
			return "", errors.New("wrong master key")
		}
		return "open", nil
	}}).(Remote)
	for name, c := range map[string]struct {
		model berth.Model
		want  Endpoint
		err   string
	}{
		"with key":        {berth.Model{URL: "https://h.example/compatible-mode/v1/", SealedKey: []byte("sealed")}, Endpoint{"https://h.example/compatible-mode/v1", "open"}, ""},
		"without":         {berth.Model{URL: "http://10.0.0.1:8000/v1"}, Endpoint{"http://10.0.0.1:8000/v1", ""}, ""},
		"a key of others": {berth.Model{Name: "m", URL: "http://h/v1", SealedKey: []byte("?")}, Endpoint{}, "open the key of model m: wrong master key"},
	} {
		got, err := remote.Endpoint(Launch{Model: c.model})
		if got != c.want || c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: got %+v, %v; want %+v, %q", name, got, err, c.want, c.err)
		}
	}
}

// On a CPU vLLM takes half of the machine for the context unless it is told, and figures
// of its use leave the machine unless it is told.
func TestVLLMIsToldItsShare(t *testing.T) {
	t.Parallel()
	l := launchForTest()
	l.GPUs, l.Adapters = nil, nil
	l.Model.File.Stat.SizeBytes, l.Model.File.Architecture, l.Model.Thinking = 1<<30, "qwen3", berth.ThinkingOptional
	l.Model.Args = []string{"--dtype", "float32"}
	l.Spec.Replica.MemoryBytes = 8 << 30
	d := NewVLLM(VLLMConfig{Command: []string{"vllm"}, Args: []string{"--enforce-eager"}})
	for name, c := range map[string]struct {
		change func(*Launch)
		args   string // at the end
		env    []string
	}{
		"on a CPU": {func(*Launch) {}, "--reasoning-parser qwen3 --enable-auto-tool-choice --tool-call-parser hermes --enforce-eager --dtype float32", []string{
			"VLLM_CPU_KVCACHE_SPACE=4", "VLLM_CPU_OMP_THREADS_BIND=nobind", "OMP_NUM_THREADS=3", "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1",
		}},
		"with little memory":          {func(l *Launch) { l.Spec.Replica.MemoryBytes = 1 << 30 }, "float32", []string{"VLLM_CPU_KVCACHE_SPACE=1"}},
		"a model that does not think": {func(l *Launch) { l.Model.Thinking = berth.ThinkingNone }, "--max-model-len 32768 --enable-auto-tool-choice --tool-call-parser hermes --enforce-eager --dtype float32", nil},
		"parsers of the entry": {func(l *Launch) { l.Model.Args = []string{"--reasoning-parser", "mine", "--tool-call-parser", "mine"} },
			"--max-model-len 32768 --enforce-eager --reasoning-parser mine --tool-call-parser mine", nil},
		"a family that is not known": {func(l *Launch) { l.Model.File.Architecture = "new" }, "--max-model-len 32768 --enforce-eager --dtype float32", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := l
			c.change(&l)
			command, err := d.Command(l, Listen{})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(command.Args, " "); !strings.HasSuffix(got, c.args) {
				t.Errorf("%s\nwant …%s", got, c.args)
			}
			for _, want := range c.env {
				if !slices.Contains(command.Env, want) {
					t.Errorf("the environment %q has no %s", command.Env, want)
				}
			}
		})
	}
	for rank, want := range map[int]string{0: "64", 8: "8", 9: "16", 300: "320", 4096: "512"} {
		if got := (VLLMConfig{MaxRank: rank}).maxRank(); got != want {
			t.Errorf("rank %d: --max-lora-rank %s, want %s", rank, got, want)
		}
	}
}

// The sentences are those that the engine was seen to say.
func TestBlames(t *testing.T) {
	t.Parallel()
	d := NewLlamaCpp(LlamaCppConfig{})
	for said, want := range map[string]string{
		"request (2415 tokens) exceeds the available context size (2048 tokens), try increasing it":               "Range of input length should be [1, 2047]",
		"request (2415 tokens) exceeds the available context size (many":                                          "request (2415 tokens) exceeds the available context size (many",
		"input (1202 tokens) is too large to process. increase the physical batch size (current batch size: 512)": "Range of input length should be [1, 512]",
		"Unable to generate parser for this template.":                                                            "Unable to generate parser for this template.",
	} {
		if got := d.Blames(400, said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
	if got := d.Blames(500, "out of memory"); got != "" {
		t.Errorf("it blames the caller: %q", got)
	}
}
