package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// Adapters come to replicas that run, and go, where the engine can do that: a bad one
// fails its own deployments and nobody notices. Such a replica starts without any, so
// that no adapter can keep it from starting; what its row lists is what it has loaded,
// and calls go there from the moment in which that is written.

// loadPatience bounds one try to load an adapter.
const loadPatience = time.Minute

// willServe reports whether a replica is to serve a member once it runs and has the
// member's adapter.
func (l *Loop) willServe(r *berth.Replica, m berth.Member) bool {
	return m.Plan == berth.PlanLoRA && r.Lane.TakesAdapters() && l.traits(r.Engine).LoadsAdapters
}

// load gives r adapters beside the loop, one after the other.
func (l *Loop) load(ctx context.Context, tx berth.Tx, r berth.Replica, adapters []berth.AdapterRef) (func(), error) {
	files, err := adapterFiles(ctx, tx, adapters)
	if err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithCancel(l.ctx)
		l.begin(r.ID, task{owner: ownerOf(&r), cancel: cancel}, func() {
			defer cancel()
			for _, a := range adapters {
				begun := l.opt.Now()
				err := l.loadOne(ctx, r, a, files)
				if ctx.Err() != nil {
					break // the engine is gone, or Berth goes
				}
				l.opt.Logger.Info("adapter loaded", "replica", r.ID, "adapter", a.Digest, "after", l.opt.Now().Sub(begun), "error", err)
				l.report(report{replicaID: r.ID, nonce: r.Nonce, kind: reportLoaded, adapter: a, err: err})
			}
			l.report(report{replicaID: r.ID, nonce: r.Nonce, kind: reportIdle, done: true})
		})
	}, nil
}

// loadOne tries to load an adapter, several times unless the next try would end alike.
func (l *Loop) loadOne(ctx context.Context, r berth.Replica, a berth.AdapterRef, files []berth.Model) error {
	loader, ok := l.opt.Drivers[r.Engine].(engine.AdapterLoader)
	if !ok {
		return engine.ErrPermanent
	}
	endpoint, ok := l.endpoint(r.Nonce)
	if !ok {
		return errUnwanted
	}
	for try := 1; ; try++ {
		err := l.loadOnce(ctx, r, loader, endpoint, a, files)
		switch {
		case err == nil || errors.Is(err, engine.ErrPermanent) || try == berth.ProofTries && engine.Refused(err):
			return err
		case try == berth.ProofTries:
			return errUnwanted // the engine, not the adapter
		}
		select {
		case <-ctx.Done():
			return errUnwanted
		case <-time.After(berth.Backoff(try, l.opt.Backoff)):
		}
	}
}

func (l *Loop) loadOnce(ctx context.Context, r berth.Replica, loader engine.AdapterLoader, e engine.Endpoint, a berth.AdapterRef, files []berth.Model) error {
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	for _, m := range files {
		if m.File.Digest == a.Digest && m.File.Path == a.Path {
			if err := l.verify(ctx, m); err != nil {
				return err
			}
		}
	}
	return l.probe(r.ID, r.Nonce, r.ModelName, func() (engine.Spent, error) {
		return loader.LoadAdapter(ctx, l.opt.Prober.Client, e, a)
	})
}

// bookLoaded writes that a replica has an adapter, or fails the deployments of one that
// could not be loaded. Who deploys it again, tries it again.
func (l *Loop) bookLoaded(ctx context.Context, tx berth.Tx, r berth.Replica, rep report) error {
	switch {
	case errors.Is(rep.err, errUnwanted):
		return nil
	case rep.err == nil:
		if r.HasAdapter(rep.adapter.Digest) < 0 {
			r.Adapters = append(slices.Clone(r.Adapters), rep.adapter)
		}
		return tx.Replicas().Update(ctx, r)
	}
	members, err := tx.Pools().Members(ctx, r.PoolID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Plan == berth.PlanLoRA && m.Adapter == rep.adapter {
			if err := l.tellDisproof(ctx, tx, m.DeploymentID, reasonOf(rep.err), true); err != nil {
				return err
			}
		}
	}
	return nil
}

// unload takes adapters out of routing, and then from the engine. Calls that run with
// them go on.
func (l *Loop) unload(ctx context.Context, tx berth.Tx, r berth.Replica, adapters []berth.AdapterRef) (func(), error) {
	r.Adapters = slices.DeleteFunc(slices.Clone(r.Adapters), func(a berth.AdapterRef) bool { return slices.Contains(adapters, a) })
	return func() {
		loader, loads := l.opt.Drivers[r.Engine].(engine.AdapterLoader)
		endpoint, runs := l.endpoint(r.Nonce)
		if !loads || !runs {
			return
		}
		ctx, cancel := context.WithCancel(l.ctx)
		l.begin(r.ID, task{owner: ownerOf(&r), cancel: cancel}, func() {
			defer cancel()
			for _, a := range adapters {
				ctx, cancel := context.WithTimeout(ctx, loadPatience)
				if err := loader.UnloadAdapter(ctx, l.opt.Prober.Client, endpoint, a); err != nil {
					l.opt.Logger.Warn("adapter stays in the engine", "replica", r.ID, "adapter", a.Digest, "error", err)
				}
				cancel()
			}
			l.report(report{replicaID: r.ID, nonce: r.Nonce, kind: reportIdle, done: true})
		})
	}, tx.Replicas().Update(ctx, r)
}

func (l *Loop) endpoint(nonce string) (engine.Endpoint, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	e, ok := l.endpoints[nonce]
	return e, ok
}
