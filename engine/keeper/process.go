package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

var (
	// ErrCannotStart means that the engine could not be started; the text says why.
	// Trying the same again will fail the same way.
	ErrCannotStart = errors.New("engine cannot be started")

	// ErrNoAnswer means that the keeper did not answer in time and was killed.
	ErrNoAnswer = errors.New("keeper does not answer")

	// ErrKeeperLost means that the keeper ended without reporting the engine's
	// exit. The engine is gone.
	ErrKeeperLost = errors.New("keeper was lost")
)

// Config says how to start a keeper and its engine.
type Config struct {
	// Executable is the path of a program that calls [Main]; Berth's own.
	Executable string

	// Args lead that program to Main: "keep", and perhaps a name for those who
	// read `ps`. Everybody on the machine can see them.
	Args []string

	// Intent goes to the keeper, unseen by others.
	Intent Intent

	// AnswerTimeout bounds the wait for the keeper's answer to a start, and how
	// long beyond the grace a stop may take before the keeper is killed; 0 means
	// 10 s.
	AnswerTimeout time.Duration
}

// Process is one running engine behind its keeper. Its methods may be called
// from any goroutine.
type Process struct {
	keeper        *exec.Cmd
	complaints    tail // the keeper's standard error: empty unless it panics
	stdin         *os.File
	answerTimeout time.Duration

	answer  chan any // the first startedMessage or failedMessage
	started Started

	done chan struct{}
	exit Exit // written before done is closed
}

// Start launches a keeper and its engine and returns when the engine runs; that
// says nothing yet of its being ready. The engine lives until it ends, Stop is
// called, or this program ends; ctx governs the start alone. When Start returns
// an error, neither keeper nor engine is left: [ErrCannotStart], [ErrNoAnswer],
// [ErrKeeperLost], ctx's cause, or the system's reason why there is no keeper.
func Start(ctx context.Context, c Config) (*Process, error) {
	if err := c.Intent.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannotStart, err)
	}
	if c.AnswerTimeout == 0 {
		c.AnswerTimeout = 10 * time.Second
	}
	p, err := startKeeper(c)
	if err != nil {
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.AnswerTimeout, ErrNoAnswer)
	defer cancel()
	// Killing the keeper ends every wait below.
	release := context.AfterFunc(ctx, p.killKeeper)
	err = p.startEngine(c.Intent)
	if !release() {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.killKeeper()
		<-p.done
		return nil, err
	}
	return p, nil
}

// startKeeper runs `berth keep` in a session of its own, so that no terminal
// reaches it, and with an empty environment, so that it shows none of ours.
func startKeeper(c Config) (*Process, error) {
	p := &Process{
		// No context ends the keeper: it outlives the start.
		keeper:        exec.CommandContext(context.Background(), c.Executable, c.Args...),
		answerTimeout: c.AnswerTimeout,
		answer:        make(chan any, 1),
		done:          make(chan struct{}),
	}
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	p.stdin = stdin
	p.keeper.Env = []string{}
	p.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.keeper.Stdin = in
	p.keeper.Stderr = &p.complaints
	out, err := p.keeper.StdoutPipe()
	if err == nil {
		err = p.keeper.Start()
	}
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	go p.watch(out)
	return p, nil
}

// startEngine has the keeper start the engine and waits for its answer.
func (p *Process) startEngine(i Intent) error {
	if err := send(p.stdin, startMessage{headerOf(typeStart), i}); err != nil {
		return err
	}
	select {
	case answer := <-p.answer:
		return checkAnswer(answer, i.Nonce)
	case <-p.done:
	}
	// Both may have come at once.
	select {
	case answer := <-p.answer:
		return checkAnswer(answer, i.Nonce)
	default:
		return p.exit.Err
	}
}

