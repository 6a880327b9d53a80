package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// take notes what a task or an exit reported; the next pass books it.
func (l *Loop) take(r report) {
	if r.done {
		delete(l.tasks, r.replicaID)
	}
	if t, ok := l.tasks[r.replicaID]; ok && r.kind == reportExit && t.cancel != nil {
		t.cancel() // nobody needs to wait for the answer of a dead engine
	}
	if r.kind == reportStopped {
		if r.err != nil {
			l.opt.Logger.Error("engine not stopped; trying again", "replica", r.replicaID, "error", r.err)
		}
		return // the plan sees that it is gone
	}
	l.noted = append(l.noted, r)
}

// bookAll writes what was noted, in order. What the store does not take now stays
// noted.
func (l *Loop) bookAll(ctx context.Context) error {
	for len(l.noted) > 0 {
		if err := l.book(ctx, l.noted[0]); err != nil {
			return err
		}
		l.noted = l.noted[1:]
	}
	return nil
}

// book writes one report. Reports about another start of the replica than the present
// one change nothing.
func (l *Loop) book(ctx context.Context, rep report) error {
	if rep.kind == reportStarted {
		l.mu.Lock()
		l.endpoints[rep.nonce] = rep.instance.Endpoint
		l.mu.Unlock()
	}
	l.dirty = true
	found := false
	err := l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		replicas, err := tx.Replicas().List(ctx)
		if err != nil {
			return err
		}
		for _, r := range replicas {
			if found = r.ID == rep.replicaID && r.Nonce == rep.nonce; found {
				return l.bookOn(ctx, tx, r, rep)
			}
		}
		return nil
	})
	if !found {
		l.forget(rep.nonce)
	}
	return err
}

// bookOn applies a report to the replica it is about.
func (l *Loop) bookOn(ctx context.Context, tx berth.Tx, r berth.Replica, rep report) error {
	now := l.opt.Now()
	coming := r.State == berth.ReplicaStarting
	serving := r.State == berth.ReplicaReady
	switch {
	case rep.kind == reportStarted && coming:
		r.PID, r.StartTime, r.URL = rep.instance.PID, rep.instance.StartTime, rep.instance.Endpoint.URL
	case rep.kind == reportReady && coming:
		r.State, r.ReadyAt, r.Reason = berth.ReplicaReady, now, ""
		l.opt.Logger.Info("engine ready", "replica", r.ID, "pid", r.PID, "after", now.Sub(r.StartedAt))
	case rep.kind == reportExit && rep.err == nil:
		return nil // asked for: the plan goes on
	case rep.kind == reportFailed && errors.Is(rep.err, errUnwanted):
		return nil // the plan stops it
	case (rep.kind == reportFailed || rep.kind == reportExit) && (coming || serving):
		if rep.kind == reportFailed && l.stillRuns(r) {
			return l.stopFailed(ctx, tx, r, rep.err)
		}
		return l.bookFailure(ctx, tx, r, rep.err)
	default:
		return nil
	}
	if err := tx.Replicas().Update(ctx, r); err != nil {
		return err
	}
	_, err := tx.Route(ctx)
	return err
}

func (l *Loop) stillRuns(r berth.Replica) bool {
	return slices.ContainsFunc(l.opt.Runner.Instances(), func(i engine.Instance) bool {
		return i.ReplicaID == r.ID && i.Nonce == r.Nonce
	})
}

// stopFailed ends an engine that runs but never answered. Its exit would look asked
// for, so the failure is booked now and the process ended under its old nonce.
func (l *Loop) stopFailed(ctx context.Context, tx berth.Tx, r berth.Replica, cause error) error {
	nonce := r.Nonce
	if err := l.bookFailure(ctx, tx, r, cause); err != nil {
		return err
	}
	l.end(r.ID, nonce)
	return nil
}

// bookFailure writes a failure of r, tells the deployments that it serves and takes it
// out of routing.
func (l *Loop) bookFailure(ctx context.Context, tx berth.Tx, r berth.Replica, cause error) error {
	l.fail(&r, cause)
	if err := l.tell(ctx, tx, r); err != nil {
		return err
	}
	if err := tx.Replicas().Update(ctx, r); err != nil {
		return err
	}
	_, err := tx.Route(ctx)
	return err
}

// fail changes r by the rule of [berth.Replica.Fail].
func (l *Loop) fail(r *berth.Replica, cause error) {
	l.forget(r.Nonce)
	r.Fail(l.opt.Now(), l.opt.Backoff, errors.Is(cause, engine.ErrPermanent), cause.Error())
	l.opt.Logger.Warn("engine failed", "replica", r.ID, "failures", len(r.Failures), "state", r.State, "reason", r.Reason)
}

// tell writes the failure of a replica into the events of the deployments that it
// serves, and frees the hardware of one that was given up.
func (l *Loop) tell(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	reason := fmt.Sprintf("Replica %s failed: %s.", r.ID, r.Reason)
	if r.State == berth.ReplicaFailed {
		reason += " It is given up."
		if err := tx.Nodes().Release(ctx, r.ID); err != nil {
			return err
		}
	} else {
		reason += fmt.Sprintf(" It is started again in %s.", r.RestartAt.Sub(l.opt.Now()))
	}
	ids := []string{r.DeploymentID}
	if r.PoolID != "" {
		ids = nil
		members, err := tx.Pools().Members(ctx, r.PoolID)
		if err != nil {
			return err
		}
		for _, m := range members {
			if serves(&r, m) {
				ids = append(ids, m.DeploymentID)
			}
		}
	}
	for _, id := range ids {
		d, err := tx.Deployments().Get(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.Events().Append(ctx, d.Event(l.opt.NewID("evt_"), l.opt.Now(), reason)); err != nil {
			return err
		}
	}
	return nil
}
