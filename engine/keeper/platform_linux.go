package keeper

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// yielding is the niceness of engines that yield. More would leave one, on a processor that
// is never free, so little time that it looks frozen.
const yielding = 10

// prepareThread gives the calling thread what the engine is to inherit from it,
// no_new_privs, the CPUs it may use and its priority on them, and makes the keeper the one
// to whom orphaned descendants are handed.
func prepareThread(threads []int, yields bool) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if yields {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, max(yielding, niceness())); err != nil {
			return fmt.Errorf("lower the priority: %w", err)
		}
	}
	if len(threads) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, thread := range threads {
		set.Set(thread)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("bind to threads %v: %w", threads, err)
	}
	return nil
}

// niceness returns the calling thread's. The system call answers 20 less it.
func niceness() int {
	answer, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - answer
}

// engineAttr gives the engine a process group of its own and the kernel's word
// that it does not outlive the keeper.
func engineAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func startTimeOf(pid int) (int64, error) {
	s, err := readStat(pid)
	return s.startTime, err
}

// tick is the clock of /proc, the same on all machines that Go runs on.
const tick = time.Second / 100

func usedBy(pid int) (used time.Duration, startTime int64, err error) {
	s, err := readStat(pid)
	return time.Duration(s.used) * tick, s.startTime, err
}

// killChildren kills the keeper's children. It reads all of /proc because the
// short way, /proc/PID/task/TID/children, is a kernel option.
func killChildren() {
	self := os.Getpid()
	for s := range processes() {
		if s.parent == self {
			// Only we collect our children, so the number is still theirs.
			_ = syscall.Kill(s.pid, syscall.SIGKILL)
		}
	}
}

// endGroup kills what is left of the process group of an engine whose keeper
// died, and returns when all of it is gone. It waits without bound, because a
// process that cannot die (a driver that hangs) still holds its hardware.
func endGroup(leader Started) {
	ended := map[int]bool{}
	for again := true; again; {
		again = false
		for s := range processes() {
			if s.group != leader.PID || ended[s.pid] {
				continue
			}
			if s.pid == leader.PID && s.startTime != leader.StartTime {
				// A stranger has the number, and a number in use as a group is
				// not given away: our group was empty before.
				return
			}
			killAndWait(s)
			ended[s.pid], again = true, true
		}
	}
}

// killAndWait kills process s, which need not be our child, and returns when it
// is gone or has been somebody else all along.
func killAndWait(s stat) {
	pidfd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		return // ESRCH: gone
	}
	defer func() { _ = unix.Close(pidfd) }()
	if now, err := readStat(s.pid); err != nil || now.startTime != s.startTime {
		return
	}
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	awaitEnd(pidfd)
}

// awaitEnd returns when the process behind pidfd has ended; whether its parent
// has collected it makes no difference.
func awaitEnd(pidfd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
