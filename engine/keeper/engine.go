package keeper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// engine is the keeper's child and all that descends from it.
type engine struct {
	pid       int
	startTime int64
	log       *recorder

	killAt   time.Time        // when killTime fires; zero while nobody asked to stop
	killTime <-chan time.Time // nil while nobody asked to stop

	// Written by reap.
	status    syscall.WaitStatus
	endedAt   time.Time
	collected atomic.Bool   // the engine itself has ended, its pid may be given away
	gone      chan struct{} // closed when all that descends from it has ended too
}

// launch starts the engine. Its errors are for a person: the command is not
// there, may not be executed, the log cannot be opened. It must run on the
// thread that Main locked.
func launch(i Intent) (*engine, error) {
	if err := i.validate(); err != nil {
		return nil, err
	}
	path, err := findCommand(i)
	if err != nil {
		return nil, err
	}
	log, err := openRotatingFile(i.Log)
	if err != nil {
		return nil, err
	}
	if err := prepareThread(i.Threads, i.Yields); err != nil {
		return nil, err
	}
	pid, output, err := spawn(path, i)
	if err != nil {
		return nil, err
	}
	// Read before reap may collect the process, so that it is there even when
	// the engine ended at once.
	startTime, err := startTimeOf(pid)
	if err != nil {
		return nil, err
	}
	e := &engine{pid: pid, startTime: startTime, log: record(output, log), gone: make(chan struct{})}
	go e.reap()
	return e, nil
}

// findCommand returns the file to execute, resolved with the engine's own PATH
// and directory because the keeper's environment is empty.
func findCommand(i Intent) (string, error) {
	name := i.Command[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(i.Dir, name)
		}
		path, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		return exec.LookPath(path)
	}
	for _, dir := range filepath.SplitList(lookupEnv(i.Env, "PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// lookupEnv returns the value of key in env, or "". The first entry counts, as
// in C's getenv.
func lookupEnv(env []string, key string) string {
	for _, entry := range env {
		if k, v, _ := strings.Cut(entry, "="); k == key {
			return v
		}
	}
	return ""
}

// spawn forks the engine into a process group of its own and returns its pid
// and the read end of its output. The write end is the engine's alone, so that
// the output ends when the last process that holds it does.
func spawn(path string, i Intent) (pid int, output *os.File, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = null.Close() }()
	output, input, err := os.Pipe()
	if err != nil {
		return 0, nil, fmt.Errorf("open log pipe: %w", err)
	}
	defer func() { _ = input.Close() }()

	process, err := os.StartProcess(path, i.Command, &os.ProcAttr{
		Dir:   i.Dir,
		Env:   append([]string{}, i.Env...), // nil would mean the keeper's
		Files: []*os.File{null, input, input},
		Sys:   engineAttr(),
	})
	if err != nil {
		_ = output.Close()
		return 0, nil, err
	}
	pid = process.Pid
	// reap waits for all children at once; two waiters would steal from each other.
	_ = process.Release()
	return pid, output, nil
}

// reap collects the engine and every orphan that the kernel hands to us as
// subreaper, all the time the engine runs, so that no zombies pile up. Once the
// engine has ended it kills what is left; it closes gone when there is nothing.
func (e *engine) reap() {
	defer close(e.gone)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // ECHILD: no descendant is left
			return
		case pid == e.pid:
			e.status, e.endedAt = status, time.Now()
			// The number cannot have been given to another group already: the
			// kernel hands numbers out in a circle.
			e.signal(syscall.SIGKILL)
			e.collected.Store(true)
		}
		if e.collected.Load() {
			// After every child that ends, because its own children are ours now.
			killChildren()
		}
	}
}

// stop asks the engine's process group to end and has it killed after grace. A
// later call can only bring the kill forward.
func (e *engine) stop(grace time.Duration) {
	if e.killAt.IsZero() {
		e.signal(syscall.SIGTERM)
	}
	if at := time.Now().Add(grace); e.killAt.IsZero() || at.Before(e.killAt) {
		e.killAt, e.killTime = at, time.After(grace)
	}
}

// signal reaches the engine's whole process group while it is the engine's.
// The only possible error is that nobody is in it any more.
func (e *engine) signal(s syscall.Signal) {
	if !e.collected.Load() {
		_ = syscall.Kill(-e.pid, s)
	}
}

// exit reports the end; call it after gone is closed.
func (e *engine) exit() Exit {
	exit := Exit{Code: e.status.ExitStatus(), At: e.endedAt, Tail: e.log.finish()}
	if e.status.Signaled() {
		exit.Signal = e.status.Signal()
	}
	return exit
}
