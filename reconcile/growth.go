package reconcile

import (
	"context"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// spareLook is how often a pool that has grown is looked at.
const spareLook = 5 * time.Second

// demand lets the lanes of a pool follow what waits in them: one more replica when best
// effort has waited long enough and all that there should be are ready, one fewer when
// that was not needed for a while. What was sold, and a pool's Min, stay.
func (p *planner) demand(pool *berth.Pool) {
	shared := p.sharesOf(pool)
	for _, lane := range []berth.Lane{berth.LaneBase, berth.LaneLoRA, berth.LaneMixed} {
		needs := replicasIn(shared.want, lane)
		switch there := replicasIn(shared.lanes, lane); {
		case needs == 0 && pool.Grown(lane) > 0 && laneOf(shared.want, lane):
			p.do(Resize{*pool, lane, 0, there}) // nobody is left for it
		case needs == 0:
		case p.queued(pool.ID, lane).IsZero():
			p.shrink(pool, lane, there, needs)
		default:
			p.extend(pool, lane, there, shared.lanes)
		}
	}
}

// laneOf reports whether a pool's growth of that lane is its own: a mixed lane goes by the
// growth of the base.
func laneOf(want []berth.LaneWant, lane berth.Lane) bool {
	mixed := replicasIn(want, berth.LaneMixed) > 0
	return lane == berth.LaneLoRA || lane == berth.LaneBase && !mixed
}

func replicasIn(want []berth.LaneWant, lane berth.Lane) int64 {
	for _, w := range want {
		if w.Lane == lane {
			return w.Replicas
		}
	}
	return 0
}

// queued returns since when best effort has waited for a lane; zero: it does not.
func (p *planner) queued(poolID string, lane berth.Lane) time.Time {
	for _, d := range p.Queues {
		if d.PoolID == poolID && d.Lane == lane {
			return d.Since
		}
	}
	return time.Time{}
}

// extend adds a replica to a lane that is whole and does not suffice.
func (p *planner) extend(pool *berth.Pool, lane berth.Lane, there int64, lanes []berth.LaneWant) {
	if pool.Max > 0 {
		total := int64(0)
		for _, w := range lanes {
			total += w.Replicas
		}
		if total >= int64(pool.Max) {
			return
		}
	}
	ready := int64(0)
	for _, r := range p.owned[pool.ID] {
		if r.Lane == lane && r.State == berth.ReplicaReady {
			ready++
		}
	}
	if ready < there {
		return // more is on its way, or cannot come
	}
	at := latest(p.queued(pool.ID, lane).Add(berth.GrowAfter), pool.GrewAt.Add(GrowPause))
	if p.Now.Before(at) {
		p.wake(at)
		return
	}
	p.do(Resize{*pool, lane, there + 1, there})
}

// shrink gives the last replica back that a lane has grown to.
func (p *planner) shrink(pool *berth.Pool, lane berth.Lane, there, needs int64) {
	if there <= needs {
		if pool.Grown(lane) > needs { // Max has no room for it
			p.do(Resize{*pool, lane, 0, there})
		}
		return
	}
	p.wake(p.Now.Add(spareLook))
	if since := p.Spare(pool.ID, lane); since.IsZero() || p.Now.Before(since.Add(berth.ShrinkAfter)) {
		return
	}
	to := there - 1
	if to <= needs {
		to = 0
	}
	p.do(Resize{*pool, lane, to, there})
}

// laneKey names a lane of a pool.
type laneKey struct {
	poolID string
	lane   berth.Lane
}

// spares remembers since when lanes could have done with a replica fewer.
type spares map[laneKey]time.Time

// look books what a pool that has grown does now.
func (s spares) look(now time.Time, pool *berth.Pool, replicas []berth.Replica, queues []berth.PoolDemand, inFlight func(deploymentID, replicaID string) int) {
	for _, lane := range []berth.Lane{berth.LaneBase, berth.LaneLoRA, berth.LaneMixed} {
		key := laneKey{pool.ID, lane}
		ready, running := int64(0), int64(0)
		for i := range replicas {
			if r := &replicas[i]; r.Lane == lane && r.State == berth.ReplicaReady {
				ready, running = ready+1, running+int64(inFlight("", r.ID))
			}
		}
		waits := slices.ContainsFunc(queues, func(d berth.PoolDemand) bool { return d.PoolID == pool.ID && d.Lane == lane })
		switch _, known := s[key]; {
		case pool.Grown(lane) == 0 || waits || !berth.Spares(ready, pool.Spec.Slots, running):
			delete(s, key)
		case !known:
			s[key] = now
		}
	}
}

// queues puts pools in which best effort has waited long enough on the agenda, and returns
// what waits.
func (l *Loop) queues() []berth.PoolDemand {
	if l.opt.Demand == nil {
		return nil
	}
	waits := l.opt.Demand()
	for _, d := range waits {
		l.agenda.soonen(berth.Ref{Noun: berth.NounPool, ID: d.PoolID}, d.Since.Add(berth.GrowAfter))
	}
	return waits
}

// resize makes a lane as large as planned, if it still is as large as it was then and the
// hardware is free; if not, it is tried again after [GrowPause].
func (l *Loop) resize(ctx context.Context, tx berth.Tx, a Resize) error {
	want, have, err := l.lanes(ctx, tx, a.Pool.ID)
	if berth.CodeOf(err) == berth.CodeNotFound || err == nil && replicasIn(want, a.Lane) != a.From {
		return nil
	}
	if err != nil {
		return err
	}
	pool, err := tx.Pools().Get(ctx, a.Pool.ID)
	if err != nil {
		return err
	}
	l.opt.Logger.Info("pool follows its queue", "pool", pool.ID, "model", pool.ModelName, "lane", a.Lane, "replicas", a.To, "before", a.From)
	if a.To > a.From {
		pool.GrewAt = l.opt.Now()
		missing := slices.DeleteFunc(berth.Missing(grownTo(want, a), have), func(w berth.LaneWant) bool { return w.Lane != a.Lane })
		for _, lane := range missing {
			err := l.hold(ctx, tx, pool, lane)
			if berth.CodeOf(err) == berth.CodeNoCapacity {
				l.opt.Logger.Warn("pool cannot grow", "pool", pool.ID, "model", pool.ModelName, "lane", a.Lane, "reason", err)
				return tx.Pools().Update(ctx, pool)
			}
			if err != nil {
				return err
			}
		}
	}
	pool.Grow(a.Lane, a.To)
	delete(l.spares, laneKey{pool.ID, a.Lane})
	return tx.Pools().Update(ctx, pool)
}

// grownTo is what the lanes should be once one of them has its new size.
func grownTo(want []berth.LaneWant, a Resize) []berth.LaneWant {
	want = slices.Clone(want)
	for i := range want {
		if want[i].Lane == a.Lane {
			want[i].Replicas = a.To
		}
	}
	return want
}
