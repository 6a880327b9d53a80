package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// write is what an action does in a transaction; then, which may be nil, follows when
// that is kept. It is safe to repeat.
type write func(ctx context.Context, tx berth.Tx) (then func(), err error)

// step is an action on its way.
type step struct {
	owner berth.Ref
	write write
}

// A transaction of the loop ends after so many writes, or when it has taken so long, the
// first that comes: purchases that wait for their turn have it between two of them.
const (
	writesAtOnce = 100
	writesFor    = 20 * time.Millisecond
)

// enough reports whether a transaction has done enough.
func (l *Loop) enough(begun time.Time) bool { return l.opt.Now().Sub(begun) >= writesFor }

// takeAll takes steps, many in a transaction. One that fails does not keep the others
// back: its owner is looked at again in a second.
func (l *Loop) takeAll(ctx context.Context, steps []step) error {
	for len(steps) > 0 {
		taken, err := l.takeSome(ctx, steps[:min(len(steps), writesAtOnce)])
		if err != nil {
			return err
		}
		steps = steps[taken:]
	}
	return nil
}

// takeSome takes the first of some steps in one transaction and returns how many.
func (l *Loop) takeSome(ctx context.Context, steps []step) (taken int, err error) {
	var follow []func()
	err = l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		follow, taken = follow[:0], 0
		for begun := l.opt.Now(); taken < len(steps) && (taken == 0 || !l.enough(begun)); taken++ {
			then, err := steps[taken].write(ctx, tx)
			if err != nil {
				return err
			}
			if then != nil {
				follow = append(follow, then)
			}
		}
		return nil
	})
	switch {
	case err == nil:
		l.dirty = true
		for _, then := range follow {
			then()
		}
		return taken, nil
	case ctx.Err() != nil:
		return 0, err
	case len(steps) == 1:
		l.opt.Logger.Error("reconcile step failed; trying again in 1 s", "owner", steps[0].owner.ID, "error", err)
		l.agenda.soonen(steps[0].owner, l.opt.Now().Add(time.Second))
		return 1, nil
	}
	return l.takeSome(ctx, steps[:len(steps)/2])
}

// act returns what an action of the owner's plan writes; nil: nothing now.
func (l *Loop) act(p *part, a Action) write {
	switch a := a.(type) {
	case Start:
		start := l.alone(a.Replica, l.start)
		if start != nil && !l.mayLoad(&a.Replica) {
			return l.wait(p)
		}
		return start
	case Load:
		return l.alone(a.Replica, func(ctx context.Context, tx berth.Tx, r berth.Replica) (func(), error) {
			return l.load(ctx, tx, r, a.Adapters)
		})
	case Unload:
		return l.alone(a.Replica, func(ctx context.Context, tx berth.Tx, r berth.Replica) (func(), error) {
			return l.unload(ctx, tx, r, a.Adapters)
		})
	case Stop:
		return l.alone(a.Replica, l.stop)
	case Remove:
		return l.alone(a.Replica, l.remove)
	case Lost:
		return func(ctx context.Context, tx berth.Tx) (func(), error) {
			r := a.Replica
			l.lose(&r)
			return nil, tx.Replicas().Update(ctx, r)
		}
	case Drain:
		return func(ctx context.Context, tx berth.Tx) (func(), error) { return nil, l.drain(ctx, tx, a.Replica) }
	case Grow:
		return func(ctx context.Context, tx berth.Tx) (func(), error) { return nil, l.grow(ctx, tx, a.Pool.ID) }
	case Resize:
		return func(ctx context.Context, tx berth.Tx) (func(), error) { return nil, l.resize(ctx, tx, a) }
	case SetDeployment:
		return func(ctx context.Context, tx berth.Tx) (func(), error) { return nil, l.settle(ctx, tx, a) }
	case Cut:
		l.opt.Traffic.Cut(a.DeploymentID)
		return nil
	case IdlePool:
		a.Pool.IdleSince, a.Pool.GrownBase, a.Pool.GrownLoRA = l.opt.Now(), 0, 0
		return unlessJoined(a.Pool, func(ctx context.Context, tx berth.Tx) error { return tx.Pools().Update(ctx, a.Pool) })
	case RemovePool:
		return unlessJoined(a.Pool, func(ctx context.Context, tx berth.Tx) error { return tx.Pools().Delete(ctx, a.Pool.ID) })
	}
	return func(context.Context, berth.Tx) (func(), error) { return nil, fmt.Errorf("action %T is not known", a) }
}

