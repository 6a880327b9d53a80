package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"
)

// stat is what we read of /proc/PID/stat, described in proc_pid_stat(5).
type stat struct {
	pid, parent, group int
	startTime          int64 // clock ticks since boot
	used               int64 // clock ticks on a processor, all threads together
}

func readStat(pid int) (stat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(line)
}

var errStat = errors.New("malformed /proc/PID/stat")

// parseStat reads one line of /proc/PID/stat. The second field is the program's
// name in parentheses and may itself hold blanks and parentheses, so the others
// are counted from the last one.
func parseStat(line []byte) (stat, error) {
	pid, _, ok := bytes.Cut(line, []byte(" ("))
	end := bytes.LastIndexByte(line, ')')
	if !ok || end < 0 {
		return stat{}, errStat
	}
	const first = 3 // the number of the field after the name, counting from 1
	fields := bytes.Fields(line[end+1:])
	if len(fields) <= 22-first {
		return stat{}, errStat
	}
	var numbers [6]int64
	for i, field := range [][]byte{pid, fields[4-first], fields[5-first], fields[22-first], fields[14-first], fields[15-first]} {
		number, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return stat{}, errStat
		}
		numbers[i] = number
	}
	return stat{int(numbers[0]), int(numbers[1]), int(numbers[2]), numbers[3], numbers[4] + numbers[5]}, nil
}

// processes walks over the processes that run now; one that ends meanwhile is
// left out.
func processes() iter.Seq[stat] {
	return func(yield func(stat) bool) {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return // no /proc: an engine's group can be killed, strays cannot be found
		}
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil {
				continue
			}
			if s, err := readStat(pid); err == nil && !yield(s) {
				return
			}
		}
	}
}
