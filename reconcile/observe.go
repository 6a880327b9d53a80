package reconcile

import (
	"context"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// lookAtOnce is how many owners are looked at in one pass, so that reports and new
// purchases need not wait for thousands; backlogAtLeast of them are of the backlog while
// there is one.
const (
	lookAtOnce     = 128
	backlogAtLeast = 16
)

// part is the state of one owner, a deployment or a pool: everything that [Plan] must
// see together.
type part struct {
	owner berth.Ref
	State
}

func (p *part) empty() bool {
	return len(p.Deployments)+len(p.Pools)+len(p.Replicas) == 0
}

func ownerOf(r *berth.Replica) berth.Ref {
	if r.PoolID != "" {
		return berth.Ref{Noun: berth.NounPool, ID: r.PoolID}
	}
	return berth.Ref{Noun: berth.NounDeployment, ID: r.DeploymentID}
}

// plannedWith returns the pool that a deployment is in, else itself.
func plannedWith(d *berth.Deployment) berth.Ref {
	if d.PoolID != "" {
		return berth.Ref{Noun: berth.NounPool, ID: d.PoolID}
	}
	return berth.Ref{Noun: berth.NounDeployment, ID: d.ID}
}

// look returns what is due: owners that something was written of, or whose time has
// come. The first time, and when the store has forgotten what changed, that is all, bit by
// bit and after what is known to be due.
func (l *Loop) look(ctx context.Context) ([]part, error) {
	known, err := l.follow(ctx)
	if err == nil && !known {
		err = l.listAll(ctx)
	}
	if err != nil {
		return nil, err
	}
	most := lookAtOnce - backlogAtLeast
	if !l.first {
		most = backlogAtLeast // clients wait for the end of the first round
	}
	due := l.agenda.take(l.opt.Now(), most)
	n := min(len(l.backlog), lookAtOnce-len(due))
	due = append(due, l.backlog[:n]...)
	l.backlog = l.backlog[n:]
	due = once(append(l.line.take(l.room), due...))
	parts, err := l.read(ctx, due)
	if err != nil {
		for _, o := range due {
			l.due(o)
		}
	}
	return parts, err
}

// once returns a list with each owner where it stands first.
func once(owners []berth.Ref) []berth.Ref {
	there := make(map[berth.Ref]bool, len(owners))
	return slices.DeleteFunc(owners, func(o berth.Ref) bool {
		twice := there[o]
		there[o] = true
		return twice
	})
}

// listAll makes everything there is the backlog.
func (l *Loop) listAll(ctx context.Context) error {
	return l.opt.Store.View(ctx, func(tx berth.Tx) error {
		version, err := tx.RoutingVersion(ctx)
		if err != nil {
			return err
		}
		owners, err := tx.Replicas().Owners(ctx)
		if err == nil {
			l.seen, l.backlog, l.round, l.pooled = version, owners, len(owners), newPooled()
		}
		return err
	})
}

// due puts an owner on the agenda of the next pass.
func (l *Loop) due(o berth.Ref) { l.agenda.soonen(o, l.opt.Now()) }

// follow puts the owners that were written since the last time on the agenda; known is
// false when the store cannot say.
func (l *Loop) follow(ctx context.Context) (known bool, err error) {
	if l.seen < 0 {
		return false, nil
	}
	var version int64
	var owners []berth.Ref
	err = l.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		var changes []berth.Ref
		owners = nil
		if version, err = tx.RoutingVersion(ctx); err != nil {
			return err
		}
		if changes, known, err = tx.Changes(ctx, l.seen); err != nil {
			return err
		}
		for _, c := range changes {
			switch c.Noun {
			case berth.NounPool:
				owners = append(owners, c)
			case berth.NounDeployment:
				d, err := tx.Deployments().Get(ctx, c.ID)
				if err != nil {
					return err
				}
				if err := l.pooled.look(ctx, tx, d); err != nil {
					return err
				}
				owners = append(owners, plannedWith(&d))
			}
		}
		return nil
	})
	if err != nil || !known {
		return known, err
	}
	for _, o := range owners {
		l.due(o)
	}
	l.seen = version
	return true, nil
}

// circumstances is what the parts of a state share.
func (l *Loop) circumstances() State {
	s := State{
		Now: l.opt.Now(), Grace: l.opt.Grace, Drain: l.opt.Drain, Engines: map[string]berth.EngineTraits{}, InFlight: l.opt.Traffic.InFlight,
		Running: l.runs, Queues: l.waits,
		Spare:  func(poolID string, lane berth.Lane) time.Time { return l.spares[laneKey{poolID, lane}] },
		Ending: func(r *berth.Replica) bool { return r.PID > 0 && l.opt.Alive(r.PID, r.StartTime) },
	}
	for name := range l.opt.Drivers {
		s.Engines[name] = l.traits(name)
	}
	return s
}

// runs reports whether the engine of that start of a replica exists.
func (l *Loop) runs(r *berth.Replica) bool {
	if _, busy := l.tasks[r.ID]; busy || r.Nonce != "" && l.opt.Runner.Runs(r.ID, r.Nonce) {
		return true
	}
	// An engine of this life is there until its exit is booked, since only that says why
	// it went; a remote one until it was stopped.
	_, _, ok := l.Address(r)
	return ok
}

// read returns the parts of some owners.
func (l *Loop) read(ctx context.Context, owners []berth.Ref) ([]part, error) {
	if len(owners) == 0 {
		return nil, nil
	}
	shared := l.circumstances()
	var parts []part
	err := l.opt.Store.View(ctx, func(tx berth.Tx) error {
		parts = make([]part, len(owners))
		for i, o := range owners {
			parts[i] = part{o, shared}
			var err error
			if o.Noun == berth.NounPool {
				if err = parts[i].readPool(ctx, tx, l.pooled); err == nil {
					l.spare(&parts[i])
				}
			} else {
				err = parts[i].readDeployment(ctx, tx)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return parts, err
}

// spare notes whether the lanes of a pool that has grown could do with less now.
func (l *Loop) spare(p *part) {
	for i := range p.Pools {
		if pool := &p.Pools[i]; pool.GrownBase > 0 || pool.GrownLoRA > 0 {
			l.spares.look(p.Now, pool, p.Replicas, p.Queues, p.InFlight)
		}
	}
}

func (p *part) readDeployment(ctx context.Context, tx berth.Tx) error {
	d, err := tx.Deployments().Get(ctx, p.owner.ID)
	if err != nil {
		return err
	}
	if d.DeletedAt.IsZero() {
		p.Deployments = []berth.Deployment{d}
	}
	p.Replicas, err = tx.Replicas().OfDeployment(ctx, d.ID)
	return err
}

func (p *part) readPool(ctx context.Context, tx berth.Tx, known *pooled) error {
	pool, err := tx.Pools().Get(ctx, p.owner.ID)
	if err == nil {
		p.Pools = []berth.Pool{pool}
	} else if berth.CodeOf(err) != berth.CodeNotFound { // what has left it may still be ending
		return err
	}
	if p.Deployments, p.Members, err = known.read(ctx, tx, p.owner.ID); err != nil {
		return err
	}
	p.Replicas, err = tx.Replicas().OfPool(ctx, p.owner.ID)
	return err
}

// again is when an owner is looked at next: when the plan says so, and even if nothing
// was written of it after [Options.Sweep], in whole seconds, so that many share a pass.
func (l *Loop) again(next time.Time, sweep time.Duration) time.Time {
	at := l.opt.Now().Add(sweep).Truncate(time.Second).Add(time.Second)
	if !next.IsZero() && next.Before(at) {
		return next
	}
	return at
}
