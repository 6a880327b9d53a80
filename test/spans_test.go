package test

import (
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// minute is what a unit of MU1 costs for each minute, by the public list.
const minute = 900_000_000

// spans returns what a deployment was charged for, in order: all lines of the month, opened.
func (b *berth) spans(t testing.TB, deployedModel, month string) (list []api.Span) {
	t.Helper()
	of := api.StatementQuery{Month: month}
	s, err := b.Statement(t.Context(), of)
	must(t, err)
	for _, l := range s.Lines {
		if l.DeployedModel != deployedModel {
			continue
		}
		var sum int64
		for cursor := ""; ; {
			part, err := b.StatementRecords(t.Context(), of, l.ID, cursor)
			must(t, err)
			for _, s := range part.Spans {
				sum += s.Quantity
			}
			list = append(list, part.Spans...)
			if cursor = part.Next; cursor == "" {
				break
			}
		}
		if sum != l.Quantity || l.AmountNano != sum*minute {
			t.Errorf("%+v opens to %d", l, sum)
		}
	}
	slices.SortFunc(list, func(a, b api.Span) int { return a.From.Compare(b.From) })
	return list
}

// moment returns when a deployment first had a status after another moment.
func (b *berth) moment(t testing.TB, deployedModel string, status api.Status, after time.Time) time.Time {
	t.Helper()
	page, err := b.Events(t.Context(), deployedModel, "")
	must(t, err)
	for _, e := range page.Events {
		if e.Status == status && e.At.After(after) {
			return e.At
		}
	}
	t.Fatalf("%s was never %s after %s: %+v", deployedModel, status, after, page.Events)
	return time.Time{}
}

// within reports whether a moment is in the first minute of a span, give or take what a
// transaction takes.
func within(at time.Time, s api.Span) bool {
	return !at.Before(s.From.Add(-time.Second)) && at.Before(s.From.Add(time.Minute+time.Second))
}

// More capacity is charged from when it serves, and what there was until then; less from when
// it is asked for.
// conformance 116, 119
func TestScalingIsChargedFromWhenItIsEffective(t *testing.T) {
	t.Parallel()
	b := byClock(t, fakeYAML(t, map[string]string{"slow": `{"start_delay_ms": 1500}`}))
	b.clock.pass(time.Second)
	asked := b.clock.now()
	d := b.running(t, api.CreateDeployment{ModelName: "slow", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	scale := func(n int64) {
		t.Helper()
		got, err := b.ScaleDeployment(t.Context(), d.DeployedModel, api.ChangeDeployment{Capacity: &n})
		must(t, err)
		if n == 3 && (got.Status != "UPDATING" || got.ReadyCapacity != 1) {
			t.Errorf("while it grows: %+v", got)
		}
	}
	b.clock.pass(10 * time.Minute)
	scale(3)
	b.clock.pass(3 * time.Minute) // before the new engines serve
	b.settled(t, d.DeployedModel)
	b.clock.pass(10 * time.Minute)
	shrunk := b.clock.now()
	scale(2)
	b.settled(t, d.DeployedModel)
	b.clock.pass(10 * time.Minute)
	stopped := b.clock.now()
	_, err := b.StopDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	b.clock.pass(30 * time.Hour)

	served := b.moment(t, d.DeployedModel, "RUNNING", asked)
	grown := b.moment(t, d.DeployedModel, "RUNNING", b.moment(t, d.DeployedModel, "UPDATING", served))
	got := b.spans(t, d.DeployedModel, "2031-03")
	if len(got) != 3 || got[0].QuantityPerMinute != 1 || got[1].QuantityPerMinute != 3 || got[2].QuantityPerMinute != 2 {
		t.Fatalf("charged for %+v", got)
	}
	if !within(served, got[0]) || got[0].From.Before(served.Add(-time.Second)) {
		t.Errorf("it served from %s on, and is charged from %s on", served, got[0].From)
	}
	if !within(grown, got[1]) || grown.Sub(served) < 13*time.Minute {
		t.Errorf("it had more from %s on, and is charged for more from %s on", grown, got[1].From)
	}
	// The minute in which it shrinks still counts as it was.
	if !within(shrunk, api.Span{From: got[2].From.Add(-time.Minute)}) {
		t.Errorf("it had less from %s on, and is charged for less from %s on", shrunk, got[2].From)
	}
	if !within(stopped, api.Span{From: got[2].To.Add(-time.Minute)}) {
		t.Errorf("it was stopped at %s and is charged to %s", stopped, got[2].To)
	}
	if sums, _ := sides(t, b.Client); sums["deposit"] != 0 || sums["revenue"] != minute*(got[0].Minutes+3*got[1].Minutes+2*got[2].Minutes) {
		t.Errorf("booked %v", sums)
	}
}

// Whoever owes more than it may buys nothing more; what it has goes on for a day, and is
// charged; then it is taken down, with its name and limits, and charges end. With the payment
// it is bought again and charged from when it serves.
func TestArrearsFromBeginToEnd(t *testing.T) {
	t.Parallel()
	b := byClock(t, fakeYAML(t, map[string]string{"plain": "{}"}))
	pay := func(units int64, reference string) {
		t.Helper()
		_, err := b.AddPayment(t.Context(), b.payer(t), api.AddPayment{AmountNano: units * 1_000_000_000, Reference: reference})
		must(t, err)
	}
	_, err := b.UpdateAccount(t.Context(), b.payer(t), api.UpdateAccount{Prepaid: ptr(true)})
	must(t, err)
	pay(54, "the first hour")
	d := b.running(t, api.CreateDeployment{ModelName: "plain", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1)), RPMLimit: ptr(int64(77))})
	create := func() answer {
		t.Helper()
		return b.send(t, "POST", "/api/v1/deployments", `{"model_name":"plain","plan":"mu","deploy_spec":"MU1","capacity":1,"suffix":"another"}`)
	}
	call := func() answer {
		t.Helper()
		return b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "37+85"))
	}
	overdue := func() bool {
		t.Helper()
		a, err := b.GetAccount(t.Context(), b.payer(t))
		must(t, err)
		return a.OverdueSince != nil
	}
	status := func() api.Status {
		t.Helper()
		got, err := b.GetDeployment(t.Context(), d.DeployedModel)
		must(t, err)
		return got.Status
	}

	b.clock.pass(3 * time.Hour)
	until(t, "it is overdue", overdue)
	a, err := b.GetAccount(t.Context(), b.payer(t))
	must(t, err)
	if got := create(); got.status != 400 || !strings.Contains(got.body, `"Arrearage"`) || !strings.Contains(got.body, "is overdue by ") {
		t.Errorf("a purchase of who is overdue: %d %s", got.status, got.body)
	}
	b.clock.pass(23 * time.Hour)
	until(t, "a day but an hour is charged", func() bool { sums, _ := sides(t, b.Client); return sums["revenue"] >= 26*60*minute })
	if got := call(); got.status != 200 || status() != "RUNNING" {
		t.Errorf("a call within the day: %d %s, it is %s", got.status, got.body, status())
	}

	b.clock.pass(time.Hour + time.Minute)
	until(t, "it is taken down", func() bool { return status() == "ARREARS_DOWN" })
	down := b.moment(t, d.DeployedModel, "ARREARS_DOWN", *a.OverdueSince)
	if left := down.Sub(*a.OverdueSince); left < 24*time.Hour {
		t.Errorf("it was taken down after %s", left)
	}
	if got := call(); got.status != 400 || !strings.Contains(got.body, `"Arrearage"`) {
		t.Errorf("a call: %d %s", got.status, got.body)
	}
	for what, got := range map[string]answer{
		"start": b.send(t, "PUT", "/api/v1/deployments/"+d.DeployedModel+"/start", ""),
		"scale": b.send(t, "PUT", "/api/v1/deployments/"+d.DeployedModel+"/scale", `{"capacity":2}`),
	} {
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, "UnsupportedOperation") {
			t.Errorf("a %s: %d %s", what, got.status, got.body)
		}
	}
	charged, _ := sides(t, b.Client)
	b.clock.pass(50 * time.Hour)
	if later, _ := sides(t, b.Client); later["revenue"] != charged["revenue"] || later["deposit"] != 0 {
		t.Errorf("it is charged while it is down: %v, it was %v", later, charged)
	}
	until(t, "its hardware is free", func() bool { return b.heldThreads(t) == 0 })

	paid := b.clock.now()
	pay(2000, "all of it")
	if got := call(); strings.Contains(got.body, "Arrearage") || overdue() {
		t.Errorf("a call after the payment was answered: %d %s", got.status, got.body)
	}
	if got := create(); got.status != 200 {
		t.Errorf("a purchase after the payment was answered: %d %s", got.status, got.body)
	}
	until(t, "it is bought again", func() bool { return status() == "RUNNING" })
	if got := call(); got.status != 200 {
		t.Errorf("a call when it is back: %d %s", got.status, got.body)
	}
	got, err := b.GetDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	if got.RPMLimit == nil || *got.RPMLimit != 77 || got.Capacity != 1 {
		t.Errorf("it came back as %+v", got)
	}
	b.clock.pass(5 * time.Minute)
	all := b.spans(t, d.DeployedModel, "2031-03")
	back := b.moment(t, d.DeployedModel, "RUNNING", paid)
	again := slices.IndexFunc(all, func(s api.Span) bool { return s.From.After(down.Add(time.Minute)) })
	if again < 1 || !within(down, api.Span{From: all[again-1].To.Add(-time.Minute)}) || !within(back, all[again]) || all[again].From.Before(back.Add(-time.Second)) {
		t.Errorf("down at %s, back at %s, charged for %+v", down, back, all)
	}
}

