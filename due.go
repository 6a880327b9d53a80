package berth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Settle books what the present status and capacity of d mean for its capacity instances
// and for money. Whoever moves a deployment along the table, or writes what it has, calls it
// in the same transaction, before it writes d.
func (s *Deployments) Settle(ctx context.Context, tx Tx, d *Deployment) error {
	if err := s.SettleCapacity(ctx, tx, d); err != nil {
		return err
	}
	if err := s.SettleRun(ctx, tx, d); err != nil {
		return err
	}
	return s.SettleDeposit(ctx, tx, d)
}

// SettleCapacity books on the capacity instances of d what its present status means for
// the change under way: done, failed, or nothing yet.
func (s *Deployments) SettleCapacity(ctx context.Context, tx Tx, d *Deployment) error {
	if !d.Reserved || d.Status == StatusUpdating || d.Status.ComingUp() {
		return nil
	}
	under, err := tx.Capacities().Processing(ctx, d.ID)
	if err != nil || len(under) == 0 {
		return err
	}
	instances, err := tx.Capacities().OfDeployment(ctx, d.ID)
	if err != nil {
		return err
	}
	byID := make(map[string]*CapacityInstance, len(instances))
	for k := range instances {
		byID[instances[k].ID] = &instances[k]
	}
	done := d.Status == StatusRunning
	for k := range under {
		o, i := &under[k], byID[under[k].InstanceID]
		was := *i
		s.settle(o, i, done, d)
		if o.Status == OperationSucceeded && o.Type != OperationDelete && o.Type != OperationRefund {
			b := &sale{Deployments: s, ctx: ctx, tx: tx, d: *d}
			if err := b.book(o, &was); err != nil {
				return err
			}
		}
	}
	for k := range under {
		if err := tx.Capacities().UpdateOperation(ctx, under[k]); err != nil {
			return err
		}
		if err := tx.Capacities().Update(ctx, *byID[under[k].InstanceID]); err != nil {
			return err
		}
	}
	d.sumUp(instances)
	return nil
}

// settle ends one operation, or lets a release that has waited for it become due.
func (s *Deployments) settle(o *CapacityOperation, i *CapacityInstance, done bool, d *Deployment) {
	now := s.Now()
	if o.Type == OperationDelete || o.Type == OperationRefund {
		i.DueAt = now
		if i.Released() { // what it was to release was never bought
			s.end(o, i, now)
			i.DueAt = time.Time{}
		}
		return
	}
	if done {
		s.takeEffect(o, i, now)
		return
	}
	o.Status, o.FinishedAt = OperationFailed, now
	o.ErrorCode, o.ErrorMessage = "InternalError", d.Reason
	if o.ErrorMessage == "" {
		o.ErrorMessage = fmt.Sprintf("The deployment is %s.", d.Status)
	}
	i.Target, i.ModifiedAt = i.Effective, now
	if o.Type == OperationCreate { // nothing is bought
		i.Status, i.DeletedAt = InstanceFailed, now
	} else {
		i.move(CauseChangeFailed)
	}
	i.Reason = o.ErrorMessage
	o.ToStatus = i.Status
	i.due(s.zone())
}

// takeEffect makes the target of an operation what is served.
func (s *Deployments) takeEffect(o *CapacityOperation, i *CapacityInstance, now time.Time) {
	i.Effective, i.Configured, i.Reason = i.Target, i.Target, ""
	i.move(CauseChangeDone)
	var expires time.Time
	switch o.Type {
	case OperationCreate:
		i.EffectiveAt = now
		if i.Prepaid() {
			i.ExpiresAt = i.Terms.End(now, s.zone())
		}
	case OperationRenew:
		expires = o.Terms.Extend(i.ExpiresAt, s.zone())
	}
	s.succeed(o, i, expires)
}

// dueAtOnce bounds the instances that one look takes on.
const dueAtOnce = 100

// Due does what the passing of time asks for: it renews terms that renew themselves,
// suspends expired ones, releases those that were not renewed, and carries out releases
// that waited for a change. It returns whether it did anything and when to call it
// again at the latest (zero: when something happens). An instance that fails keeps no
// other back. The reconciler calls it; it may be killed anywhere and called again.
func (s *Deployments) Due(ctx context.Context) (did bool, next time.Time, err error) {
	var due []CapacityInstance
	err = s.Store.View(ctx, func(tx Tx) error {
		due, next, err = tx.Capacities().Due(ctx, s.Now(), dueAtOnce)
		return err
	})
	if err != nil {
		return false, next, err
	}
	var failed []error
	for _, i := range due {
		acted, err := s.act(ctx, i.DeploymentID, i.ID)
		if err != nil {
			failed = append(failed, fmt.Errorf("capacity instance %s: %w", i.ID, err))
		}
		did = did || acted
	}
	return did, next, errors.Join(failed...)
}

