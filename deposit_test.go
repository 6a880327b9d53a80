package berth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// unit is one of a currency.
const unit berth.Nano = 1_000_000_000

// sells sets prices: 54 an hour for a unit of MU1, and 0.36 an hour for 10,000 input and for
// 1,000 output tokens per minute.
func (h *house) sells() {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for i, p := range []berth.Price{
			{Plan: berth.PlanMU, Model: berth.AnyModel, Spec: "MU1", Dimension: berth.DimensionUnitMinute, Nano: 54 * unit, Per: 60},
			{Plan: berth.PlanPTU, Model: "abacus", Dimension: berth.DimensionInputTPMMinute, Nano: 36 * unit / 100, Per: 60},
			{Plan: berth.PlanPTU, Model: "abacus", Dimension: berth.DimensionOutputTPMMinute, Nano: 36 * unit / 100, Per: 60},
		} {
			p.ID, p.Currency, p.From = fmt.Sprint("price_", i), "CNY", h.now()
			must(h, tx.Prices().Insert(ctx, p))
		}
		return nil
	})
}

// terms changes the account that pays.
func (h *house) terms(fn func(*berth.Account)) {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		a, err := tx.Accounts().Account(ctx, payer)
		must(h, err)
		fn(&a)
		return tx.Accounts().UpdateAccount(ctx, a)
	})
}

func prepaid(a *berth.Account) { a.Prepaid = true }

// pay books money for the account, below 0 a debt.
func (h *house) pay(n berth.Nano) {
	h.Helper()
	id := fmt.Sprint("paid", h.ids.Add(1))
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		_, err := tx.Ledger().Post(ctx, berth.Posting{
			ID: id, At: h.now(), AccountID: payer, Cause: berth.CausePayment, Reference: id, Currency: "CNY",
			Entries: []berth.Entry{{Side: berth.CashSide(payer), Nano: -n}, {Side: berth.CustomerSide(payer), Nano: n}},
		})
		return err
	})
}

// has returns what the account has and what is on deposit for a deployment, in hundredths.
func (h *house) has(d berth.Deployment) string {
	h.Helper()
	var free, held berth.Nano
	ctx := h.Context()
	must(h, h.store.View(ctx, func(tx berth.Tx) (err error) {
		if free, err = tx.Ledger().Balance(ctx, berth.CustomerSide(payer), "CNY"); err != nil {
			return err
		}
		held, err = tx.Ledger().Balance(ctx, berth.DepositSide(d.ID), "CNY")
		return err
	}))
	return fmt.Sprintf("%d + %d", free/(unit/100), held/(unit/100))
}

func TestCostOf(t *testing.T) {
	t.Parallel()
	price := func(d berth.Dimension, n berth.Nano) berth.Price {
		return berth.Price{ID: string(d), Model: berth.AnyModel, Dimension: d, Nano: n, Per: 60, Currency: "CNY"}
	}
	book := berth.NewBook([]berth.Price{
		price(berth.DimensionUnitMinute, 54*unit), price(berth.DimensionInputTPMMinute, 36*unit/100), price(berth.DimensionOutputTPMMinute, 36*unit/100),
	})
	for what, c := range map[string]struct {
		step    berth.RunStep
		minutes int64
		book    *berth.Book
		want    string
	}{
		"eight units for ninety minutes":      {berth.RunStep{Units: 8}, 90, book, "648000000000 []"},
		"reserved throughput for three hours": {berth.RunStep{PTU: berth.PTUCapacity{InputTPM: 20_000, OutputTPM: 2_000}}, 180, book, "4320000000 []"},
		"thinking costs what output does":     {berth.RunStep{PTU: berth.PTUCapacity{ThinkingTPM: 1_000}}, 60, book, "360000000 []"},
		"nothing":                             {berth.RunStep{}, 60, book, "0 []"},
		"what has no price":                   {berth.RunStep{Units: 1, PTU: berth.PTUCapacity{ThinkingTPM: 1}}, 60, berth.NewBook(nil), "0 [unit_minute 1k_thinking_tpm_minute]"},
	} {
		parts, err := c.book.CostOf(c.step, c.minutes, berth.Asked{Currency: "CNY", At: time.Unix(1, 0)})
		var n berth.Nano
		missing := []berth.Dimension{}
		for _, p := range parts {
			n += p.Amount
			if p.Unpriced {
				missing = append(missing, p.Dimension)
			}
		}
		if got := fmt.Sprint(int64(n), " ", missing); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", what, got, err, c.want)
		}
	}
	_, err := book.CostOf(berth.RunStep{Units: 1 << 60}, 1<<10, berth.Asked{Currency: "CNY", At: time.Unix(1, 0)})
	refused(t, err, berth.CodeInvalid, "too large")
}

