package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// builtDir is where the binary under test is; TestMain removes it.
var builtDir string

// built makes the binary with the flags of the Makefile, so that what `make build` has
// compiled is not compiled again.
var built = sync.OnceValues(func() (string, error) {
	var err error
	if builtDir, err = os.MkdirTemp("", "berth-test-"); err != nil {
		return "", err
	}
	path := filepath.Join(builtDir, "berth")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "../cmd/berth")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, said)
	}
	return path, nil
})

// program is the real binary in a folder of its own, with an environment that has
// nothing of the tester's Berth. The binary's name in that folder is what its keepers
// and fake engines run by, so that every process of this program can be found.
type program struct {
	dir  string
	path string
	env  []string
}

func newProgram(t testing.TB) *program {
	t.Helper()
	original, err := built()
	must(t, err)
	p := &program{dir: t.TempDir()}
	p.path = filepath.Join(p.dir, "berth")
	if os.Link(original, p.path) != nil {
		content, err := os.ReadFile(original)
		must(t, err)
		must(t, os.WriteFile(p.path, content, 0o700))
	}
	tmp := filepath.Join(p.dir, "tmp")
	must(t, os.Mkdir(tmp, 0o700))
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "BERTH_") && !strings.HasPrefix(pair, "TMPDIR=") {
			p.env = append(p.env, pair)
		}
	}
	p.env = append(p.env, "TMPDIR="+tmp, "NO_COLOR=1")
	// A test that fails may have left servers to be killed, whose engines end after them.
	t.Cleanup(func() { until(t, "no process is left", func() bool { return len(p.processes(t)) == 0 }) })
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	return cmd
}

// processes returns the pids of what runs this binary or works in this folder: servers,
// keepers and engines of any kind. Zombies are none.
func (p *program) processes(t testing.TB) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		for _, link := range []string{"exe", "cwd"} {
			// An error means that it has ended, or is somebody else's.
			if at, err := os.Readlink(filepath.Join("/proc", e.Name(), link)); err == nil && strings.HasPrefix(at, p.dir+"/") {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// result is what a finished command said.
type result struct {
	out, err string
	code     int
}

// run runs a command to its end.
func (p *program) run(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	cmd := p.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// running is a program that goes on until it is told to end.
type running struct {
	cmd    *exec.Cmd
	out    *os.File
	lines  *bufio.Scanner // of out
	errOut *safeBuffer
	exited chan struct{} // closed then
}

// begin starts a program. What it still runs at the end of the test is killed.
func (p *program) begin(t testing.TB, args ...string) *running {
	t.Helper()
	r := &running{cmd: p.command(args...), errOut: &safeBuffer{}, exited: make(chan struct{})}
	out, in, err := os.Pipe()
	must(t, err)
	r.cmd.Stdout, r.cmd.Stderr = in, r.errOut
	r.out, r.lines = out, bufio.NewScanner(out)
	must(t, r.cmd.Start())
	must(t, in.Close())
	go func() {
		_ = r.cmd.Wait() // the exit code is in the process state
		close(r.exited)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // an error means that it has ended
		<-r.exited
		_ = out.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", args[0], r.errOut)
		}
	})
	return r
}

// line reads output until a line holds the text, and returns that line.
func (r *running) line(t testing.TB, text string) string {
	t.Helper()
	must(t, r.out.SetReadDeadline(time.Now().Add(patience)))
	var all []string
	for r.lines.Scan() {
		all = append(all, r.lines.Text())
		if strings.Contains(r.lines.Text(), text) {
			return r.lines.Text()
		}
	}
	t.Fatalf("the output ended before %q:\n%s\n%s", text, strings.Join(all, "\n"), r.errOut)
	return ""
}

// signal sends a signal and returns the exit code, -1 when the signal ended it.
func (r *running) signal(t testing.TB, s syscall.Signal) int {
	t.Helper()
	must(t, r.cmd.Process.Signal(s))
	return r.end(t)
}

// end waits for the exit and returns its code.
func (r *running) end(t testing.TB) int {
	t.Helper()
	ctx := bounded(t)
	select {
	case <-r.exited:
	case <-ctx.Done():
		t.Fatalf("it does not end:\n%s", r.errOut)
	}
	return r.cmd.ProcessState.ExitCode()
}

// serving is a `berth serve`.
type serving struct {
	*running
	*berth
	data string
}

// serve starts a server on the program's data directory and returns when it listens.
func (p *program) serve(t testing.TB, yaml string) *serving {
	t.Helper()
	return p.serveOn(t, filepath.Join(p.dir, "data"), yaml)
}

// serveOn is serve on another data directory.
func (p *program) serveOn(t testing.TB, data, yaml string) *serving {
	t.Helper()
	file := filepath.Join(p.dir, "berth.yaml")
	must(t, os.WriteFile(file, []byte(yaml), 0o600))
	s := &serving{data: data}
	s.running = p.begin(t, "serve", "--config", file, "--data", s.data, "--listen", "127.0.0.1:0")
	_, url, _ := strings.Cut(s.line(t, "listens on"), "listens on ")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	key, err := os.ReadFile(filepath.Join(s.data, "owner.key"))
	must(t, err)
	s.berth = &berth{dir: p.dir, Client: &api.Client{BaseURL: url, Key: strings.TrimSpace(string(key)), HTTP: &http.Client{Transport: holdToContract(t, transport)}}}
	until(t, "the server is ready", func() bool {
		response, err := s.HTTP.Get(url + "/readyz")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, response.Body)
		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	return s
}

// rest returns what is left of the output of a server that has ended.
func (r *running) rest() string {
	var all strings.Builder
	for r.lines.Scan() {
		all.WriteString(r.lines.Text() + "\n")
	}
	return all.String()
}
