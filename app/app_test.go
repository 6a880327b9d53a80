package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/enginetest"
	"github.com/berthhq/berth/store/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.M{M: m}) }

// options are for a server on dir whose engines live in this process.
func options(t testing.TB, dir, yaml string, out io.Writer) Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "berth.yaml")
	must(t, os.WriteFile(file, []byte(yaml), 0o600))
	cfg, err := config.Load(config.Source{File: file, Flags: map[string]string{"data": dir, "listen": "127.0.0.1:0"}})
	must(t, err)
	return Options{
		Config: cfg, Version: "test", Logger: slog.New(slog.DiscardHandler), Out: out,
		Runner: func(map[string]engine.Driver) engine.Runner { return enginetest.NewRunner(enginetest.Config{}) },
	}
}

// serveOnce opens a server, runs it until it is ready, shows it to fn and ends it.
func serveOnce(t testing.TB, o Options, fn func(*App)) {
	t.Helper()
	a, err := New(t.Context(), o)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-a.loop.Looked()
	fn(a)
	cancel()
	must(t, <-done)
	must(t, a.Close())
	must(t, a.Close()) // may be called twice
}

func get(t testing.TB, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+key)
	r.Close = true
	response, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(text)
}

func TestTheOwnerKeyIsPrintedOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var first, second bytes.Buffer
	var key string
	serveOnce(t, options(t, dir, "", &first), func(a *App) {
		var err error
		key, err = a.OwnerKey()
		must(t, err)
		if status, text := get(t, a.URL()+"/berth/v1/nodes", key); status != http.StatusOK {
			t.Errorf("the owner is answered %d: %s", status, text)
		}
	})
	if strings.Count(first.String(), key) != 1 || !strings.Contains(first.String(), "listens on http://127.0.0.1:") {
		t.Errorf("the first start printed %q", first.String())
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, ownerKeyFile: 0o600, pepperFile: 0o600, lockFile: 0o600, "berth.db": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	serveOnce(t, options(t, dir, "", &second), func(a *App) {
		if again, err := a.OwnerKey(); again != key || err != nil {
			t.Errorf("the key has changed: %v", err)
		}
		if status, _ := get(t, a.URL()+"/berth/v1/nodes", key); status != http.StatusOK {
			t.Errorf("after a restart the owner is answered %d", status)
		}
	})
	if strings.Contains(second.String(), key) {
		t.Error("the second start printed the key again")
	}
}

func TestASecondServerIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serveOnce(t, options(t, dir, "", nil), func(a *App) {
		_, err := New(t.Context(), options(t, dir, "", nil))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("is in use by the berth with pid %d;", os.Getpid())) {
			t.Errorf("got %v", err)
		}
		content, err := os.ReadFile(filepath.Join(dir, lockFile))
		if want := fmt.Sprintf("%d\n%s\n", os.Getpid(), a.URL()); err != nil || string(content) != want {
			t.Errorf("the lock says %q, %v", content, err)
		}
	})
}

func TestWhatStopsAStart(t *testing.T) {
	t.Parallel()
	busy := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(busy.Close)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		yaml   string
		change func(*Options)
		want   string
	}{
		"another store":       {"store: 'postgres://u:hunter2@127.0.0.1:1/db'", nil, "open the database of the key store: "},
		"a busy port":         {"", func(o *Options) { o.Config.Listen = busy.Listener.Addr().String() }, "choose another address with --listen"},
		"a file for a folder": {"", func(o *Options) { o.Config.Data = file }, "choose another with --data"},
		"a model without its file": {
			"models: {ghost: {path: nowhere.gguf}}", nil, "models.ghost of the configuration: ",
		},
		"an adapter of nothing": {
			"models: {ghost: {path: " + file + ", engine: fake}, tuned: {base: ghost, adapter: nowhere}}", nil, "models.tuned of the configuration: ",
		},
		"a key that is not there": {
			"models: {far: {url: 'http://127.0.0.1:1/v1', key_file: nowhere}}", nil, "models.far of the configuration: key_file: ",
		},
	} {
		o := options(t, t.TempDir(), c.yaml, nil)
		if c.change != nil {
			c.change(&o)
		}
		_, err := New(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// What was taken is given back.
		if name == "a busy port" {
			o.Config.Listen = "127.0.0.1:0"
			a, err := New(t.Context(), o)
			if err != nil {
				t.Fatalf("after %s: %v", name, err)
			}
			must(t, a.Close())
		}
	}
}

func TestModelsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	dir, script := t.TempDir(), filepath.Join(t.TempDir(), "script.json")
	must(t, os.WriteFile(script, []byte("{}"), 0o600))
	models := func(a *App) map[string]string {
		list, err := a.services.models.List(berth.WithCaller(t.Context(), berth.System()))
		must(t, err)
		found := map[string]string{}
		for _, m := range list {
			found[m.Name] = m.Description
		}
		return found
	}
	entry := func(name, rest string) string {
		return fmt.Sprintf("  %s: {engine: fake, path: %s%s}\n", name, script, rest)
	}
	first := "models:\n" + entry("kept", "") + entry("gone", "") + "  tuned: {base: gone, adapter: " + script + "}\n"
	serveOnce(t, options(t, dir, first, nil), func(a *App) {
		if got := models(a); len(got) != 3 {
			t.Errorf("got %v", got)
		}
		_, err := a.services.models.Add(berth.WithCaller(t.Context(), berth.System()), berth.NewModel{Name: "by-hand", Engine: "fake", Path: script})
		must(t, err)
	})
	serveOnce(t, options(t, dir, "models:\n"+entry("kept", ", description: changed"), nil), func(a *App) {
		if got := models(a); len(got) != 2 || got["kept"] != "changed" || got["by-hand"] != "" {
			t.Errorf("got %v", got)
		}
	})
}

func TestUnknownConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "berth.yaml")
	must(t, os.WriteFile(file, []byte("lisen: 127.0.0.1:0\n"), 0o600))
	serve := func(args ...string) (string, error) {
		cmd := serveCommand("test", "none")
		var out bytes.Buffer
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	if _, err := serve("--config", file); err == nil || !strings.Contains(err.Error(), "lisen") || !strings.Contains(err.Error(), "listen") {
		t.Errorf("got %v", err)
	}
	if _, err := serve("--listen", "0.0.0.0:0"); err == nil || !strings.Contains(err.Error(), "insecure") {
		t.Errorf("plain HTTP for everybody: %v", err)
	}
	if out, err := serve("--print-config", "--listen", "127.0.0.1:7"); err != nil || !strings.Contains(out, "127.0.0.1:7") {
		t.Errorf("got %v: %s", err, out)
	}
}

// conformance 141
func TestNoPathIsRedirected(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/deployments", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /api/v1/deployments/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	front := cleanPaths(mux)
	for path, want := range map[string]string{
		"/api/v1/deployments": "", "/api/v1/deployments/": "", "//api//v1/deployments": "", "/api/v1/./deployments": "",
		"/api/v1/deployments/x": "x", "/api/v1/deployments/x/": "x", "/api/v1/deployments//x": "x", "/api/v1/deployments/a%20b/": "a b",
	} {
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	a := &App{dir: &dataDir{path: t.TempDir()}}
	logs := filepath.Join(a.dir.path, "logs")
	must(t, os.MkdirAll(logs, 0o700))
	must(t, os.WriteFile(filepath.Join(logs, "rep_1.log"), []byte("one\ntwo\nthree\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(logs, "rep_2.log"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(a.dir.path, "owner.log"), []byte("secret"), 0o600))
	for _, c := range []struct {
		replica string
		lines   int
		want    string
	}{
		{"rep_1", 2, "[two three]"}, {"rep_1", 100, "[one two three]"}, {"rep_2", 5, "[]"}, {"none", 5, "[]"}, {"../owner", 5, "[]"},
	} {
		got, err := a.logLines(c.replica, c.lines)
		if err != nil || got == nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %q, %v", c.replica, got, err)
		}
	}
	if got, _ := a.logLines("rep_2", 5); len(got) != 0 {
		t.Errorf("an empty log has %d lines", len(got))
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600))
	for bytes, want := range map[int64]string{1000: "one\ntwo\nthree\n", 14: "one\ntwo\nthree\n", 12: "two\nthree\n", 8: "three\n", 3: ""} {
		if got, err := tail(path, bytes); err != nil || got != want {
			t.Errorf("%d bytes: %q, %v", bytes, got, err)
		}
	}
	if _, err := tail(path+".none", 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
