package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// errUnwanted ends a start whose replica is not wanted any more.
var errUnwanted = errors.New("not wanted any more")

// remotePatience bounds the wait for somebody else's engine.
const remotePatience = 30 * time.Second

// Prober waits for an engine's first answer.
type Prober struct {
	Client *http.Client
	// Pause is the wait between two tries; default 50 ms.
	Pause time.Duration
}

// wait asks the driver until it says ready or ctx ends, and returns the last error and
// what all of it made the engine do.
func (p Prober) wait(ctx context.Context, d engine.Driver, e engine.Endpoint, l engine.Launch) (spent engine.Spent, err error) {
	pause := p.Pause
	defaultTo(&pause, 50*time.Millisecond)
	for {
		once, err := d.Ready(ctx, p.Client, e, l)
		spent.Add(once)
		if err == nil || errors.Is(err, engine.ErrPermanent) {
			return spent, err
		}
		select {
		case <-ctx.Done():
			return spent, fmt.Errorf("no answer from the engine: %w", err)
		case <-time.After(pause):
		}
	}
}

// start writes the intent, then starts the engine beside the loop: a crash in between
// leaves a nonce that no process has, which the next pass finds lost.
func (l *Loop) start(ctx context.Context, tx berth.Tx, r berth.Replica) (func(), error) {
	r.State, r.Nonce, r.StartedAt = berth.ReplicaStarting, l.opt.NewNonce(), l.opt.Now()
	r.PID, r.StartTime, r.URL = 0, 0, ""
	if err := l.choose(ctx, tx, &r); err != nil {
		return nil, err
	}
	launch, files, err := l.launch(ctx, tx, r)
	if berth.CodeOf(err) == berth.CodeNotFound {
		return nil, l.bookFailure(ctx, tx, r, fmt.Errorf("%w: the model %s is not in the catalogue any more", engine.ErrPermanent, r.ModelName))
	}
	if errors.Is(err, engine.ErrPermanent) {
		return nil, l.bookFailure(ctx, tx, r, err)
	}
	if err != nil {
		return nil, err
	}
	return func() { l.launchBeside(r, launch, files) }, tx.Replicas().Update(ctx, r)
}

func (l *Loop) launchBeside(r berth.Replica, launch engine.Launch, files []berth.Model) {
	l.opt.Logger.Info("engine starts", "replica", r.ID, "engine", r.Engine, "model", r.ModelName, "lane", r.Lane, "adapters", len(launch.Adapters), "proving", r.Proving)
	ctx, cancel := context.WithCancel(l.ctx)
	t := task{owner: ownerOf(&r), cancel: cancel}
	if !l.traits(r.Engine).Remote {
		t.loads = l.opt.Now()
	}
	l.begin(r.ID, t, func() {
		defer cancel()
		l.bringUp(ctx, launch, files, r.Proving != "")
	})
}

// launch collects what the driver needs to know, and the files that must be as they
// were, those of the weights first.
func (l *Loop) launch(ctx context.Context, tx berth.Tx, r berth.Replica) (launch engine.Launch, files []berth.Model, err error) {
	launch = engine.Launch{
		ReplicaID: r.ID, Nonce: r.Nonce, NodeID: r.NodeID, Engine: r.Engine,
		Spec: r.Spec, Adapters: r.Loads(), Loads: r.Lane.TakesAdapters() && l.traits(r.Engine).LoadsAdapters, Held: r.Spec.Replica,
		BestEffort: r.Lane.BestEffort(),
	}
	name := r.ModelName
	if r.PoolID != "" {
		pool, err := tx.Pools().Get(ctx, r.PoolID)
		if err != nil {
			return launch, nil, err
		}
		name = pool.ModelName // the model that the replica was bought for may be gone
	}
	if launch.Model, err = tx.Models().Get(ctx, name); err != nil {
		return launch, nil, err
	}
	hold, err := tx.Nodes().HoldOf(ctx, r.ID)
	if err != nil && berth.CodeOf(err) != berth.CodeNotFound { // somebody else's engine holds nothing
		return launch, nil, err
	}
	if launch.GPUs, err = accelerators(ctx, tx, hold); err != nil {
		return launch, nil, err
	}
	files, err = filesOf(ctx, tx, launch)
	return launch, files, err
}

// accelerators returns what is known of those that a hold names.
func accelerators(ctx context.Context, tx berth.Tx, hold berth.Hold) ([]berth.Accelerator, error) {
	if len(hold.GPUs) == 0 {
		return nil, nil
	}
	nodes, err := tx.Nodes().List(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]berth.Accelerator{}
	for _, n := range nodes {
		if n.ID == hold.NodeID {
			for _, g := range n.GPUs {
				known[g.ID] = g
			}
		}
	}
	list := make([]berth.Accelerator, len(hold.GPUs))
	for i, id := range hold.GPUs {
		var there bool
		if list[i], there = known[id]; !there {
			return nil, fmt.Errorf("%w: the accelerator %s is not in this machine any more; delete the deployment and deploy again", engine.ErrPermanent, id)
		}
	}
	return list, nil
}

