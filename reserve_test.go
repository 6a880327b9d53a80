package berth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// refused checks the code of a refusal and a piece of its sentence.
func refused(t testing.TB, err error, code berth.Code, says string) {
	t.Helper()
	if berth.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), says) {
		t.Errorf("got %q %v, want %s that says %q", berth.CodeOf(err), err, code, says)
	}
}

// desk is a house with a way to say how the engines of its deployments fare.
type desk struct{ *house }

func newDesk(t testing.TB) desk { return desk{newHouse(t, 4)} }

func tpm(input, output int64) *berth.PTUCapacity {
	return &berth.PTUCapacity{InputTPM: input, OutputTPM: output}
}

func daily(days int64) *berth.PrepaidTerms {
	return &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: days}
}

// move takes a deployment along the table as the reconciler does.
func (h desk) move(name string, cause berth.Cause) bool {
	h.Helper()
	moved := false
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		d, err := tx.Deployments().ByName(ctx, name)
		must(h, err)
		to, ok := d.Status.Next(cause)
		if !ok {
			return nil
		}
		moved, d.Status, d.ReadyCapacity = true, to, 0
		if to.Callable() {
			d.ReadyCapacity = d.Capacity
		}
		switch to {
		case berth.StatusRunning:
			d.EndChange(true)
		case berth.StatusUpdatingFailed:
			d.EndChange(false)
		case berth.StatusFailed:
			d.Reason = "The weights are bad."
			d.EndChange(true)
			must(h, tx.Pools().Leave(ctx, d.ID))
		case berth.StatusDeleted:
			d.DeletedAt = h.now()
		}
		must(h, h.deployments.Settle(ctx, tx, &d))
		if cause == berth.CauseChangeFailed {
			must(h, berth.Rejoin(ctx, tx, d))
		}
		return tx.Deployments().Update(ctx, d)
	})
	return moved
}

// come lets the engines come up, or what stops end.
func (h desk) come(name string) {
	h.Helper()
	for _, cause := range []berth.Cause{berth.CauseReady, berth.CauseChangeDone, berth.CauseStopped} {
		if h.move(name, cause) {
			return
		}
	}
}

// due lets Berth act until it has nothing to do.
func (h desk) due() time.Time {
	h.Helper()
	for range 10_000 {
		did, next, err := h.deployments.Due(h.Context())
		must(h, err)
		if !did {
			return next
		}
	}
	h.Fatal("there is always something due")
	return time.Time{}
}

func (h desk) get(name string) berth.Deployment {
	h.Helper()
	d, err := h.deployments.Get(h.admin(), name)
	must(h, err)
	return d
}

// admits is the throughput that calls may use.
func (h desk) admits(name string) berth.PTUCapacity {
	h.Helper()
	d := h.get(name)
	return d.EffectivePTU()
}

func (h desk) instances(name string) []berth.CapacityInstance {
	h.Helper()
	all, _, err := h.deployments.CapacityInstances(h.admin(), name, berth.InstanceFilter{Page: berth.Page{Number: 1, Size: 1000}})
	must(h, err)
	return all
}

func (h desk) instance(name, id string) berth.CapacityInstance {
	h.Helper()
	i, err := h.deployments.CapacityInstance(h.admin(), name, id)
	must(h, err)
	return i
}

// reserved deploys abacus through the reservation API and lets it come up.
func (h desk) reserved(p berth.Purchase) (name, instance string) {
	h.Helper()
	p.ModelName, p.Plan, p.RequestID = "abacus", "ptu", "create"
	d := h.mustCreate(h.admin(), p)
	h.come(d.DeployedModel)
	return d.DeployedModel, h.instances(d.DeployedModel)[0].ID
}

func (h desk) postpaid() (name, instance string) {
	h.Helper()
	return h.reserved(berth.Purchase{ChargeType: "post_paid", PTU: tpm(20_000, 2_000)})
}

func (h desk) prepaid(days int64) (name, instance string) {
	h.Helper()
	return h.reserved(berth.Purchase{ChargeType: "pre_paid", PTU: tpm(20_000, 2_000), Prepaid: daily(days)})
}

