package berth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CapacityAsk is what a client asks of a capacity instance. Empty fields were not sent.
type CapacityAsk struct {
	// RequestID makes a repeat answer the same operation (statement 131).
	RequestID string
	// InstanceID may be left out where a deployment has one instance that is not released.
	InstanceID string
	ChargeType string       // create
	PTU        *PTUCapacity // absolute
	Terms      *PrepaidTerms
	OrderType  string // scale: [OrderUpgrade] or [OrderDowngrade]
	// IsChange lets a renewal have another PTU.
	IsChange bool
	// Unsubscribe lets a release end a term that was paid in advance.
	Unsubscribe bool
	Reason      string // release
}

// fingerprint tells two asks apart that carry the same request id.
func (a CapacityAsk) fingerprint(t OperationType) string {
	text := fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%t", t, a.InstanceID, a.ChargeType, a.OrderType, a.IsChange)
	if a.PTU != nil {
		text += fmt.Sprintf("\x00%+v", *a.PTU)
	}
	if a.Terms != nil {
		text += fmt.Sprintf("\x00%+v", *a.Terms)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// reservation is one write to the capacity of a deployment, in its transaction.
type reservation struct {
	*sale
	ask       CapacityAsk
	instances []CapacityInstance
	under     []CapacityOperation // under way; oldest first
	op        CapacityOperation
	repeated  bool // op was there already
}

// AddCapacity buys another capacity instance (api.md 4.12). Needs [RoleAdmin]. A
// post-paid one that was released is bought again under its old id.
// [CodePostpaidExists] when there is one, [CodeNoCapacity] when it does not fit.
func (s *Deployments) AddCapacity(ctx context.Context, deployedModel string, ask CapacityAsk) (CapacityOperation, error) {
	_, op, err := s.reserve(ctx, "capacity.create", deployedModel, OperationCreate, ask, (*reservation).add)
	return op, err
}

// ScaleCapacity changes how much an instance has (api.md 4.12). Needs [RoleAdmin]. Less
// holds at once, more when it is there; until then the old amount serves. Zero keeps the
// instance, and a deployment that has nothing else stops.
func (s *Deployments) ScaleCapacity(ctx context.Context, deployedModel string, ask CapacityAsk) (Deployment, CapacityOperation, error) {
	return s.reserve(ctx, "capacity.scale", deployedModel, OperationScale, ask, (*reservation).scale)
}

// RenewCapacity buys another term on top of a pre-paid instance's (api.md 4.12). Needs
// [RoleAdmin].
func (s *Deployments) RenewCapacity(ctx context.Context, deployedModel string, ask CapacityAsk) (Deployment, CapacityOperation, error) {
	return s.reserve(ctx, "capacity.renew", deployedModel, OperationRenew, ask, (*reservation).renew)
}

// ReleaseCapacity gives an instance back (api.md 4.12). Needs [RoleAdmin]. A change under
// way is waited for. [CodeUnsubscribe] for a term that is paid in advance, unless the ask
// says so. When the last instance is released the deployment stops.
func (s *Deployments) ReleaseCapacity(ctx context.Context, deployedModel string, ask CapacityAsk) (CapacityOperation, error) {
	kind := OperationDelete
	if ask.Unsubscribe {
		kind = OperationRefund
	}
	_, op, err := s.reserve(ctx, "capacity.release", deployedModel, kind, ask, (*reservation).release)
	return op, err
}

// SetOverflow says what happens to calls beyond the reserved throughput, from the next
// call on (api.md 6.3, statement 114). Needs [RoleAdmin].
func (s *Deployments) SetOverflow(ctx context.Context, deployedModel string, strategy OverflowStrategy) (Deployment, error) {
	if strategy != OverflowEnable && strategy != OverflowDisable {
		return Deployment{}, Errorf(CodeInvalid, "The overflow_strategy %q is not known; use enable or disable, in lower case.", strategy)
	}
	return s.change(ctx, "deployment.overflow", deployedModel, func(b *sale) error {
		switch {
		case b.d.Plan != PlanPTU:
			return unsupported("Only deployments of plan ptu have an overflow strategy.")
		case b.d.Status == StatusDeleting:
			return unsupported("The deployment is being deleted.")
		case b.d.Overflow == strategy:
			return nil
		}
		b.d.Overflow = strategy
		return b.changed()
	})
}

// reserve runs one write to the capacity of a deployment.
func (s *Deployments) reserve(ctx context.Context, action, deployedModel string, kind OperationType, ask CapacityAsk, fn func(*reservation) error) (Deployment, CapacityOperation, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Deployment{}, CapacityOperation{}, accessDenied()
	}
	var r *reservation
	err := s.write(ctx, action, func(tx Tx) (string, error) {
		d, err := s.reservable(ctx, tx, caller, deployedModel)
		if err != nil {
			return "", err
		}
		r = &reservation{sale: &sale{Deployments: s, ctx: ctx, tx: tx, caller: caller, d: d}, ask: ask}
		return deployedModel, r.run(kind, fn)
	})
	s.Wake()
	if err != nil {
		return Deployment{}, CapacityOperation{}, err
	}
	return r.d, r.op, nil
}

// reservable finds a ptu deployment that can have capacity instances, with the codes of
// api.md 4.12.
func (s *Deployments) reservable(ctx context.Context, tx Tx, caller Caller, deployedModel string) (Deployment, error) {
	d, err := s.named(ctx, tx, caller, deployedModel)
	if CodeOf(err) == CodeNotFound {
		gone, terr := tx.Deployments().Tombstone(ctx, caller.WorkspaceID, deployedModel)
		switch {
		case terr != nil:
			return d, terr
		case gone:
			return d, deploymentDeleted(deployedModel)
		}
		return d, Errorf(CodeDeploymentUnknown, "Model: %s not found!", deployedModel)
	}
	if err == nil && d.Plan != PlanPTU {
		return d, Errorf(CodeInstanceUnsupported, "Only deployments of plan ptu have capacity instances.")
	}
	return d, err
}

func deploymentDeleted(deployedModel string) error {
	return Errorf(CodeDeploymentDeleted, "The deployment %s was deleted.", deployedModel)
}

// run does fn unless its request has been answered before.
func (r *reservation) run(kind OperationType, fn func(*reservation) error) error {
	print := r.ask.fingerprint(kind)
	was, err := r.tx.Capacities().OperationOf(r.ctx, r.d.ID, r.ask.RequestID)
	switch {
	case err == nil && was.Fingerprint == print:
		r.op, r.repeated = was, true
		return nil
	case err == nil:
		return Errorf(CodeRequestReused, "The request id %s began operation %s with other parameters; use a new one.", r.ask.RequestID, was.ID)
	case CodeOf(err) != CodeNotFound:
		return err
	case r.d.Status == StatusDeleting:
		return deploymentDeleted(r.d.DeployedModel)
	}
	if err := r.read(); err != nil {
		return err
	}
	r.op = CapacityOperation{
		ID: operationID(r.NewID("op_")), DeploymentID: r.d.ID, RequestID: r.ask.RequestID, Fingerprint: print,
		Type: kind, Status: OperationProcessing, CreatedAt: r.Now(),
	}
	if err := fn(r); err != nil {
		return err
	}
	return r.tx.Capacities().InsertOperation(r.ctx, r.op)
}

// read loads the instances and the operations under way.
func (r *reservation) read() (err error) {
	if r.instances, err = r.tx.Capacities().OfDeployment(r.ctx, r.d.ID); err != nil {
		return err
	}
	r.under, err = r.tx.Capacities().Processing(r.ctx, r.d.ID)
	return err
}

// busy refuses what must wait for another change (api.md 4.12: one at a time).
func (r *reservation) busy() error {
	if len(r.under) > 0 {
		return Errorf(CodeOperationConflict, "Operation %s of the deployment is under way; wait until it has ended.", r.under[0].ID)
	}
	return nil
}

// mayChange refuses what the deployment's status does not allow.
func (r *reservation) mayChange() error {
	if err := r.busy(); err != nil {
		return err
	}
	switch s := r.d.Status; {
	case s == StatusRunning || s == StatusUpdatingFailed:
		return nil
	case s == StatusUpdating || s == StatusOfflining || s.ComingUp():
		return Errorf(CodeOperationConflict, "The deployment is %s; wait until it is RUNNING or STOPPED.", s)
	case r.d.Reserved && r.d.PTU.IsZero() && (s == StatusStopped || s == StatusFailed):
		return nil // there is nothing to serve yet
	}
	return Errorf(CodeInstanceUnsupported, "The deployment is %s; start it first.", r.d.Status)
}

// add buys an instance.
func (r *reservation) add() error {
	if err := r.mayChange(); err != nil {
		return err
	}
	if err := r.again(); err != nil {
		return err
	}
	if err := r.describeImplicit(); err != nil {
		return err
	}
	i, err := r.newInstance()
	if err != nil {
		return err
	}
	r.op.Target = i.Target
	r.pays(i)
	return r.grow(i, fmt.Sprintf("Capacity instance %s was bought.", i.ID))
}

// describeImplicit gives the capacity of an ordinary create its row.
func (r *reservation) describeImplicit() error {
	if r.d.Reserved {
		return nil
	}
	r.d.Reserved = true
	i := CapacityInstance{
		ID: r.NewID("cap_"), DeploymentID: r.d.ID, ChargeType: ChargeTypePostPaid, Status: InstanceRunning,
		Effective: r.d.PTU, Configured: r.d.PTU, Target: r.d.PTU,
		EffectiveAt: r.d.CreatedAt, CreatedAt: r.d.CreatedAt, ModifiedAt: r.Now(),
	}
	r.instances = append(r.instances, i)
	return r.tx.Capacities().Insert(r.ctx, i)
}

// newInstance checks the ask and makes its instance, or takes the released post-paid one
// up again. It is not written yet.
func (r *reservation) newInstance() (*CapacityInstance, error) {
	now := r.Now()
	i := CapacityInstance{
		ID: r.NewID("cap_"), DeploymentID: r.d.ID, ChargeType: r.ask.ChargeType, CreatedAt: now,
		Status: InstanceWaiting,
	}
	if err := r.checkAsk(); err != nil {
		return nil, err
	}
	live := 0
	for _, was := range r.instances {
		switch {
		case !was.Released():
			live++
		case !was.Prepaid() && !i.Prepaid():
			i.ID, i.CreatedAt = was.ID, was.CreatedAt
		}
		if !was.Released() && !was.Prepaid() && !i.Prepaid() {
			return nil, Errorf(CodePostpaidExists, "The deployment has the post-paid instance %s; scale that one.", was.ID)
		}
	}
	again := slices.ContainsFunc(r.instances, func(was CapacityInstance) bool { return was.ID == i.ID })
	switch {
	case live >= cmp.Or(r.Reservations.MaxInstances, DefaultMaxInstances):
		return nil, Errorf(CodeTooManyInstances, "The deployment has %d capacity instances and may have no more; release one.", live)
	case !again && len(r.instances) >= cmp.Or(r.Reservations.MaxInstancesEver, DefaultMaxInstancesEver):
		return nil, Errorf(CodeTooManyEver, "The deployment has had %d capacity instances and may have no more; deploy the model anew.", len(r.instances))
	}
	i.Target = *r.ask.PTU
	if i.Prepaid() {
		i.Terms = *r.ask.Terms
		i.Status = InstanceOrdered
		i.move(CauseConfirmed) // every order is, at once
	}
	r.op.FromStatus = i.Status
	if again {
		r.replace(i)
		return r.find(i.ID), nil
	}
	r.instances = append(r.instances, i)
	return r.find(i.ID), r.tx.Capacities().Insert(r.ctx, i)
}

// checkAsk refuses an instance that cannot be bought.
func (r *reservation) checkAsk() error {
	switch {
	case r.ask.PTU == nil:
		return Errorf(CodeInvalid, "Field required: ptu_capacity")
	case r.ask.ChargeType == ChargeTypePrePaid && r.ask.Terms == nil:
		return Errorf(CodeInvalid, "Field required: pre_paid_info")
	case r.ask.ChargeType == ChargeTypePostPaid && r.d.ServiceTier == TierDefault:
		return Errorf(CodeInvalid, "The service_tier ptu_default is sold pre-paid only.")
	case r.ask.ChargeType == ChargeTypePrePaid:
		if err := r.ask.Terms.Check(r.d.ServiceTier); err != nil {
			return err
		}
	}
	return r.ask.PTU.check(&r.model)
}

func (r *reservation) find(id string) *CapacityInstance {
	i := slices.IndexFunc(r.instances, func(i CapacityInstance) bool { return i.ID == id })
	if i < 0 {
		return nil
	}
	return &r.instances[i]
}

func (r *reservation) replace(i CapacityInstance) { *r.find(i.ID) = i }

// asked finds the instance that the ask is about.
func (r *reservation) asked() (*CapacityInstance, error) {
	if r.ask.InstanceID != "" {
		if i := r.find(r.ask.InstanceID); i != nil {
			return i, nil
		}
		return nil, instanceUnknown(r.ask.InstanceID)
	}
	var only *CapacityInstance
	for k := range r.instances {
		switch {
		case r.instances[k].Released():
		case only != nil:
			return nil, Errorf(CodeInstanceRequired, "The deployment has more than one capacity instance; name one in instance_id.")
		default:
			only = &r.instances[k]
		}
	}
	if only == nil {
		return nil, Errorf(CodeInstanceUnknown, "The deployment has no capacity instance; buy one first.")
	}
	return only, nil
}

func instanceUnknown(id string) error {
	return Errorf(CodeInstanceUnknown, "The deployment has no capacity instance %s.", id)
}

// pick prepares a change of one instance.
func (r *reservation) pick() (*CapacityInstance, error) {
	if !r.d.Reserved && r.ask.InstanceID != "" {
		return nil, instanceUnknown(r.ask.InstanceID)
	}
	if r.d.Reserved { // else there is one, which gets its row only if it may be changed
		if _, err := r.asked(); err != nil {
			return nil, err
		}
	}
	if err := r.mayChange(); err != nil {
		return nil, err
	}
	if err := r.again(); err != nil {
		return nil, err
	}
	if err := r.describeImplicit(); err != nil {
		return nil, err
	}
	i, err := r.asked()
	if err == nil {
		r.op.FromStatus = i.Status
	}
	return i, err
}

func instanceUnsupported(i *CapacityInstance, why string) error {
	return Errorf(CodeInstanceUnsupported, "The capacity instance %s is %s; %s.", i.ID, i.Status, why)
}

// scale sets the amount of an instance.
func (r *reservation) scale() error {
	i, err := r.pick()
	switch {
	case err != nil:
		return err
	case r.ask.PTU == nil:
		return Errorf(CodeInvalid, "Field required: ptu_capacity")
	case i.Slot():
		return Errorf(CodeInstanceUnsupported, "The capacity instance %s is an 8-hour slot and cannot be scaled; buy another.", i.ID)
	case !i.CanScale():
		return instanceUnsupported(i, "only one that is RUNNING can be scaled")
	case r.ask.Terms != nil && !i.Prepaid():
		return Errorf(CodeInvalid, "The capacity instance %s is post-paid; leave pre_paid_info out.", i.ID)
	}
	to := *r.ask.PTU
	if !to.IsZero() {
		to.ThinkingTPM = cmp.Or(to.ThinkingTPM, i.Configured.ThinkingTPM)
		if err := to.check(&r.model); err != nil {
			return err
		}
	}
	if err := checkDirection(i.Configured, to, r.ask.OrderType); err != nil {
		return err
	}
	return r.changeAmount(i, to)
}

// changeAmount gives an instance another amount: less at once, more when it is there.
func (r *reservation) changeAmount(i *CapacityInstance, to PTUCapacity) error {
	reason := fmt.Sprintf("Capacity instance %s has input_tpm %d and output_tpm %d instead of %d and %d.",
		i.ID, to.InputTPM, to.OutputTPM, i.Configured.InputTPM, i.Configured.OutputTPM)
	r.op.Target, i.Target = to, to
	if to.exceeds(i.Configured) {
		r.pays(i)
		i.move(CauseChange)
		return r.grow(i, reason)
	}
	if err := r.handBack(i, i.Configured, to); err != nil {
		return err
	}
	i.Effective, i.Configured = to, to
	if err := r.payNow(i); err != nil {
		return err
	}
	r.succeed(&r.op, i, r.extended(i))
	return r.settled(reason)
}

// renew extends a term.
func (r *reservation) renew() error {
	i, err := r.pick()
	switch {
	case err != nil:
		return err
	case r.ask.Terms == nil:
		return Errorf(CodeInvalid, "Field required: pre_paid_info")
	case r.ask.OrderType != "":
		return Errorf(CodeInvalid, "A renewal has no order_type; leave it out.")
	case !i.Prepaid() || i.Slot():
		return Errorf(CodeInstanceUnsupported, "The capacity instance %s is not a term in days; only such a one can be renewed.", i.ID)
	case !i.CanRenew():
		return instanceUnsupported(i, "only one that is RUNNING or SUSPENDED can be renewed")
	case r.ask.Terms.Cycle != CycleDay:
		return Errorf(CodeInvalid, "The capacity instance %s is a term in days; renew it with pricing_cycle Day.", i.ID)
	}
	if err := r.ask.Terms.Check(r.d.ServiceTier); err != nil {
		return err
	}
	to := i.Configured
	if r.ask.PTU != nil {
		to = *r.ask.PTU
		to.ThinkingTPM = cmp.Or(to.ThinkingTPM, i.Configured.ThinkingTPM)
	}
	switch {
	case to != i.Configured && !r.ask.IsChange:
		return Errorf(CodeInvalid, "The ptu_capacity is another than the instance has; set is_change, or leave it out.")
	case to != i.Configured && i.Status == InstanceSuspended:
		return instanceUnsupported(i, "renew it as it is and scale it afterwards")
	}
	if err := to.check(&r.model); err != nil && to != i.Configured {
		return err
	}
	if err := checkDirection(i.Configured, to, ""); err != nil {
		return err
	}
	r.op.Terms = *r.ask.Terms
	switch {
	case i.Status == InstanceSuspended:
		return r.recover(i)
	case to != i.Configured:
		return r.changeAmount(i, to)
	}
	r.op.Target = to
	if err := r.payNow(i); err != nil {
		return err
	}
	r.succeed(&r.op, i, r.extended(i))
	return r.settled(fmt.Sprintf("Capacity instance %s was renewed until %s.", i.ID, i.ExpiresAt.In(r.zone()).Format(time.DateTime)))
}

// recover takes a suspended instance, whose throughput was kept, into service again.
func (r *reservation) recover(i *CapacityInstance) error {
	r.op.Target, i.Target = i.Configured, i.Configured
	r.pays(i)
	i.move(CauseRenewed)
	return r.grow(i, fmt.Sprintf("Capacity instance %s was renewed after its expiry.", i.ID))
}

// release gives an instance back, or notes that it shall be.
func (r *reservation) release() error {
	if r.ask.InstanceID == "" {
		return Errorf(CodeInvalid, "Field required: instance_id")
	}
	i, err := r.asked()
	switch {
	case err != nil:
		return err
	case i.Released():
		return instanceUnsupported(i, "it was released already")
	case i.Status == InstanceDeleting:
		return Errorf(CodeOperationConflict, "The release of capacity instance %s was accepted already.", i.ID)
	case !r.ask.Unsubscribe && !i.CanDelete():
		return Errorf(CodeUnsubscribe, "The capacity instance %s is paid in advance; it ends with its term, or by unsubscription.", i.ID)
	case r.ask.Unsubscribe && !i.Prepaid():
		return Errorf(CodeInstanceUnsupported, "The capacity instance %s is post-paid; release it.", i.ID)
	}
	r.op.InstanceID, r.op.FromStatus = i.ID, i.Status
	i.move(CauseRelease)
	if !r.waits() {
		if err := r.findModel(r.d.ModelName); err != nil {
			return err
		}
		return r.releaseNow(i, cmp.Or(r.ask.Reason, "on request"))
	}
	i.Reason = r.ask.Reason
	return r.save(i)
}

// releaseNow ends an instance and what r.op says about it.
func (r *reservation) releaseNow(i *CapacityInstance, why string) error {
	now := r.Now()
	r.op.Charge = Charge{From: now, To: i.ExpiresAt, Capacity: i.Configured}
	if err := r.handBack(i, i.Configured, PTUCapacity{}); err != nil {
		return err
	}
	i.Effective, i.Target = PTUCapacity{}, PTUCapacity{}
	i.Status, i.DeletedAt, i.Reason = InstanceStopped, now, ""
	r.end(&r.op, i, now)
	i.due(r.zone())
	return r.settled(fmt.Sprintf("Capacity instance %s was released (%s).", i.ID, why))
}

// pays notes what the operation on an instance has to be paid in advance.
func (r *reservation) pays(i *CapacityInstance) {
	r.ahead = nil
	term, rest := ordered(&r.op, i, r.Now())
	for _, a := range []ahead{term, rest} {
		if a.minutes > 0 && !a.ptu.IsZero() {
			r.ahead = append(r.ahead, a)
		}
	}
}

// payNow pays for an operation that takes effect at once.
func (r *reservation) payNow(i *CapacityInstance) error {
	if r.pays(i); len(r.ahead) == 0 {
		return nil
	}
	if err := r.deposit(RunStep{}, false); err != nil {
		return err
	}
	return r.book(&r.op, i)
}

func (s *Deployments) zone() *time.Location { return cmp.Or(s.Zone, time.UTC) }

// extended returns the term of i after the operation, and from when it is paid.
func (r *reservation) extended(i *CapacityInstance) time.Time {
	if r.op.Type != OperationRenew {
		return time.Time{}
	}
	return r.op.Terms.Extend(i.ExpiresAt, r.zone())
}

// succeed books on i and o that the operation has taken effect; expires is the new end
// of its term, zero when that stays.
func (s *Deployments) succeed(o *CapacityOperation, i *CapacityInstance, expires time.Time) {
	now := s.Now()
	o.Charge = Charge{From: now, To: i.ExpiresAt, Capacity: i.Target}
	if !expires.IsZero() {
		o.Charge.From, o.Charge.To = i.ExpiresAt, expires
		i.ExpiresAt, i.Terms = expires, o.Terms
	}
	i.ModifiedAt = now
	i.due(s.zone())
	s.end(o, i, now)
}

// end closes an operation.
func (s *Deployments) end(o *CapacityOperation, i *CapacityInstance, now time.Time) {
	o.InstanceID, o.Status, o.ToStatus, o.FinishedAt = i.ID, OperationSucceeded, i.Status, now
	i.ModifiedAt = now
}

// save writes an instance.
func (r *reservation) save(i *CapacityInstance) error {
	i.ModifiedAt = r.Now()
	r.op.InstanceID = i.ID
	return r.tx.Capacities().Update(r.ctx, *i)
}

// saveAll writes every instance, and their sums into the deployment.
func (r *reservation) saveAll() error {
	for k := range r.instances {
		if err := r.tx.Capacities().Update(r.ctx, r.instances[k]); err != nil {
			return err
		}
	}
	r.d.sumUp(r.instances)
	return nil
}

// sumUp makes the deployment what its instances are together.
func (d *Deployment) sumUp(instances []CapacityInstance) {
	d.PTU, d.Kept, d.Prepaid = PTUCapacity{}, PTUCapacity{}, Prepaid{}
	for k := range instances {
		i := &instances[k]
		if i.Released() {
			continue
		}
		d.PTU = d.PTU.Plus(i.Target)
		if i.Target.IsZero() { // expired, and perhaps to be released
			d.Kept = d.Kept.Plus(i.Configured)
		}
		first := d.Prepaid.InstanceID == "" || i.ExpiresAt.Before(d.Prepaid.ExpiresAt)
		if i.Prepaid() && first {
			d.Prepaid = Prepaid{InstanceID: i.ID, Terms: i.Terms, ExpiresAt: i.ExpiresAt}
		}
	}
}

// grow sells what the instances are to have together; i gets its part when it is there.
func (r *reservation) grow(i *CapacityInstance, reason string) error {
	if err := r.calibrated(); err != nil {
		return err
	}
	if err := r.save(i); err != nil {
		return err
	}
	before := r.d.Terms()
	if err := r.saveAll(); err != nil {
		return err
	}
	if err := r.d.PTU.check(&r.model); err != nil {
		return err
	}
	if before.PTU.IsZero() {
		return r.start()
	}
	if err := r.rejoin(); err != nil {
		return err
	}
	return r.beginChange(before, reason)
}

// settled sells what the instances have together, which is not more than before.
func (r *reservation) settled(reason string) error {
	if err := r.saveAll(); err != nil {
		return err
	}
	serves := r.d.Status.Callable() || r.d.Status.ComingUp()
	if serves && r.d.PTU.IsZero() {
		if err := r.stop(reason + " Nothing is reserved any more; running calls have 30 s."); err != nil || r.d.Kept.IsZero() {
			return err
		}
		return r.join()
	}
	if err := r.place(serves); err != nil {
		return err
	}
	if err := r.changed(); err != nil {
		return err
	}
	return r.tx.Events().Append(r.ctx, r.d.Event(r.NewID("evt_"), r.Now(), reason))
}

// place writes the deployment's place in its pool. One that does not serve keeps what is
// kept for it if it still has its place.
func (r *reservation) place(serves bool) error {
	if serves {
		return r.rejoin()
	}
	_, err := r.tx.Pools().Member(r.ctx, r.d.ID)
	if CodeOf(err) == CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if r.d.Kept.IsZero() {
		return r.tx.Pools().Leave(r.ctx, r.d.ID)
	}
	return r.rejoin()
}

// mayDelete refuses to delete a deployment that owns capacity instances before they are
// released and it has stopped (api.md 4.11).
func (s *Deployments) mayDelete(ctx context.Context, tx Tx, d *Deployment) error {
	if !d.Reserved {
		return nil
	}
	instances, err := tx.Capacities().OfDeployment(ctx, d.ID)
	if err != nil {
		return err
	}
	under, err := tx.Capacities().Processing(ctx, d.ID)
	switch {
	case err != nil:
		return err
	case len(under) > 0:
		return Errorf(CodeOperationConflict, "Operation %s of the deployment is under way; wait until it has ended.", under[0].ID)
	}
	for k := range instances {
		if !instances[k].Released() {
			return Errorf(CodeInstanceUnsupported, "The capacity instance %s is not released; release every instance before the deployment is deleted.", instances[k].ID)
		}
	}
	if d.Status != StatusStopped && d.Status != StatusFailed {
		return Errorf(CodeInstanceUnsupported, "The deployment is %s; it can be deleted when it is STOPPED.", d.Status)
	}
	return nil
}

// firstInstance gives a deployment that is being created through the reservation API its
// first instance, which its engines make effective.
func (b *sale) firstInstance() error {
	if !b.d.Reserved {
		return nil
	}
	now := b.Now()
	i := CapacityInstance{
		ID: b.NewID("cap_"), DeploymentID: b.d.ID, ChargeType: b.d.ChargeType, Status: InstanceWaiting,
		Target: b.d.PTU, CreatedAt: now, ModifiedAt: now,
	}
	if i.Prepaid() {
		i.Terms = *b.ask.Prepaid
		i.Status = InstanceOrdered
		i.move(CauseConfirmed)
	}
	b.d.sumUp([]CapacityInstance{i})
	op := CapacityOperation{
		ID: operationID(b.NewID("op_")), DeploymentID: b.d.ID, InstanceID: i.ID, RequestID: b.ask.RequestID,
		Fingerprint: CapacityAsk{}.fingerprint(OperationCreate), Type: OperationCreate, Status: OperationProcessing,
		FromStatus: i.Status, Target: i.Target, CreatedAt: now,
	}
	if err := b.tx.Capacities().Insert(b.ctx, i); err != nil {
		return err
	}
	if err := b.tx.Deployments().Update(b.ctx, b.d); err != nil {
		return err
	}
	return b.tx.Capacities().InsertOperation(b.ctx, op)
}

// CapacityInstances returns a page of the instances of a deployment and the number of all
// that match (api.md 4.12). Needs [RoleInference]. An ordinary ptu deployment has none
// until something is written through the reservation API.
func (s *Deployments) CapacityInstances(ctx context.Context, deployedModel string, f InstanceFilter) ([]CapacityInstance, int64, error) {
	var page []CapacityInstance
	var total int64
	err := s.readCapacity(ctx, deployedModel, func(tx Tx, d Deployment) error {
		all, err := tx.Capacities().OfDeployment(ctx, d.ID)
		page, total = f.Select(all)
		return err
	})
	return page, total, err
}

// CapacityInstance returns one instance of a deployment, a released one too. Needs
// [RoleInference].
func (s *Deployments) CapacityInstance(ctx context.Context, deployedModel, id string) (CapacityInstance, error) {
	var i CapacityInstance
	err := s.readCapacity(ctx, deployedModel, func(tx Tx, d Deployment) error {
		all, err := tx.Capacities().OfDeployment(ctx, d.ID)
		if err != nil {
			return err
		}
		k := slices.IndexFunc(all, func(i CapacityInstance) bool { return i.ID == id })
		if k < 0 {
			return instanceUnknown(id)
		}
		i = all[k]
		return nil
	})
	return i, err
}

// CapacityOperation returns an operation of a deployment (api.md 4.12). Needs
// [RoleInference]. An id that is no number is [CodeInternal], as documented; that of
// another deployment is [CodeOperationUnknown] (statement 132).
func (s *Deployments) CapacityOperation(ctx context.Context, deployedModel, id string) (CapacityOperation, error) {
	var o CapacityOperation
	err := s.readCapacity(ctx, deployedModel, func(tx Tx, d Deployment) (err error) {
		if strings.Trim(id, "0123456789") != "" {
			return Errorf(CodeInternal, "The operation id %q is no number.", id)
		}
		o, err = tx.Capacities().Operation(ctx, id)
		if CodeOf(err) == CodeNotFound || err == nil && o.DeploymentID != d.ID {
			return Errorf(CodeOperationUnknown, "The deployment has no capacity operation %s.", id)
		}
		return err
	})
	return o, err
}

// CapacityOperationOf returns the operation that a request of the caller began on a
// deployment, false when it began none. Needs [RoleInference].
func (s *Deployments) CapacityOperationOf(ctx context.Context, d Deployment, requestID string) (CapacityOperation, bool, error) {
	if !CallerFrom(ctx).May(RoleInference) || d.WorkspaceID != CallerFrom(ctx).WorkspaceID {
		return CapacityOperation{}, false, accessDenied()
	}
	var o CapacityOperation
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		o, err = tx.Capacities().OperationOf(ctx, d.ID, requestID)
		return err
	})
	if CodeOf(err) == CodeNotFound {
		return o, false, nil
	}
	return o, err == nil, err
}

func (s *Deployments) readCapacity(ctx context.Context, deployedModel string, fn func(Tx, Deployment) error) error {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return accessDenied()
	}
	return s.read(ctx, func(tx Tx) error {
		d, err := s.reservable(ctx, tx, caller, deployedModel)
		if err != nil {
			return err
		}
		return fn(tx, d)
	})
}
