package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary plays every part: with "keep" as its first argument it is the
// keeper, with a role in its environment it is an engine, a helper of one, or
// the Berth that is killed.
const (
	envRole     = "KEEPER_TEST_ROLE"
	envLifeline = "KEEPER_TEST_LIFELINE"
	envIntent   = "KEEPER_TEST_INTENT"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "keep" {
		os.Exit(Main())
	}
	if role := os.Getenv(envRole); role != "" {
		roles[role]()
		exit(0)
	}
	goleak.VerifyTestMain(m)
}

var roles = map[string]func(){
	// sleeper says that it is there and waits to be killed.
	"sleeper": func() {
		fmt.Println("listening")
		hang(dial("sleeper"))
	},
	// deaf does not end on SIGTERM.
	"deaf": func() {
		signal.Ignore(syscall.SIGTERM)
		hang(dial("deaf"))
	},
	// failing ends by itself with a reason.
	"failing": func() {
		fmt.Fprintln(os.Stderr, "cannot map model: out of memory")
		exit(3)
	},
	// founder has helpers, one in its process group, one in a session of its own.
	"founder": func() {
		signal.Ignore(syscall.SIGTERM)
		helper("helper", false)
		helper("stray", true)
		hang(dial("founder"))
	},
	// group has a helper in its process group only.
	"group": func() {
		helper("helper", false)
		hang(dial("group"))
	},
	// quitter leaves a helper and a stray behind when its lifeline ends.
	"quitter": func() {
		helper("helper", false)
		helper("stray", true)
		hang(dial("quitter"))
	},
	"helper": func() { hang(dial("helper")) },
	"stray":  func() { hang(dial("stray")) },
	// chatter writes a hundred numbered lines of ten bytes.
	"chatter": func() {
		for i := range 100 {
			fmt.Printf("line %04d\n", i)
		}
	},
	// berth starts a keeper with the given intent and waits to be killed.
	"berth": func() {
		var intent Intent
		must(json.Unmarshal([]byte(os.Getenv(envIntent)), &intent))
		p, err := Start(context.Background(), Config{Executable: self(), Args: []string{"keep"}, Intent: intent})
		must(err)
		hang(dial("berth " + strconv.Itoa(p.keeper.Process.Pid)))
	},
}

// exit ends a role. os.Exit would write about missing coverage to the engine's
// log when the tests run with -cover.
func exit(code int) { syscall.Exit(code) }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		exit(2)
	}
}

func self() string {
	path, err := os.Executable()
	must(err)
	return path
}

// dial tells the test that the caller is there.
func dial(name string) net.Conn {
	conn, err := net.Dial("unix", os.Getenv(envLifeline))
	must(err)
	_, err = fmt.Fprintln(conn, name)
	must(err)
	return conn
}

// hang returns only when the test closes the connection, so that a failed test
// leaves nothing behind either.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func helper(role string, ownSession bool) {
	cmd := exec.Command(self())
	cmd.Env = []string{envRole + "=" + role, envLifeline + "=" + os.Getenv(envLifeline)}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: ownSession}
	must(cmd.Start())
}

// patience bounds every wait of a test; nothing ever waits for it to pass.
const patience = 60 * time.Second

// lifeline is a socket that the processes of one test connect to. The kernel
// closes a connection when its process is gone, which needs no polling to see.
type lifeline struct {
	listener *net.UnixListener
	path     string
}

func newLifeline(t *testing.T) *lifeline {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = listener.Close()
		_ = os.RemoveAll(dir)
	})
	_ = listener.SetDeadline(time.Now().Add(patience))
	return &lifeline{listener, path}
}

// witness is a process that said its name on the lifeline.
type witness struct {
	conn  net.Conn
	lines *bufio.Reader
	name  string
}

// await returns the next n processes by the first word of their names.
func (l *lifeline) await(t *testing.T, n int) map[string]*witness {
	t.Helper()
	witnesses := map[string]*witness{}
	for range n {
		conn, err := l.listener.Accept()
		if err != nil {
			t.Fatalf("after %d of %d processes: %v", len(witnesses), n, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		w := &witness{conn: conn, lines: bufio.NewReader(conn)}
		name, err := w.lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		w.name = strings.TrimSpace(name)
		role, _, _ := strings.Cut(w.name, " ")
		witnesses[role] = w
	}
	return witnesses
}

// awaitEnd returns when the process is gone.
func (w *witness) awaitEnd(t *testing.T) {
	t.Helper()
	if _, err := w.lines.ReadByte(); err == nil || os.IsTimeout(err) {
		t.Fatalf("%s is not gone: %v", w.name, err)
	}
}

// intentFor is the intent to run this binary in a role.
func intentFor(t *testing.T, role, lifelinePath string) Intent {
	t.Helper()
	return Intent{
		Nonce:   "nonce-1",
		Command: []string{self()},
		Env:     []string{envRole + "=" + role, envLifeline + "=" + lifelinePath},
		Log:     Log{Path: filepath.Join(t.TempDir(), "engine.log")},
	}
}

// mustStart starts an engine that is stopped at the end of the test.
func mustStart(t *testing.T, intent Intent) *Process {
	t.Helper()
	p, err := Start(t.Context(), Config{Executable: self(), Args: []string{"keep", "rep_1"}, Intent: intent, AnswerTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mustStop(t, p, 0)
		if complaint := p.complaints.String(); strings.Contains(complaint, "DATA RACE") {
			t.Errorf("keeper has a race: %s", complaint)
		}
	})
	return p
}

func mustStop(t *testing.T, p *Process, grace time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Stop(ctx, grace); err != nil {
		t.Error(err)
	}
}

// mustExit waits for the engine's end.
func mustExit(t *testing.T, p *Process) Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Exit()
	case <-time.After(patience):
		t.Fatal("engine did not end")
		return Exit{}
	}
}
