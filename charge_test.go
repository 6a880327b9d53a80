package berth_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestCharged(t *testing.T) {
	t.Parallel()
	mu := func(status berth.Status, capacity, ready, before int64) berth.Deployment {
		return berth.Deployment{Plan: berth.PlanMU, Status: status, Capacity: capacity, ReadyCapacity: ready, Before: berth.Terms{Capacity: before}}
	}
	ptu := func(status berth.Status, ready, ppm int64) berth.Deployment {
		return berth.Deployment{Plan: berth.PlanPTU, Status: status, Capacity: 1, ReadyCapacity: ready, PartPPM: ppm, PTU: berth.PTUCapacity{InputTPM: 20_000, OutputTPM: 2_000}}
	}
	instance := func(charge string, input int64) berth.CapacityInstance {
		return berth.CapacityInstance{ChargeType: charge, Effective: berth.PTUCapacity{InputTPM: input, OutputTPM: input / 10}}
	}
	changed := func(d berth.Deployment, fn func(*berth.Deployment)) berth.Deployment {
		fn(&d)
		return d
	}
	reserved := func(d berth.Deployment) berth.Deployment {
		return changed(d, func(d *berth.Deployment) { d.Reserved = true })
	}
	released := instance("post_paid", 99)
	released.DeletedAt = time.Unix(1, 0)
	for what, c := range map[string]struct {
		d         berth.Deployment
		instances []berth.CapacityInstance
		want      string
	}{
		"what comes up":                {d: mu(berth.StatusPending, 8, 0, 0), want: "0 0/0"},
		"what serves":                  {d: mu(berth.StatusRunning, 8, 8, 0), want: "8 0/0"},
		"a change that failed":         {d: mu(berth.StatusUpdatingFailed, 8, 8, 0), want: "8 0/0"},
		"as far as it serves":          {d: mu(berth.StatusRunning, 8, 4, 0), want: "4 0/0"},
		"none of it serves":            {d: mu(berth.StatusRunning, 8, 0, 0), want: "0 0/0"},
		"more is on its way":           {d: mu(berth.StatusUpdating, 8, 4, 4), want: "4 0/0"},
		"more has come, but not all":   {d: mu(berth.StatusUpdating, 12, 8, 4), want: "4 0/0"},
		"less, from its acceptance on": {d: mu(berth.StatusUpdating, 4, 8, 8), want: "4 0/0"},
		"stopping":                     {d: mu(berth.StatusOfflining, 8, 8, 0), want: "0 0/0"},
		"stopped":                      {d: mu(berth.StatusStopped, 8, 0, 0), want: "0 0/0"},
		"deleting":                     {d: mu(berth.StatusDeleting, 8, 8, 0), want: "0 0/0"},
		"in arrears":                   {d: mu(berth.StatusArrearsDown, 8, 8, 0), want: "0 0/0"},
		"recovering":                   {d: mu(berth.StatusArrearsRecover, 8, 0, 0), want: "0 0/0"},
		"a ptu deployment":             {d: ptu(berth.StatusRunning, 1, 0), want: "0 20000/2000"},
		"a third of its pool":          {d: ptu(berth.StatusRunning, 0, 333_333), want: "0 6666/666"},
		"nothing of its pool":          {d: ptu(berth.StatusRunning, 0, 0), want: "0 0/0"},
		"an idle adapter":              {d: berth.Deployment{Plan: berth.PlanLoRA, Status: berth.StatusRunning, Capacity: 1, ReadyCapacity: 1}, want: "0 0/0"},
		"instances, but not those paid in advance": {d: reserved(ptu(berth.StatusRunning, 1, 0)), instances: []berth.CapacityInstance{instance("post_paid", 3000), instance("pre_paid", 5000), released}, want: "0 3000/300"},
		"instances on half of their pool":          {d: reserved(ptu(berth.StatusRunning, 0, 500_000)), instances: []berth.CapacityInstance{instance("post_paid", 3001)}, want: "0 1500/150"},
		"more throughput is on its way": {d: changed(ptu(berth.StatusUpdating, 1, 0), func(d *berth.Deployment) {
			d.Before = berth.Terms{Capacity: 1, PTU: berth.PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}}
		}), want: "0 10000/1000"},
		"less throughput holds at once": {d: changed(ptu(berth.StatusUpdating, 1, 0), func(d *berth.Deployment) {
			d.Before = berth.Terms{Capacity: 1, PTU: berth.PTUCapacity{InputTPM: 40_000, OutputTPM: 4_000}}
		}), want: "0 20000/2000"},
	} {
		s := berth.Charged(&c.d, c.instances)
		if got := fmt.Sprintf("%d %d/%d", s.Units, s.PTU.InputTPM, s.PTU.OutputTPM); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

// runs returns those of a deployment, each as its minutes since the beginning of the house
// and what is charged from then on.
func (h *house) runs(d berth.Deployment) (text string) {
	h.Helper()
	ctx, begin := h.Context(), time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	must(h, h.store.View(ctx, func(tx berth.Tx) error {
		list, err := tx.Runs().During(ctx, []string{d.ID}, time.Unix(0, 0), begin.AddDate(50, 0, 0))
		text = "" // it is run again
		for _, r := range list {
			text += "["
			for _, s := range r.Steps {
				text += fmt.Sprintf("%v:%d,%d/%d ", s.At.Sub(begin).Minutes(), s.Units, s.PTU.InputTPM, s.PTU.OutputTPM)
			}
			if !r.EndedAt.IsZero() {
				text += fmt.Sprint(r.EndedAt.Sub(begin).Minutes())
			}
			text += "]"
		}
		return err
	}))
	return text
}

// engines moves a deployment as the reconciler does when so many units of it serve.
func (h *house) engines(id string, cause berth.Cause, ready int64) {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		d, err := tx.Deployments().Get(ctx, id)
		must(h, err)
		if cause != "" {
			to, ok := d.Status.Next(cause)
			if !ok {
				h.Fatalf("%s does not follow %s", cause, d.Status)
			}
			d.Status = to
		}
		switch cause {
		case berth.CauseChangeDone, berth.CauseGaveUp:
			d.EndChange(true)
		case berth.CauseChangeFailed:
			d.EndChange(false)
		}
		d.ReadyCapacity, d.ModifiedAt = ready, h.now()
		must(h, h.deployments.Settle(ctx, tx, &d))
		return tx.Deployments().Update(ctx, d)
	})
}

