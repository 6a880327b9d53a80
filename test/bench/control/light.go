//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/process"
)

// light runs engines that are nothing but an entry: one listener answers for all of them
// that they are ready. Launches of the model that is real go to processes.
type light struct {
	*engine.Roster
	processes *process.Runner
	server    *http.Server
	url       string
	exits     chan engine.Exit
}

var _ engine.Runner = (*light)(nil)

func newLight(processes *process.Runner) (*light, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &light{
		Roster: engine.NewRoster(time.Second), processes: processes, url: "http://" + listener.Addr().String(), exits: make(chan engine.Exit),
		server: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"object":"list","data":[]}`))
		})},
	}
	go func() { _ = l.server.Serve(listener) }() // ends by Close
	go l.merge()
	return l, nil
}

// merge tells the exits of both kinds.
func (l *light) merge() {
	var both sync.WaitGroup
	for _, exits := range []<-chan engine.Exit{l.Roster.Exits(), l.processes.Exits()} {
		both.Go(func() {
			for e := range exits {
				l.exits <- e
			}
		})
	}
	both.Wait()
	close(l.exits)
}

func (l *light) Start(ctx context.Context, launch engine.Launch) (engine.Instance, error) {
	if launch.Model.Name == realModel {
		return l.processes.Start(ctx, launch)
	}
	return l.Run(launch, func() (engine.Instance, engine.Running, error) {
		return engine.Instance{
			ReplicaID: launch.ReplicaID, Nonce: launch.Nonce, StartedAt: time.Now(),
			Endpoint: engine.Endpoint{URL: l.url, Key: rand.Text()},
		}, &nothing{gone: make(chan struct{})}, nil
	})
}

func (l *light) Stop(ctx context.Context, replicaID, nonce string, grace time.Duration) error {
	return errors.Join(l.Roster.Stop(ctx, replicaID, nonce, grace), l.processes.Stop(ctx, replicaID, nonce, grace))
}

func (l *light) Instances() []engine.Instance {
	return append(l.Roster.Instances(), l.processes.Instances()...)
}

func (l *light) Runs(replicaID, nonce string) bool {
	return l.Roster.Runs(replicaID, nonce) || l.processes.Runs(replicaID, nonce)
}

func (l *light) Exits() <-chan engine.Exit { return l.exits }

func (l *light) Close(ctx context.Context) error {
	return errors.Join(l.Roster.Close(ctx), l.processes.Close(ctx), l.server.Close())
}

// nothing is an engine.
type nothing struct {
	once sync.Once
	gone chan struct{}
}

func (n *nothing) Stop(context.Context, time.Duration) error {
	n.once.Do(func() { close(n.gone) })
	return nil
}

func (n *nothing) Wait() (string, time.Time) {
	<-n.gone
	return "stopped", time.Now()
}
