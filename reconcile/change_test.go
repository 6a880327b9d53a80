package reconcile

import (
	"context"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

func (y *yard) scale(d berth.Deployment, units int64) berth.Deployment {
	y.Helper()
	d, err := y.deployments.Scale(y.admin(), d.DeployedModel, berth.Change{Capacity: &units})
	must(y, err)
	return d
}

// settled waits until no replica and no hold is there beyond those of n ready ones.
func (y *yard) settled(d berth.Deployment, status berth.Status, n int) berth.Deployment {
	y.Helper()
	return y.await("settled", func(p picture) bool {
		ready := 0
		for _, r := range p.replicas {
			if r.State == berth.ReplicaReady {
				ready++
			}
		}
		return p.deployments[d.ID].Status == status && ready == n && len(p.replicas) == n && len(p.holds) == n
	}).deployments[d.ID]
}

func TestScaleUpServesBeforeItShows(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	// conformance 68
	d = y.scale(d, 3)
	if d.Status != berth.StatusUpdating || d.Capacity != 3 || d.ReadyCapacity != 1 {
		t.Errorf("right after: %s, %d of %d", d.Status, d.ReadyCapacity, d.Capacity)
	}
	d = y.settled(d, berth.StatusRunning, 3)
	if d.ReadyCapacity != 3 || d.Capacity != 3 || d.Before != (berth.Terms{}) {
		t.Errorf("at the end: %+v", d)
	}
	for _, e := range y.story(d) {
		ready := int64(0)
		for _, r := range y.look().replicas {
			if !r.ReadyAt.IsZero() && !r.ReadyAt.After(e.At) {
				ready++
			}
		}
		if e.ReadyCapacity > ready {
			t.Errorf("%q shows %d when %d had answered", e.Reason, e.ReadyCapacity, ready)
		}
	}
}

func TestScaleDownDrains(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 3), berth.StatusRunning)
	y.traffic.set(1)
	d = y.scale(d, 1)
	p := y.await("two drain", func(p picture) bool {
		n := 0
		for _, r := range p.replicas {
			if r.State == berth.ReplicaDraining {
				n++
			}
		}
		return n == 2 && p.deployments[d.ID].Status == berth.StatusRunning
	})
	if d := p.deployments[d.ID]; d.ReadyCapacity != 1 || d.Capacity != 1 {
		t.Errorf("%d of %d", d.ReadyCapacity, d.Capacity)
	}
	// A call may run for minutes: what only became superfluous waits for it.
	y.skip(5 * time.Minute)
	for _, r := range p.replicas {
		if r.State == berth.ReplicaDraining {
			y.traffic.awaitLooks(t, r.ID, 2)
		}
	}
	if n := len(y.look().holds); n != 3 {
		t.Errorf("%d holds while calls run", n)
	}
	y.traffic.set(0)
	y.settled(d, berth.StatusRunning, 1)
}

func TestAFailedScaleUpLeavesTheOldServing(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	old := y.look().replicas[0]
	y.engines(always(fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "no more memory"}}))
	y.scale(d, 3)
	d = y.settled(d, berth.StatusUpdatingFailed, 1)
	if d.Capacity != 1 || d.ReadyCapacity != 1 || !strings.Contains(d.Reason, "no more memory") {
		t.Errorf("%d of %d, reason %q", d.ReadyCapacity, d.Capacity, d.Reason)
	}
	if r := y.look().replicas[0]; r.Nonce != old.Nonce {
		t.Error("the old engine did not serve on")
	}
	y.engines(always(fakeengine.Script{}))
	y.scale(d, 2)
	if d = y.settled(d, berth.StatusRunning, 2); d.Reason != "" {
		t.Errorf("the reason of the failed change stays: %q", d.Reason)
	}
}

