package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// errMissing says what to install.
var errMissing = errors.New("the tests of the store need Postgres 15 or newer (Debian: postgresql); " +
	"install it with: .ci/tools test, or: sudo apt-get install postgresql")

// Server is a Postgres with its data in a folder of its own. It listens on a socket there
// and nowhere else, and does not wait for the disk.
type Server struct {
	bin, dir string
	as       *syscall.Credential // nil: as this process
	running  *os.Process
	ended    chan struct{} // closed when the running one has ended
}

// Start returns a server of the test's own.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	s.Start(t)
	return s
}

// Start starts the server after a Stop or Kill, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.start(ctx); err != nil {
		t.Fatal(err)
	}
}

// Stop shuts the server down, ending the sessions that are open.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.end(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server and its sessions as a crash does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.end(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
}

// URL returns that of one of its databases; "postgres" is there from the start.
func (s *Server) URL(database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("berth"), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}).String()
}

func newServer() (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	sweep()
	dir, err := os.MkdirTemp("", folder+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	if os.Getuid() == 0 { // which Postgres refuses to run as
		if s.as, err = unprivileged(); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, err
		}
	}
	// A collation that orders as people do: what relies on it where bytes are meant shows.
	out, err := s.command("initdb", "-D", s.file("data"), "-U", "berth", "-A", "trust", "--no-sync", "-E", "UTF8",
		"--locale=C", "--locale-provider=icu", "--icu-locale=en-US").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, nil
}

// folder begins the names of the servers' folders, before the id of their process.
const folder = "berth-pg-"

// sweep removes what processes left that could not do so themselves.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), folder+"*"))
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folder), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // another may be doing so, too
		}
	}
}

// programs returns the folder with those of the newest version.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	newest := func(a, b string) int { return major(a) - major(b) }
	if len(found) > 0 {
		if path := slices.MaxFunc(found, newest); major(path) >= 15 {
			return filepath.Dir(path), nil
		}
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errMissing
	}
	return filepath.Dir(path), nil
}

// major returns the version in a path such as /usr/lib/postgresql/15/bin/postgres.
func major(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...) //nolint:gosec // ours; it ends with the server
	c.Dir = s.dir
	c.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return c
}

func (s *Server) start(ctx context.Context) error {
	c := s.command("postgres", "-D", s.file("data"), "-k", s.dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB")
	// The server gives its shared memory back when it is told to end at once.
	c.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		// The signal at the parent's death is one at the death of the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // how it ended is in its log
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.running, s.ended = c.Process, ended
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the server ended: %s", said.String())
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) ping(ctx context.Context) (err error) {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.PingContext(ctx)
}

func (s *Server) end(how os.Signal) error {
	if s.running == nil {
		return nil
	}
	if err := s.running.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	s.running = nil
	select {
	case <-s.ended:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("the server does not end")
	}
}

func (s *Server) remove() error { return errors.Join(s.end(syscall.SIGQUIT), os.RemoveAll(s.dir)) }
