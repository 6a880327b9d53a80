package berth_test

import (
	"fmt"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestUnused(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for what, c := range map[string]struct {
		minutes int64
		whole   time.Duration
		used    time.Duration
		want    int64
	}{
		"before it begins":           {7200, 10 * day, -day, 7200},
		"at once":                    {7200, 10 * day, 0, 7200},
		"a fifth is settled by 1.2":  {7200, 10 * day, 2 * day, 7200 - 1728},
		"what is used is rounded up": {720, day, time.Second, 719},
		"five sixths are all of it":  {7200, 12 * day, 10 * day, 0},
		"nearly all":                 {7200, 10 * day, 9 * day, 0},
		"when it is over":            {7200, 10 * day, 11 * day, 0},
		"ten years":                  {3650 * 720, 3650 * day, 365 * day, 3650*720 - 365*864},
		"a time that is none":        {720, 0, 0, 0},
	} {
		if got := berth.Unused(c.minutes, from, from.Add(c.whole), from.Add(c.used)); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
	if got := (berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 3}).Minutes(); got != 3*12*60 {
		t.Errorf("three days cost %d minutes", got)
	}
	if got := (berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: 8}).Minutes(); got != 4*60 {
		t.Errorf("a slot costs %d minutes", got)
	}
}

// orders returns what was paid in advance: minutes of input and output throughput.
func (h *house) orders(d berth.Deployment) (text string) {
	h.Helper()
	must(h, h.store.View(h.Context(), func(tx berth.Tx) error {
		list, err := tx.Orders().Of(h.Context(), []string{d.ID}, time.Unix(1, 0), h.now().AddDate(1, 0, 0))
		text = ""
		for _, o := range list {
			text += fmt.Sprintf("%d of %d/%d, ", o.Minutes, o.PTU.InputTPM, o.PTU.OutputTPM)
			if o.AccountID != payer || o.InstanceID == "" || o.DeployedModel != d.DeployedModel {
				h.Errorf("%+v", o)
			}
		}
		return err
	}))
	return text
}

// A term is held when it is bought, ordered when it takes effect, and what is not used of it
// is given back when it ends early.
func TestTermsArePaidInAdvance(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	h.sells()
	h.terms(prepaid)
	h.pay(100 * unit)
	p := berth.Purchase{ModelName: "abacus", Plan: "ptu", ChargeType: "pre_paid", PTU: tpm(20_000, 2_000), Prepaid: daily(10)}
	// 2 x 0.36 + 2 x 0.36 an hour, twelve hours a day.
	err := h.unchanged(func() error { _, err := h.deployments.Create(h.admin(), p); return err })
	refused(t, err, berth.CodeArrearage, "has 100.00 CNY to spend and the purchase needs 172.80 CNY now, with what is paid in advance, which is held.")
	p.Prepaid = daily(2)
	d := h.mustCreate(h.admin(), p)
	expect := func(what, money, orders string) {
		t.Helper()
		if got := h.has(d); got != money {
			t.Errorf("%s: it has %s, want %s", what, got, money)
		}
		if got := h.orders(d); got != orders {
			t.Errorf("%s: it ordered %q, want %q", what, got, orders)
		}
	}
	expect("bought", "6544 + 3456", "")
	h.move(d.DeployedModel, berth.CauseGaveUp)
	expect("it does not come up", "10000 + 0", "")
	_, err = h.deployments.Delete(h.admin(), d.DeployedModel)
	must(t, err)
	h.move(d.DeployedModel, berth.CauseGone)
	d = h.mustCreate(h.admin(), p)
	h.come(d.DeployedModel)
	all := "1440 of 20000/2000, "
	expect("it serves", "6544 + 3456", all)
	i := h.instances(d.DeployedModel)[0]
	// Twice as much for the rest of the term: it ends 39 hours after it took effect.
	_, _, err = h.deployments.ScaleCapacity(h.admin(), d.DeployedModel, berth.CapacityAsk{PTU: tpm(40_000, 4_000)})
	must(t, err)
	expect("more is bought", "3736 + 6264", all)
	h.come(d.DeployedModel)
	all += "1170 of 20000/2000, "
	expect("more serves", "3736 + 6264", all)
	h.pass(i.ExpiresAt.Sub(h.now()) / 2)
	_, _, err = h.deployments.ScaleCapacity(h.admin(), d.DeployedModel, berth.CapacityAsk{PTU: tpm(20_000, 2_000)})
	must(t, err)
	all += "-576 of 10000/1000, -468 of 10000/1000, "
	expect("less", "3736 + 6264", all)
	_, err = h.deployments.ReleaseCapacity(h.admin(), d.DeployedModel, berth.CapacityAsk{InstanceID: i.ID, Unsubscribe: true})
	must(t, err)
	expect("ended", "10000 + 0", all+"-576 of 10000/1000, -468 of 10000/1000, ")
}

// A term renews itself while the account can pay, and ends when it cannot.
func TestTermsThatCannotBePaidDoNotRenew(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	h.sells()
	h.terms(prepaid)
	h.pay(60 * unit)
	terms := daily(1)
	terms.AutoRenewal, terms.RenewalDays = true, 2
	d := h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", ChargeType: "pre_paid", PTU: tpm(20_000, 2_000), Prepaid: terms})
	h.come(d.DeployedModel)
	h.due()
	all := "720 of 20000/2000, 1440 of 20000/2000, "
	if got := h.orders(d); got != all {
		t.Fatalf("it ordered %q", got)
	}
	h.pass(48 * time.Hour)
	h.due()
	i := h.instances(d.DeployedModel)[0]
	if got := h.orders(d); got != all || i.Terms.AutoRenewal || i.Status != berth.InstanceRunning {
		t.Errorf("it ordered %q and is %+v", got, i)
	}
	h.pass(48 * time.Hour)
	h.due()
	if i := h.instances(d.DeployedModel)[0]; i.Effective != (berth.PTUCapacity{}) {
		t.Errorf("it is not over: %+v", i)
	}
}
