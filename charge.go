package berth

import (
	"context"
	"time"
)

// Charged returns what a deployment is to be charged for by the minute as it stands; At is
// not set. Nothing while it is not callable, and never for lora, which is paid by the token.
//
//   - mu: the units that were sold and are effective, as far as they serve. While a change
//     grows it that is what it had before; when one shrinks it the smaller number, from the
//     moment that the change was accepted.
//   - ptu: the throughput likewise, without that of instances which were paid in advance. Of
//     a pool that cannot serve all it sold, the part that serves, rounded down.
//
// instances are those of a reserved deployment; others have none (api.md 6.1, design 9).
func Charged(d *Deployment, instances []CapacityInstance) RunStep {
	if !d.Status.Callable() {
		return RunStep{}
	}
	switch d.Plan {
	case PlanMU:
		sold := d.Capacity
		if d.Status == StatusUpdating && d.Growing() {
			sold = min(sold, d.Before.Capacity)
		}
		return RunStep{Units: min(sold, d.ReadyCapacity)}
	case PlanPTU:
		return RunStep{PTU: d.postpaid(instances).part(d.servesPPM())}
	}
	return RunStep{}
}

// postpaid is the effective throughput that is paid by the minute.
func (d *Deployment) postpaid(instances []CapacityInstance) PTUCapacity {
	if !d.Reserved {
		return d.EffectivePTU()
	}
	var sum PTUCapacity
	for k := range instances {
		if i := &instances[k]; !i.Prepaid() && !i.Released() {
			sum = sum.Plus(i.Effective)
		}
	}
	return sum
}

// servesPPM is how much of a ptu deployment's throughput serves, in millionths.
func (d *Deployment) servesPPM() int64 {
	if d.ReadyCapacity >= d.Capacity {
		return Whole
	}
	return d.PartPPM
}

// Whole is everything, in millionths.
const Whole int64 = 1_000_000

// part returns so many millionths of c, rounded down.
func (c PTUCapacity) part(ppm int64) PTUCapacity {
	of := func(n int64) int64 { return n/Whole*ppm + n%Whole*ppm/Whole }
	return PTUCapacity{of(c.InputTPM), of(c.OutputTPM), of(c.ThinkingTPM)}
}

// same reports whether two steps charge the same.
func (s RunStep) same(o RunStep) bool { return s.Units == o.Units && s.PTU == o.PTU }

// IsZero reports whether a step charges nothing.
func (s RunStep) IsZero() bool { return s.same(RunStep{}) }

// SettleRun makes the run of d what d is to be charged for: one begins when it serves, goes
// on with another step when that changes, and ends when it is not callable any more. Whoever
// writes a status or a capacity of d calls it in the same transaction, after
// [Deployments.SettleCapacity].
func (s *Deployments) SettleRun(ctx context.Context, tx Tx, d *Deployment) error {
	if d.Plan == PlanLoRA {
		return nil
	}
	var instances []CapacityInstance
	if d.Reserved {
		var err error
		if instances, err = tx.Capacities().OfDeployment(ctx, d.ID); err != nil {
			return err
		}
	}
	step := Charged(d, instances)
	run, err := tx.Runs().Of(ctx, d.ID)
	switch CodeOf(err) {
	case "":
	case CodeNotFound:
		if step.IsZero() {
			return nil
		}
		return s.beginRun(ctx, tx, d, step)
	default:
		return err
	}
	at := run.notBefore(s.Now())
	switch {
	case !d.Status.Callable():
		return tx.Runs().End(ctx, run.ID, at)
	case step.same(run.last()):
		return nil
	}
	step.At = at
	return tx.Runs().Step(ctx, run.ID, step)
}

// beginRun begins a run, not before the last one of the deployment ended: clocks are set
// back, and no minute is charged twice for that.
func (s *Deployments) beginRun(ctx context.Context, tx Tx, d *Deployment, step RunStep) error {
	w, err := tx.Accounts().Workspace(ctx, d.WorkspaceID)
	if err != nil {
		return err
	}
	step.At = s.Now()
	before, err := tx.Runs().During(ctx, []string{d.ID}, step.At, step.At.AddDate(100, 0, 0))
	if err != nil {
		return err
	}
	for k := range before {
		step.At = before[k].notBefore(step.At)
	}
	run := Run{
		ID: s.NewID("svc_"), AccountID: w.AccountID, WorkspaceID: w.ID, DeploymentID: d.ID, DeployedModel: d.DeployedModel,
		ModelName: d.ModelName, BaseModel: d.BaseModel, Plan: d.Plan, StartedAt: step.At, Steps: []RunStep{step},
	}
	if d.Plan == PlanMU {
		run.Spec = d.Spec.Name
	}
	return tx.Runs().Insert(ctx, run)
}

// last is the step that holds at the end.
func (r *Run) last() RunStep {
	if len(r.Steps) == 0 {
		return RunStep{At: r.StartedAt}
	}
	return r.Steps[len(r.Steps)-1]
}

// notBefore returns at, or the last moment that is written of the run if that is later.
func (r *Run) notBefore(at time.Time) time.Time {
	for _, t := range []time.Time{r.last().At, r.EndedAt} {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// endAtOnce is how many runs end in one transaction.
const endAtOnce = 200

// EndRuns ends every run that goes on, for its engines end with Berth: at a clean stop now,
// after a crash at the last sign of life. What ran serves nothing from then on, so that it is
// charged again only when its engines answer again. Runs whose last step is later end with
// that. It may be killed and called again. The reconciler must not run beside it.
func (s *Deployments) EndRuns(ctx context.Context, at time.Time) error {
	var live []Run
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		live, err = tx.Runs().Live(ctx)
		return err
	})
	for err == nil && len(live) > 0 {
		some := live[:min(endAtOnce, len(live))]
		live = live[len(some):]
		err = s.Store.Tx(ctx, func(tx Tx) error {
			for k := range some {
				if err := endRun(ctx, tx, &some[k], at); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}

func endRun(ctx context.Context, tx Tx, r *Run, at time.Time) error {
	if err := tx.Runs().End(ctx, r.ID, r.notBefore(at)); err != nil {
		return err
	}
	d, err := tx.Deployments().Get(ctx, r.DeploymentID)
	if err != nil || d.ReadyCapacity == 0 && d.PartPPM == 0 {
		return err
	}
	d.ReadyCapacity, d.PartPPM = 0, 0
	return tx.Deployments().Update(ctx, d)
}
