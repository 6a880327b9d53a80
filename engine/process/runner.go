// Package process runs replicas as processes of this machine: each a group of its own
// behind a keeper, with a directory, a log, a port on loopback and a random key.
package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/keeper"
)

// Config is what a Runner needs.
type Config struct {
	// Executable is a program whose first argument "keep" leads to [keeper.Main];
	// Berth's own.
	Executable string
	// Dir is the data directory; engines/ and logs/ in it are made.
	Dir     string
	Drivers map[string]engine.Driver // by name
	Now     func() time.Time
	// Grace is what engines get to end at Close, and when Berth vanishes; 0 means 5 s.
	Grace time.Duration
}

// host is where engines listen: nobody outside this machine can reach them.
const host = "127.0.0.1"

const (
	logBytesMax = 10 << 20
	logsKept    = 3
)

// Runner runs replicas as local processes.
type Runner struct {
	*engine.Roster
	config Config

	mu    sync.Mutex
	ports map[int]bool // of running engines, and of those that are about to listen
}

var _ engine.Runner = (*Runner)(nil)

// New returns a Runner without instances.
func New(c Config) *Runner {
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	return &Runner{Roster: engine.NewRoster(c.Grace), config: c, ports: map[int]bool{}}
}

// Start implements [engine.Runner].
func (r *Runner) Start(ctx context.Context, l engine.Launch) (engine.Instance, error) {
	return r.Run(l, func() (engine.Instance, engine.Running, error) {
		port, err := r.takePort()
		if err != nil {
			return engine.Instance{}, nil, err
		}
		instance, running, err := r.start(ctx, l, port)
		if err != nil {
			r.freePort(port)
			return engine.Instance{}, nil, err
		}
		return instance, running, nil
	})
}

func (r *Runner) start(ctx context.Context, l engine.Launch, port int) (engine.Instance, engine.Running, error) {
	if err := checkFiles(l); err != nil {
		return engine.Instance{}, nil, err
	}
	at := engine.Listen{Host: host, Port: port, Key: newKey()}
	intent, err := r.intent(l, at)
	if err != nil {
		return engine.Instance{}, nil, err
	}
	startedAt := r.config.Now()
	p, err := keeper.Start(ctx, keeper.Config{
		Executable: r.config.Executable,
		Args:       []string{"keep", l.ReplicaID},
		Intent:     intent,
	})
	if errors.Is(err, keeper.ErrCannotStart) {
		return engine.Instance{}, nil, fmt.Errorf("%w: %w", engine.ErrPermanent, err)
	}
	if err != nil {
		return engine.Instance{}, nil, err
	}
	return engine.Instance{
		ReplicaID: l.ReplicaID,
		Nonce:     l.Nonce,
		PID:       int64(p.PID()),
		StartTime: p.StartTime(),
		Endpoint:  engine.Endpoint{URL: fmt.Sprintf("http://%s:%d", at.Host, at.Port), Key: at.Key},
		StartedAt: startedAt,
		LogPath:   intent.Log.Path,
	}, &running{Process: p, runner: r, port: port, dir: intent.Dir}, nil
}

// intent says the launch in the keeper's words and makes the directories for it.
func (r *Runner) intent(l engine.Launch, at engine.Listen) (keeper.Intent, error) {
	driver, ok := r.config.Drivers[l.Engine]
	if !ok {
		return keeper.Intent{}, fmt.Errorf("%w: there is no engine %q", engine.ErrPermanent, l.Engine)
	}
	command, err := driver.Command(l, at)
	if err != nil {
		return keeper.Intent{}, err
	}
	data, err := filepath.Abs(r.config.Dir) // because the engine has a working directory of its own
	if err != nil {
		return keeper.Intent{}, fmt.Errorf("find the data directory: %w", err)
	}
	dir := filepath.Join(data, "engines", l.ReplicaID)
	logs := filepath.Join(data, "logs")
	for _, d := range []string{dir, logs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return keeper.Intent{}, fmt.Errorf("make the replica's directory: %w", err)
		}
	}
	pruneLogs(logs)
	return keeper.Intent{
		Nonce:       l.Nonce,
		Command:     command.Args,
		Env:         command.Env,
		Dir:         dir,
		Log:         keeper.Log{Path: filepath.Join(logs, l.ReplicaID+".log"), MaxBytes: logBytesMax, Keep: logsKept},
		Yields:      l.BestEffort,
		MemoryBytes: l.Held.MemoryBytes,
		GraceMS:     r.config.Grace.Milliseconds(),
	}, nil
}

// checkFiles finds what no start can mend, before an engine says it less clearly.
func checkFiles(l engine.Launch) error {
	paths := []string{l.Model.File.Path}
	for _, a := range l.Adapters {
		paths = append(paths, a.Path)
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: the model file %s is missing; put it back or add the model again", engine.ErrPermanent, path)
		}
	}
	return nil
}

// newKey is a bearer key of 32 random bytes.
func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return hex.EncodeToString(key)
}

// takePort returns a port that is free now and that no engine of ours is about to
// listen on. Another program may still be faster than the engine; then that ends and is
// started again with another port.
func (r *Runner) takePort() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 100 {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if !r.ports[port] {
			r.ports[port] = true
			return port, nil
		}
	}
	return 0, errors.New("find a free port: the system offers only ports in use")
}

func (r *Runner) freePort(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ports, port)
}

// running is an engine behind its keeper.
type running struct {
	*keeper.Process
	runner *Runner
	port   int
	dir    string // the engine's working directory, which goes with it
}

var _ engine.Running = (*running)(nil)

// Wait implements [engine.Running].
func (p *running) Wait() (string, time.Time) {
	exit := p.Exit()
	p.runner.freePort(p.port)
	_ = os.RemoveAll(p.dir) // what is left in it is of no use to anybody
	return reason(exit), exit.At
}