func TestAReservationTakesEffectWhenItServes(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	d := h.mustCreate(h.admin(), berth.Purchase{
		ModelName: "abacus", Plan: "ptu", ChargeType: "pre_paid", PTU: tpm(20_000, 2_000), Prepaid: daily(3), RequestID: "create",
	})
	i := h.instances(d.DeployedModel)[0]
	if i.Status != berth.InstanceWaiting || !i.Effective.IsZero() || i.Target != *tpm(20_000, 2_000) || d.Prepaid.InstanceID != i.ID {
		t.Errorf("ordered: %+v of %+v", i, d)
	}
	h.pass(time.Hour)
	h.come(d.DeployedModel)
	i = h.instance(d.DeployedModel, i.ID)
	if i.Status != berth.InstanceRunning || i.Effective != *tpm(20_000, 2_000) || !i.EffectiveAt.Equal(h.now()) {
		t.Errorf("serving: %+v", i)
	}
	if want := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC); !i.ExpiresAt.Equal(want) || !h.get(d.DeployedModel).Prepaid.ExpiresAt.Equal(want) {
		t.Errorf("ends %s and %s, want %s", i.ExpiresAt, h.get(d.DeployedModel).Prepaid.ExpiresAt, want)
	}
	op, found, err := h.deployments.CapacityOperationOf(h.admin(), d, "create")
	must(t, err)
	want := berth.Charge{From: i.EffectiveAt, To: i.ExpiresAt, Capacity: i.Effective}
	if !found || op.Status != berth.OperationSucceeded || op.Charge != want {
		t.Errorf("operation %+v, want the charge %+v", op, want)
	}
}

func TestAReservationThatCannotComeUpIsNotBought(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", ChargeType: "pre_paid", Prepaid: daily(3), RequestID: "create"})
	h.move(d.DeployedModel, berth.CauseGaveUp)
	i := h.instances(d.DeployedModel)[0]
	op, _, err := h.deployments.CapacityOperationOf(h.admin(), d, "create")
	must(t, err)
	if i.Status != berth.InstanceFailed || !i.Released() || op.Status != berth.OperationFailed || op.ErrorMessage != "The weights are bad." || op.Charge != (berth.Charge{}) {
		t.Errorf("%+v, %+v", i, op)
	}
	if _, err := h.deployments.Start(h.admin(), d.DeployedModel); berth.CodeOf(err) != berth.CodeUnsupported {
		t.Errorf("a deployment without capacity was started: %v", err)
	}
	if _, err := h.deployments.AddCapacity(h.admin(), d.DeployedModel, berth.CapacityAsk{ChargeType: "post_paid", PTU: tpm(1000, 100)}); err != nil {
		t.Errorf("capacity cannot be bought again: %v", err)
	}
	h.come(d.DeployedModel)
	if got := h.get(d.DeployedModel); got.Status != berth.StatusRunning || got.PTU != *tpm(1000, 100) {
		t.Errorf("%+v", got)
	}
}

// An ordinary ptu deployment has one implicit post-paid instance, which gets its row with
// the first write, and only then the rules of reservations.
func TestAnOrdinaryDeploymentBecomesAReservationByTheFirstWrite(t *testing.T) { // conformance 130
	t.Parallel()
	h := newDesk(t)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(20_000, 2_000)})
	name := d.DeployedModel
	if all := h.instances(name); len(all) != 0 {
		t.Errorf("there are instances before anybody asked for one: %+v", all)
	}
	refused(t, h.unchanged(func() error {
		_, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "pre_paid", PTU: tpm(1000, 100), Terms: daily(1)})
		return err
	}), berth.CodeOperationConflict, "PENDING")
	h.come(name)
	refused(t, h.unchanged(func() error {
		_, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "post_paid", PTU: tpm(1000, 100)})
		return err
	}), berth.CodePostpaidExists, "post-paid instance")
	if _, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "pre_paid", PTU: tpm(10_000, 1_000), Terms: daily(1)}); err != nil {
		t.Fatal(err)
	}
	if got := h.admits(name); got != *tpm(20_000, 2_000) {
		t.Errorf("%+v is admitted before the engines are there", got)
	}
	h.come(name)
	if got := h.get(name); got.PTU != *tpm(30_000, 3_000) || !got.Reserved {
		t.Errorf("%+v", got)
	}
	all := h.instances(name)
	if len(all) != 2 || all[1].ChargeType != "post_paid" || all[1].Effective != *tpm(20_000, 2_000) {
		t.Errorf("%+v", all)
	}
	_, err := h.deployments.Delete(h.admin(), name)
	refused(t, err, berth.CodeInstanceUnsupported, "not released")
	_, _, err = h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{PTU: tpm(1, 1)})
	refused(t, err, berth.CodeInstanceRequired, "instance_id")
}

