package berth

import (
	"cmp"
	"context"
	"fmt"
)

// Change is what a client asks to be changed of a deployment. Nil fields stay as they
// are.
type Change struct {
	DisplayName     *string
	RPMLimit        *int64 // 0 lifts the limit
	TPMLimit        *int64
	Capacity        *int64
	PrefillCapacity *int64
	DecodeCapacity  *int64
	PTU             *PTUCapacity // absolute; ThinkingTPM 0 leaves it as it is
	// Reservation is what the reservation API says beside PTU (api.md 4.12).
	Reservation CapacityAsk
}

// reserved reports whether c is about a capacity instance of d.
func (d *Deployment) reserved(c Change) bool {
	return d.Plan == PlanPTU && (d.Reserved || c.Reservation.InstanceID != "" || c.Reservation.OrderType != "")
}

// scaleReserved scales a capacity instance of a deployment by its own rules.
func (b *sale) scaleReserved(c Change) error {
	r := &reservation{sale: b, ask: c.Reservation}
	r.ask.PTU = c.PTU
	return r.run(OperationScale, (*reservation).scale)
}

// Terms are what was sold, as far as a change can change it.
type Terms struct {
	Capacity        int64       `json:"capacity,omitempty"`
	PrefillCapacity int64       `json:"prefill_capacity,omitempty"`
	DecodeCapacity  int64       `json:"decode_capacity,omitempty"`
	PTU             PTUCapacity `json:"ptu,omitzero"`
}

// Terms returns what is sold now.
func (d *Deployment) Terms() Terms {
	return Terms{Capacity: d.Capacity, PrefillCapacity: d.PrefillCapacity, DecodeCapacity: d.DecodeCapacity, PTU: d.PTU}
}

// setTerms sells t.
func (d *Deployment) setTerms(t Terms) {
	d.Capacity, d.PrefillCapacity, d.DecodeCapacity, d.PTU = t.Capacity, t.PrefillCapacity, t.DecodeCapacity, t.PTU
}

// Growing reports whether the change under way needs more than there was, or buys again
// what was given up. One that does not cannot fail.
func (d *Deployment) Growing() bool {
	b := d.Before
	return b != Terms{} && (b == d.Terms() || d.PrefillCapacity > b.PrefillCapacity || d.DecodeCapacity > b.DecodeCapacity ||
		d.PrefillCapacity+d.DecodeCapacity == 0 && d.Capacity > b.Capacity || d.PTU.exceeds(b.PTU))
}

// exceeds reports whether c is more than o in some dimension.
func (c PTUCapacity) exceeds(o PTUCapacity) bool {
	return c.InputTPM > o.InputTPM || c.OutputTPM > o.OutputTPM || c.ThinkingTPM > o.ThinkingTPM
}

// EffectivePTU is what the gateway admits: while a reservation grows the smaller one
// counts, since the larger is not there yet.
func (d *Deployment) EffectivePTU() PTUCapacity {
	if d.Status == StatusUpdating && d.Growing() {
		return d.Before.PTU
	}
	return d.PTU
}

// EndChange settles the change under way: done keeps what is sold now, otherwise what
// was sold before it holds again.
func (d *Deployment) EndChange(done bool) {
	if !done && d.Before != (Terms{}) {
		d.setTerms(d.Before)
	}
	d.Before = Terms{}
}

// checkUnits refuses capacities that a spec cannot have (api.md 3.1, 4.4, statements 19,
// 21 to 23, 44). 0 is in range.
func (c *Change) checkUnits(spec ResolvedSpec) error {
	type field struct {
		name string
		n    *int64
	}
	fields := []field{{"capacity", c.Capacity}}
	if spec.Type == SpecTypeSeparated {
		fields = []field{{"prefill_capacity", c.PrefillCapacity}, {"decode_capacity", c.DecodeCapacity}}
	}
	for _, f := range fields {
		switch {
		case f.n == nil:
			return Errorf(CodeInvalid, "Field required: %s", f.name)
		case *f.n < 0 || *f.n >= MaxCapacity || *f.n%spec.UnitsPerReplica != 0:
			return InvalidCapacity(fmt.Sprint(*f.n), spec.UnitsPerReplica)
		}
	}
	if spec.Type == SpecTypeSeparated && (*c.PrefillCapacity == 0) != (*c.DecodeCapacity == 0) {
		return Errorf(CodeInvalid, "A deployment needs replicas for prefill and for decode; set both capacities above 0.")
	}
	return nil
}

// units returns the sum of the checked units.
func (c *Change) units(spec ResolvedSpec) int64 {
	if spec.Type == SpecTypeSeparated {
		return *c.PrefillCapacity + *c.DecodeCapacity
	}
	return *c.Capacity
}

// setUnits writes the checked units into d.
func (c *Change) setUnits(d *Deployment) {
	d.Capacity = c.units(d.Spec)
	if d.Spec.Type == SpecTypeSeparated {
		d.PrefillCapacity, d.DecodeCapacity = *c.PrefillCapacity, *c.DecodeCapacity
	}
}

