package reconcile

import (
	"context"
	"fmt"

	berth "github.com/berthhq/berth"
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
		l.forget(r.Nonce)
		r.State, r.Nonce, r.PID, r.StartTime, r.URL = berth.ReplicaPending, "", 0, 0, ""
		return true, l.update(ctx, r)
	case Drain:
		r := a.Replica
		r.State, r.DrainFrom = berth.ReplicaDraining, l.opt.Now()
		return true, l.update(ctx, r)
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
	l.forget(r.Nonce)
	return l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		if err := tx.Nodes().Release(ctx, r.ID); err != nil {
			return err
		}
		return tx.Replicas().Delete(ctx, r.ID)
	})
}

func (l *Loop) forget(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.endpoints, nonce)
}

// setDeployment re-reads the deployment, since a client may have changed it since the
// state was taken, and moves it if the cause still applies.
func (l *Loop) setDeployment(ctx context.Context, a SetDeployment) error {
	return l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
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
		switch d.Status {
		case berth.StatusFailed:
			d.Reason = a.Reason
			if err := tx.Pools().Leave(ctx, d.ID); err != nil {
				return err
			}
		case berth.StatusDeleted:
			d.DeletedAt = now
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
	})
}
