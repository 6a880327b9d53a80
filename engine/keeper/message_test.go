package keeper

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMessagesSurviveTheWire(t *testing.T) {
	t.Parallel()
	intent := Intent{
		Nonce: "n", Command: []string{"llama-server", "--port", "1"}, Env: []string{"A=b\nc"}, Dir: "/tmp",
		Log: Log{Path: "/tmp/log", MaxBytes: 1 << 20, Keep: 3}, Threads: []int{0, 3}, Yields: true, MemoryBytes: 1 << 30, GraceMS: 7,
	}
	messages := []any{
		startMessage{headerOf(typeStart), intent},
		stopMessage{headerOf(typeStop), 1500},
		startedMessage{headerOf(typeStarted), Started{PID: 7, StartTime: 8, Nonce: "n"}},
		exitedMessage{headerOf(typeExited), Exit{Code: -1, Signal: syscall.SIGKILL, At: time.UnixMilli(1).UTC(), Tail: "é\n"}},
		failedMessage{headerOf(typeFailed), "no such file"},
		errorMessage{headerOf(typeError), "what?"},
	}
	var wire bytes.Buffer
	for _, message := range messages {
		if err := send(&wire, message); err != nil {
			t.Fatal(err)
		}
	}
	var got []any
	for message := range receive(&wire) {
		got = append(got, message)
	}
	if !reflect.DeepEqual(got, messages) {
		t.Errorf("received\n%+v, want\n%+v", got, messages)
	}
}

func TestSendRefusesWhatCannotBeReceived(t *testing.T) {
	t.Parallel()
	message := failedMessage{headerOf(typeFailed), strings.Repeat("x", messageBytesMax)}
	if err := send(io.Discard, message); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("error is %v", err)
	}
	message.Message = ""
	var wire bytes.Buffer
	if err := send(&wire, message); err != nil {
		t.Fatal(err)
	}
	message.Message = strings.Repeat("x", messageBytesMax-wire.Len()) // the longest that fits
	wire.Reset()
	if err := send(&wire, message); err != nil {
		t.Fatal(err)
	}
	if got := <-receive(&wire); got != message {
		t.Errorf("the longest message did not arrive: %.80v", got)
	}
}

func TestExitIsAHalfSentence(t *testing.T) {
	t.Parallel()
	for want, exit := range map[string]Exit{
		"exit status 0":   {},
		"exit status 3":   {Code: 3},
		"signal: killed":  {Code: -1, Signal: syscall.SIGKILL},
		"keeper was lost": {Code: -1, Err: ErrKeeperLost},
	} {
		if got := exit.String(); got != want {
			t.Errorf("%+v reads %q, want %q", exit, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"v":1}`, `{"v":1,"type":"nothing"}`,
		`{"v":1,"type":"start","command":["a"],"env":null,"log":{"path":"p"},"threads":[0]}`,
		`{"v":9,"type":"stop","grace_ms":-1,"later":{}}`,
		`{"v":1,"type":"started","pid":1,"start_time":2,"nonce":"n"}`,
		`{"v":1,"type":"exited","code":1,"signal":9,"at":"2026-01-02T03:04:05Z","tail":"\ud800"}`,
		`{"v":1,"type":"failed","message":"m"}`, `{"v":1,"type":"error","message":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		message, err := decode(line)
		if err != nil {
			if message != nil {
				t.Errorf("%q: both %v and %v", line, message, err)
			}
			return
		}
		// What was understood once is understood again in the same way.
		var wire bytes.Buffer
		if err := send(&wire, message); err != nil {
			t.Skip(err)
		}
		again, err := decode(bytes.TrimSuffix(wire.Bytes(), []byte("\n")))
		var second bytes.Buffer
		if err := errors.Join(err, send(&second, again)); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		wire.Reset()
		if err := send(&wire, message); err != nil || wire.String() != second.String() {
			t.Errorf("%q is read as %q, then as %q", line, wire.String(), second.String())
		}
	})
}
