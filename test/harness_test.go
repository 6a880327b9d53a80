// Package test has the end-to-end tests: the whole program as a value, driven by
// ordinary clients of its API. Scenarios that need no Go are the text files in
// testdata.
package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/app"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/enginetest"
	"github.com/berthhq/berth/engine/keeper"
	"github.com/berthhq/berth/fakeengine"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

// TestMain lets the test binary be what berth is to its own children.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keep":
			os.Exit(keeper.Main())
		case "fake-engine":
			os.Exit(fakeengine.Run(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		case "serve":
			os.Exit(serveByClock(os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(pgtest.M{M: m}, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(builtDir) // "" removes nothing
		os.Exit(code)
	}))
}

// realVLLM names the variable with the path of a real vLLM, which few machines have.
const realVLLM = "BERTH_VLLM"

// patience bounds every wait of these tests; reaching it is a failure. A real vLLM takes
// half a minute to start, on a busy machine several.
var patience = map[bool]time.Duration{false: time.Minute, true: 10 * time.Minute}[os.Getenv(realVLLM) != ""]

// berth is a running server.
type berth struct {
	*api.Client
	app    *app.App
	dir    string
	yaml   string
	clock  *clock             // nil: that of the machine
	runner *enginetest.Runner // of in-process servers
	log    *safeBuffer
	stop   func()

	transport *http.Transport // below the one that holds answers to the contract
}

// inProcess starts a server whose engines are fake ones inside the test.
func inProcess(t testing.TB, yaml string) *berth {
	t.Helper()
	return start(t, t.TempDir(), yaml, true)
}

// withProcesses starts a server that starts real engine processes.
func withProcesses(t testing.TB, yaml string) *berth {
	t.Helper()
	return start(t, t.TempDir(), yaml, false)
}

func start(t testing.TB, dir, yaml string, fake bool) *berth {
	t.Helper()
	return startBy(t, nil, dir, yaml, fake)
}

// startBy starts a server whose clock is the given one.
func startBy(t testing.TB, c *clock, dir, yaml string, fake bool) *berth {
	t.Helper()
	file := filepath.Join(dir, "berth.yaml")
	must(t, os.WriteFile(file, []byte(yaml), 0o600))
	cfg, err := config.Load(config.Source{File: file, Env: os.Environ(), Flags: map[string]string{
		"data": filepath.Join(dir, "data"), "listen": "127.0.0.1:0",
	}})
	must(t, err)
	if _, err := os.Stat(cfg.Data); os.IsNotExist(err) && cfg.Store == "sqlite" {
		must(t, os.Mkdir(cfg.Data, 0o700))
		sqlitetest.Put(t, filepath.Join(cfg.Data, "berth.db")) // which takes long to migrate
	}
	executable, err := os.Executable()
	must(t, err)
	b := &berth{dir: dir, yaml: yaml, clock: c, log: &safeBuffer{}}
	o := app.Options{
		Config: cfg, Version: "test", Executable: executable, Backoff: 20 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if c != nil {
		o.Now = c.now
	}
	if fake {
		o.Runner = func(map[string]engine.Driver) engine.Runner {
			b.runner = enginetest.NewRunner(enginetest.Config{})
			return b.runner
		}
	}
	b.app, err = app.New(t.Context(), o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.app.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := b.app.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			t.Logf("server log:\n%s", b.log)
		}
	})
	t.Cleanup(b.stop)
	key, err := b.app.OwnerKey()
	must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b.transport = transport
	b.Client = &api.Client{BaseURL: b.app.URL(), Key: key, HTTP: &http.Client{Transport: holdToContract(t, transport)}}
	return b
}

// restart stops the server cleanly and starts it again on the same data.
func (b *berth) restart(t testing.TB) *berth {
	t.Helper()
	b.stop()
	return startBy(t, b.clock, b.dir, b.yaml, b.runner != nil)
}

