package keeper

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	// From proc_pid_stat(5): start time is field 22, processor time 14 and 15.
	tail := " S 11 12 13 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 10 11"
	tests := map[string]struct {
		line string
		want stat
		err  error
	}{
		"plain name":           {"10 (llama-server)" + tail, stat{10, 11, 12, 987654321, 11}, nil},
		"name made to deceive": {"10 (a) S 1 2 (b) c)" + tail, stat{10, 11, 12, 987654321, 11}, nil},
		"nothing":              {"", stat{}, errStat},
		"no name":              {"10 S 11", stat{}, errStat},
		"cut short":            {"10 (x)" + tail[:40], stat{}, errStat},
		"not a number":         {"ten (x)" + tail, stat{}, errStat},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat([]byte(test.line))
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %+v and %v, want %+v and %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestProcessesHasUs(t *testing.T) {
	t.Parallel()
	for s := range processes() {
		if s.pid == os.Getpid() {
			if s.parent != os.Getppid() || s.startTime == 0 {
				t.Errorf("we are %+v", s)
			}
			return
		}
	}
	t.Error("we are not among the processes")
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a)" + strings.Repeat(" 1", 30)))
	f.Fuzz(func(t *testing.T, line []byte) {
		if s, err := parseStat(line); err != nil && s != (stat{}) {
			t.Errorf("%q: both %+v and %v", line, s, err)
		}
	})
}

func TestUsed(t *testing.T) {
	t.Parallel()
	self := os.Getpid()
	start, err := startTimeOf(self)
	if err != nil {
		t.Fatal(err)
	}
	before, known := Used(int64(self), start)
	if _, other := Used(int64(self), start+1); !known || other {
		t.Fatalf("our time is known: %t, that of a process with our number before: %t", known, other)
	}
	for sum, now := 0, before; now < before+5*tick; now, _ = Used(int64(self), start) {
		for i := range 1 << 20 {
			sum ^= i
		}
	}
}