// A purchase holds the first hour of what it will cost, and what is left of that comes back
// when the deployment does not run any more.
func TestDepositsFollowPurchases(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	h.sells()
	h.terms(prepaid)
	h.pay(1000 * unit)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	expect := func(what, want string) {
		t.Helper()
		if got := h.has(d); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("bought", "94600 + 5400")
	h.engines(d.ID, berth.CauseReady, 1)
	scale := func(n int64) {
		t.Helper()
		_, err := h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: &n})
		must(t, err)
	}
	scale(3)
	expect("two more", "83800 + 16200")
	h.engines(d.ID, berth.CauseChangeFailed, 1)
	expect("the change failed", "94600 + 5400")
	h.engines(d.ID, "", 1)
	scale(3)
	h.engines(d.ID, berth.CauseChangeDone, 3)
	expect("the change was made", "83800 + 16200")
	scale(1)
	h.engines(d.ID, berth.CauseChangeDone, 1)
	expect("less holds no more", "83800 + 16200")
	_, err := h.deployments.Stop(h.admin(), d.DeployedModel)
	must(t, err)
	expect("stopped", "100000 + 0")
	h.engines(d.ID, berth.CauseStopped, 0)
	_, err = h.deployments.Start(h.admin(), d.DeployedModel)
	must(t, err)
	expect("started", "94600 + 5400")
	h.engines(d.ID, berth.CauseGaveUp, 0)
	expect("its engines do not come up", "100000 + 0")
	_, err = h.deployments.Start(h.admin(), d.DeployedModel)
	must(t, err)
	_, err = h.deployments.Delete(h.admin(), d.DeployedModel)
	must(t, err)
	expect("deleted", "100000 + 0")
	d = h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", Suffix: "p", PTU: tpm(20_000, 2_000)})
	expect("reserved", "99856 + 144")
	h.engines(d.ID, berth.CauseReady, 1)
	_, err = h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{PTU: tpm(30_000, 3_000)})
	must(t, err)
	expect("more reserved", "99784 + 216")
}

// A purchase that the account cannot pay is refused whole, in words that say what to do.
func TestPurchasesThatCannotBePaid(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	h.sells()
	h.terms(prepaid)
	h.pay(60 * unit)
	two := onMU1("abacus", "")
	two.Capacity = num(2)
	err := h.unchanged(func() error { _, err := h.deployments.Create(h.admin(), two); return err })
	refused(t, err, berth.CodeArrearage, "has 60.00 CNY to spend and the purchase needs 108.00 CNY now, the first 60 minutes of its price, which is held. Pay at least 48.00 CNY")
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	h.engines(d.ID, berth.CauseReady, 1)
	err = h.unchanged(func() error {
		_, err := h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: num(2)})
		return err
	})
	refused(t, err, berth.CodeArrearage, "has 6.00 CNY to spend")
	if q, err := h.deployments.Quote(h.admin(), onMU1("abacus", "q")); err != nil || !strings.Contains(q.Refusal, "has 6.00 CNY to spend and the purchase needs 54.00 CNY now") {
		t.Errorf("a quote says %+v, %v", q, err)
	}
	h.pay(-10 * unit)
	err = h.unchanged(func() error {
		_, err := h.deployments.Create(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora"})
		return err
	})
	refused(t, err, berth.CodeArrearage, "overdue by 4.00 CNY")
	h.terms(func(a *berth.Account) { limit := 1000 * unit; a.Prepaid, a.CreditLimit = false, &limit })
	h.mustCreate(h.admin(), onMU1("abacus", "b"))
	h.terms(func(a *berth.Account) { a.CreditLimit = nil })
	h.mustCreate(h.admin(), onMU1("abacus", "c"))
}

func TestUnpricedIsRefusedWhereThatIsConfigured(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	h.mustCreate(h.admin(), onMU1("abacus", "free"))
	h.deployments.RefuseUnpriced = true
	for what, p := range map[string]berth.Purchase{
		"unit_minute of abacus on MU1":                            onMU1("abacus", ""),
		"10k_input_tpm_minute and 1k_output_tpm_minute of abacus": {ModelName: "abacus", Plan: "ptu"},
		"input and output of words":                               {ModelName: "words", Plan: "lora"},
	} {
		err := h.unchanged(func() error { _, err := h.deployments.Create(h.admin(), p); return err })
		refused(t, err, berth.CodeInvalid, "No price in CNY is set for "+what)
	}
	h.sells()
	h.mustCreate(h.admin(), onMU1("abacus", ""))
}

func TestArrearsAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) berth.Arrears { return berth.Arrears{Since: now.Add(-d)} }
	down := func(a berth.Arrears) berth.Arrears { a.Down = true; return a }
	for what, c := range map[string]struct {
		before  berth.Arrears
		overdue bool
		want    berth.Arrears
	}{
		"it owes nothing":                {berth.Arrears{}, false, berth.Arrears{}},
		"it owes":                        {berth.Arrears{}, true, ago(0)},
		"it owes for some time":          {ago(time.Hour), true, ago(time.Hour)},
		"it owes for a day":              {ago(24 * time.Hour), true, down(ago(24 * time.Hour))},
		"it paid in time":                {ago(23 * time.Hour), false, berth.Arrears{}},
		"it paid too late":               {down(ago(30 * time.Hour)), false, down(berth.Arrears{})},
		"it owes again before all is up": {down(berth.Arrears{}), true, down(ago(0))},
	} {
		if got := c.before.After(c.overdue, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}

// Who is overdue keeps everything for a day; then it is taken down, and bought again when the
// account has paid and there is room.
func TestArrears(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	h.sells()
	h.terms(prepaid)
	h.pay(200 * unit)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	l := h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora"})
	h.engines(d.ID, berth.CauseReady, 1)
	h.engines(l.ID, berth.CauseReady, 1)
	check := func() { t.Helper(); must(t, h.deployments.CheckArrears(h.Context())) }
	states := func() string {
		t.Helper()
		var words []string
		for _, d := range []berth.Deployment{d, l} {
			now, err := h.deployments.Get(h.admin(), d.DeployedModel)
			must(t, err)
			words = append(words, string(now.Status))
		}
		return strings.Join(words, " ")
	}
	expect := func(what, want string) {
		t.Helper()
		if got := states(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	h.pay(-300 * unit)
	check()
	h.pass(24*time.Hour - time.Second)
	check()
	expect("for a day", "RUNNING RUNNING")
	h.pass(time.Second)
	check()
	expect("then", "ARREARS_DOWN ARREARS_DOWN")
	if got := h.has(d); got != "-10000 + 0" {
		t.Errorf("it has %s", got)
	}
	if got, want := h.runs(d), "[0:1,0/0 1440]"; got != want {
		t.Errorf("charged %s, want %s", got, want)
	}
	if b := h.books(); len(b.Members) != 0 {
		t.Errorf("it has a place in a pool: %+v", b.Members)
	}
	if _, err := h.deployments.Start(h.admin(), d.DeployedModel); berth.CodeOf(err) != berth.CodeUnsupported {
		t.Errorf("a start: %v", err)
	}
	h.pay(90 * unit)
	h.pass(time.Hour)
	check()
	expect("paid in part", "ARREARS_DOWN ARREARS_DOWN")
	// Its hardware is free, and others take it.
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		replicas, err := tx.Replicas().OfDeployment(ctx, d.ID)
		must(t, err)
		must(t, tx.Nodes().Release(ctx, replicas[0].ID))
		return tx.Replicas().Delete(ctx, replicas[0].ID)
	})
	other := onMU1("abacus", "")
	other.Capacity = num(3)
	guest := h.mustCreate(h.as(away, berth.RoleAdmin), other)
	h.pay(50 * unit)
	check()
	expect("paid", "ARREARS_RECOVERING ARREARS_RECOVERING")
	reason := func() string {
		now, err := h.deployments.Get(h.admin(), d.DeployedModel)
		must(t, err)
		return now.Reason
	}
	if got := reason(); !strings.Contains(got, "tried again each minute: MU1 x 1 needs") {
		t.Errorf("it waits for room: %q", got)
	}
	_, err := h.deployments.Delete(h.as(away, berth.RoleAdmin), guest.DeployedModel)
	must(t, err)
	h.bury(guest)
	check()
	h.pass(berth.RecoverPause)
	check()
	if got := reason(); !strings.Contains(got, "has 40.00 CNY to spend and the purchase needs 54.00 CNY now") {
		t.Errorf("it waits for money: %q", got)
	}
	h.pay(100 * unit)
	h.pass(berth.RecoverPause)
	check()
	if got, has := reason(), h.has(d); got != "" || has != "8600 + 5400" {
		t.Errorf("it is bought again: %q, %s", got, has)
	}
	h.engines(d.ID, berth.CauseReady, 1)
	h.engines(l.ID, berth.CauseReady, 1)
	h.pass(berth.RecoverPause)
	check()
	expect("in the end", "RUNNING RUNNING")
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		a, err := tx.Accounts().Account(ctx, payer)
		if a.Arrears != (berth.Arrears{}) {
			t.Errorf("something is left: %+v", a.Arrears)
		}
		return err
	})
}

// What was used and is not posted yet cannot be spent again, but for what a deposit is for.
func TestWhatIsNotPostedIsNotSpentAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	h.sells()
	h.terms(prepaid)
	h.pay(100 * unit)
	d := h.mustCreate(h.admin(), onMU1("abacus", ""))
	used := func(id string, n berth.Nano) {
		t.Helper()
		h.tx(func(ctx context.Context, tx berth.Tx) error {
			return tx.Lines().Put(ctx, berth.Line{
				AccountID: payer, WorkspaceID: home, DeploymentID: id, Month: "2026-10", Day: "2026-10-02", Currency: "CNY",
				Quantity: 1, Per: 1, Amount: n, PostedAt: h.now(),
			})
		})
	}
	two := onMU1("abacus", "b")
	two.Capacity = num(2)
	for _, c := range []struct {
		used, others berth.Nano
		left         string
	}{{0, 0, "has 46.00 CNY"}, {54, 0, "has 46.00 CNY"}, {60, 0, "has 40.00 CNY"}, {60, 15, "has 25.00 CNY"}, {60, 50, "is overdue by 10.00 CNY"}} {
		used(d.ID, c.used*unit)
		used("dep_other", c.others*unit)
		err := h.unchanged(func() error { _, err := h.deployments.Create(h.admin(), two); return err })
		refused(t, err, berth.CodeArrearage, c.left)
	}
}
