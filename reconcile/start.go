package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// errUnwanted ends a start whose replica is not wanted any more.
var errUnwanted = errors.New("not wanted any more")

// Prober waits for an engine's first answer.
type Prober struct {
	Client *http.Client
	// Pause is the wait between two tries; default 50 ms.
	Pause time.Duration
}

// wait asks the driver until it says ready or ctx ends, and returns the last error.
func (p Prober) wait(ctx context.Context, d engine.Driver, e engine.Endpoint, l engine.Launch) error {
	pause := p.Pause
	defaultTo(&pause, 50*time.Millisecond)
	for {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := d.Ready(try, p.Client, e, l)
		cancel()
		if err == nil || errors.Is(err, engine.ErrPermanent) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from the engine: %w", err)
		case <-time.After(pause):
		}
	}
}

// start writes the intent, then starts the engine beside the loop: a crash in between
// leaves a nonce that no process has, which the next pass finds lost.
func (l *Loop) start(ctx context.Context, r berth.Replica) error {
	r.State, r.Nonce, r.StartedAt = berth.ReplicaStarting, l.opt.NewNonce(), l.opt.Now()
	r.PID, r.StartTime, r.URL = 0, 0, ""
	launch, err := l.launch(ctx, r)
	if berth.CodeOf(err) == berth.CodeNotFound {
		err = fmt.Errorf("%w: the model %s is not in the catalogue any more", engine.ErrPermanent, r.ModelName)
		return l.opt.Store.Tx(ctx, func(tx berth.Tx) error { return l.bookFailure(ctx, tx, r, err) })
	}
	if err != nil {
		return err
	}
	if err := l.update(ctx, r); err != nil {
		return err
	}
	l.opt.Logger.Info("engine starts", "replica", r.ID, "engine", r.Engine, "model", r.ModelName, "lane", r.Lane, "adapters", len(r.Adapters))
	ctx, cancel := context.WithCancel(l.ctx)
	l.begin(r.ID, task{cancel: cancel}, func() {
		defer cancel()
		l.bringUp(ctx, launch)
	})
	return nil
}

// launch collects what the driver needs to know.
func (l *Loop) launch(ctx context.Context, r berth.Replica) (engine.Launch, error) {
	launch := engine.Launch{
		ReplicaID: r.ID, Nonce: r.Nonce, NodeID: r.NodeID, Engine: r.Engine,
		Spec: r.Spec, Adapters: r.Adapters, Held: r.Spec.Replica,
	}
	err := l.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		if launch.Model, err = tx.Models().Get(ctx, r.ModelName); err != nil {
			return err
		}
		holds, err := tx.Nodes().Holds(ctx)
		for _, h := range holds {
			if h.ReplicaID == r.ID {
				launch.GPUs = h.GPUs
			}
		}
		return err
	})
	return launch, err
}

// bringUp runs beside the loop from the start of an engine to its first answer. ctx
// ends when the engine is gone or not wanted any more.
func (l *Loop) bringUp(ctx context.Context, launch engine.Launch) {
	failed := func(err error) {
		l.report(report{replicaID: launch.ReplicaID, nonce: launch.Nonce, kind: reportFailed, err: err, done: true})
	}
	driver, ok := l.opt.Drivers[launch.Engine]
	if !ok {
		failed(fmt.Errorf("%w: the engine %q is not known to this server", engine.ErrPermanent, launch.Engine))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.opt.StartTimeout)
	defer cancel()
	instance, err := l.launchOn(ctx, driver, launch)
	if err != nil {
		failed(err)
		return
	}
	l.report(report{replicaID: launch.ReplicaID, nonce: launch.Nonce, kind: reportStarted, instance: instance})
	if err := l.opt.Prober.wait(ctx, driver, instance.Endpoint, launch); err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			err = errUnwanted
		}
		failed(err)
		return
	}
	l.report(report{replicaID: launch.ReplicaID, nonce: launch.Nonce, kind: reportReady, done: true})
}

// launchOn checks the files and starts the engine, unless it is somebody else's.
func (l *Loop) launchOn(ctx context.Context, driver engine.Driver, launch engine.Launch) (engine.Instance, error) {
	if remote, ok := driver.(engine.Remote); ok {
		e, err := remote.Endpoint(launch)
		return engine.Instance{ReplicaID: launch.ReplicaID, Nonce: launch.Nonce, Endpoint: e}, err
	}
	if err := l.opt.Verify(ctx, launch.Model.File); err != nil {
		return engine.Instance{}, fmt.Errorf("%w: %w", engine.ErrPermanent, err)
	}
	return l.opt.Runner.Start(ctx, launch)
}

// stop ends an engine beside the loop.
func (l *Loop) stop(ctx context.Context, r berth.Replica) error {
	r.State = berth.ReplicaStopping
	if err := l.update(ctx, r); err != nil {
		return err
	}
	l.end(r.ID, r.Nonce)
	return nil
}

// end stops the engine of a start and reports when it is measured gone.
func (l *Loop) end(replicaID, nonce string) {
	l.begin(replicaID, task{}, func() {
		err := l.opt.Runner.Stop(l.ctx, replicaID, nonce, l.opt.StopGrace)
		l.report(report{replicaID: replicaID, nonce: nonce, kind: reportStopped, err: err, done: true})
	})
}