func TestTheLastReleaseStopsTheDeploymentAndItIsBoughtAgainUnderItsID(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.postpaid()
	op, err := h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id})
	must(t, err)
	i := h.instance(name, id)
	if op.Status != berth.OperationSucceeded || !i.Released() || !i.Effective.IsZero() {
		t.Errorf("%+v, %+v", op, i)
	}
	_, err = h.deployments.Delete(h.admin(), name)
	refused(t, err, berth.CodeInstanceUnsupported, "OFFLINING")
	h.come(name)
	if d := h.get(name); d.Status != berth.StatusStopped || !d.PTU.IsZero() {
		t.Errorf("%+v", d)
	}
	if members := h.books().Members; len(members) != 0 {
		t.Errorf("it still has its place: %+v", members)
	}
	again, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "post_paid", PTU: tpm(1000, 100)})
	must(t, err)
	if again.InstanceID != id || h.get(name).Status != berth.StatusPending {
		t.Errorf("bought again: %+v", again)
	}
	h.come(name)
	if i := h.instance(name, id); i.Released() || i.Effective != *tpm(1000, 100) {
		t.Errorf("%+v", i)
	}
	must(t, second(h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id})))
	h.come(name)
	must(t, second(h.deployments.Delete(h.admin(), name)))
}

func TestLessHoldsAtOnceAndMoreWhenItIsThere(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.postpaid()
	scale := func(to *berth.PTUCapacity) berth.CapacityOperation {
		t.Helper()
		_, op, err := h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id, PTU: to})
		must(t, err)
		return op
	}
	if op := scale(tpm(10_000, 1_000)); op.Status != berth.OperationSucceeded || h.admits(name) != *tpm(10_000, 1_000) {
		t.Errorf("less: %+v", op)
	}
	op := scale(tpm(600_000, 60_000)) // another replica
	i := h.instance(name, id)
	if op.Status != berth.OperationProcessing || i.Effective != *tpm(10_000, 1_000) || i.Target != *tpm(600_000, 60_000) || i.Status != berth.InstanceScaling {
		t.Errorf("more: %+v, %+v", op, i)
	}
	if got := h.admits(name); got != *tpm(10_000, 1_000) {
		t.Errorf("%+v is admitted before it is there", got)
	}
	_, _, err := h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id, PTU: tpm(1, 1)})
	refused(t, err, berth.CodeOperationConflict, op.ID)
	h.move(name, berth.CauseChangeFailed)
	i = h.instance(name, id)
	if i.Effective != *tpm(10_000, 1_000) || i.Target != i.Effective || i.Status != berth.InstanceRunning || h.get(name).PTU != i.Effective {
		t.Errorf("failed: %+v", i)
	}
	op, err = h.deployments.CapacityOperation(h.admin(), name, op.ID)
	must(t, err)
	if op.Status != berth.OperationFailed || op.ToStatus != berth.InstanceRunning {
		t.Errorf("failed: %+v", op)
	}
	refused(t, h.unchanged(func() error {
		_, _, err := h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id, PTU: tpm(6_000_000, 60_000)})
		return err
	}), berth.CodeNoCapacity, "")
	for says, ask := range map[string]berth.CapacityAsk{
		"together":         {PTU: tpm(20_000, 500)},
		"order_type":       {PTU: tpm(20_000, 2_000), OrderType: berth.OrderDowngrade},
		"not known":        {PTU: tpm(20_000, 2_000), OrderType: "upgrade"},
		"ptu_capacity":     {},
		"input_tpm should": {PTU: tpm(0, 1)},
	} {
		ask.InstanceID = id
		refused(t, h.unchanged(func() error {
			_, _, err := h.deployments.ScaleCapacity(h.admin(), name, ask)
			return err
		}), berth.CodeInvalid, says)
	}
}

func TestScaledToZeroIsNotReleased(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.postpaid()
	must(t, third(h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{PTU: tpm(0, 0)})))
	h.come(name)
	i := h.instance(name, id)
	if i.Released() || i.Status != berth.InstanceRunning || h.get(name).Status != berth.StatusStopped {
		t.Errorf("%+v", i)
	}
	must(t, third(h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{PTU: tpm(5_000, 500)})))
	h.come(name)
	if d := h.get(name); d.Status != berth.StatusRunning || d.PTU != *tpm(5_000, 500) || h.instance(name, id).Effective != d.PTU {
		t.Errorf("%+v", d)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

func TestARequestBeginsOneOperation(t *testing.T) { // conformance 131, 132
	t.Parallel()
	h := newDesk(t)
	name, id := h.postpaid()
	ask := berth.CapacityAsk{RequestID: "one", InstanceID: id, PTU: tpm(10_000, 1_000)}
	_, op, err := h.deployments.ScaleCapacity(h.admin(), name, ask)
	must(t, err)
	_, again, err := h.deployments.ScaleCapacity(h.admin(), name, ask)
	must(t, err)
	if again != op {
		t.Errorf("the repeat answered %+v, not %+v", again, op)
	}
	ask.PTU = tpm(9_000, 900)
	refused(t, h.unchanged(func() error { return third(h.deployments.ScaleCapacity(h.admin(), name, ask)) }), berth.CodeRequestReused, op.ID)
	_, err = h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{RequestID: "one", InstanceID: id})
	refused(t, err, berth.CodeRequestReused, op.ID)

	other := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "other"})
	_, err = h.deployments.CapacityOperation(h.admin(), other.DeployedModel, op.ID)
	refused(t, err, berth.CodeOperationUnknown, op.ID)
	_, err = h.deployments.CapacityOperation(h.as(away, berth.RoleOwner), name, op.ID)
	refused(t, err, berth.CodeDeploymentUnknown, name)
	_, err = h.deployments.CapacityOperation(h.admin(), name, "1x")
	refused(t, err, berth.CodeInternal, "no number")
}

