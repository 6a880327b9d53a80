package keeper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestStartReportsTheEngine(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "sleeper", line.path))
	line.await(t, 1)

	started, err := startTimeOf(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if p.StartTime() != started {
		t.Errorf("start time is %d, the system says %d", p.StartTime(), started)
	}
	if group, err := syscall.Getpgid(p.PID()); err != nil || group != p.PID() {
		t.Errorf("engine %d is in process group %d: %v", p.PID(), group, err)
	}
	select {
	case <-p.Done():
		t.Error("done while the engine runs")
	default:
	}
}

func TestExitIsReportedWithTheTail(t *testing.T) {
	t.Parallel()
	before := time.Now()
	p := mustStart(t, intentFor(t, "failing", ""))
	exit := mustExit(t, p)
	if exit.Code != 3 || exit.Signal != 0 || exit.Err != nil {
		t.Errorf("exit is %+v, want code 3", exit)
	}
	if exit.Tail != "cannot map model: out of memory\n" {
		t.Errorf("tail is %q", exit.Tail)
	}
	if exit.At.Before(before) || exit.At.After(time.Now()) {
		t.Errorf("exit at %v is not between %v and now", exit.At, before)
	}
}

func TestStopEndsTheEngine(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		role  string
		grace time.Duration
		want  syscall.Signal
	}{
		"SIGTERM is enough for most":         {"sleeper", patience, syscall.SIGTERM},
		"SIGKILL for one that ignores it":    {"deaf", time.Millisecond, syscall.SIGKILL},
		"no grace means SIGKILL soon enough": {"deaf", 0, syscall.SIGKILL},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := newLifeline(t)
			p := mustStart(t, intentFor(t, test.role, line.path))
			engine := line.await(t, 1)[test.role]

			mustStop(t, p, test.grace)

			engine.awaitEnd(t)
			if exit := p.Exit(); exit.Signal != test.want || exit.Code != -1 || exit.Err != nil {
				t.Errorf("exit is %+v, want signal %v", exit, test.want)
			}
		})
	}
}

func TestStopMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "deaf", line.path))
	line.await(t, 1)

	cause := errors.New("operator lost patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := p.Stop(ctx, time.Hour); !errors.Is(err, cause) {
		t.Errorf("stop with a context that has ended: %v, want its cause", err)
	}
	var stops sync.WaitGroup
	for range 3 {
		stops.Go(func() { mustStop(t, p, time.Millisecond) }) // the shortest grace counts
	}
	stops.Wait()
	mustStop(t, p, 0)
	if exit := p.Exit(); exit.Signal != syscall.SIGKILL {
		t.Errorf("exit is %+v, want killed", exit)
	}
}

func TestStopKillsAKeeperThatDoesNotListen(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "sleeper", line.path))
	engine := line.await(t, 1)["sleeper"]
	p.answerTimeout = time.Millisecond
	if err := p.keeper.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	mustStop(t, p, 0)

	engine.awaitEnd(t)
	if exit := p.Exit(); !errors.Is(exit.Err, ErrKeeperLost) {
		t.Errorf("exit is %+v, want a lost keeper", exit)
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	intent := intentFor(t, "sleeper", "")
	with := func(change func(*Intent)) Intent {
		changed := intent
		change(&changed)
		return changed
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("not a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		intent Intent
		reason string
	}{
		"command is empty":         {with(func(i *Intent) { i.Command = nil }), "command is empty"},
		"command is not there":     {with(func(i *Intent) { i.Command = []string{"/no/such/engine"} }), "no such file"},
		"command is not on PATH":   {with(func(i *Intent) { i.Command = []string{"no-such-engine"} }), "executable file not found"},
		"command is no program":    {with(func(i *Intent) { i.Command = []string{plain} }), "permission denied"},
		"directory is not there":   {with(func(i *Intent) { i.Dir = "/no/such/dir" }), "no such file"},
		"log has no path":          {with(func(i *Intent) { i.Log = Log{} }), "log.path is empty"},
		"log cannot be opened":     {with(func(i *Intent) { i.Log.Path = "/no/such/dir/log" }), "open log"},
		"grace is negative":        {with(func(i *Intent) { i.GraceMS = -1 }), "grace_ms is -1"},
		"thread is not a number":   {with(func(i *Intent) { i.Threads = []int{-1} }), "threads are [-1]"},
		"thread is out of measure": {with(func(i *Intent) { i.Threads = []int{1024} }), "threads are [1024]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := Start(t.Context(), Config{Executable: self(), Args: []string{"keep"}, Intent: test.intent, AnswerTimeout: patience})
			if p != nil || !errors.Is(err, ErrCannotStart) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error is %v, want %v with %q", err, ErrCannotStart, test.reason)
			}
		})
	}
}

