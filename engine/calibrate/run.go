package calibrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/berthhq/berth/engine"
)

// Bench is where engines are calibrated: started, measured and ended.
type Bench struct {
	Runner  engine.Runner
	Drivers map[string]engine.Driver
	// StartTimeout bounds the wait for an engine's first answer.
	StartTimeout time.Duration
	// StopGrace is how long an engine may take to end before it is forced.
	StopGrace time.Duration
}

// Versioner is the extra ability of drivers whose engine says its version.
type Versioner interface {
	Version(ctx context.Context, client *http.Client, e engine.Endpoint) (string, error)
}

// readyPause is the wait between two questions whether an engine is ready.
const readyPause = 50 * time.Millisecond

// stopPatience bounds the wait for the end of an engine, beyond the grace.
const stopPatience = 30 * time.Second

// endPatience bounds the wait for the runner to notice the end of an engine that closed a
// connection; endPause is the wait between two looks.
const (
	endPatience = 5 * time.Second
	endPause    = 10 * time.Millisecond
)

// Run starts the engine of a launch, measures it and returns when it is gone. started is
// told of the engine's process, so that somebody can see it end should this program not.
// An error of stopped means that the engine may still run.
func (b *Bench) Run(ctx context.Context, l engine.Launch, o Options, started func(engine.Instance) error) (r Result, err, stopped error) {
	driver, ok := b.Drivers[l.Engine]
	if !ok {
		return r, fmt.Errorf("the engine %q is not known to this server", l.Engine), nil
	}
	instance, err := b.Runner.Start(ctx, l)
	if err != nil {
		return r, err, nil
	}
	r, err = b.measure(ctx, driver, instance, l, o, started)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.StopGrace+stopPatience)
	defer cancel()
	return r, err, b.Runner.Stop(end, l.ReplicaID, l.Nonce, b.StopGrace)
}

func (b *Bench) measure(ctx context.Context, d engine.Driver, i engine.Instance, l engine.Launch, o Options, started func(engine.Instance) error) (Result, error) {
	if err := started(i); err != nil {
		return Result{}, err
	}
	began := o.Now()
	asked, err := b.ready(ctx, d, i, l, o.Client)
	if err != nil {
		return Result{Used: Used{Spent: asked, Began: began, Ended: o.Now()}}, err
	}
	version := ""
	if v, ok := d.(Versioner); ok {
		version, _ = v.Version(ctx, o.Client, i.Endpoint) // an old engine may not say it
	}
	r, err := Measure(ctx, d, i.Endpoint, l, o)
	r.EngineVersion = version
	r.Used.Spent.Add(asked)
	r.Used.Began = began
	if err != nil && b.ended(ctx, l, err) {
		err = fmt.Errorf("the engine ended meanwhile: %w", err)
	}
	return r, err
}

// ended reports whether the engine is gone. When a call lost its connection the engine is
// probably about to be, so the runner gets a moment to notice.
func (b *Bench) ended(ctx context.Context, l engine.Launch, err error) bool {
	if lost := (lostError{}); errors.As(err, &lost) {
		ctx, cancel := context.WithTimeout(ctx, endPatience)
		defer cancel()
		for b.Runner.Runs(l.ReplicaID, l.Nonce) && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(endPause):
			}
		}
	}
	return !b.Runner.Runs(l.ReplicaID, l.Nonce)
}

// ready waits for the engine's first answer.
func (b *Bench) ready(ctx context.Context, d engine.Driver, i engine.Instance, l engine.Launch, client *http.Client) (spent engine.Spent, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.StartTimeout)
	defer cancel()
	for {
		once, err := d.Ready(ctx, client, i.Endpoint, l)
		spent.Add(once)
		if err == nil {
			return spent, nil
		}
		if errors.Is(err, engine.ErrPermanent) || !b.Runner.Runs(l.ReplicaID, l.Nonce) {
			return spent, fmt.Errorf("the engine did not come up: %w", err)
		}
		select {
		case <-ctx.Done():
			return spent, fmt.Errorf("no answer from the engine: %w", err)
		case <-time.After(readyPause):
		}
	}
}