func TestAReleaseWaitsForTheChangeUnderWay(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.postpaid()
	add, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "pre_paid", PTU: tpm(1000, 100), Terms: daily(1)})
	must(t, err)
	op, err := h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id})
	must(t, err)
	if i := h.instance(name, id); op.Status != berth.OperationProcessing || i.Status != berth.InstanceDeleting || i.Effective != *tpm(20_000, 2_000) {
		t.Errorf("waiting: %+v, %+v", op, i)
	}
	h.due()
	if i := h.instance(name, id); i.Released() {
		t.Error("it did not wait")
	}
	_, err = h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id})
	refused(t, err, berth.CodeOperationConflict, "accepted already")
	h.come(name)
	h.due()
	op, err = h.deployments.CapacityOperation(h.admin(), name, op.ID)
	must(t, err)
	if i := h.instance(name, id); op.Status != berth.OperationSucceeded || !i.Released() {
		t.Errorf("released: %+v, %+v", op, i)
	}
	if d := h.get(name); d.PTU != *tpm(1000, 100) || h.instance(name, add.InstanceID).Effective != d.PTU {
		t.Errorf("%+v", d)
	}
}

func TestATermExpiresIsKeptAndReleased(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.prepaid(1)
	end := h.instance(name, id).ExpiresAt
	_, err := h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id})
	refused(t, err, berth.CodeUnsubscribe, "paid in advance")
	if next := h.due(); !next.Equal(end.Add(2 * time.Hour)) {
		t.Errorf("the next look is at %s", next)
	}
	h.pass(end.Add(2*time.Hour - time.Second).Sub(h.now()))
	h.due()
	if d := h.get(name); d.Status != berth.StatusRunning {
		t.Errorf("it is %s before the grace is over", d.Status)
	}
	h.pass(time.Second)
	h.due()
	h.come(name)
	i, d := h.instance(name, id), h.get(name)
	if i.Status != berth.InstanceSuspended || d.Status != berth.StatusStopped || d.Kept != *tpm(20_000, 2_000) || !d.PTU.IsZero() {
		t.Errorf("expired: %+v of %+v", i, d)
	}
	if members := h.books().Members; len(members) != 1 || members[0].LoadPPM == 0 {
		t.Errorf("its throughput is not kept: %+v", members)
	}
	h.pass(12 * time.Hour)
	h.due()
	i = h.instance(name, id)
	if !i.Released() || len(h.books().Members) != 0 || !h.get(name).Kept.IsZero() {
		t.Errorf("released: %+v", i)
	}
	must(t, second(h.deployments.Delete(h.admin(), name)))
}

func TestAnExpiredTermIsRenewed(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.prepaid(1)
	end := h.instance(name, id).ExpiresAt
	h.pass(end.Add(3 * time.Hour).Sub(h.now()))
	h.due()
	h.come(name)
	_, op, err := h.deployments.RenewCapacity(h.admin(), name, berth.CapacityAsk{Terms: daily(2)})
	must(t, err)
	if i := h.instance(name, id); op.Status != berth.OperationProcessing || i.Status != berth.InstanceRecovering || !i.ExpiresAt.Equal(end) {
		t.Errorf("coming back: %+v, %+v", op, i)
	}
	h.come(name)
	i := h.instance(name, id)
	if !i.ExpiresAt.Equal(end.AddDate(0, 0, 2)) || i.Effective != *tpm(20_000, 2_000) || h.get(name).Status != berth.StatusRunning {
		t.Errorf("renewed: %+v", i)
	}
	op, err = h.deployments.CapacityOperation(h.admin(), name, op.ID)
	must(t, err)
	if op.Charge.From != end || op.Charge.To != i.ExpiresAt {
		t.Errorf("charged %+v", op.Charge)
	}
}