// payer is the account of the first start.
func (b *berth) payer(t testing.TB) string {
	t.Helper()
	list, err := b.Accounts(t.Context(), "")
	must(t, err)
	return list.Accounts[0].ID
}

// What runs is charged to the last sign of life before Berth is killed, nothing of the hours
// in which it is down, and again from when it serves.
// conformance 116, 117
func TestNothingIsChargedWhileBerthIsDown(t *testing.T) {
	t.Parallel()
	p := newClockProgram(t)
	yaml := fakeYAML(t, map[string]string{"plain": "{}"})
	began := newClock().at
	s := p.serveAt(t, began, yaml)
	d := s.berth.running(t, one("plain"))
	until(t, "it is charged", func() bool { return len(s.spans(t, d.DeployedModel, "2031-03")) == 1 })
	s.signal(t, syscall.SIGKILL)

	s = p.serveAt(t, began.Add(3*time.Hour), yaml)
	until(t, "it serves again", func() bool {
		got, err := s.GetDeployment(t.Context(), d.DeployedModel)
		return err == nil && got.ReadyCapacity == 1
	})
	var all []api.Span
	until(t, "it is charged again", func() bool {
		all = s.spans(t, d.DeployedModel, "2031-03")
		return len(all) > 0 && all[len(all)-1].From.After(began.Add(3*time.Hour))
	})
	for _, span := range all {
		if span.To.After(began.Add(time.Hour)) && span.From.Before(began.Add(3*time.Hour)) {
			t.Errorf("it is charged while Berth was down: %+v", span)
		}
	}
	s.signal(t, syscall.SIGTERM)

	// A clean stop ends what is charged, too.
	s = p.serveAt(t, began.Add(6*time.Hour), yaml)
	for _, span := range s.spans(t, d.DeployedModel, "2031-03") {
		if span.To.After(began.Add(4*time.Hour)) && span.From.Before(began.Add(6*time.Hour)) {
			t.Errorf("it is charged while Berth was stopped: %+v", span)
		}
	}
}