func TestStartNeedsAKeeperThatAnswers(t *testing.T) {
	t.Parallel()
	cause := errors.New("berth is stopping")
	tests := map[string]struct {
		program   []string
		timeout   time.Duration
		cancelled bool
		want      error
	}{
		"keeper is not there":    {[]string{"/no/such/berth"}, patience, false, os.ErrNotExist},
		"keeper says nothing":    {[]string{"sleep", "1000"}, time.Millisecond, false, ErrNoAnswer},
		"keeper talks nonsense":  {[]string{"cat"}, time.Millisecond, false, ErrNoAnswer},
		"keeper ends at once":    {[]string{"sh", "-c", "read line; exit 4"}, patience, false, ErrKeeperLost},
		"caller does not wait":   {[]string{"sleep", "1000"}, patience, true, cause},
		"caller has no patience": {[]string{self(), "keep"}, patience, true, cause},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := test.program[0]
			if path, err := exec.LookPath(program); err == nil {
				program = path
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.cancelled {
				cancel(cause)
			}
			p, err := Start(ctx, Config{Executable: program, Args: test.program[1:], Intent: intentFor(t, "sleeper", ""), AnswerTimeout: test.timeout})
			if p != nil || !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestLostKeeperIsQuoted(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Config{
		Executable: "/bin/sh", Args: []string{"-c", "read line; echo 'fatal error: no luck' >&2; exit 2"},
		Intent: intentFor(t, "sleeper", ""), AnswerTimeout: patience,
	})
	if !errors.Is(err, ErrKeeperLost) || !strings.Contains(err.Error(), "exit status 2: fatal error: no luck") {
		t.Errorf("error is %v", err)
	}
}

func TestCommandIsFoundOnTheEnginesPath(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	if err := os.Symlink(self(), filepath.Join(bin, "my-engine")); err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string]string{"by PATH": "my-engine", "by directory": "./my-engine"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			intent := intentFor(t, "failing", "")
			intent.Command, intent.Dir = []string{command}, bin
			intent.Env = append(intent.Env, "PATH=relative:/no/such/dir:"+bin)
			if exit := mustExit(t, mustStart(t, intent)); exit.Code != 3 {
				t.Errorf("exit is %+v", exit)
			}
		})
	}
}

func TestEngineLogIsRotated(t *testing.T) {
	t.Parallel()
	intent := intentFor(t, "chatter", "")
	intent.Log.MaxBytes, intent.Log.Keep = 250, 2
	exit := mustExit(t, mustStart(t, intent))

	want := map[string]string{"": "line 0075", ".1": "line 0050", ".2": "line 0025"}
	for suffix, first := range want {
		content, err := os.ReadFile(intent.Log.Path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) != 250 || !strings.HasPrefix(string(content), first) {
			t.Errorf("%q has %d bytes and begins %.9q, want 250 and %q", suffix, len(content), content, first)
		}
	}
	if len(exit.Tail) != 1000 { // all hundred lines
		t.Errorf("tail has %d bytes", len(exit.Tail))
	}
}