func TestATermRenewsItselfAlsoAfterALongSleep(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.reserved(berth.Purchase{
		ChargeType: "pre_paid", PTU: tpm(20_000, 2_000),
		Prepaid: &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 3, AutoRenewal: true, RenewalDays: 2},
	})
	end := h.instance(name, id).ExpiresAt
	if next := h.due(); !next.Equal(end.Add(-16 * time.Hour)) {
		t.Errorf("the next look is at %s, the term ends %s", next, end)
	}
	h.pass(end.Add(-16 * time.Hour).Sub(h.now()))
	h.due()
	if i := h.instance(name, id); !i.ExpiresAt.Equal(end.AddDate(0, 0, 2)) {
		t.Errorf("ends %s", i.ExpiresAt)
	}
	h.pass(10 * 24 * time.Hour) // nobody looked for ten days
	h.due()
	i := h.instance(name, id)
	if !i.ExpiresAt.After(h.now()) || i.ExpiresAt.Sub(h.now()) > 3*24*time.Hour || h.get(name).Status != berth.StatusRunning {
		t.Errorf("now %s: %+v", h.now(), i)
	}
	// The days on which nobody looked were not served, and nobody pays for them.
	var paid int64
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		paid = 0
		orders, err := tx.Orders().Of(ctx, []string{i.DeploymentID}, h.now(), h.now().Add(1))
		for _, o := range orders {
			paid += o.Minutes
		}
		return err
	})
	if paid != 2*berth.PrepaidMinutesPerDay {
		t.Errorf("%d minutes of a term of %d were paid for", paid, 2*berth.PrepaidMinutesPerDay)
	}
	before := h.books()
	h.due()
	if after := h.books(); len(after.Audits) != len(before.Audits) || after.Version != before.Version {
		t.Error("a look with nothing to do wrote something")
	}
}

// An entry that lost its calibration sells nothing more; what was sold by it is kept, and
// its terms run on.
func TestTermsOutliveTheCalibration(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.reserved(berth.Purchase{
		ChargeType: "pre_paid", PTU: tpm(700_000, 70_000),
		Prepaid: &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 1, AutoRenewal: true, RenewalDays: 1},
	})
	sold := h.books().Members
	h.change("abacus", func(m *berth.Model) { m.Calibration = berth.Calibration{} })
	end := h.instance(name, id).ExpiresAt
	h.pass(end.Sub(h.now()))
	h.due()
	if i := h.instance(name, id); !i.ExpiresAt.After(end) {
		t.Errorf("not renewed: %+v", i)
	}
	if now := h.books().Members; !slices.Equal(now, sold) || sold[0].LoadPPM == 0 {
		t.Errorf("sold %+v, now %+v", sold, now)
	}
	must(t, second(h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id, Unsubscribe: true})))
	h.come(name)
	if d := h.get(name); d.Status != berth.StatusStopped {
		t.Errorf("it is %s", d.Status)
	}
}

// change changes the entry of a model, as a start with another configuration does.
func (h *house) change(model string, fn func(*berth.Model)) {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		m, err := tx.Models().Get(ctx, model)
		must(h, err)
		fn(&m)
		return tx.Models().Update(ctx, m)
	})
}

func TestAnInstanceThatCannotBeKeptKeepsNoOtherBack(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	broken, _ := h.reserved(berth.Purchase{ChargeType: "pre_paid", PTU: tpm(20_000, 2_000), Prepaid: daily(1), Suffix: "a"})
	name, id := h.reserved(berth.Purchase{ChargeType: "pre_paid", PTU: tpm(20_000, 2_000), Prepaid: daily(1), Suffix: "b"})
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		d, err := tx.Deployments().ByName(ctx, broken)
		must(h, err)
		d.ModelName = "strange" // of an engine that this server does not have
		return tx.Deployments().Update(ctx, d)
	})
	h.pass(48 * time.Hour)
	did, _, err := h.deployments.Due(h.Context())
	if i := h.instance(name, id); err == nil || !did || i.Status != berth.InstanceSuspended {
		t.Errorf("%v, %v: %+v", did, err, i)
	}
}

// Calls have 30 s from the stop on, whatever is changed meanwhile.
func TestAStopIsNotPutOff(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1)})
	stopped, err := h.deployments.Stop(h.admin(), d.DeployedModel)
	must(t, err)
	h.pass(time.Second)
	d, err = h.deployments.Update(h.admin(), d.DeployedModel, berth.Change{RPMLimit: num(5)})
	must(t, err)
	if !d.ModifiedAt.Equal(stopped.ModifiedAt) || d.RPMLimit != 5 {
		t.Errorf("%+v", d)
	}
}