// asked reports whether c has the fields that scale d, and whether it has any of those
// that update it.
func (c *Change) asked(d *Deployment) (scale, update bool) {
	switch d.Plan {
	case PlanMU:
		scale = c.Capacity != nil || c.PrefillCapacity != nil || c.DecodeCapacity != nil
	case PlanPTU:
		scale = c.PTU != nil // SDKs send a capacity with every plan
	}
	return scale, c.RPMLimit != nil || c.TPMLimit != nil || c.DisplayName != nil
}

// unsupported is the documented refusal of an operation that does not fit a deployment's
// plan or state (api.md 3.1), and why.
func unsupported(why string, args ...any) error {
	return Errorf(CodeUnsupported, "The operation is unsupported on the referee object. "+why, args...)
}

// Scale changes how much is sold of a deployment (api.md 4.11). Needs [RoleAdmin]. It
// answers at once with status UPDATING; the old capacity serves until the new one does,
// and goes on serving when that fails. Capacity 0 stops the deployment. [CodeUnsupported]
// for lora and in any status but RUNNING and UPDATING_FAILED; [CodeInvalid] and
// [CodeNoCapacity] leave everything as it was.
func (s *Deployments) Scale(ctx context.Context, deployedModel string, c Change) (Deployment, error) {
	return s.change(ctx, "deployment.scale", deployedModel, func(b *sale) error {
		switch {
		case b.d.Plan == PlanLoRA:
			return unsupported("A lora deployment shares its engines and is paid per token; there is nothing to scale.")
		case b.d.reserved(c):
			return b.scaleReserved(c)
		case b.d.Plan == PlanPTU && c.PTU == nil:
			return Errorf(CodeInvalid, "Field required: ptu_capacity")
		case b.d.Plan == PlanPTU:
			return b.changePTU(*c.PTU)
		}
		return b.changeUnits(c)
	})
}

// Update changes the limits of an mu deployment, from the next call on and without a
// change of status (api.md 4.10). Needs [RoleAdmin]. Limits are 1 to [MaxLimitPerMinute];
// 0 lifts one.
func (s *Deployments) Update(ctx context.Context, deployedModel string, c Change) (Deployment, error) {
	return s.change(ctx, "deployment.update", deployedModel, func(b *sale) error {
		if c.RPMLimit == nil && c.TPMLimit == nil {
			return Errorf(CodeInvalid, "Field required: rpm_limit or tpm_limit")
		}
		return b.update(c)
	})
}

// Change does what [Deployments.Scale] and [Deployments.Update] do, and can rename a
// deployment for people, whole or not at all (api.md 4.1, the generic PUT). Needs
// [RoleAdmin].
func (s *Deployments) Change(ctx context.Context, deployedModel string, c Change) (Deployment, error) {
	return s.change(ctx, "deployment.update", deployedModel, func(b *sale) error {
		scale, update := c.asked(&b.d)
		if !scale && !update {
			return Errorf(CodeInvalid, "Nothing to change: send name, rpm_limit or tpm_limit, capacity (plan mu) or ptu_capacity (plan ptu).")
		}
		if update {
			if err := b.update(c); err != nil {
				return err
			}
		}
		switch {
		case scale && b.d.reserved(c):
			return b.scaleReserved(c)
		case scale && b.d.Plan == PlanPTU:
			return b.changePTU(*c.PTU)
		case scale:
			return b.changeUnits(c)
		}
		return nil
	})
}

// change runs one change of a deployment as a sale of its own.
func (s *Deployments) change(ctx context.Context, action, deployedModel string, fn func(*sale) error) (Deployment, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Deployment{}, accessDenied()
	}
	var d Deployment
	err := s.write(ctx, action, func(tx Tx) (string, error) {
		found, err := s.named(ctx, tx, caller, deployedModel)
		if err != nil {
			return "", err
		}
		b := &sale{Deployments: s, ctx: ctx, tx: tx, caller: caller, d: found}
		if err := fn(b); err != nil {
			return "", err
		}
		d = b.d
		return deployedModel, nil
	})
	s.Wake()
	return d, err
}

// again finds what was bought, to buy more of it.
func (b *sale) again() error {
	if err := b.findModel(b.d.ModelName); err != nil || !b.d.Plan.Pooled() {
		return err
	}
	return b.choosePool(b.d.Spec)
}

// update changes limits and the name for people.
func (b *sale) update(c Change) error {
	d := &b.d
	switch {
	case d.Status == StatusDeleting:
		return unsupported("The deployment is being deleted.")
	case d.Plan != PlanMU && (c.RPMLimit != nil || c.TPMLimit != nil):
		return unsupported("Only deployments of plan mu have rpm_limit and tpm_limit.")
	}
	for _, err := range []error{
		checkRange("rpm_limit", c.RPMLimit, 0, MaxLimitPerMinute),
		checkRange("tpm_limit", c.TPMLimit, 0, MaxLimitPerMinute),
	} {
		if err != nil {
			return err
		}
	}
	if c.RPMLimit != nil {
		d.RPMLimit = *c.RPMLimit
	}
	if c.TPMLimit != nil {
		d.TPMLimit = *c.TPMLimit
	}
	if c.DisplayName != nil {
		name, err := displayName(*c.DisplayName, d.ModelName)
		if err != nil {
			return err
		}
		d.DisplayName = name
	}
	return b.changed()
}

