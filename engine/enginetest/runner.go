// Package enginetest has a Runner whose engines live in this process, for tests of
// other rooms and of scale, and the suite that every [engine.Runner] must pass.
package enginetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

// Config is what a Runner needs; the zero value is usable.
type Config struct {
	// Script says how the engine of a launch behaves. Nil: as the script in the model's
	// file, or without a file as an engine that never fails.
	Script func(l engine.Launch) (fakeengine.Script, error)
	Now    func() time.Time // nil: time.Now
}

// Runner runs fake engines behind listeners on loopback, without processes: thousands
// start in a second. Everything else is as with processes, so engines need their key
// and a dead one refuses connections.
type Runner struct {
	*engine.Roster
	config Config

	mu      sync.Mutex
	engines map[string]*fakeengine.Engine // by replica, the latest
}

var _ engine.Runner = (*Runner)(nil)

// NewRunner returns a Runner without instances.
func NewRunner(c Config) *Runner {
	if c.Script == nil {
		c.Script = scriptInFile
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Runner{Roster: engine.NewRoster(time.Second), config: c, engines: map[string]*fakeengine.Engine{}}
}

func scriptInFile(l engine.Launch) (fakeengine.Script, error) {
	if l.Model.File.Path == "" {
		return fakeengine.Script{}, nil
	}
	return fakeengine.Load(l.Model.File.Path)
}

// Engine returns the engine that the replica runs or ran last, nil when it never did.
func (r *Runner) Engine(replicaID string) *fakeengine.Engine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engines[replicaID]
}

// Start implements [engine.Runner].
func (r *Runner) Start(ctx context.Context, l engine.Launch) (engine.Instance, error) {
	return r.Run(l, func() (engine.Instance, engine.Running, error) { return r.start(ctx, l) })
}

func (r *Runner) start(ctx context.Context, l engine.Launch) (engine.Instance, engine.Running, error) {
	if ctx.Err() != nil {
		return engine.Instance{}, nil, context.Cause(ctx)
	}
	script, err := r.config.Script(l)
	if err == nil {
		err = script.Validate()
	}
	if err != nil {
		return engine.Instance{}, nil, fmt.Errorf("%w: %w", engine.ErrPermanent, err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return engine.Instance{}, nil, fmt.Errorf("listen: %w", err)
	}
	key := rand.Text()
	s := newServing(fakeengine.New(script, fakeengine.Options{Key: key, Now: r.config.Now, Adapters: engine.FakeAdapters(l)}), script, r.config.Now)
	go s.serve(listener)
	r.mu.Lock()
	r.engines[l.ReplicaID] = s.engine
	r.mu.Unlock()
	return engine.Instance{
		ReplicaID: l.ReplicaID,
		Nonce:     l.Nonce,
		Endpoint:  engine.Endpoint{URL: "http://" + listener.Addr().String(), Key: key},
		StartedAt: r.config.Now(),
	}, s, nil
}

const shutdownTimeout = time.Second

// serving is one engine behind its listener.
type serving struct {
	engine *fakeengine.Engine
	script fakeengine.Script
	now    func() time.Time
	server *http.Server

	gone   chan struct{}
	goneAt time.Time // written before gone is closed
}

var _ engine.Running = (*serving)(nil)

func newServing(e *fakeengine.Engine, script fakeengine.Script, now func() time.Time) *serving {
	return &serving{
		engine: e,
		script: script,
		now:    now,
		server: &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)},
		gone:   make(chan struct{}),
	}
}

// serve returns when the engine has died and its connections are closed.
func (s *serving) serve(listener net.Listener) {
	defer close(s.gone)
	if refuse := s.script.RefuseStart; refuse != nil {
		s.engine.Kill(refuse.ExitCode)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.server.Serve(listener) // ends by what follows, the only way it does
	}()
	<-s.engine.Died()
	_ = listener.Close() // also when Serve has not begun yet
	// The dead engine cuts open calls by itself; the answer of the last call before a
	// scripted crash still reaches its client whole.
	bounded, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if s.server.Shutdown(bounded) != nil {
		_ = s.server.Close()
	}
	<-ended
	s.goneAt = s.now()
}

// Stop implements [engine.Running]. Like the fake engine's process it needs no grace.
func (s *serving) Stop(ctx context.Context, _ time.Duration) error {
	s.engine.Kill(0)
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Wait implements [engine.Running].
func (s *serving) Wait() (string, time.Time) {
	<-s.gone
	reason := fmt.Sprintf("the engine ended with exit status %d", s.engine.ExitCode())
	if refuse := s.script.RefuseStart; refuse != nil && refuse.Message != "" {
		reason += ": " + refuse.Message
	}
	return reason, s.goneAt
}