// An operator who raises pool.max can be sold more at once.
func TestAPoolFollowsItsEntry(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	buy := func(suffix string) error {
		return second(h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: suffix, PTU: tpm(500_000, 50_000)}))
	}
	must(t, buy("a"))
	must(t, buy("b"))
	refused(t, buy("c"), berth.CodeNoCapacity, "raise pool.max")
	h.change("abacus", func(m *berth.Model) { m.Pool.Max = 3 })
	must(t, buy("c"))
}

func TestRenewals(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.prepaid(1)
	end := h.instance(name, id).ExpiresAt
	terms := *daily(7)
	terms.AutoRenewal, terms.RenewalDays = true, 30
	_, op, err := h.deployments.RenewCapacity(h.admin(), name, berth.CapacityAsk{Terms: &terms})
	must(t, err)
	if i := h.instance(name, id); op.Status != berth.OperationSucceeded || !i.ExpiresAt.Equal(end.AddDate(0, 0, 7)) || !i.Terms.AutoRenewal || !i.CanDisableAutoRenewal() {
		t.Errorf("%+v, %+v", op, i)
	}
	_, _, err = h.deployments.RenewCapacity(h.admin(), name, berth.CapacityAsk{Terms: daily(1), PTU: tpm(30_000, 3_000)})
	refused(t, err, berth.CodeInvalid, "is_change")
	_, _, err = h.deployments.RenewCapacity(h.admin(), name, berth.CapacityAsk{Terms: daily(1), PTU: tpm(30_000, 3_000), IsChange: true})
	must(t, err)
	if i := h.instance(name, id); !i.ExpiresAt.Equal(end.AddDate(0, 0, 7)) {
		t.Errorf("the term was extended before the throughput is there: %+v", i)
	}
	h.come(name)
	if i := h.instance(name, id); !i.ExpiresAt.Equal(end.AddDate(0, 0, 8)) || i.Effective != *tpm(30_000, 3_000) {
		t.Errorf("%+v", i)
	}
	refund, err := h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id, Unsubscribe: true})
	must(t, err)
	if refund.Type != berth.OperationRefund || !refund.Charge.To.Equal(end.AddDate(0, 0, 8)) || !refund.Charge.From.Equal(h.now()) {
		t.Errorf("%+v", refund)
	}
}

func TestASlotIsNeitherScaledNorRenewed(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, id := h.reserved(berth.Purchase{
		ServiceTier: berth.TierDefault, ChargeType: "pre_paid", PTU: tpm(20_000, 2_000),
		Prepaid: &berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: berth.SlotHours},
	})
	err := third(h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{PTU: tpm(1, 1)}))
	refused(t, err, berth.CodeInstanceUnsupported, "8-hour slot")
	err = third(h.deployments.RenewCapacity(h.admin(), name, berth.CapacityAsk{Terms: daily(1)}))
	refused(t, err, berth.CodeInstanceUnsupported, "term in days")
	_, err = h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id})
	refused(t, err, berth.CodeUnsubscribe, "")
	_, err = h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "post_paid", PTU: tpm(1, 1)})
	refused(t, err, berth.CodeInvalid, "pre-paid only")
	h.pass(berth.SlotHours * time.Hour)
	h.due()
	if i := h.instance(name, id); !i.Released() {
		t.Errorf("%+v", i)
	}
}

func TestInstancesAreBounded(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	h.deployments.MaxInstances, h.deployments.MaxInstancesEver = 2, 3
	name, _ := h.postpaid()
	buy := func() (string, error) {
		op, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "pre_paid", PTU: tpm(100, 10), Terms: daily(1)})
		if err == nil {
			h.come(name)
		}
		return op.InstanceID, err
	}
	for range 2 {
		id, err := buy()
		must(t, err)
		_, err = buy()
		refused(t, h.unchanged(func() error { return err }), berth.CodeTooManyInstances, "2 capacity instances")
		must(t, second(h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: id, Unsubscribe: true})))
	}
	_, err := buy()
	refused(t, err, berth.CodeTooManyEver, "had 3")
}