// changed writes what was changed without a change of status. The time of running calls
// counts from when a stop was accepted, so that stays.
func (b *sale) changed() error {
	b.d.Modifier = b.caller.AccountID
	if b.d.Status != StatusOfflining {
		b.d.ModifiedAt = b.Now()
	}
	if err := b.SettleRun(b.ctx, b.tx, &b.d); err != nil {
		return err
	}
	return b.tx.Deployments().Update(b.ctx, b.d)
}

// mayChange refuses a change of what cannot be changed now (api.md 12, 11).
func (b *sale) mayChange() error {
	switch b.d.Status {
	case StatusRunning, StatusUpdatingFailed:
		return nil
	case StatusUpdating:
		return unsupported("A change is under way; wait until the deployment is RUNNING.")
	case StatusStopped:
		return unsupported("The deployment is STOPPED; start it first.")
	}
	return unsupported("The deployment is %s and can be changed when it is RUNNING.", b.d.Status)
}

// changeUnits sells another number of units. The same number buys again what was given
// up, if anything was.
func (b *sale) changeUnits(c Change) error {
	if err := c.checkUnits(b.d.Spec); err != nil {
		return err
	}
	if err := b.mayChange(); err != nil {
		return err
	}
	before := b.d.Terms()
	c.setUnits(&b.d)
	if b.d.Capacity == 0 {
		b.d.Before = before
		return b.stop("Scaled to 0; running calls have 30 s.")
	}
	if err := b.again(); err != nil {
		return err
	}
	missing, err := b.needed()
	if err != nil {
		return err
	}
	if len(missing) == 0 && before == b.d.Terms() {
		return nil
	}
	return b.beginChange(before, fmt.Sprintf("Scaled from %d to %d units.", before.Capacity, b.d.Capacity))
}

// changePTU reserves another throughput.
func (b *sale) changePTU(to PTUCapacity) error {
	if err := b.mayChange(); err != nil {
		return err
	}
	if err := b.again(); err != nil {
		return err
	}
	to.ThinkingTPM = cmp.Or(to.ThinkingTPM, b.d.PTU.ThinkingTPM)
	if err := to.check(&b.model); err != nil {
		return err
	}
	before := b.d.Terms()
	switch {
	case to == before.PTU:
		return nil
	case to.exceeds(before.PTU) && before.PTU.exceeds(to):
		return Errorf(CodeInvalid, "All dimensions of ptu_capacity must grow or shrink together; there are input_tpm %d, output_tpm %d, thinking_output_tpm %d now.",
			before.PTU.InputTPM, before.PTU.OutputTPM, before.PTU.ThinkingTPM)
	}
	if err := b.calibrated(); err != nil {
		return err
	}
	b.d.PTU = to
	if err := b.rejoin(); err != nil {
		return err
	}
	return b.beginChange(before, fmt.Sprintf("Reserved input_tpm %d and output_tpm %d instead of %d and %d.",
		to.InputTPM, to.OutputTPM, before.PTU.InputTPM, before.PTU.OutputTPM))
}

// Rejoin writes the present terms of a ptu deployment into its place in the pool; other
// deployments stay as they are.
func Rejoin(ctx context.Context, tx Tx, d Deployment) error {
	if d.Plan != PlanPTU {
		return nil
	}
	m, err := tx.Models().Get(ctx, d.ModelName)
	if err != nil {
		return err
	}
	b := &sale{ctx: ctx, tx: tx, d: d, model: m}
	return b.rejoin()
}

// rejoin writes the present terms of a member of a pool.
func (b *sale) rejoin() error {
	if err := b.leave(); err != nil {
		return err
	}
	return b.join()
}

// beginChange forgets replicas that were given up, holds what is missing and says that a
// change is under way.
func (b *sale) beginChange(before Terms, reason string) error {
	if err := b.dropFailed(); err != nil {
		return err
	}
	if err := b.hold(); err != nil {
		return err
	}
	b.d.Before, b.d.Modifier, b.d.Reason = before, b.caller.AccountID, ""
	if err := b.depositGrowth(); err != nil {
		return err
	}
	return b.transition(b.ctx, b.tx, &b.d, CauseChange, reason)
}

// dropFailed forgets the replicas that were given up: the next ones say anew what they
// come to. They hold nothing any more.
func (b *sale) dropFailed() error {
	replicas, err := b.replicas()
	if err != nil {
		return err
	}
	for _, r := range replicas {
		if r.State != ReplicaFailed {
			continue
		}
		if err := b.tx.Replicas().Delete(b.ctx, r.ID); err != nil {
			return err
		}
	}
	return nil
}
