package imports

import "syscall"

func deviceOf(s *syscall.Stat_t) uint64 { return uint64(s.Dev) }

func changedNS(s *syscall.Stat_t) int64 { return s.Ctimespec.Nano() }