func TestInstancesAreListedInOrder(t *testing.T) { // conformance 129
	t.Parallel()
	at := time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)
	all := []berth.CapacityInstance{
		{ID: "old", CreatedAt: at, Effective: *tpm(1, 1), Status: berth.InstanceRunning, ChargeType: "post_paid"},
		{ID: "gone", CreatedAt: at.Add(3), DeletedAt: at.Add(4), Status: berth.InstanceStopped, ChargeType: "pre_paid"},
		{ID: "coming", CreatedAt: at.Add(2), Status: berth.InstanceWaiting, ChargeType: "pre_paid"},
		{ID: "new", CreatedAt: at.Add(1), Effective: *tpm(1, 1), Status: berth.InstanceRunning, ChargeType: "pre_paid"},
	}
	whole := berth.Page{Number: 1, Size: 20}
	for want, f := range map[string]berth.InstanceFilter{
		"new old gone coming": {Page: whole},
		"gone coming":         {Page: berth.Page{Number: 2, Size: 2}},
		"":                    {Page: berth.Page{Number: 3, Size: 2}},
		"new old coming":      {Page: whole, WithoutReleased: true},
		"new old":             {Page: whole, Statuses: []berth.InstanceStatus{berth.InstanceRunning, berth.InstanceFailed}},
		"old":                 {Page: whole, ChargeTypes: []string{"post_paid"}},
	} {
		found, _ := f.Select(all)
		var ids []string
		for _, i := range found {
			ids = append(ids, i.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if all[0].ID != "old" {
		t.Error("the list itself was sorted")
	}
}

func TestOverflowStrategy(t *testing.T) { // conformance 114
	t.Parallel()
	h := newDesk(t)
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"})
	for _, strategy := range []berth.OverflowStrategy{"", "Enable", "DISABLE", "off"} {
		refused(t, h.unchanged(func() error { return second(h.deployments.SetOverflow(h.admin(), d.DeployedModel, strategy)) }), berth.CodeInvalid, "lower case")
	}
	must(t, second(h.deployments.SetOverflow(h.admin(), d.DeployedModel, berth.OverflowDisable)))
	if got := h.get(d.DeployedModel).Overflow; got != berth.OverflowDisable {
		t.Errorf("it is %s", got)
	}
	mu := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "mu", Spec: "MU1", Capacity: num(1), Suffix: "mu"})
	refused(t, second(h.deployments.SetOverflow(h.admin(), mu.DeployedModel, berth.OverflowDisable)), berth.CodeUnsupported, "ptu")
	refused(t, second(h.deployments.SetOverflow(h.as(home, berth.RoleInference), d.DeployedModel, berth.OverflowEnable)), berth.CodeForbidden, "")
}

func TestStrictCapacity(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	h.deployments.StrictCapacity = true
	refused(t, h.unchanged(func() error {
		return second(h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu"}))
	}), berth.CodeInvalid, "Miss ptu capacity info")
}

// Whatever is asked, whatever the engines and the time do: what a deployment admits is the
// sum of what is effective, and no more is sold than there are engines for.
func TestTheDeploymentIsTheSumOfItsInstances(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	walks := 0
	rapid.Check(t, func(rt *rapid.T) {
		if walks++; walks > 12 {
			return // each costs many transactions
		}
		h.clear()
		chaos := chaos{desk: h, T: rt}
		chaos.name, _ = h.reserved(berth.Purchase{ChargeType: "post_paid", PTU: tpm(20_000, 2_000)})
		rt.Repeat(map[string]func(*rapid.T){
			"buy":     chaos.buy,
			"scale":   chaos.scale,
			"renew":   chaos.renew,
			"release": chaos.release,
			"engines": chaos.engines,
			"time":    chaos.wait,
			"owner":   chaos.stopOrStart,
			"":        chaos.check,
		})
	})
}

// clear takes everything away that was bought.
func (h desk) clear() {
	h.Helper()
	b := h.books()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for _, d := range b.Deployments {
			must(h, tx.Pools().Leave(ctx, d.ID))
			d.Status, d.DeletedAt = berth.StatusDeleted, h.now()
			must(h, tx.Deployments().Update(ctx, d))
		}
		for _, r := range b.Replicas {
			must(h, tx.Nodes().Release(ctx, r.ID))
			must(h, tx.Replicas().Delete(ctx, r.ID))
		}
		for _, p := range b.Pools {
			must(h, tx.Pools().Delete(ctx, p.ID))
		}
		return nil
	})
	h.due()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.time = time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC) // so that a walk can be repeated
}

type chaos struct {
	desk
	*rapid.T
	name string
}

// Both embedded values have these; the house's testing.TB is the one that counts.
func (c chaos) Helper()                  {}
func (c chaos) Context() context.Context { return c.desk.Context() }

func (c chaos) amount(t *rapid.T) *berth.PTUCapacity {
	n := rapid.Int64Range(0, 14).Draw(t, "amount") * 10_000
	return tpm(n*5, n/2)
}

func (c chaos) terms(t *rapid.T) *berth.PrepaidTerms {
	terms := daily(rapid.Int64Range(1, 3).Draw(t, "days"))
	if rapid.Bool().Draw(t, "renews itself") {
		terms.AutoRenewal, terms.RenewalDays = true, 1
	}
	return terms
}