// alone returns what fn writes of r, unless a task is under way on the replica. A start
// under way is cancelled instead: an action on its replica means that it is not wanted
// any more.
func (l *Loop) alone(r berth.Replica, fn func(context.Context, berth.Tx, berth.Replica) (func(), error)) write {
	t, busy := l.tasks[r.ID]
	if !busy {
		return func(ctx context.Context, tx berth.Tx) (func(), error) { return fn(ctx, tx, r) }
	}
	if t.cancel != nil && r.State == berth.ReplicaStarting {
		t.cancel()
	}
	return nil
}

// unlessJoined returns what fn writes while the pool has no member.
func unlessJoined(p berth.Pool, fn func(context.Context, berth.Tx) error) write {
	return func(ctx context.Context, tx berth.Tx) (func(), error) {
		demand, err := tx.Pools().Demand(ctx, p.ID)
		if err != nil || demand.Members() > 0 {
			return nil, err
		}
		return nil, fn(ctx, tx)
	}
}

// remove forgets a replica and frees its hardware.
func (l *Loop) remove(ctx context.Context, tx berth.Tx, r berth.Replica) (func(), error) {
	if wanted, err := l.wanted(ctx, tx, r); err != nil || wanted {
		return nil, err
	}
	if err := tx.Nodes().Release(ctx, r.ID); err != nil {
		return nil, err
	}
	if err := tx.Replicas().Delete(ctx, r.ID); err != nil && berth.CodeOf(err) != berth.CodeNotFound { // a purchase may have forgotten one that was given up
		return nil, err
	}
	return func() { l.forget(r.Nonce) }, nil
}

// drain takes a replica out of routing.
func (l *Loop) drain(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	if wanted, err := l.wanted(ctx, tx, r); err != nil || wanted {
		return err
	}
	r.State, r.DrainFrom = berth.ReplicaDraining, l.opt.Now()
	return tx.Replicas().Update(ctx, r)
}

// wanted reports whether a purchase has counted on the replica since the plan was made:
// the lanes of its owner, as they are now, need it.
func (l *Loop) wanted(ctx context.Context, tx berth.Tx, r berth.Replica) (bool, error) {
	if !r.Live() {
		return false, nil
	}
	superfluous, err := l.superfluous(ctx, tx, r)
	return err == nil && !slices.ContainsFunc(superfluous, func(s berth.Replica) bool { return s.ID == r.ID }), err
}

// superfluous returns the replicas that r's owner does not need any more.
func (l *Loop) superfluous(ctx context.Context, tx berth.Tx, r berth.Replica) ([]berth.Replica, error) {
	if r.PoolID != "" {
		want, have, err := l.lanes(ctx, tx, r.PoolID)
		return berth.Superfluous(want, have), err
	}
	d, err := tx.Deployments().Get(ctx, r.DeploymentID)
	if err != nil || !d.Status.Callable() && !d.Status.ComingUp() || d.Waits() {
		return []berth.Replica{r}, err
	}
	have, err := tx.Replicas().OfDeployment(ctx, d.ID)
	return d.Superfluous(have), err
}

// lanes returns what the lanes of a pool should be and the replicas that there are.
func (l *Loop) lanes(ctx context.Context, tx berth.Tx, poolID string) ([]berth.LaneWant, []berth.Replica, error) {
	pool, err := tx.Pools().Get(ctx, poolID)
	if err != nil {
		return nil, nil, err
	}
	demand, err := tx.Pools().Demand(ctx, poolID)
	if err != nil {
		return nil, nil, err
	}
	have, err := tx.Replicas().OfPool(ctx, poolID)
	return pool.Lanes(demand, l.traits(pool.Engine)), have, err
}

func (l *Loop) traits(engineName string) berth.EngineTraits {
	if d, ok := l.opt.Drivers[engineName]; ok {
		return d.Traits()
	}
	return berth.EngineTraits{}
}

