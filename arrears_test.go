package berth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// A payment, and other terms, hold when they are answered: nothing is refused any more for
// what was owed before, however short the last look at it was ago.
func TestAPaymentHoldsWhenItIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	h.sells()
	h.terms(prepaid)
	h.ledger.Recheck = func(ctx context.Context, id string) { must(t, h.deployments.RecheckArrears(ctx, id)) }
	h.workspaces.Recheck = h.ledger.Recheck
	h.pay(54 * unit)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	h.engines(d.ID, berth.CauseReady, 1)
	status := func() string {
		t.Helper()
		now, err := h.deployments.Get(h.admin(), d.DeployedModel)
		must(t, err)
		return fmt.Sprint(now.Status, " ", now.Reason)
	}
	pay := func(n berth.Nano) {
		t.Helper()
		_, err := h.ledger.Pay(h.owner(), payer, berth.Payment{Nano: n, Reference: fmt.Sprint("transfer ", h.ids.Add(1))})
		must(t, err)
	}
	pay(-100 * unit)
	h.pass(berth.ArrearsGrace)
	must(t, h.deployments.CheckArrears(h.Context()))
	if got := status(); !strings.HasPrefix(got, "ARREARS_DOWN ") {
		t.Fatalf("it owes for a day: %s", got)
	}
	// 100 were owed, and 54 of the deposit came back.
	pay(50 * unit)
	if got := status(); !strings.Contains(got, "ARREARS_RECOVERING") || !strings.Contains(got, "has 4.00 CNY to spend and the purchase needs 54.00 CNY now") {
		t.Errorf("paid, but for another hour: %s", got)
	}
	must(t, h.deployments.CheckArrears(h.Context()))
	pay(50 * unit)
	if got := status(); got != "ARREARS_RECOVERING " {
		t.Errorf("all is paid: %s", got)
	}
	// Terms hold at once, too.
	pay(-100 * unit)
	h.pass(berth.ArrearsGrace)
	must(t, h.deployments.CheckArrears(h.Context()))
	no, limit := false, 1000*unit
	a, err := h.workspaces.UpdateAccount(h.owner(), payer, berth.AccountChange{Prepaid: &no, CreditLimit: &limit})
	if must(t, err); !a.Arrears.Since.IsZero() || status() != "ARREARS_RECOVERING " {
		t.Errorf("a larger limit: %+v, %s", a.Arrears, status())
	}
}

// Another currency does not make what is owed in the former one go away, nor does money in
// one pay for the other; each has the whole credit limit.
func TestAFormerCurrencyIsStillOwed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	h.sells()
	limit := 100 * unit
	h.terms(func(a *berth.Account) {
		a.CreditLimit = &limit
		a.Later = []berth.CurrencyFrom{{From: h.now().Add(time.Hour), Currency: "USD"}, {From: h.now().Add(100 * time.Hour), Currency: "CNY"}}
	})
	overdue := func() bool {
		t.Helper()
		must(t, h.deployments.CheckArrears(h.Context()))
		a, err := h.workspaces.Account(h.owner(), payer)
		must(t, err)
		return !a.Arrears.Since.IsZero()
	}
	pay := func(n berth.Nano, currency string) {
		t.Helper()
		_, err := h.ledger.Pay(h.owner(), payer, berth.Payment{Nano: n, Currency: currency, Reference: fmt.Sprint("transfer ", h.ids.Add(1))})
		must(t, err)
	}
	pay(-100*unit, "CNY")
	h.pass(2 * time.Hour)
	pay(-100*unit, "USD")
	if overdue() {
		t.Error("overdue within the limit of each")
	}
	pay(-unit, "CNY")
	pay(500*unit, "USD")
	if !overdue() {
		t.Error("more than the limit is owed in the former currency, and nobody minds")
	}
	_, err := h.deployments.Create(h.admin(), onMU1("abacus", ""))
	refused(t, err, berth.CodeArrearage, "overdue by 1.00 CNY")
	pay(unit, "CNY")
	if overdue() {
		t.Error("overdue although it has paid")
	}
	h.mustCreate(h.admin(), onMU1("abacus", ""))
}