func (c chaos) any(t *rapid.T) string {
	all := c.instances(c.name)
	slices.SortFunc(all, func(a, b berth.CapacityInstance) int { return strings.Compare(a.ID, b.ID) })
	return rapid.SampledFrom(all).Draw(t, "instance").ID
}

// known fails on errors that are no refusals.
func (c chaos) known(err error) {
	if err != nil && berth.CodeOf(err) == berth.CodeInternal {
		c.desk.Fatal(err)
	}
}

func (c chaos) buy(t *rapid.T) {
	ask := berth.CapacityAsk{ChargeType: rapid.SampledFrom([]string{"pre_paid", "post_paid"}).Draw(t, "charge"), PTU: c.amount(t)}
	if ask.ChargeType == "pre_paid" {
		ask.Terms = c.terms(t)
	}
	c.known(second(c.deployments.AddCapacity(c.admin(), c.name, ask)))
}

func (c chaos) scale(t *rapid.T) {
	c.known(third(c.deployments.ScaleCapacity(c.admin(), c.name, berth.CapacityAsk{InstanceID: c.any(t), PTU: c.amount(t)})))
}

func (c chaos) renew(t *rapid.T) {
	ask := berth.CapacityAsk{InstanceID: c.any(t), Terms: c.terms(t)}
	if rapid.Bool().Draw(t, "is change") {
		ask.PTU, ask.IsChange = c.amount(t), true
	}
	c.known(third(c.deployments.RenewCapacity(c.admin(), c.name, ask)))
}

func (c chaos) release(t *rapid.T) {
	c.known(second(c.deployments.ReleaseCapacity(c.admin(), c.name, berth.CapacityAsk{InstanceID: c.any(t), Unsubscribe: rapid.Bool().Draw(t, "unsubscribe")})))
}

func (c chaos) engines(t *rapid.T) {
	c.move(c.name, rapid.SampledFrom([]berth.Cause{
		berth.CauseReady, berth.CauseReady, berth.CauseChangeDone, berth.CauseChangeDone, berth.CauseChangeFailed, berth.CauseStopped, berth.CauseStopped, berth.CauseGaveUp,
	}).Draw(t, "cause"))
}

func (c chaos) wait(t *rapid.T) {
	c.pass(time.Duration(rapid.Int64Range(0, 40).Draw(t, "hours")) * time.Hour)
	c.due()
}

func (c chaos) stopOrStart(t *rapid.T) {
	if rapid.Bool().Draw(t, "stop") {
		c.known(second(c.deployments.Stop(c.admin(), c.name)))
		return
	}
	c.known(second(c.deployments.Start(c.admin(), c.name)))
}

func (c chaos) check(t *rapid.T) {
	d := c.get(c.name)
	var effective, sold, kept berth.PTUCapacity
	postpaid := 0
	for _, i := range c.instances(c.name) {
		effective = effective.Plus(i.Effective)
		switch {
		case i.Released():
			if !i.Effective.IsZero() {
				t.Fatalf("released and effective: %+v", i)
			}
			continue
		case i.Target.IsZero() && i.Effective.IsZero():
			kept = kept.Plus(i.Configured)
		default:
			sold = sold.Plus(i.Target)
		}
		if !i.Prepaid() {
			postpaid++
		}
	}
	if postpaid > 1 {
		t.Fatal("two post-paid instances")
	}
	if sold != d.PTU || kept != d.Kept {
		t.Fatalf("%s: sold %+v and kept %+v, but the instances say %+v and %+v", d.Status, d.PTU, d.Kept, sold, kept)
	}
	if d.Status.Callable() && (effective != d.EffectivePTU() || effective.IsZero()) {
		t.Fatalf("%s: admits %+v, effective are %+v", d.Status, d.EffectivePTU(), effective)
	}
	b := c.books()
	for _, p := range b.Pools {
		var load int64
		for _, m := range b.Members {
			load += m.LoadPPM
		}
		held := int64(0)
		for _, hold := range b.Holds {
			if hold.PoolID == p.ID {
				held++
			}
		}
		if load > held*berth.SoldShare {
			t.Fatalf("%d ppm are sold of %d replicas", load, held)
		}
		if d.Status.Callable() && load < (berth.Yield{Declared: berth.Calibration{InputTPM: 600_000, OutputTPM: 60_000}}).LoadPPM(d.PTU.Plus(d.Kept)) {
			t.Fatalf("%+v are served with a place of %d ppm", d.PTU, load)
		}
	}
}