// Scaling to what there is buys again what was given up.
func TestScalingToTheSameRepairs(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	bad := true
	y.engines(func(l engine.Launch) fakeengine.Script {
		if bad {
			bad = false
			return fakeengine.Script{Slots: -1}
		}
		return fakeengine.Script{}
	})
	d := y.awaitStatus(y.own("base", 2), berth.StatusRunning)
	if d.ReadyCapacity != 1 {
		t.Fatalf("ready capacity %d", d.ReadyCapacity)
	}
	y.scale(d, 2)
	if d = y.settled(d, berth.StatusRunning, 2); d.ReadyCapacity != 2 {
		t.Errorf("ready capacity %d", d.ReadyCapacity)
	}
	if again := y.scale(d, 2); again.Status != berth.StatusRunning || !again.ModifiedAt.Equal(d.ModifiedAt) {
		t.Errorf("scaling to what is there changed it: %+v", again)
	}
}

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		buy  func(*yard) berth.Deployment
	}{
		{"mu", func(y *yard) berth.Deployment { return y.own("base", 2) }},
		{"ptu", func(y *yard) berth.Deployment { return y.buy(berth.Purchase{ModelName: "base", Plan: "ptu"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, nil)
			d := y.awaitStatus(c.buy(y), berth.StatusRunning)
			bought := d
			y.traffic.set(1)
			d, err := y.deployments.Stop(y.admin(), d.DeployedModel)
			must(t, err)
			if d.Status != berth.StatusOfflining {
				t.Errorf("right after: %s", d.Status)
			}
			y.skip(30 * time.Second) // the running call had its time
			d = y.awaitStatus(d, berth.StatusStopped)
			if len(y.traffic.cut) == 0 || d.ReadyCapacity != 0 || d.Capacity != bought.Capacity {
				t.Errorf("cut %v, %d of %d", y.traffic.cut, d.ReadyCapacity, d.Capacity)
			}
			y.skip(berth.PoolLinger)
			y.await("free hardware", func(p picture) bool { return len(p.holds) == 0 && len(p.replicas) == 0 })
			if _, err := y.deployments.Start(y.admin(), d.DeployedModel); err != nil {
				t.Fatal(err)
			}
			d = y.awaitStatus(d, berth.StatusRunning)
			if d.ID != bought.ID || d.ReadyCapacity != bought.ReadyCapacity || d.PTU != bought.PTU {
				t.Errorf("started again: %+v", d)
			}
			if got := statuses(y.story(d)); !strings.HasSuffix(got, "RUNNING OFFLINING STOPPED PENDING DEPLOYING RUNNING") &&
				!strings.HasSuffix(got, "RUNNING OFFLINING STOPPED PENDING RUNNING") {
				t.Errorf("statuses: %s", got)
			}
		})
	}
}

func TestScaledToNothingIsStopped(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 2), berth.StatusRunning)
	if d = y.scale(d, 0); d.Capacity != 0 || d.Status != berth.StatusOfflining {
		t.Errorf("%s with %d", d.Status, d.Capacity)
	}
	y.awaitStatus(d, berth.StatusStopped)
	_, err := y.deployments.Start(y.admin(), d.DeployedModel)
	must(t, err)
	if d = y.settled(d, berth.StatusRunning, 2); d.Capacity != 2 {
		t.Errorf("started with %d", d.Capacity)
	}
}

// ptu grows its lane first; what is reserved in addition counts when it is there.
func TestScalePTU(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	small, large := berth.PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}, berth.PTUCapacity{InputTPM: 1_000_000, OutputTPM: 100_000}
	d := y.awaitStatus(y.buy(berth.Purchase{ModelName: "base", Plan: "ptu"}), berth.StatusRunning)
	change := func(to berth.PTUCapacity) (berth.Deployment, error) {
		return y.deployments.Scale(y.admin(), d.DeployedModel, berth.Change{PTU: &to})
	}
	// conformance 71
	d, err := change(large)
	must(t, err)
	if d.Status != berth.StatusUpdating || d.PTU != large || d.EffectivePTU() != small {
		t.Errorf("right after: %s with %+v, in effect %+v", d.Status, d.PTU, d.EffectivePTU())
	}
	if d = y.settled(d, berth.StatusRunning, 2); d.EffectivePTU() != large {
		t.Errorf("in effect: %+v", d.EffectivePTU())
	}
	y.engines(always(fakeengine.Script{Slots: -1}))
	_, err = change(berth.PTUCapacity{InputTPM: 2_000_000, OutputTPM: 200_000})
	must(t, err)
	if d = y.awaitStatus(d, berth.StatusUpdatingFailed); d.PTU != large || d.ReadyCapacity != 1 {
		t.Errorf("after a failed change: %+v, ready %d", d.PTU, d.ReadyCapacity)
	}
	y.settled(d, berth.StatusUpdatingFailed, 2)
	_, err = change(small)
	must(t, err)
	if d = y.settled(d, berth.StatusRunning, 1); d.PTU != small {
		t.Errorf("after shrinking: %+v", d.PTU)
	}
}

