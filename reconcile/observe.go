package reconcile

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

// lookAtOnce is how many owners are looked at in one pass, so that reports and new
// purchases need not wait for thousands.
const lookAtOnce = 1000

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
// come. The first time, and when the store has forgotten what changed, that is all.
func (l *Loop) look(ctx context.Context) ([]part, error) {
	known, err := l.follow(ctx)
	if err != nil {
		return nil, err
	}
	if !known {
		return l.readAll(ctx)
	}
	due := l.agenda.take(l.opt.Now(), lookAtOnce)
	parts, err := l.read(ctx, due)
	if err != nil {
		for _, o := range due {
			l.due(o)
		}
	}
	return parts, err
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
		Running: l.runs,
		Ending:  func(r *berth.Replica) bool { return r.PID > 0 && l.opt.Alive(r.PID, r.StartTime) },
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
			read := parts[i].readDeployment
			if o.Noun == berth.NounPool {
				read = parts[i].readPool
			}
			if err := read(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	return parts, err
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

func (p *part) readPool(ctx context.Context, tx berth.Tx) error {
	pool, err := tx.Pools().Get(ctx, p.owner.ID)
	if err == nil {
		p.Pools = []berth.Pool{pool}
	} else if berth.CodeOf(err) != berth.CodeNotFound { // what has left it may still be ending
		return err
	}
	if p.Deployments, err = tx.Deployments().OfPool(ctx, p.owner.ID); err != nil {
		return err
	}
	if p.Members, err = tx.Pools().Members(ctx, p.owner.ID); err != nil {
		return err
	}
	p.Replicas, err = tx.Replicas().OfPool(ctx, p.owner.ID)
	return err
}

// readAll returns the parts of everything there is.
func (l *Loop) readAll(ctx context.Context) ([]part, error) {
	var all State
	var version int64
	err := l.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		if version, err = tx.RoutingVersion(ctx); err != nil {
			return err
		}
		if all.Deployments, _, err = tx.Deployments().List(ctx, berth.DeploymentFilter{}); err != nil {
			return err
		}
		if all.Pools, err = tx.Pools().List(ctx); err != nil {
			return err
		}
		if all.Members, err = tx.Pools().Members(ctx, ""); err != nil {
			return err
		}
		all.Replicas, err = tx.Replicas().List(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.seen, l.agenda = version, newAgenda()
	return divide(all, l.circumstances()), nil
}

// divide puts everything into the part of its owner.
func divide(all, shared State) []part {
	var parts []part
	index := map[berth.Ref]int{}
	of := func(o berth.Ref) *part {
		i, ok := index[o]
		if !ok {
			i, index[o] = len(parts), len(parts)
			parts = append(parts, part{o, shared})
		}
		return &parts[i]
	}
	for i := range all.Pools {
		p := of(berth.Ref{Noun: berth.NounPool, ID: all.Pools[i].ID})
		p.Pools = append(p.Pools, all.Pools[i])
	}
	for i := range all.Deployments {
		p := of(plannedWith(&all.Deployments[i]))
		p.Deployments = append(p.Deployments, all.Deployments[i])
	}
	for _, m := range all.Members {
		p := of(berth.Ref{Noun: berth.NounPool, ID: m.PoolID})
		p.Members = append(p.Members, m)
	}
	for i := range all.Replicas {
		p := of(ownerOf(&all.Replicas[i]))
		p.Replicas = append(p.Replicas, all.Replicas[i])
	}
	return parts
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
