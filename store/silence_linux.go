package store

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSilence ends a TCP connection whose peer has not acknowledged what was sent for
// postgresSilence: keep-alives are not sent while something is under way.
func boundSilence(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(postgresSilence.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
