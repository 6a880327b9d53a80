package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// take notes what a task or an exit reported; the next pass books it.
func (l *Loop) take(r report) {
	if r.kind == reportFrozen {
		l.takeFrozen(r)
		return
	}
	t, busy := l.tasks[r.replicaID]
	if busy {
		r.owner = t.owner
		l.due(t.owner)
	}
	if r.done {
		delete(l.tasks, r.replicaID)
	} else if r.kind == reportExit && t.cancel != nil {
		t.cancel() // nobody needs to wait for the answer of a dead engine
	}
	if r.kind == reportIdle {
		return
	}
	if r.kind == reportStopped {
		if r.err != nil {
			l.opt.Logger.Error("engine not stopped; trying again", "replica", r.replicaID, "error", r.err)
			return
		}
		l.forget(r.nonce)
		return // the plan sees that it is gone
	}
	l.noted = append(l.noted, r)
}

// bookAll writes what was noted, in order. What the store does not take now stays
// noted.
func (l *Loop) bookAll(ctx context.Context) error {
	l.noted = slices.DeleteFunc(l.noted, l.endsFirst)
	for len(l.noted) > 0 {
		booked, err := l.book(ctx, l.noted[:min(len(l.noted), writesAtOnce)])
		if err != nil {
			return err
		}
		l.noted = l.noted[booked:]
	}
	return nil
}

// book writes the first of some reports in one transaction and returns how many. Those
// about another start of the replica than the present one change nothing.
func (l *Loop) book(ctx context.Context, reports []report) (booked int, err error) {
	for _, rep := range reports {
		if rep.kind == reportStarted {
			l.remember(rep.nonce, rep.instance.Endpoint)
		}
	}
	l.dirty = true
	var over []string // nonces of engines that are not reached any more
	var owners []berth.Ref
	err = l.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		over, owners, booked = over[:0], owners[:0], 0
		for begun := l.opt.Now(); booked < len(reports) && (booked == 0 || !l.enough(begun)); booked++ {
			rep := reports[booked]
			r, err := tx.Replicas().Get(ctx, rep.replicaID)
			if err != nil && berth.CodeOf(err) != berth.CodeNotFound {
				return err
			}
			known := err == nil && r.Nonce == rep.nonce
			if !known || rep.kind == reportExit {
				over = append(over, rep.nonce)
			}
			if !known {
				continue
			}
			owners = append(owners, ownerOf(&r))
			if err := l.bookOn(ctx, tx, r, rep); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	l.forget(over...)
	for _, o := range owners {
		l.due(o)
	}
	return booked, nil
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
		if err := proveAll(ctx, tx, r); err != nil {
			return err
		}
	case rep.kind == reportProved && coming:
		return l.bookProof(ctx, tx, r)
	case rep.kind == reportLoaded && serving:
		return l.bookLoaded(ctx, tx, r, rep)
	case rep.kind == reportExit && rep.err == nil:
		return nil // asked for: the plan goes on
	case rep.kind == reportFailed && coming && errors.Is(rep.err, errUnwanted):
		l.lose(&r) // the plan forgets it, or starts it when it is wanted again
	case (rep.kind == reportFailed || rep.kind == reportExit) && coming && provesAdapter(&r) && !rep.weights:
		return l.bookDisproof(ctx, tx, r, rep.err)
	case (rep.kind == reportFailed || rep.kind == reportExit) && (coming || serving):
		return l.bookFailure(ctx, tx, r, rep.err)
	default:
		return nil
	}
	return tx.Replicas().Update(ctx, r)
}

// endsFirst reports whether the engine of a report must be gone before that is booked,
// and ends it.
func (l *Loop) endsFirst(rep report) bool {
	ends := (rep.kind == reportFailed || rep.kind == reportProved) && !rep.gone && l.opt.Runner.Runs(rep.replicaID, rep.nonce)
	if ends {
		l.endFirst(rep)
	}
	return ends
}

// endFirst ends an engine that runs but did not answer, is not wanted any more or has
// proved what it was to prove. What was reported is booked when the engine is gone: its
// hardware is not free before, and its exit would look asked for.
func (l *Loop) endFirst(rep report) {
	rep.gone, rep.done = true, true
	l.begin(rep.replicaID, task{owner: rep.owner}, func() {
		if err := l.opt.Runner.Stop(l.ctx, rep.replicaID, rep.nonce, l.opt.StopGrace); err != nil {
			l.opt.Logger.Error("engine not stopped", "replica", rep.replicaID, "error", err)
		}
		l.report(rep)
	})
}

// bookFailure writes a failure of r, tells the deployments that it serves and takes it
// out of routing.
func (l *Loop) bookFailure(ctx context.Context, tx berth.Tx, r berth.Replica, cause error) error {
	coming := r.State == berth.ReplicaStarting && r.Proving == ""
	l.fail(&r, cause)
	if coming {
		if err := doubt(ctx, tx, r); err != nil {
			return err
		}
	}
	if err := l.tell(ctx, tx, r); err != nil {
		return err
	}
	return tx.Replicas().Update(ctx, r)
}

// fail changes r by the rule of [berth.Replica.Fail].
func (l *Loop) fail(r *berth.Replica, cause error) {
	l.forget(r.Nonce)
	r.Fail(l.opt.Now(), l.opt.Backoff, errors.Is(cause, engine.ErrPermanent), reasonOf(cause))
	l.opt.Logger.Warn("engine failed", "replica", r.ID, "failures", len(r.Failures), "state", r.State, "reason", r.Reason)
}

// reasonOf is a failure in words for people.
func reasonOf(cause error) string {
	return strings.TrimPrefix(cause.Error(), engine.ErrPermanent.Error()+": ")
}

// failure is the sentence about a failed replica.
func failure(r berth.Replica) string {
	if r.PoolID != "" {
		return fmt.Sprintf("Replica %s of the shared pool failed.", r.ID)
	}
	return fmt.Sprintf("Replica %s failed: %s.", r.ID, strings.TrimSuffix(r.Reason, "."))
}

// tell writes the failure of a replica into the events of the deployments that it
// serves, and frees the hardware of one that was given up. The reason names paths and
// the last words of an engine: members of a pool, who do not own it, are not told.
func (l *Loop) tell(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	what, then := failure(r), "It is given up."
	if r.State == berth.ReplicaFailed {
		if err := tx.Nodes().Release(ctx, r.ID); err != nil {
			return err
		}
	} else {
		then = fmt.Sprintf("It is started again in %s.", r.RestartAt.Sub(l.opt.Now()).Round(time.Millisecond))
	}
	ids, err := l.served(ctx, tx, r)
	if err != nil {
		return err
	}
	for _, id := range ids {
		d, err := tx.Deployments().Get(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.Events().Append(ctx, d.Event(l.opt.NewID("evt_"), l.opt.Now(), what+" "+then)); err != nil {
			return err
		}
	}
	return nil
}

// served returns the ids of the deployments that a replica serves.
func (l *Loop) served(ctx context.Context, tx berth.Tx, r berth.Replica) ([]string, error) {
	if r.PoolID == "" {
		return []string{r.DeploymentID}, nil
	}
	members, err := tx.Pools().Members(ctx, r.PoolID)
	var ids []string
	for _, m := range members {
		if r.Serves(m) || l.willServe(&r, m) {
			ids = append(ids, m.DeploymentID)
		}
	}
	return ids, err
}