func checkAnswer(answer any, nonce string) error {
	switch m := answer.(type) {
	case failedMessage:
		return fmt.Errorf("%w: %s", ErrCannotStart, m.Message)
	case startedMessage:
		if m.Nonce != nonce {
			return fmt.Errorf("keeper started another engine: nonce %q, want %q", m.Nonce, nonce)
		}
	}
	return nil
}

// watch follows the keeper until it is gone, and only then settles how the
// engine ended. It is the only writer of started and exit.
func (p *Process) watch(out io.Reader) {
	defer close(p.done)
	reported := p.listen(out)
	// A keeper that closed its output or talks nonsense has nothing left to do.
	p.killKeeper()
	_ = p.keeper.Wait()
	_ = p.stdin.Close()
	if !reported {
		p.exit = p.lost()
	}
}

// listen takes the keeper's messages in until it closes its output, and returns
// whether it reported the engine's exit.
func (p *Process) listen(out io.Reader) (reported bool) {
	for message := range receive(out) {
		switch m := message.(type) {
		case startedMessage:
			p.started = m.Started
			p.takeAnswer(m)
		case failedMessage:
			p.takeAnswer(m)
		case exitedMessage:
			p.exit, reported = m.Exit, true
		}
	}
	return reported
}

// takeAnswer passes the first answer to Start; there should be no other.
func (p *Process) takeAnswer(message any) {
	select {
	case p.answer <- message:
	default:
	}
}

// lost makes sure that an engine without a keeper is gone, and says what is known.
func (p *Process) lost() Exit {
	if p.started.PID != 0 {
		endGroup(p.started)
	}
	err := fmt.Errorf("%w: %s", ErrKeeperLost, p.keeper.ProcessState)
	if complaint := p.complaints.String(); complaint != "" {
		err = fmt.Errorf("%w: %s", err, complaint)
	}
	return Exit{Code: -1, At: time.Now(), Err: err}
}

// killKeeper kills the keeper, and by that, in the end, the engine. A keeper
// that is gone already cannot be killed, which is what we want.
func (p *Process) killKeeper() { _ = p.keeper.Process.Kill() }

// PID is the engine's process id.
func (p *Process) PID() int { return p.started.PID }

// StartTime is the engine's [Started.StartTime].
func (p *Process) StartTime() int64 { return p.started.StartTime }

// Done is closed when the engine, what it started, and the keeper are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the engine ended. It blocks until Done is closed.
func (p *Process) Exit() Exit {
	<-p.done
	return p.exit
}

// Stop ends the engine: SIGTERM to its process group, SIGKILL after grace, which
// is 0 or more. It returns nil when the engine is measured gone, at once if it
// was before. It may be called again and by several goroutines; the shortest
// grace counts. A keeper that has not managed it in time is killed, and its
// engine with it. When ctx ends first, Stop returns its cause and the stop goes
// on, except that only a waiting Stop kills a keeper.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	// A keeper that cannot be told is gone or deaf; both are dealt with below.
	_ = p.stdin.SetWriteDeadline(time.Now().Add(p.answerTimeout))
	_ = send(p.stdin, stopMessage{headerOf(typeStop), grace.Milliseconds()})

	deaf := time.NewTimer(grace + p.answerTimeout)
	defer deaf.Stop()
	for {
		select {
		case <-p.done:
			return nil
		case <-deaf.C:
			p.killKeeper()
		case <-ctx.Done():
			return fmt.Errorf("stop engine %d: %w", p.started.PID, context.Cause(ctx))
		}
	}
}

// Alive reports whether the process of that number and start time still exists, also
// one that another Berth started. The wiring calls it.
func Alive(pid, startTime int64) bool {
	now, err := startTimeOf(int(pid))
	return err == nil && now == startTime
}

// Used returns the processor time that the process of that number and start time has used
// so far, false when it is gone or nobody can tell (darwin). The wiring calls it.
func Used(pid, startTime int64) (time.Duration, bool) {
	used, start, err := usedBy(int(pid))
	return used, err == nil && start == startTime
}