// grow adds what the lanes of a pool miss. What cannot be placed is tried again after
// [GrowPause].
func (l *Loop) grow(ctx context.Context, tx berth.Tx, poolID string) error {
	want, have, err := l.lanes(ctx, tx, poolID)
	if err != nil {
		return err
	}
	missing := berth.Missing(want, have)
	if len(missing) == 0 {
		return nil
	}
	pool, err := tx.Pools().Get(ctx, poolID)
	if err != nil {
		return err
	}
	pool.GrewAt = l.opt.Now()
	if err := tx.Pools().Update(ctx, pool); err != nil {
		return err
	}
	for _, lane := range missing {
		err := l.hold(ctx, tx, pool, lane)
		if berth.CodeOf(err) == berth.CodeNoCapacity {
			l.opt.Logger.Warn("pool cannot grow back", "pool", pool.ID, "model", pool.ModelName, "lane", lane.Lane, "reason", err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hold adds replicas to a lane of a pool.
func (l *Loop) hold(ctx context.Context, tx berth.Tx, pool berth.Pool, lane berth.LaneWant) error {
	like := berth.Replica{
		PoolID: pool.ID, Lane: lane.Lane, Engine: pool.Engine, ModelName: pool.ModelName,
		Spec: pool.Spec, Adapters: lane.Adapters, State: berth.ReplicaPending, CreatedAt: l.opt.Now(),
	}
	return berth.HoldReplicas(ctx, tx, like, lane.Replicas, l.traits(pool.Engine), l.opt.NewID)
}

// lose makes a replica whose engine is gone without a fault pending again.
func (l *Loop) lose(r *berth.Replica) {
	l.forget(r.Nonce)
	r.State, r.Nonce, r.PID, r.StartTime, r.URL = berth.ReplicaPending, "", 0, 0, ""
}

func (l *Loop) remember(nonce string, e engine.Endpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endpoints[nonce] = e
}

func (l *Loop) forget(nonces ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, nonce := range nonces {
		delete(l.endpoints, nonce)
	}
}

// enter does what a new status brings with it.
func (l *Loop) enter(ctx context.Context, tx berth.Tx, d *berth.Deployment, a SetDeployment) error {
	switch d.Status {
	case berth.StatusFailed:
		d.Reason = a.Reason
		d.EndChange(true)
		return tx.Pools().Leave(ctx, d.ID)
	case berth.StatusDeleted:
		d.DeletedAt = l.opt.Now()
	case berth.StatusUpdatingFailed:
		if a.Cause == "" {
			return nil
		}
		d.Reason = a.Reason
		d.EndChange(false)
	case berth.StatusRunning:
		if a.Cause == berth.CauseChangeDone {
			d.EndChange(true)
		}
	}
	return nil
}

// settle re-reads the deployment, since a client may have changed it since the state was
// taken, and moves it if it is still what the cause was found for.
func (l *Loop) settle(ctx context.Context, tx berth.Tx, a SetDeployment) error {
	d, err := tx.Deployments().Get(ctx, a.ID)
	if err != nil {
		return err
	}
	now := l.opt.Now()
	if d.Status != a.From {
		return nil // what was written of it makes the loop look again
	}
	if a.Cause != "" {
		to, ok := d.Status.Next(a.Cause)
		if !ok {
			return nil
		}
		d.Status = to
	} else if !d.Status.Callable() {
		return nil
	}
	d.ReadyCapacity, d.PartPPM, d.ModifiedAt = a.ReadyCapacity, a.PartPPM, now
	if err := l.enter(ctx, tx, &d, a); err != nil {
		return err
	}
	if err := l.opt.Reservations.Settle(ctx, tx, &d); err != nil {
		return err
	}
	if a.Cause == berth.CauseChangeFailed { // its place is that of the sums of its instances
		if err := berth.Rejoin(ctx, tx, d); err != nil {
			return err
		}
	}
	if err := tx.Deployments().Update(ctx, d); err != nil {
		return err
	}
	l.opt.Logger.Info("deployment changed", "deployment", d.ID, "deployed_model", d.DeployedModel, "status", d.Status, "ready_capacity", d.ReadyCapacity, "reason", a.Reason)
	return tx.Events().Append(ctx, d.Event(l.opt.NewID("evt_"), now, a.Reason))
}
