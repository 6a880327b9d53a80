package cli

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is the far end of a terminal: what a person types and sees.
type screen struct {
	t    *testing.T
	far  *os.File
	seen string // since what was last waited for
}

// openTerminal returns a terminal for a program and the screen of its user.
func openTerminal(t *testing.T) (*os.File, *screen) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	t.Cleanup(func() { _ = far.Close() })
	if err := unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	near, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	return near, &screen{t: t, far: far}
}

// waitFor reads up to the next appearance of text. What is typed before the prompt is
// there would meet a terminal that still handles Ctrl-D itself.
func (s *screen) waitFor(text string) {
	s.t.Helper()
	buffer := make([]byte, 4096)
	for {
		if _, after, ok := strings.Cut(s.seen, text); ok {
			s.seen = after
			return
		}
		n, err := s.far.Read(buffer)
		if err != nil {
			s.t.Fatalf("%v, waiting for %q in %q", err, text, s.seen)
		}
		s.seen += string(buffer[:n])
	}
}

func (s *screen) typeIn(keys string) {
	s.t.Helper()
	if _, err := s.far.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func TestAConversationAtATerminal(t *testing.T) {
	t.Parallel()
	// Given a server that refuses the first question and answers the second,
	f := newFake(t)
	f.on(chatCall, refuse(503, "ModelUnavailable", "Model is unavailable."), answer("hm", "forty-two"))
	near, screen := openTerminal(t)
	root := New(Options{
		In: near, Out: near, Err: near,
		Env: func(name string) string { return map[string]string{"BERTH_URL": f.URL, "BERTH_API_KEY": "k"}[name] },
		Now: func() time.Time { return noon },
	})
	root.SetArgs([]string{"chat", "x"})
	code := make(chan int, 1)
	go func() { code <- Execute(t.Context(), root) }()

	// when somebody thinks better of a line, asks, and asks again,
	screen.waitFor("> ")
	screen.typeIn("zero\x03one\r")
	screen.waitFor("Model is unavailable.")
	screen.waitFor("> ")
	screen.typeIn("two\r")
	// then the reasoning is dimmed, and Ctrl-D leaves.
	screen.waitFor("\x1b[2mhm\x1b[0m\r\n\r\nforty-two\r\n")
	screen.waitFor("> ")
	screen.typeIn("\x04")
	if c := <-code; c != exitDone {
		t.Errorf("exit %d, seen %q", c, screen.seen)
	}
	if got, want := f.conversations(t), [][]string{{"user:one"}, {"user:two"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}
