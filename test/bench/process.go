//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child that ends with the bench, kill -9 included.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	said chan string   // its first line
	log  string        // file of its errors
}

// startTimeout is how long a process may take until it serves, stopTimeout until it
// has ended after a SIGTERM.
const (
	startTimeout = 10 * time.Second
	stopTimeout  = 20 * time.Second
)

func start(dir, name, program string, args ...string) (*process, error) {
	p := &process{
		name: name, done: make(chan struct{}), said: make(chan string, 1), log: filepath.Join(dir, name+".log"),
		cmd: exec.Command(program, args...),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Dir = dir
	p.cmd.Stdout = &firstLine{to: p.said}
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p.cmd.WaitDelay = time.Second // for what it started and left behind
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ends does not matter
	}()
	return p, nil
}

// firstLine hands over the first line that is written to it.
type firstLine struct {
	text []byte
	to   chan<- string // nil when it was sent
}

func (f *firstLine) Write(b []byte) (int, error) {
	if f.to == nil {
		return len(b), nil
	}
	f.text = append(f.text, b...)
	if line, _, whole := bytes.Cut(f.text, []byte("\n")); whole {
		f.to <- string(line)
		f.to = nil
	}
	return len(b), nil
}

// address waits for the line that ends with the URL where the process listens.
func (p *process) address(ctx context.Context) (string, error) {
	select {
	case line := <-p.said:
		if _, address, ok := strings.Cut(line, "http://"); ok {
			return address, nil
		}
		return "", fmt.Errorf("%s said no URL but: %s", p.name, line)
	case <-p.done:
		return "", p.complain("has ended")
	case <-time.After(startTimeout):
		return "", p.complain("is not up")
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// addresses waits for a line of n addresses.
func (p *process) addresses(ctx context.Context, n int) ([]string, error) {
	select {
	case line := <-p.said:
		if list := strings.Fields(line); len(list) == n {
			return list, nil
		}
		return nil, fmt.Errorf("%s said no %d addresses but: %s", p.name, n, line)
	case <-p.done:
		return nil, p.complain("has ended")
	case <-time.After(startTimeout):
		return nil, p.complain("is not up")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// listening waits until somebody listens at address.
func (p *process) listening(ctx context.Context, address string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-p.done:
			return p.complain("has ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.Join(p.complain("is not up"), context.Cause(ctx))
}

func (p *process) complain(what string) error {
	return fmt.Errorf("%s %s\n%s", p.name, what, p.lastWords())
}

// lastWords are the end of its errors.
func (p *process) lastWords() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// stop ends the process and what is left of its group.
func (p *process) stop() error {
	defer func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }() // an error means that nothing is left
	_ = p.cmd.Process.Signal(syscall.SIGTERM)                                // an error means that it has ended
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end within %s and was killed", p.name, stopTimeout)
	}
}

// cpu is the user and system time of the process and, if it has any of the same name,
// of its children: the sum that utime and stime in /proc/PID/stat show in ticks of
// 10 ms, from the clock in ns that they are cut from.
func (p *process) cpu(withChildren bool) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		pids := []int{p.cmd.Process.Pid}
		if withChildren {
			children, err := childrenOf(pids[0])
			if err != nil {
				return 0, err
			}
			pids = append(pids, children...)
		}
		var sum time.Duration
		for _, pid := range pids {
			const scheduled = 2 // CPUCLOCK_SCHED: the whole process, by the scheduler's count
			var t unix.Timespec
			if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
				return 0, fmt.Errorf("CPU time of %s: %w", p.name, err)
			}
			sum += time.Duration(t.Nano())
		}
		return sum, nil
	}
}

func childrenOf(pid int) (children []int, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no children of %d to be seen: %w", pid, errors.Join(err, os.ErrNotExist))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			children = append(children, child)
		}
	}
	return children, nil
}

// versionOf is the line in which a program says its version.
func versionOf(ctx context.Context, program, flag string) string {
	text, err := exec.CommandContext(ctx, program, flag).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if err != nil {
		return program + " (version unknown)"
	}
	return line
}
