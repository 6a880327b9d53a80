package keeper

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// rawKeeper is a keeper without the client.
type rawKeeper struct {
	*exec.Cmd
	in      io.WriteCloser
	out     io.ReadCloser
	answers *bufio.Scanner
}

func mustRunKeeper(t *testing.T) *rawKeeper {
	t.Helper()
	k := &rawKeeper{Cmd: exec.Command(self(), "keep")}
	var err error
	if k.in, err = k.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if k.out, err = k.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err = k.Start(); err != nil {
		t.Fatal(err)
	}
	k.answers = bufio.NewScanner(k.out)
	return k
}

func (k *rawKeeper) mustSay(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(k.in, line); err != nil {
		t.Fatal(err)
	}
}

// mustAnswer reads a line that begins with want.
func (k *rawKeeper) mustAnswer(t *testing.T, want string) {
	t.Helper()
	if !k.answers.Scan() {
		t.Fatalf("no answer, want %s: %v", want, k.answers.Err())
	}
	if !strings.HasPrefix(k.answers.Text(), want) {
		t.Errorf("answer is\n%s, want\n%s", k.answers.Text(), want)
	}
}

// startLine is the message to start intent, with more in front of its fields.
func startLine(t *testing.T, more string, intent Intent) string {
	t.Helper()
	fields, err := json.Marshal(intent)
	if err != nil {
		t.Fatal(err)
	}
	return `{"type":"start",` + more + "," + string(fields[1:])
}

// The protocol as bytes: what a Berth of another version will find.
func TestConversation(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	start := startLine(t, `"v":2,"from_the_future":[1]`, intentFor(t, "sleeper", line.path))
	k := mustRunKeeper(t)
	for _, step := range []struct{ say, want string }{
		{`{"v":1,"type":"dance"}`, `{"v":1,"type":"error","message":"unknown message type \"dance\""}`},
		{`what?`, `{"v":1,"type":"error","message":"read message: `},
		{`{"type":"stop"}`, `{"v":1,"type":"error","message":"message has version 0; want 1"}`},
		{start, `{"v":1,"type":"started","pid":`},
		{start, `{"v":1,"type":"error","message":"message does not fit here"}`},
		{`{"v":1,"type":"stop","grace_ms":60000}`, `{"v":1,"type":"exited","code":-1,"signal":15,"at":"`},
	} {
		if strings.Contains(step.want, "exited") {
			line.await(t, 1) // so that its runtime can take SIGTERM
		}
		k.mustSay(t, step.say)
		k.mustAnswer(t, step.want)
	}
	if k.answers.Scan() {
		t.Errorf("unexpected %s", k.answers.Text())
	}
	if err := k.Wait(); err != nil {
		t.Errorf("keeper ended with %v", err)
	}
}

func TestKeeperSurvivesABerthThatDoesNotListen(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	k := mustRunKeeper(t)
	k.mustSay(t, startLine(t, `"v":1`, intentFor(t, "sleeper", line.path)))
	k.mustAnswer(t, `{"v":1,"type":"started"`)
	engine := line.await(t, 1)["sleeper"]

	_ = k.out.Close()
	k.mustSay(t, "what?") // the answer would be its death by SIGPIPE
	_ = k.in.Close()

	engine.awaitEnd(t)
	if err := k.Wait(); err != nil {
		t.Errorf("keeper ended with %v", err)
	}
}

func TestKeeperEndsBeforeAnyStart(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"Berth is gone":        "",
		"Berth does not want":  `{"v":1,"type":"stop"}` + "\n",
		"a line without bound": strings.Repeat("x", messageBytesMax+1),
	}
	for name, input := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox := receive(strings.NewReader(input))
			k := &keeper{inbox: inbox}
			if code := k.run(); code != 0 {
				t.Errorf("exit code is %d", code)
			}
			for range inbox {
				// Drained, so that its goroutine ends.
			}
		})
	}
}
