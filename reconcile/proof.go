package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// choose decides what the next start of a pool's replica loads: of its adapters those
// that a live deployment needs, or, while one of them was never seen to answer, that one
// alone (design 2). Nobody waits for the replica, since it takes no calls yet.
func (l *Loop) choose(ctx context.Context, tx berth.Tx, r *berth.Replica) error {
	r.Proving = ""
	if r.Lane.TakesAdapters() && l.traits(r.Engine).LoadsAdapters {
		r.Adapters = nil // they are loaded when it answers, one by one
		return nil
	}
	if r.PoolID == "" || len(r.Adapters) == 0 {
		return nil
	}
	want, _, err := l.lanes(ctx, tx, r.PoolID)
	if berth.CodeOf(err) == berth.CodeNotFound {
		return nil // launch says so
	}
	if err != nil {
		return err
	}
	r.Adapters = needed(want, *r)
	proofs, err := tx.Pools().Proofs(ctx, r.PoolID)
	r.Proving = berth.NextProof(r.Adapters, proofs)
	return err
}

// needed returns the adapters of r that its lane wants. A lane that nobody wants any
// more lingers as it is.
func needed(want []berth.LaneWant, r berth.Replica) []berth.AdapterRef {
	i := slices.IndexFunc(want, func(w berth.LaneWant) bool { return w.Lane == r.Lane })
	if i < 0 {
		return r.Adapters
	}
	kept := make([]berth.AdapterRef, 0, len(r.Adapters))
	for _, a := range want[i].Adapters {
		if r.HasAdapter(a.Digest) >= 0 {
			kept = append(kept, a) // its file may be another than when r was made
		}
	}
	return kept
}

// provesAdapter reports whether a failure of the present start is an adapter's own: the
// weights are known to answer without it.
func provesAdapter(r *berth.Replica) bool {
	return r.Proving != "" && r.Proving != berth.ProofOfWeights
}

// proveAll books what the first answer of a pool's replica has shown.
func proveAll(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	if r.PoolID == "" {
		return nil
	}
	shown := []string{berth.ProofOfWeights}
	for _, a := range r.Adapters {
		shown = append(shown, a.Digest)
	}
	for _, key := range shown {
		if err := tx.Pools().Prove(ctx, berth.Proof{PoolID: r.PoolID, Adapter: key, Proved: true}); err != nil {
			return err
		}
	}
	return nil
}

// bookProof writes that a scratch run answered. The replica is started again, for the
// next proof or with all that was proved.
func (l *Loop) bookProof(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	l.opt.Logger.Info("adapter proved", "replica", r.ID, "adapter", r.Proving, "after", l.opt.Now().Sub(r.StartedAt))
	if err := tx.Pools().Prove(ctx, berth.Proof{PoolID: r.PoolID, Adapter: r.Proving, Proved: true}); err != nil {
		return err
	}
	return l.bookAgain(ctx, tx, r)
}

// bookAgain makes a replica pending after a scratch run.
func (l *Loop) bookAgain(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	l.lose(&r)
	r.Proving = ""
	return tx.Replicas().Update(ctx, r)
}

// bookDisproof writes that a scratch run failed, which its replica is not blamed for.
// After [berth.ProofTries] runs, or one that any other would repeat, the deployments of
// the adapter are FAILED with the engine's reason and leave the pool. What is known of
// the adapter is forgotten then: who deploys it again, tries it again.
func (l *Loop) bookDisproof(ctx context.Context, tx berth.Tx, r berth.Replica, cause error) error {
	proof, err := proofOf(ctx, tx, r)
	if err != nil {
		return err
	}
	proof.Failures++
	reason, over := reasonOf(cause), errors.Is(cause, engine.ErrPermanent) || proof.Failures >= berth.ProofTries
	l.opt.Logger.Warn("adapter failed", "replica", r.ID, "adapter", r.Proving, "failures", proof.Failures, "given_up", over, "reason", reason)
	told := 0
	members, err := tx.Pools().Members(ctx, r.PoolID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Adapter.Digest != r.Proving {
			continue
		}
		if err := l.tellDisproof(ctx, tx, m.DeploymentID, reason, over); err != nil {
			return err
		}
		told++
	}
	if over || told == 0 {
		err = tx.Pools().Unprove(ctx, r.PoolID, r.Proving)
	} else {
		err = tx.Pools().Prove(ctx, proof)
		r.RestartAt = l.opt.Now().Add(berth.Backoff(int(proof.Failures), l.opt.Backoff))
	}
	if err != nil {
		return err
	}
	return l.bookAgain(ctx, tx, r)
}

// tellDisproof tells a deployment of its adapter's failure. It owns the adapter and may
// hear the engine's words.
func (l *Loop) tellDisproof(ctx context.Context, tx berth.Tx, deploymentID, reason string, over bool) error {
	d, err := tx.Deployments().Get(ctx, deploymentID)
	if err != nil {
		return err
	}
	if over {
		return l.settle(ctx, tx, SetDeployment{ID: d.ID, From: d.Status, Cause: berth.CauseGaveUp, Reason: "The adapter could not be loaded: " + reason})
	}
	sentence := fmt.Sprintf("A trial run with this adapter alone failed: %s. It is tried again.", reason)
	return tx.Events().Append(ctx, d.Event(l.opt.NewID("evt_"), l.opt.Now(), sentence))
}

func proofOf(ctx context.Context, tx berth.Tx, r berth.Replica) (berth.Proof, error) {
	proofs, err := tx.Pools().Proofs(ctx, r.PoolID)
	for _, p := range proofs {
		if p.Adapter == r.Proving {
			return p, err
		}
	}
	return berth.Proof{PoolID: r.PoolID, Adapter: r.Proving}, err
}

// doubt forgets what was proved of a replica that a second time in a row does not come
// up with its adapters together: something has changed since, and each of them, and the
// weights, has to show again that it is not the cause.
func doubt(ctx context.Context, tx berth.Tx, r berth.Replica) error {
	if r.PoolID == "" || len(r.Adapters) < 2 || len(r.Failures) < 2 {
		return nil
	}
	keys := []string{berth.ProofOfWeights}
	for _, a := range r.Adapters {
		keys = append(keys, a.Digest)
	}
	for _, key := range keys {
		if err := tx.Pools().Unprove(ctx, r.PoolID, key); err != nil {
			return err
		}
	}
	return nil
}
