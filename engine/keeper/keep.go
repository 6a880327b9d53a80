package keeper

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// Main is `berth keep`: it reads an [Intent] from standard input, runs that engine
// until it ends or is to end, and returns the process's exit code: 1 when the
// engine could not be started, else 0. Call it before anything else in main,
// from the main goroutine, and pass its result to [os.Exit].
func Main() int {
	// The parent-death signal and no_new_privs belong to the thread that forks
	// the engine: were it to end, the engine would be killed.
	runtime.LockOSThread()

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	// Berth decides when engines end, not a Ctrl-C in its terminal, and writing
	// to a Berth that is gone must not kill us before the engine has ended. They
	// are caught rather than ignored because the engine would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)

	k := &keeper{inbox: receive(os.Stdin), term: term, out: os.Stdout}
	return k.run()
}

// keeper is the state of one `berth keep`. One goroutine owns it.
type keeper struct {
	inbox <-chan any // from receive; closed when Berth is gone
	term  <-chan os.Signal
	out   io.Writer
}

func (k *keeper) run() int {
	intent, ok := k.awaitStart()
	if !ok {
		return 0
	}
	e, err := launch(intent)
	if err != nil {
		k.say(failedMessage{headerOf(typeFailed), err.Error()})
		return 1
	}
	k.say(startedMessage{headerOf(typeStarted), Started{PID: e.pid, StartTime: e.startTime, Nonce: intent.Nonce}})
	k.tend(e, intent.grace())
	k.say(exitedMessage{headerOf(typeExited), e.exit()})
	return 0
}

// awaitStart returns the first start message, or false when we are to end first.
func (k *keeper) awaitStart() (Intent, bool) {
	for {
		select {
		case <-k.term:
			return Intent{}, false
		case message, open := <-k.inbox:
			if !open {
				return Intent{}, false
			}
			switch m := message.(type) {
			case startMessage:
				return m.Intent, true
			case stopMessage:
				return Intent{}, false
			default:
				k.refuse(message)
			}
		}
	}
}

// tend returns when the engine and everything it started are gone. grace counts
// when nobody is there to say another.
func (k *keeper) tend(e *engine, grace time.Duration) {
	inbox := k.inbox
	for {
		select {
		case <-e.gone:
			return
		case <-e.killTime:
			e.signal(syscall.SIGKILL)
		case <-k.term:
			e.stop(grace)
		case message, open := <-inbox:
			if !open {
				inbox = nil
				e.stop(grace)
				continue
			}
			if m, ok := message.(stopMessage); ok {
				e.stop(time.Duration(m.GraceMS) * time.Millisecond)
				continue
			}
			k.refuse(message)
		}
	}
}

// refuse answers a message that makes no sense now.
func (k *keeper) refuse(message any) {
	reason := "message does not fit here"
	if err, ok := message.(error); ok {
		reason = err.Error()
	}
	k.say(errorMessage{headerOf(typeError), reason})
}

// say tells Berth something. A Berth that is gone cannot be told, which is no
// failure of ours: the inbox closes then, and the engine ends.
func (k *keeper) say(message any) { _ = send(k.out, message) }
