package berth

import "context"

// Stop takes a deployment out of service and keeps its name, id and limits (api.md 12,
// 19). Needs [RoleAdmin]. New calls are refused from the moment it returns, running ones
// have 30 s; charges end now and hardware is free when it is measured so. A repeat
// answers the same. [CodeUnsupported] for lora, which costs nothing while idle, and for
// what neither serves nor comes up.
func (s *Deployments) Stop(ctx context.Context, deployedModel string) (Deployment, error) {
	return s.change(ctx, "deployment.stop", deployedModel, func(b *sale) error {
		switch {
		case b.d.Plan == PlanLoRA:
			return unsupported("A lora deployment costs nothing while it is idle; there is nothing to stop.")
		case b.d.Status == StatusOfflining || b.d.Status == StatusStopped:
			return nil
		}
		return b.stop("Stopping; running calls have 30 s.")
	})
}

func (b *sale) stop(reason string) error {
	if _, ok := b.d.Status.Next(CauseStop); !ok {
		return unsupported("The deployment is %s; only one that serves or comes up can be stopped.", b.d.Status)
	}
	if b.d.Capacity > 0 {
		b.d.EndChange(true) // a change under way is what the next start gets
	}
	if err := b.leave(); err != nil {
		return err
	}
	b.d.Modifier, b.d.Reason = b.caller.AccountID, ""
	return b.transition(b.ctx, b.tx, &b.d, CauseStop, reason)
}

// Start buys a stopped or failed deployment again on the spec that it was bought on.
// Needs [RoleAdmin]. It answers at once with status PENDING, and one that comes up or
// serves as it is; [CodeNoCapacity] leaves it as it was.
func (s *Deployments) Start(ctx context.Context, deployedModel string) (Deployment, error) {
	return s.change(ctx, "deployment.start", deployedModel, func(b *sale) error {
		if b.d.Status.Callable() || b.d.Status.ComingUp() {
			return nil
		}
		if _, ok := b.d.Status.Next(CauseStart); !ok {
			return unsupported("The deployment is %s; only a STOPPED or FAILED one can be started.", b.d.Status)
		}
		if b.d.Reserved && b.d.PTU.IsZero() {
			return unsupported("No capacity instance has any throughput; buy or scale one, which starts the deployment.")
		}
		return b.start()
	})
}

func (b *sale) start() error {
	b.d.EndChange(b.d.Capacity > 0) // one that was scaled to 0 gets what it had before
	if err := b.again(); err != nil {
		return err
	}
	if err := b.dropFailed(); err != nil {
		return err
	}
	if b.d.Plan == PlanPTU {
		if err := b.calibrated(); err != nil {
			return err
		}
	}
	if b.d.Plan.Pooled() {
		if err := b.rejoin(); err != nil {
			return err
		}
	}
	if err := b.hold(); err != nil {
		return err
	}
	if err := b.depositAll(); err != nil {
		return err
	}
	b.d.Modifier, b.d.Reason, b.d.ReadyCapacity, b.d.PartPPM = b.caller.AccountID, "", 0, 0
	return b.transition(b.ctx, b.tx, &b.d, CauseStart, "Bought again; the hardware is held.")
}
