package keeper

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"
)

const (
	// protocolVersion is the "v" of every message we write. Messages only grow,
	// so a reader accepts any version from 1 on.
	protocolVersion = 1

	// messageBytesMax bounds a line. Linux limits arguments plus environment to
	// 2 MiB by default; real ones are a few KiB.
	messageBytesMax = 1 << 20

	// threadMax is the highest CPU number that fits into the kernel's usual CPU set.
	threadMax = 1023
)

const (
	typeStart   = "start"   // to the keeper: run this engine
	typeStop    = "stop"    // to the keeper: end it
	typeStarted = "started" // from the keeper: it runs
	typeFailed  = "failed"  // from the keeper: it cannot be started
	typeExited  = "exited"  // from the keeper: it and all it started are gone
	typeError   = "error"   // from the keeper: your last message made no sense
)

// Intent says which engine to run and how. Everything in it is taken as it is:
// the engine inherits nothing from Berth or from the keeper.
type Intent struct {
	// Nonce comes back in [Started], so that an engine found later can be
	// matched with the intent that was written down before it was started.
	Nonce string `json:"nonce"`

	// Command is the program and its arguments. A program without a slash is
	// looked up in the PATH of Env; one with a slash is relative to Dir.
	Command []string `json:"command"`

	// Env is the whole environment, as KEY=VALUE.
	Env []string `json:"env"`

	// Dir is the working directory; empty means the keeper's.
	Dir string `json:"dir"`

	Log Log `json:"log"`

	// Threads are the CPU numbers the engine may run on (Linux); empty means all.
	Threads []int `json:"threads,omitempty"`

	// Yields makes the engine, and all it starts, stand back on processors that others want,
	// too: a niceness of 10 (Linux), which is a tenth of the time of a process with none.
	Yields bool `json:"yields,omitempty"`

	// MemoryBytes is the memory the engine was sold. It is carried but not yet
	// enforced: RLIMIT_AS counts mapped model files and would kill healthy
	// engines, so enforcement waits for cgroups.
	MemoryBytes int64 `json:"memory_bytes,omitempty"`

	// GraceMS is how many milliseconds the engine has between SIGTERM and
	// SIGKILL when Berth vanishes or the keeper gets SIGTERM; 0 means 5000.
	GraceMS int64 `json:"grace_ms,omitempty"`
}

// validate returns an error naming the first field that makes i unusable.
func (i Intent) validate() error {
	switch {
	case len(i.Command) == 0 || i.Command[0] == "":
		return errors.New("command is empty")
	case i.Log.Path == "":
		return errors.New("log.path is empty")
	case i.GraceMS < 0:
		return fmt.Errorf("grace_ms is %d; it cannot be negative", i.GraceMS)
	case slices.ContainsFunc(i.Threads, func(thread int) bool { return thread < 0 || thread > threadMax }):
		return fmt.Errorf("threads are %v; they must be between 0 and %d", i.Threads, threadMax)
	}
	return nil
}

// grace is the time between SIGTERM and SIGKILL when nobody says another.
func (i Intent) grace() time.Duration {
	if i.GraceMS == 0 {
		return 5 * time.Second
	}
	return time.Duration(i.GraceMS) * time.Millisecond
}

// Started says that the engine runs.
type Started struct {
	// PID is the engine's process id and that of its process group.
	PID int `json:"pid"`

	// StartTime tells a process from a later one with the same PID on the same
	// boot. Linux: clock ticks since boot (field 22 of /proc/PID/stat); darwin:
	// microseconds since 1970. Compare for equality only.
	StartTime int64 `json:"start_time"`

	Nonce string `json:"nonce"`
}

// Exit says how an engine ended.
type Exit struct {
	// Code is the exit status, 0 to 255, or -1 when there is none.
	Code int `json:"code"`

	// Signal is what killed the engine, or 0.
	Signal syscall.Signal `json:"signal"`

	// At is when the engine itself ended; helpers may have lived a little longer.
	At time.Time `json:"at"`

	// Tail is the end of the log, at most 2 KiB, for the reason a person reads.
	Tail string `json:"tail"`

	// Err is nil when the keeper reported this exit. Otherwise it wraps
	// [ErrKeeperLost], Code is -1, Signal 0 and Tail empty: the engine is gone
	// all the same, but how it ended is not known.
	Err error `json:"-"`
}

// String is half a sentence: "exit status 3", "signal: killed".
func (e Exit) String() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Signal != 0:
		return "signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// header stands in front of every message.
type header struct {
	V    int    `json:"v"`
	Type string `json:"type"`
}

func headerOf(messageType string) header { return header{protocolVersion, messageType} }

type (
	startMessage struct {
		header
		Intent
	}
	stopMessage struct {
		header
		GraceMS int64 `json:"grace_ms"`
	}
	startedMessage struct {
		header
		Started
	}
	exitedMessage struct {
		header
		Exit
	}
	failedMessage struct {
		header
		Message string `json:"message"`
	}
	errorMessage struct {
		header
		Message string `json:"message"`
	}
)

// decode returns the message in one line as one of the types above. Its errors
// may be sent back: they quote no more than the type.
func decode(line []byte) (any, error) {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	if h.V < 1 {
		return nil, fmt.Errorf("message has version %d; want %d", h.V, protocolVersion)
	}
	switch h.Type {
	case typeStart:
		return decodeAs[startMessage](line)
	case typeStop:
		return decodeAs[stopMessage](line)
	case typeStarted:
		return decodeAs[startedMessage](line)
	case typeExited:
		return decodeAs[exitedMessage](line)
	case typeFailed:
		return decodeAs[failedMessage](line)
	case typeError:
		return decodeAs[errorMessage](line)
	}
	return nil, fmt.Errorf("unknown message type %.40q", h.Type)
}

func decodeAs[M any](line []byte) (any, error) {
	var m M
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

// send writes message as one line in one Write.
func send(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if len(line) >= messageBytesMax {
		return fmt.Errorf("message has %d bytes; at most %d are allowed", len(line), messageBytesMax-1)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// receive returns the messages of r in order; a line that is none arrives as an
// error. The channel is closed when r ends, fails, or sends too long a line.
// The caller must drain it, or the reading goroutine stays.
func receive(r io.Reader) <-chan any {
	messages := make(chan any)
	go func() {
		defer close(messages)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, messageBytesMax)
		for lines.Scan() {
			message, err := decode(lines.Bytes())
			if err != nil {
				message = err
			}
			messages <- message
		}
	}()
	return messages
}