// filesOf returns the models whose files an engine will read: the weights and, by their
// digests, the adapters.
func filesOf(ctx context.Context, tx berth.Tx, launch engine.Launch) ([]berth.Model, error) {
	adapters, err := adapterFiles(ctx, tx, launch.Adapters)
	return append([]berth.Model{launch.Model}, adapters...), err
}

// adapterFiles returns the models of adapters.
func adapterFiles(ctx context.Context, tx berth.Tx, adapters []berth.AdapterRef) (files []berth.Model, err error) {
	if len(adapters) == 0 {
		return nil, nil
	}
	models, err := tx.Models().List(ctx)
	for _, m := range models {
		if slices.Contains(adapters, berth.AdapterRef{Digest: m.File.Digest, Path: m.File.Path}) {
			files = append(files, m)
		}
	}
	return files, err
}

// bringUp runs beside the loop from the start of an engine to its first answer, which
// may be all that is wanted of it (proof). ctx ends when the engine is gone or not wanted
// any more.
func (l *Loop) bringUp(ctx context.Context, launch engine.Launch, files []berth.Model, proof bool) {
	end := report{replicaID: launch.ReplicaID, nonce: launch.Nonce, kind: reportReady, done: true}
	if proof {
		end.kind = reportProved
	}
	failed := func(err error) {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			err = errUnwanted
		}
		end.kind, end.err = reportFailed, err
		l.report(end)
	}
	driver, ok := l.opt.Drivers[launch.Engine]
	if !ok {
		failed(fmt.Errorf("%w: the engine %q is not known to this server", engine.ErrPermanent, launch.Engine))
		return
	}
	for i, m := range files {
		if err := l.verify(ctx, m); err != nil {
			end.weights = i == 0
			failed(err)
			return
		}
	}
	patience := l.opt.StartTimeout
	if driver.Traits().Remote {
		patience = min(patience, remotePatience) // nothing has to be loaded
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	instance, err := l.launchOn(ctx, driver, launch)
	if err != nil {
		failed(err)
		return
	}
	l.report(report{replicaID: launch.ReplicaID, nonce: launch.Nonce, kind: reportStarted, instance: instance})
	err = l.probe(launch.ReplicaID, launch.Nonce, launch.Model.Name, func() (engine.Spent, error) {
		return l.opt.Prober.wait(ctx, driver, instance.Endpoint, launch)
	})
	if err != nil {
		failed(err)
		return
	}
	l.answered.Store(launch.Nonce, launch.ReplicaID)
	l.report(end)
}

// verify compares a model's file with what was added. Only another content is permanent;
// a file that is not there may be on a disk that is mounted late. What only moved or was
// touched is remembered, so that it is not read again at the next start.
func (l *Loop) verify(ctx context.Context, m berth.Model) error {
	if m.File.Path == "" {
		return nil
	}
	now, err := l.opt.Verify(ctx, m.File)
	if berth.CodeOf(err) == berth.CodeInvalid {
		return fmt.Errorf("%w: %w", engine.ErrPermanent, err)
	}
	if err != nil || now == m.File {
		return err
	}
	return l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		kept, err := tx.Models().Get(ctx, m.Name)
		if err != nil || kept.File.Digest != now.Digest {
			return err
		}
		kept.File = now
		return tx.Models().Update(ctx, kept)
	})
}

// launchOn starts the engine, unless it is somebody else's.
func (l *Loop) launchOn(ctx context.Context, driver engine.Driver, launch engine.Launch) (engine.Instance, error) {
	if remote, ok := driver.(engine.Remote); ok {
		e, err := remote.Endpoint(launch)
		return engine.Instance{ReplicaID: launch.ReplicaID, Nonce: launch.Nonce, Endpoint: e}, err
	}
	return l.opt.Runner.Start(ctx, launch)
}

// stop ends an engine beside the loop.
func (l *Loop) stop(ctx context.Context, tx berth.Tx, r berth.Replica) (func(), error) {
	if wanted, err := l.wanted(ctx, tx, r); err != nil || wanted {
		return nil, err
	}
	r.State = berth.ReplicaStopping
	return func() { l.end(r) }, tx.Replicas().Update(ctx, r)
}

// end stops the engine of a start and reports when it is measured gone.
func (l *Loop) end(r berth.Replica) {
	l.begin(r.ID, task{owner: ownerOf(&r)}, func() {
		err := l.opt.Runner.Stop(l.ctx, r.ID, r.Nonce, l.opt.StopGrace)
		l.report(report{replicaID: r.ID, nonce: r.Nonce, kind: reportStopped, err: err, done: true})
	})
}
