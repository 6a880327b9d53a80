package keeper

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogFileIsPrivateAndAppendedTo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for range 2 {
		f, err := openRotatingFile(Log{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, f, "run\n")
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if content, _ := os.ReadFile(path); string(content) != "run\nrun\n" {
		t.Errorf("log is %q", content)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v: %v", info.Mode(), err)
	}
}

func mustWrite(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); n != len(s) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(s), err)
	}
}

func TestFullLogIsRotated(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		keep int
		want []string // the log, then .1, .2 …
	}{
		"none kept":       {0, []string{"ddd"}},
		"some kept":       {2, []string{"ddd", "cc", "bbbbb"}},
		"more kept":       {9, []string{"ddd", "cc", "bbbbb", "aa"}},
		"negative, as if": {-1, []string{"ddd"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			f, err := openRotatingFile(Log{Path: path, MaxBytes: 4, Keep: test.keep})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{"a", "a", "bbbbb", "c", "c", "ddd"} { // one is longer than a file
				mustWrite(t, f, s)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			for i, want := range test.want {
				if got, err := os.ReadFile(f.numbered(i)); string(got) != want {
					t.Errorf("%s is %q, want %q: %v", filepath.Base(f.numbered(i)), got, want, err)
				}
			}
			if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != len(test.want) {
				t.Errorf("%d files, want %d", len(files), len(test.want))
			}
		})
	}
}

func TestLogComesBackAfterItsDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := openRotatingFile(Log{Path: filepath.Join(dir, "log"), MaxBytes: 1, Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, "a")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, "c")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(f.Path); string(got) != "c" {
		t.Errorf("log is %q", got)
	}
}

func TestLinesAreCut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ input, want string }{
		"nothing":                     {"", ""},
		"short lines":                 {"a\n\nb\n", "a\n\nb\n"},
		"a last line without a break": {"a\nb", "a\nb\n"},
		"as long as the buffer":       {strings.Repeat("x", 15) + "\na\n", strings.Repeat("x", 15) + "\na\n"},
		"one longer":                  {strings.Repeat("x", 16) + "\na\n", strings.Repeat("x", 16) + cutMark + "a\n"},
		"many times longer":           {strings.Repeat("x", 100) + "\na\n", strings.Repeat("x", 16) + cutMark + "a\n"},
		"too long and the last":       {strings.Repeat("x", 100), strings.Repeat("x", 16) + cutMark},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := bufio.NewReaderSize(strings.NewReader(test.input), 16)
			var got []byte
			for {
				line, err := nextLine(lines)
				got = append(got, line...)
				if err != nil {
					break
				}
			}
			if string(got) != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTailIsBoundedAndText(t *testing.T) {
	t.Parallel()
	var last tail
	for range 100 {
		mustWrite(t, &last, strings.Repeat("é", 50)+"\n") // 101 bytes, so that the cut falls into a letter
	}
	got := last.String()
	if len(got) > tailBytesMax || len(got) < tailBytesMax-4 || !strings.HasSuffix(got, "éé\n") || strings.Contains(got, "\uFFFD") {
		t.Errorf("tail has %d bytes: %q", len(got), got)
	}
	mustWrite(t, &last, strings.Repeat("y", 3*tailBytesMax))
	if got := last.String(); got != strings.Repeat("y", tailBytesMax) {
		t.Errorf("tail has %d bytes", len(got))
	}
}

// closer is a log that is written when it is closed.
type closer struct {
	bytes.Buffer
	err    error
	closed bool
}

func (c *closer) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	return c.Buffer.Write(p)
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func TestRecorderCopiesUntilTheEnd(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want string
	}{
		"a log that works":  {nil, "one\ntwo\n"},
		"a log that is not": {errors.New("disk full"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, input, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			log := &closer{err: test.err}
			r := record(output, log)
			mustWrite(t, input, "one\ntwo")
			if err := input.Close(); err != nil {
				t.Fatal(err)
			}
			if got := r.finish(); got != "one\ntwo\n" {
				t.Errorf("tail is %q", got)
			}
			if log.String() != test.want || !log.closed {
				t.Errorf("log is %q, closed %t", log.String(), log.closed)
			}
		})
	}
}

// A disk that hangs may hold the engine up once, not for every line.
func TestFullQueueDropsLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{queue: make(chan []byte, 1)}
		began := time.Now()
		for _, line := range []string{"1\n", "2\n", "3\n", "4\n"} {
			r.enqueue([]byte(line))
		}
		if waited := time.Since(began); waited != queuePatience {
			t.Errorf("waited %v, want %v", waited, queuePatience)
		}
		got := string(<-r.queue)
		r.enqueue([]byte("5\n"))
		got += string(<-r.queue)
		r.enqueue([]byte("6\n"))
		got += string(<-r.queue)
		if want := "1\n…[3 lines dropped: the log was too slow]\n5\n6\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