func TestSeparatedRoles(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	one, two := int64(1), int64(2)
	y.deployments.Specs = append(y.deployments.Specs, berth.Spec{
		Name: "MU1-PD", Type: berth.SpecTypeSeparated, Unit: berth.Resources{Threads: 1, MemoryBytes: 64 << 20}, Slots: 4, ContextLength: 100, UnitsPerReplica: 1,
	})
	// conformance 44
	d := y.buy(berth.Purchase{ModelName: "base", Plan: "mu", Spec: "MU1-PD", PrefillCapacity: &one, DecodeCapacity: &two})
	if d.Capacity != 3 || d.BaseCapacity != 1 {
		t.Errorf("capacity %d, base %d", d.Capacity, d.BaseCapacity)
	}
	d = y.settled(d, berth.StatusRunning, 3)
	if d.ReadyCapacity != 3 {
		t.Errorf("ready capacity %d", d.ReadyCapacity)
	}
	_, err := y.deployments.Scale(y.admin(), d.DeployedModel, berth.Change{PrefillCapacity: &two, DecodeCapacity: &one})
	must(t, err)
	y.settled(d, berth.StatusRunning, 3)
	lanes := map[berth.Lane]int{}
	for _, r := range y.look().replicas {
		lanes[r.Lane]++
	}
	if lanes[berth.LanePrefill] != 2 || lanes[berth.LaneDecode] != 1 {
		t.Errorf("lanes: %v", lanes)
	}
}

// What was there before serves on while one role grows and the other shrinks, and when
// that fails.
func TestSeparatedRolesGrowFirst(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	one, two := int64(1), int64(2)
	y.deployments.Specs = append(y.deployments.Specs, berth.Spec{
		Name: "MU1-PD", Type: berth.SpecTypeSeparated, Unit: berth.Resources{Threads: 1, MemoryBytes: 64 << 20}, Slots: 4, ContextLength: 100, UnitsPerReplica: 1,
	})
	d := y.buy(berth.Purchase{ModelName: "base", Plan: "mu", Spec: "MU1-PD", PrefillCapacity: &two, DecodeCapacity: &one})
	d = y.settled(d, berth.StatusRunning, 3)
	y.engines(always(fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "no more memory"}}))
	_, err := y.deployments.Scale(y.admin(), d.DeployedModel, berth.Change{PrefillCapacity: &one, DecodeCapacity: &two})
	must(t, err)
	d = y.settled(d, berth.StatusUpdatingFailed, 3)
	if d.PrefillCapacity != 2 || d.DecodeCapacity != 1 || d.ReadyCapacity != 3 {
		t.Errorf("after a failed change: %d and %d, %d ready", d.PrefillCapacity, d.DecodeCapacity, d.ReadyCapacity)
	}
}

// A client may change a deployment between the plan and the act.
func TestAPlanThatWasOvertakenIsDropped(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	y.halt()
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		r := y.look().replicas[0]
		r.State = berth.ReplicaFailed
		must(t, tx.Nodes().Release(ctx, r.ID))
		return tx.Replicas().Update(ctx, r)
	})
	loop := New(y.loop.Load().opt)
	parts, err := loop.look(context.Background())
	must(t, err)
	actions, _ := Plan(parts[0].State)
	if got := sentence(actions); got != d.ID+" gave_up 0" {
		t.Fatalf("planned %s", got)
	}
	y.scale(d, 2)
	must(t, loop.takeAll(context.Background(), []step{{parts[0].owner, loop.act(&parts[0], actions[0])}}))
	if d = y.look().deployments[d.ID]; d.Status != berth.StatusUpdating {
		t.Errorf("it is %s, %s", d.Status, d.Reason)
	}
}