// deploy buys and waits until the deployment has come up or failed.
func (b *berth) deploy(t testing.TB, d api.CreateDeployment) api.Deployment {
	t.Helper()
	bought, err := b.CreateDeployment(t.Context(), d)
	must(t, err)
	return b.settled(t, bought.DeployedModel)
}

func (b *berth) settled(t testing.TB, deployedModel string) api.Deployment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := b.WaitDeployment(ctx, deployedModel, nil)
	must(t, err)
	return d
}

// running is deploy for what must come up.
func (b *berth) running(t testing.TB, d api.CreateDeployment) api.Deployment {
	t.Helper()
	got := b.deploy(t, d)
	if got.Status != api.StatusRunning {
		t.Fatalf("%s is %s: %s", got.DeployedModel, got.Status, got.FailReason)
	}
	return got
}

// ask returns the answer to one user message at temperature 0.
func (b *berth) ask(t testing.TB, deployedModel, text string) api.Answer {
	t.Helper()
	zero := 0.0
	answer, err := b.Chat(t.Context(), api.ChatRequest{
		Model: deployedModel, Messages: []api.Message{{Role: "user", Content: text}}, Temperature: &zero,
	}, nil)
	must(t, err)
	return answer
}

// keepAsking asks for 37+85 again and again until stop, which returns how many answers there
// were. It is over with the first that is refused or does not have what is wanted in it.
func (b *berth) keepAsking(t testing.TB, deployedModel, want string) (stop func() (calls int)) {
	t.Helper()
	enough, done := make(chan struct{}), make(chan int, 1)
	go func() {
		calls := 0
		defer func() { done <- calls }()
		for {
			select {
			case <-enough:
				return
			default:
			}
			got := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+deployedModel+`","messages":[{"role":"user","content":"37+85"}],"temperature":0}`)
			if got.status != 200 || !strings.Contains(got.body, want) {
				t.Errorf("call %d: %d %s", calls, got.status, got.body)
				return
			}
			calls++
		}
	}()
	return func() int {
		close(enough)
		return <-done
	}
}

// answer is a raw HTTP answer.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes one request as a client that knows nothing of us.
func (b *berth) send(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, b.BaseURL+path, strings.NewReader(body))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+b.Key)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		if headers[i+1] == "" {
			request.Header.Del(headers[i])
		}
	}
	response, err := b.HTTP.Do(request)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return answer{response.StatusCode, response.Header, string(text)}
}

// until waits for a condition that events of the server make true.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("after %s still not: %s", patience, what)
		case <-tick.C:
		}
	}
}

// heldThreads is what all replicas hold.
func (b *berth) heldThreads(t testing.TB) int64 {
	t.Helper()
	nodes, err := b.Nodes(t.Context())
	must(t, err)
	var held int64
	for _, n := range nodes {
		for _, h := range n.Held {
			held += h.Threads
		}
	}
	return held
}

// abacusYAML is a configuration with the real little model, its adapters and the
// stand-ins of the vendor's example requests.
func abacusYAML(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	files, err := abacus.Extract(dir)
	must(t, err)
	text, err := os.ReadFile("testdata/abacus.yaml")
	must(t, err)
	return strings.NewReplacer("{{base}}", files.Base, "{{words}}", files.Words, "{{shout}}", files.Shout).Replace(string(text))
}

// fakeYAML is a configuration of one fake model for each script; "" is an engine that
// never fails.
func fakeYAML(t testing.TB, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var yaml strings.Builder
	yaml.WriteString("node: {threads: 8, memory: 4GiB}\nspecs: {MU1: {threads: 1, memory: 256MiB}}\nmodels:\n")
	for name, script := range scripts {
		path := filepath.Join(dir, name+".json")
		if script == "" {
			script = "{}"
		}
		must(t, os.WriteFile(path, []byte(script), 0o600))
		fmt.Fprintf(&yaml, "  %s: {engine: fake, path: %s, plans: [mu, ptu], thinking: optional, context: 32768, calibration: {input_tpm: 600000, output_tpm: 60000}}\n", name, path)
	}
	return yaml.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// safeBuffer is a log that a test may read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
