package test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/berthhq/berth/api"
)

// `berth serve` as a process: how it starts, ends and is ended.

func TestTheFirstStartPrintsTheOwnerKeyOnce(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	yaml := fakeYAML(t, map[string]string{"good": ""})
	s := p.serve(t, yaml)
	_, printed, ok := strings.Cut(s.line(t, "owner key"), "): ")
	keyFile := filepath.Join(s.data, "owner.key")
	if !ok || printed != s.Key || !strings.HasPrefix(printed, "sk-") {
		t.Errorf("printed %q, kept %q", printed, s.Key)
	}
	for path, want := range map[string]os.FileMode{
		s.data: 0o700 | os.ModeDir, keyFile: 0o600, filepath.Join(s.data, "pepper.key"): 0o600, filepath.Join(s.data, "lock"): 0o600,
	} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has the mode %s, want %s", path, info.Mode(), want)
		}
	}
	if strings.Contains(s.errOut.String(), printed) {
		t.Error("the key is in the log")
	}

	t.Run("a second server on the data directory is refused with the pid of the first", func(t *testing.T) {
		got := p.run(t, "", "serve", "--data", s.data, "--listen", "127.0.0.1:0")
		want := "is in use by the berth with pid " + strconv.Itoa(s.cmd.Process.Pid) + "; stop that one, or choose another directory with --data"
		if got.code != 1 || !strings.Contains(got.err, s.data+" "+want) {
			t.Errorf("code %d: %s", got.code, got.err)
		}
		must(t, s.check(t))
	})
	t.Run("a busy port is said", func(t *testing.T) {
		address := strings.TrimPrefix(s.BaseURL, "http://")
		got := p.run(t, "", "serve", "--data", filepath.Join(p.dir, "other"), "--listen", address)
		if got.code != 1 || !strings.Contains(got.err, "listen on "+address) || !strings.Contains(got.err, "address already in use; choose another address with --listen") {
			t.Errorf("code %d: %s", got.code, got.err)
		}
	})
	if code := s.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Run("a second start prints no key and has the old one", func(t *testing.T) {
		again := p.serve(t, yaml)
		if again.Key != s.Key {
			t.Error("the key is another one")
		}
		must(t, again.check(t))
		if code := again.signal(t, syscall.SIGINT); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if rest := again.rest(); strings.Contains(rest, "owner key") {
			t.Errorf("printed %s", rest)
		}
	})
}

// check returns nil when the server answers with its key.
func (b *berth) check(t testing.TB) error {
	_, err := b.ListDeployments(t.Context(), 1, 1, "")
	return err
}

func TestSIGTERMDrainsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	yaml := fakeYAML(t, map[string]string{"slow": `{"tokens_per_second": 40}`, "good": ""})
	s := p.serve(t, yaml)
	slow, good := s.berth.running(t, one("slow")), s.berth.running(t, one("good"))
	if n := len(p.processes(t)); n != 5 {
		t.Errorf("%d processes, want a server, two keepers and two engines", n)
	}

	// given a running stream, and a call that has just ended
	events := s.stream(t, "/v1/chat/completions", `{"model":"`+slow.DeployedModel+`","stream":true,"messages":[{"role":"user","content":"count to 60"}]}`)
	events.until(t, `" 2"`)
	if got := s.ask(t, good.DeployedModel, "37+85"); got.Text != "122" {
		t.Fatalf("answers %q", got.Text)
	}
	// when it is told to end
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	// then new calls are refused
	until(t, "new calls are refused", func() bool {
		got := s.send(t, "POST", "/v1/chat/completions", chat("nobody", "37+85"))
		return got.status == 503 && strings.Contains(got.body, "shutting down") && got.header.Get("Retry-After") != ""
	})
	if got := s.send(t, "GET", "/readyz", ""); got.status != 503 || !strings.Contains(got.body, "stopping") {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	// the stream ends in its own time
	events.until(t, `" 60"`)
	events.until(t, "[DONE]")
	// and nothing is left
	if code := s.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := p.processes(t); len(left) != 0 {
		t.Errorf("the processes %v are left", left)
	}

	// Both calls are in the store, and both deployments come back.
	again := p.serve(t, yaml)
	for name, output := range map[string]int64{slow.DeployedModel: 60, good.DeployedModel: 1} {
		record := again.records(t, name, 1)[0]
		if record.End != "stop" || record.OutputTokens != output || record.Source != "engine" || !record.Billable {
			t.Errorf("recorded %+v", record)
		}
		again.serves(t, name)
	}
	if code := again.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// serves waits until a deployment that was RUNNING before has its engines again, and
// asks it.
func (b *berth) serves(t testing.TB, deployedModel string) {
	t.Helper()
	until(t, deployedModel+" serves again", func() bool {
		d, err := b.GetDeployment(t.Context(), deployedModel)
		must(t, err)
		if d.Status != api.StatusRunning {
			t.Fatalf("%s went to %s: %s", deployedModel, d.Status, d.FailReason)
		}
		return d.ReadyCapacity == d.Capacity
	})
	if got := b.ask(t, deployedModel, "37+85"); got.Text != "122" {
		t.Errorf("%s answers %q", deployedModel, got.Text)
	}
}

func TestKillingBerthLeavesNoEngine(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	yaml := fakeYAML(t, map[string]string{"good": "", "slow": `{"tokens_per_second": 100}`})
	s := p.serve(t, yaml)
	good, slow := s.berth.running(t, one("good")), s.berth.running(t, one("slow"))
	key, err := s.CreateKey(t.Context(), api.CreateKey{Role: api.RoleInference})
	must(t, err)
	if got := s.ask(t, good.DeployedModel, "37+85"); got.Text != "122" {
		t.Fatalf("answers %q", got.Text)
	}
	if n := len(p.processes(t)); n != 5 {
		t.Errorf("%d processes, want a server, two keepers and two engines", n)
	}

	events := s.stream(t, "/v1/chat/completions", streamed(slow.DeployedModel))
	events.until(t, `" 2"`)

	if code := s.signal(t, syscall.SIGKILL); code != -1 {
		t.Errorf("exit code %d", code)
	}
	until(t, "the keepers have ended the engines", func() bool { return len(p.processes(t)) == 0 })

	again := p.serve(t, yaml)
	for _, d := range []api.Deployment{good, slow} {
		again.serves(t, d.DeployedModel)
	}
	again.Key = key.Text
	if got := again.ask(t, good.DeployedModel, "37+85"); got.Text != "122" {
		t.Errorf("with another key it answers %q", got.Text)
	}
	// Killed once more: the next one has a clean field.
	if code := again.signal(t, syscall.SIGKILL); code != -1 {
		t.Errorf("exit code %d", code)
	}
	third := p.serve(t, yaml)
	third.serves(t, good.DeployedModel)
	until(t, "there is one engine for each deployment", func() bool { return len(p.processes(t)) == 5 })
	if code := third.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Who cannot wait for running calls says so again.
func TestASecondSIGTERMEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	s := p.serve(t, fakeYAML(t, map[string]string{"hangs": `{"faults": [{"kind": "hang_mid_stream", "after_events": 3}]}`}))
	d := s.berth.running(t, one("hangs"))
	events := s.stream(t, "/v1/chat/completions", streamed(d.DeployedModel))
	events.until(t, `"1"`)
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	until(t, "it stops", func() bool { return s.send(t, "GET", "/readyz", "").status == 503 })
	if code := s.signal(t, syscall.SIGTERM); code != -1 {
		t.Errorf("exit code %d", code)
	}
	until(t, "the keeper has ended the engine", func() bool { return len(p.processes(t)) == 0 })
}

func TestKillingBerthEndsEvenAnEngineThatDoesNotListen(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	s := p.serve(t, fakeYAML(t, map[string]string{"deaf": `{"ignore_sigterm": true}`}))
	s.berth.running(t, one("deaf"))
	s.signal(t, syscall.SIGKILL)
	until(t, "the keeper has killed the engine", func() bool { return len(p.processes(t)) == 0 })
}

func TestServeRefusesConfigurationsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	write := func(name, text string) string {
		path := filepath.Join(p.dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	misspelt := write("misspelt.yaml", "node: {thread: 2}\nlisten: 127.0.0.1:0\n")
	missing := write("missing.yaml", "models: {m: {path: nowhere.gguf}}\n")
	notADirectory := write("file", "")
	for name, c := range map[string]struct {
		args []string
		want string
		code int
	}{
		"an unknown key, with the nearest one": {
			[]string{"--config", misspelt}, "misspelt.yaml:1: unknown key node.thread; did you mean node.threads?", 1,
		},
		"no file": {
			[]string{"--config", filepath.Join(p.dir, "none.yaml")}, "none.yaml: no such file or directory", 1,
		},
		"plain HTTP for everybody": {
			[]string{"--listen", "0.0.0.0:0"}, "plain HTTP is served on loopback addresses only", 1,
		},
		"an address that is none": {
			[]string{"--listen", "here"}, `listen is here, but must be host:port`, 1,
		},
		"a data directory that is a file": {
			[]string{"--data", notADirectory, "--listen", "127.0.0.1:0"}, "choose another with --data", 1,
		},
		"a model whose file is missing": {
			[]string{"--config", missing, "--listen", "127.0.0.1:0"}, "models.m of the configuration: There is no file", 1,
		},
		"an unknown flag": {
			[]string{"--port", "1"}, "unknown flag: --port", 2,
		},
		"an argument": {
			[]string{"now"}, "berth serve [flags]", 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := p.run(t, "", append([]string{"serve", "--data", filepath.Join(t.TempDir(), "data")}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.err, c.want) || got.out != "" {
				t.Errorf("code %d, %q, %s", got.code, got.out, got.err)
			}
		})
	}
	t.Run("plain HTTP for everybody that is meant", func(t *testing.T) {
		t.Parallel()
		r := p.begin(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "0.0.0.0:0", "--insecure")
		if line := r.line(t, "listens on"); !strings.Contains(line, "http://") {
			t.Errorf("said %s", line)
		}
		if code := r.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("print-config shows what holds and where it is from, and starts nothing", func(t *testing.T) {
		t.Parallel()
		data := filepath.Join(t.TempDir(), "data")
		file := filepath.Join(t.TempDir(), "berth.yaml")
		must(t, os.WriteFile(file, []byte("limits: {body: 1MiB}\nstore: postgres://me:secret@db/berth\n"), 0o600))
		cmd := &program{dir: p.dir, path: p.path, env: append(p.env, "BERTH_LOG_LEVEL=debug")}
		got := cmd.run(t, "", "serve", "--config", file, "--data", data, "--print-config")
		lines := strings.Split(got.out, "\n")
		for _, want := range [][2]string{
			{"body: 1MiB", "berth.yaml:1"}, {"level: debug", "env BERTH_LOG_LEVEL"}, {"data: " + data, "flag --data"}, {"listen: 127.0.0.1:7700", "default"},
		} {
			if !has(lines, want[0], want[1]) {
				t.Errorf("no line has %q:\n%s", want, got.out)
			}
		}
		if _, err := os.Stat(data); err == nil || got.code != 0 || strings.Contains(got.out, "secret") {
			t.Errorf("code %d, data directory: %v\n%s%s", got.code, err, got.out, got.err)
		}
	})
}

// has reports whether a line has all the pieces.
func has(lines []string, pieces ...string) bool {
	for _, line := range lines {
		n := 0
		for _, piece := range pieces {
			if strings.Contains(line, piece) {
				n++
			}
		}
		if n == len(pieces) {
			return true
		}
	}
	return false
}

// occupied is a loopback port that somebody listens on until the test ends.
func occupied(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}
