package reconcile

import (
	"context"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

func (y *yard) reserve(p berth.Purchase) berth.Deployment {
	y.Helper()
	p.ModelName, p.Plan, p.PTU = "base", "ptu", &berth.PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}
	return y.awaitStatus(y.buy(p), berth.StatusRunning)
}

func (y *yard) instances(d berth.Deployment) []berth.CapacityInstance {
	y.Helper()
	all, _, err := y.deployments.CapacityInstances(y.admin(), d.DeployedModel, berth.InstanceFilter{Page: berth.Page{Number: 1, Size: 100}})
	must(y, err)
	return all
}

// The loop does what time asks for by itself, also what came due while it was down.
func TestATermEndsByItself(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.reserve(berth.Purchase{ChargeType: "pre_paid", Prepaid: &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 1}})
	end := y.instances(d)[0].ExpiresAt
	if end.Before(y.now()) || end.After(y.now().Add(50*time.Hour)) {
		t.Fatalf("the term ends %s", end)
	}
	y.skip(end.Add(berth.ServiceAfterExpiry).Sub(y.now()))
	d = y.awaitStatus(d, berth.StatusStopped)
	if d.Kept.IsZero() || len(y.look().pools) != 1 {
		t.Errorf("its throughput is not kept: %+v", d)
	}
	y.halt()
	y.ahead.Add(int64(berth.KeptAfterExpiry))
	y.start()
	y.await("released", func(p picture) bool { return p.deployments[d.ID].Kept.IsZero() })
	if i := y.instances(d)[0]; !i.Released() {
		t.Errorf("%+v", i)
	}
	y.remove(d)
	y.awaitGone(d)
}

func TestMoreThroughputWaitsForItsEngines(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.reserve(berth.Purchase{ChargeType: "post_paid"})
	small, big := y.instances(d)[0], &berth.PTUCapacity{InputTPM: 600_000, OutputTPM: 60_000}
	ask := berth.CapacityAsk{ChargeType: "pre_paid", PTU: big, Terms: &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 1}}

	y.engines(always(fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "no more memory"}}))
	failing, err := y.deployments.AddCapacity(y.admin(), d.DeployedModel, ask)
	must(t, err)
	d = y.awaitStatus(d, berth.StatusUpdatingFailed)
	op, err := y.deployments.CapacityOperation(y.admin(), d.DeployedModel, failing.ID)
	must(t, err)
	if op.Status != berth.OperationFailed || op.ErrorMessage == "" || d.PTU != small.Effective {
		t.Errorf("%+v of %+v", op, d)
	}

	y.engines(always(fakeengine.Script{}))
	coming, err := y.deployments.AddCapacity(y.admin(), d.DeployedModel, ask)
	must(t, err)
	d = y.awaitStatus(d, berth.StatusRunning)
	op, err = y.deployments.CapacityOperation(y.admin(), d.DeployedModel, coming.ID)
	must(t, err)
	if op.Status != berth.OperationSucceeded || d.EffectivePTU() != small.Effective.Plus(*big) {
		t.Errorf("%+v of %+v", op, d)
	}
	for _, i := range y.instances(d) {
		if failed := i.ID == failing.InstanceID; failed != i.Released() || failed == (i.Status == berth.InstanceRunning) {
			t.Errorf("%+v", i)
		}
	}
}

// What is kept of an expired term stays kept when its renewal fails.
func TestAFailedRecoveryKeepsTheThroughput(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	half := &berth.PTUCapacity{InputTPM: 400_000, OutputTPM: 40_000} // of what one replica is sold for, and some more
	terms := &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 1}
	d := y.awaitStatus(y.buy(berth.Purchase{ModelName: "base", Plan: "ptu", PTU: half, ChargeType: "pre_paid", Prepaid: terms}), berth.StatusRunning)
	first := y.instances(d)[0]
	_, err := y.deployments.AddCapacity(y.admin(), d.DeployedModel, berth.CapacityAsk{ChargeType: "post_paid", PTU: half})
	must(t, err)
	d = y.settled(d, berth.StatusRunning, 2)
	y.skip(first.ExpiresAt.Add(berth.ServiceAfterExpiry).Sub(y.now()))
	y.await("kept", func(p picture) bool { return p.deployments[d.ID].Kept == *half })
	load := y.load(d)

	y.engines(always(fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "no more memory"}}))
	y.runner.Engine(y.look().replicas[0].ID).Kill(1)
	y.await("given up", func(p picture) bool {
		return slices.ContainsFunc(p.replicas, func(r berth.Replica) bool { return r.State == berth.ReplicaFailed })
	})
	_, _, err = y.deployments.RenewCapacity(y.admin(), d.DeployedModel, berth.CapacityAsk{InstanceID: first.ID, Terms: terms})
	must(t, err)
	d = y.awaitStatus(d, berth.StatusUpdatingFailed)
	if now := y.load(d); d.Kept != *half || now != load || load == 0 {
		t.Errorf("%+v is kept with a load of %d, before %d", d.Kept, now, load)
	}
}

// load is the deployment's part of its pool.
func (y *yard) load(d berth.Deployment) (ppm int64) {
	y.Helper()
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		members, err := tx.Pools().Members(ctx, d.PoolID)
		for _, m := range members {
			ppm += m.LoadPPM
		}
		return err
	})
	return ppm
}