// act does what is due on one instance; false when a change under way comes first, whose
// end makes the reconciler look again.
func (s *Deployments) act(ctx context.Context, deploymentID, instanceID string) (bool, error) {
	err := s.write(WithCaller(ctx, System()), "capacity.due", func(tx Tx) (string, error) {
		d, err := tx.Deployments().Get(ctx, deploymentID)
		if err != nil {
			return "", err
		}
		caller := System()
		caller.WorkspaceID, caller.AccountID = d.WorkspaceID, d.Modifier
		r := &reservation{sale: &sale{Deployments: s, ctx: ctx, tx: tx, caller: caller, d: d}}
		if err := r.read(); err != nil {
			return "", err
		}
		if r.waits() {
			return "", errWaits
		}
		return instanceID, r.due(r.find(instanceID))
	})
	if errors.Is(err, errWaits) {
		return false, nil
	}
	return err == nil, err
}

var errWaits = errors.New("a change is under way")

// waits reports whether a change of throughput is under way.
func (r *reservation) waits() bool {
	for _, o := range r.under {
		if o.Type != OperationDelete && o.Type != OperationRefund {
			return true
		}
	}
	return false
}

// due takes the next step of an instance whose time has come.
func (r *reservation) due(i *CapacityInstance) error {
	now, zone := r.Now(), r.zone()
	if i.DueAt.IsZero() || now.Before(i.DueAt) {
		return nil
	}
	if r.d.Status == StatusDeleting || r.d.Status == StatusDeleted {
		i.DueAt = time.Time{}
		return r.save(i)
	}
	if err := r.findModel(r.d.ModelName); err != nil {
		return err
	}
	switch {
	case i.Status == InstanceDeleting:
		return r.releaseAccepted(i)
	case i.Slot() || i.Status == InstanceSuspended:
		r.op = r.ownOperation(OperationDelete, i)
		if err := r.releaseNow(i, "its term is over"); err != nil {
			return err
		}
	case i.Terms.AutoRenewal:
		r.op = r.ownOperation(OperationRenew, i)
		r.op.Terms = i.Terms
		r.op.Terms.Duration = i.Terms.RenewalDays
		// Where the term ended on an earlier day nobody was there to renew it, nor to serve:
		// the next begins today.
		if today := midnight(now, 0, zone); i.ExpiresAt.Before(today) {
			i.ExpiresAt = today
		}
		if err := r.payNow(i); CodeOf(err) == CodeArrearage {
			return r.cannotRenew(i, err)
		} else if err != nil {
			return err
		}
		r.succeed(&r.op, i, r.op.Terms.Extend(i.ExpiresAt, zone))
		if err := r.settled(fmt.Sprintf("Capacity instance %s renewed itself until %s.", i.ID, i.ExpiresAt.In(zone).Format(time.DateTime))); err != nil {
			return err
		}
	default:
		return r.suspend(i)
	}
	return r.tx.Capacities().InsertOperation(r.ctx, r.op)
}

// cannotRenew lets a term end that its account cannot pay any longer.
func (r *reservation) cannotRenew(i *CapacityInstance, why error) error {
	i.Terms.AutoRenewal, i.Reason = false, "It was not renewed: "+why.Error()
	i.due(r.zone())
	return r.settled(fmt.Sprintf("Capacity instance %s does not renew itself any more: %s", i.ID, why))
}

// releaseAccepted carries a release out that waited for a change.
func (r *reservation) releaseAccepted(i *CapacityInstance) error {
	for _, o := range r.under {
		if o.InstanceID != i.ID {
			continue
		}
		r.op = o
		if err := r.releaseNow(i, "as accepted"); err != nil {
			return err
		}
		return r.tx.Capacities().UpdateOperation(r.ctx, r.op)
	}
	return Errorf(CodeInternal, "The capacity instance %s is to be released and no operation says so.", i.ID)
}

// suspend takes an expired instance out of service and keeps its throughput.
func (r *reservation) suspend(i *CapacityInstance) error {
	i.Effective, i.Target = PTUCapacity{}, PTUCapacity{}
	i.move(CauseExpired)
	i.ModifiedAt = r.Now()
	i.due(r.zone())
	return r.settled(fmt.Sprintf("Capacity instance %s has expired; it is kept until %s.",
		i.ID, i.DueAt.In(r.zone()).Format(time.DateTime)))
}

// ownOperation is one that Berth begins by itself.
func (r *reservation) ownOperation(t OperationType, i *CapacityInstance) CapacityOperation {
	return CapacityOperation{
		ID: operationID(r.NewID("op_")), DeploymentID: r.d.ID, InstanceID: i.ID, Type: t, Status: OperationProcessing,
		FromStatus: i.Status, Target: i.Configured, CreatedAt: r.Now(),
	}
}