// A charge begins when a deployment serves and ends when its end is accepted.
func TestRunsFollowTheDeployment(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	h.pass(time.Minute)
	if got := h.runs(d); got != "" { // conformance 116
		t.Errorf("while it comes up: %s", got)
	}
	h.engines(d.ID, berth.CauseReady, 1)
	h.pass(time.Minute)
	_, err := h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: num(3)})
	must(t, err)
	h.pass(time.Minute)
	h.engines(d.ID, "", 2) // one of two has come
	h.pass(time.Minute)
	h.engines(d.ID, berth.CauseChangeDone, 3) // conformance 119
	h.pass(time.Minute)
	_, err = h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: num(2)})
	must(t, err)
	h.pass(time.Minute)
	h.engines(d.ID, berth.CauseChangeDone, 2)
	h.engines(d.ID, "", 1) // an engine crashed
	h.pass(time.Minute)
	_, err = h.deployments.Stop(h.admin(), d.DeployedModel)
	must(t, err)
	h.pass(time.Minute)
	h.engines(d.ID, berth.CauseStopped, 0)
	_, err = h.deployments.Start(h.admin(), d.DeployedModel)
	must(t, err)
	h.pass(time.Minute)
	h.engines(d.ID, berth.CauseReady, 2)
	h.pass(time.Minute)
	_, err = h.deployments.Delete(h.admin(), d.DeployedModel)
	must(t, err)
	h.pass(time.Minute)
	h.engines(d.ID, berth.CauseGone, 0)
	if got, want := h.runs(d), "[1:1,0/0 4:3,0/0 5:2,0/0 6:1,0/0 7][9:2,0/0 10]"; got != want { // conformance 117
		t.Errorf("got %s, want %s", got, want)
	}
}

