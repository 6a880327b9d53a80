package reconcile

import (
	"context"
	"fmt"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// act takes one action and reports whether it changed anything. Each is safe to repeat.
func (l *Loop) act(ctx context.Context, a Action) (bool, error) {
	switch a := a.(type) {
	case Start:
		return l.alone(a.Replica, func() error { return l.start(ctx, a.Replica) })
	case Stop:
		return l.alone(a.Replica, func() error { return l.stop(ctx, a.Replica) })
	case Remove:
		return l.alone(a.Replica, func() error { return l.remove(ctx, a.Replica) })
	case Lost:
		r := a.Replica
		l.lose(&r)
		return true, l.update(ctx, r)
	case Drain:
		return true, l.drain(ctx, a.Replica)
	case Grow:
		return l.grow(ctx, a.Pool)
	case SetDeployment:
		return true, l.setDeployment(ctx, a)
	case Cut:
		l.opt.Traffic.Cut(a.DeploymentID)
		return false, nil
	case IdlePool:
		a.Pool.IdleSince = l.opt.Now()
		return true, l.unlessJoined(ctx, a.Pool, func(tx berth.Tx) error { return tx.Pools().Update(ctx, a.Pool) })
	case RemovePool:
		return true, l.unlessJoined(ctx, a.Pool, func(tx berth.Tx) error { return tx.Pools().Delete(ctx, a.Pool.ID) })
	}
	return false, fmt.Errorf("action %T is not known", a)
}

// alone runs fn unless a task is under way on the replica. A start under way is
// cancelled instead: an action on its replica means that it is not wanted any more.
func (l *Loop) alone(r berth.Replica, fn func() error) (bool, error) {
	t, busy := l.tasks[r.ID]
	if !busy {
		return true, fn()
	}
	if t.cancel != nil && r.State == berth.ReplicaStarting {
		t.cancel()
	}
	return false, nil
}

// unlessJoined runs fn in a transaction in which the pool still has no member.
func (l *Loop) unlessJoined(ctx context.Context, p berth.Pool, fn func(berth.Tx) error) error {
	return l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		members, err := tx.Pools().Members(ctx, p.ID)
		if err != nil || len(members) > 0 {
			return err
		}
		return fn(tx)
	})
}

// update writes a replica and raises the routing version.
func (l *Loop) update(ctx context.Context, r berth.Replica) error {
	return l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		if err := tx.Replicas().Update(ctx, r); err != nil {
			return err
		}
		_, err := tx.Route(ctx)
		return err
	})
}

// remove forgets a replica and frees its hardware in one transaction.
func (l *Loop) remove(ctx context.Context, r berth.Replica) error {
	done, err := l.unlessWanted(ctx, r, func(tx berth.Tx) error {
		if err := tx.Nodes().Release(ctx, r.ID); err != nil {
			return err
		}
		return tx.Replicas().Delete(ctx, r.ID)
	})
	if done && err == nil {
		l.forget(r.Nonce)
	}
	return err
}

// drain takes a replica out of routing.
func (l *Loop) drain(ctx context.Context, r berth.Replica) error {
	_, err := l.unlessWanted(ctx, r, func(tx berth.Tx) error {
		r.State, r.DrainFrom = berth.ReplicaDraining, l.opt.Now()
		if err := tx.Replicas().Update(ctx, r); err != nil {
			return err
		}
		_, err := tx.Route(ctx)
		return err
	})
	return err
}

// unlessWanted runs fn in a transaction, unless a purchase has counted on the replica
// since the plan was made.
func (l *Loop) unlessWanted(ctx context.Context, r berth.Replica, fn func(berth.Tx) error) (done bool, err error) {
	err = l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		done = false
		if r.Live() {
			wanted, err := l.wanted(ctx, tx, r)
			if err != nil || wanted {
				return err
			}
		}
		done = true
		return fn(tx)
	})
	return done, err
}

// wanted reports whether the lanes of r's owner, as they are now, need r.
func (l *Loop) wanted(ctx context.Context, tx berth.Tx, r berth.Replica) (bool, error) {
	want, have, err := l.ownerLanes(ctx, tx, r)
	superfluous := slices.ContainsFunc(berth.Superfluous(want, have), func(s berth.Replica) bool { return s.ID == r.ID })
	return !superfluous, err
}

