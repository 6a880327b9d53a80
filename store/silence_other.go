//go:build !linux

package store

import "syscall"

// boundSilence: keep-alives must do.
func boundSilence(string, string, syscall.RawConn) error { return nil }