// What serves nothing for a while keeps its grid of minutes, and nothing that failed before
// it served is charged.
func TestRunsOfEnginesThatFail(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	h.engines(d.ID, berth.CauseReady, 1)
	h.pass(time.Minute)
	h.engines(d.ID, "", 0)
	h.pass(time.Minute)
	h.engines(d.ID, "", 1)
	h.pass(time.Minute)
	h.engines(d.ID, berth.CauseGaveUp, 0)
	if got, want := h.runs(d), "[0:1,0/0 1:0,0/0 2:1,0/0 3]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	bad := h.mustCreate(h.admin(), onMU1("abacus", "b"))
	h.pass(time.Minute)
	h.engines(bad.ID, berth.CauseGaveUp, 0)
	if got := h.runs(bad); got != "" {
		t.Errorf("it never came up: %s", got)
	}
}

// Engines end with Berth, and so do runs: the next ones begin when engines serve again.
func TestRunsEndWithBerth(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	p := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "p"})
	h.engines(d.ID, berth.CauseReady, 1)
	h.engines(p.ID, berth.CauseReady, 1)
	h.pass(2 * time.Minute)
	_, err := h.deployments.Scale(h.admin(), p.DeployedModel, berth.Change{PTU: tpm(5_000, 500)})
	must(t, err)
	must(t, h.deployments.EndRuns(h.Context(), h.now().Add(-time.Minute)))
	must(t, h.deployments.EndRuns(h.Context(), h.now()))
	h.pass(time.Minute)
	// A limit is changed while the engine is not there yet.
	_, err = h.deployments.Update(h.admin(), d.DeployedModel, berth.Change{RPMLimit: num(5)})
	must(t, err)
	h.engines(d.ID, "", 1)
	h.engines(p.ID, berth.CauseChangeDone, 1)
	if got, want := h.runs(d), "[0:1,0/0 1][3:1,0/0 ]"; got != want {
		t.Errorf("mu: got %s, want %s", got, want)
	}
	// Its last step was written later than the last sign of life.
	if got, want := h.runs(p), "[0:0,10000/1000 2:0,5000/500 2][3:0,5000/500 ]"; got != want {
		t.Errorf("ptu: got %s, want %s", got, want)
	}
}

// A clock that is set back charges no minute twice.
func TestRunsDoNotOverlapWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	h.engines(d.ID, berth.CauseReady, 1)
	h.pass(10 * time.Minute)
	_, err := h.deployments.Stop(h.admin(), d.DeployedModel)
	must(t, err)
	h.engines(d.ID, berth.CauseStopped, 0)
	h.pass(-5 * time.Minute)
	_, err = h.deployments.Start(h.admin(), d.DeployedModel)
	must(t, err)
	h.engines(d.ID, berth.CauseReady, 1)
	h.pass(time.Minute)
	_, err = h.deployments.Stop(h.admin(), d.DeployedModel)
	must(t, err)
	if got, want := h.runs(d), "[0:1,0/0 10][10:1,0/0 10]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is paid in advance is not charged by the minute; what is bought beside it is.
func TestRunsOfReservations(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	name, _ := h.prepaid(2)
	h.come(name)
	d := h.get(name)
	if got := h.runs(d); got != "" {
		t.Errorf("paid in advance: %s", got)
	}
	h.pass(time.Minute)
	_, err := h.deployments.AddCapacity(h.admin(), name, berth.CapacityAsk{ChargeType: "post_paid", PTU: tpm(10_000, 1_000)})
	must(t, err)
	h.pass(time.Minute)
	h.come(name)
	h.pass(time.Minute)
	post := h.instances(name)[0].ID // the newest
	_, _, err = h.deployments.ScaleCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: post, PTU: tpm(4_000, 400)})
	must(t, err)
	h.pass(time.Minute)
	_, err = h.deployments.ReleaseCapacity(h.admin(), name, berth.CapacityAsk{InstanceID: post})
	must(t, err)
	if got, want := h.runs(d), "[2:0,10000/1000 3:0,4000/400 4:0,0/0 ]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