// ownerLanes returns what the lanes of r's owner should be and the replicas that it has.
func (l *Loop) ownerLanes(ctx context.Context, tx berth.Tx, r berth.Replica) ([]berth.LaneWant, []berth.Replica, error) {
	if r.PoolID != "" {
		return l.lanes(ctx, tx, r.PoolID)
	}
	d, err := tx.Deployments().Get(ctx, r.DeploymentID)
	if err != nil || !d.Status.Callable() && !d.Status.ComingUp() {
		return nil, []berth.Replica{r}, err
	}
	have, err := tx.Replicas().OfDeployment(ctx, d.ID)
	return d.Lanes(nil), have, err
}

// lanes returns what the lanes of a pool should be and the replicas that there are.
func (l *Loop) lanes(ctx context.Context, tx berth.Tx, poolID string) ([]berth.LaneWant, []berth.Replica, error) {
	pool, err := tx.Pools().Get(ctx, poolID)
	if err != nil {
		return nil, nil, err
	}
	members, err := tx.Pools().Members(ctx, poolID)
	if err != nil {
		return nil, nil, err
	}
	have, err := tx.Replicas().OfPool(ctx, poolID)
	return pool.Lanes(members, l.traits(pool.Engine)), have, err
}

func (l *Loop) traits(engineName string) berth.EngineTraits {
	if d, ok := l.opt.Drivers[engineName]; ok {
		return d.Traits()
	}
	return berth.EngineTraits{}
}

// grow adds what the lanes of a pool miss. What cannot be placed is tried again after
// [GrowPause].
func (l *Loop) grow(ctx context.Context, pool berth.Pool) (bool, error) {
	grown := false
	err := l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		grown = false
		want, have, err := l.lanes(ctx, tx, pool.ID)
		if err != nil {
			return err
		}
		missing := berth.Missing(want, have)
		if len(missing) == 0 {
			return nil
		}
		pool.GrewAt = l.opt.Now()
		if err := tx.Pools().Update(ctx, pool); err != nil {
			return err
		}
		for _, lane := range missing {
			like := berth.Replica{
				PoolID: pool.ID, Lane: lane.Lane, Engine: pool.Engine, ModelName: pool.ModelName,
				Spec: pool.Spec, Adapters: lane.Adapters, State: berth.ReplicaPending, CreatedAt: l.opt.Now(),
			}
			err := berth.HoldReplicas(ctx, tx, like, lane.Replicas, l.traits(pool.Engine), l.opt.NewID)
			if berth.CodeOf(err) == berth.CodeNoCapacity {
				l.opt.Logger.Warn("pool cannot grow back", "pool", pool.ID, "model", pool.ModelName, "lane", lane.Lane, "reason", err)
				return nil
			}
			if err != nil {
				return err
			}
			grown = true
		}
		return nil
	})
	return grown, err
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
		return berth.Rejoin(ctx, tx, *d)
	case berth.StatusRunning:
		if a.Cause == berth.CauseChangeDone {
			d.EndChange(true)
		}
	}
	return nil
}

// setDeployment re-reads the deployment, since a client may have changed it since the
// state was taken, and moves it if the cause still applies.
func (l *Loop) setDeployment(ctx context.Context, a SetDeployment) error {
	return l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		return l.settle(ctx, tx, a)
	})
}

// settle is setDeployment in a transaction.
func (l *Loop) settle(ctx context.Context, tx berth.Tx, a SetDeployment) error {
	d, err := tx.Deployments().Get(ctx, a.ID)
	if err != nil {
		return err
	}
	now := l.opt.Now()
	if a.Cause != "" {
		to, ok := d.Status.Next(a.Cause)
		if !ok {
			return nil
		}
		d.Status = to
	} else if !d.Status.Callable() {
		return nil
	}
	d.ReadyCapacity, d.ModifiedAt = a.ReadyCapacity, now
	if err := l.enter(ctx, tx, &d, a); err != nil {
		return err
	}
	if err := tx.Deployments().Update(ctx, d); err != nil {
		return err
	}
	l.opt.Logger.Info("deployment changed", "deployment", d.ID, "deployed_model", d.DeployedModel, "status", d.Status, "ready_capacity", d.ReadyCapacity, "reason", a.Reason)
	if err := tx.Events().Append(ctx, d.Event(l.opt.NewID("evt_"), now, a.Reason)); err != nil {
		return err
	}
	_, err = tx.Route(ctx)
	return err
}
