package keeper

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prepareThread does nothing: darwin has no subreapers, no no_new_privs, no binding of
// processes to CPUs and no niceness of a thread.
func prepareThread([]int, bool) error { return nil }

// engineAttr gives the engine a process group of its own.
func engineAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func startTimeOf(pid int) (int64, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0, fmt.Errorf("read start time: %w", err)
	}
	start := info.Proc.P_starttime
	return start.Sec*1_000_000 + int64(start.Usec), nil
}

// usedBy fails: only the kernel's own tools may ask.
func usedBy(int) (used time.Duration, startTime int64, err error) {
	return 0, 0, errors.ErrUnsupported
}

// killChildren does nothing: orphans are handed to launchd, not to the keeper.
func killChildren() {}

// endGroup kills what is left of the process group of an engine whose keeper
// died, and returns when all of it is gone.
func endGroup(leader Started) {
	if start, err := startTimeOf(leader.PID); err == nil && start != leader.StartTime {
		return // a stranger has the number: our group was empty before
	}
	for !errors.Is(syscall.Kill(-leader.PID, syscall.SIGKILL), syscall.ESRCH) {
		time.Sleep(10 * time.Millisecond) // a group that is not ours to wait for can only be asked
	}
}
