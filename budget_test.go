package berth_test

import (
	"context"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestBudgetAfter(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("UTC+8", 8*60*60)
	month := berth.Period{Name: "2026-10", Start: time.Date(2026, 10, 1, 0, 0, 0, 0, zone), End: time.Date(2026, 11, 1, 0, 0, 0, 0, zone)}
	end := month.End.UTC()
	of := func(n berth.Nano) berth.Budget { return berth.Budget{Amount: &n} }
	in := func(name string, b berth.Budget) berth.Budget { b.Month = name; return b }
	warned := func(b berth.Budget) berth.Budget { b.Warned = true; return b }
	stopped := func(b berth.Budget) berth.Budget { b.Warned, b.Reached, b.StoppedUntil = true, true, end; return b }
	reached := func(b berth.Budget) berth.Budget { b.Warned, b.Reached = true, true; return b }
	only := func(b berth.Budget) berth.Budget { b.WarnOnly = true; return b }
	for what, c := range map[string]struct {
		before berth.Budget
		spent  berth.Nano
		want   berth.Budget
	}{
		"none":                           {berth.Budget{Month: "2026-10", Warned: true, StoppedUntil: end}, 5, berth.Budget{}},
		"little is spent":                {of(100), 79, in("2026-10", of(100))},
		"four fifths are":                {of(100), 80, in("2026-10", warned(of(100)))},
		"all is":                         {of(100), 100, in("2026-10", stopped(of(100)))},
		"more is":                        {in("2026-10", stopped(of(100))), 101, in("2026-10", stopped(of(100)))},
		"it turns out that it was less":  {in("2026-10", stopped(of(100))), 90, in("2026-10", warned(of(100)))},
		"another month":                  {in("2026-09", stopped(of(100))), 0, in("2026-10", of(100))},
		"it only warns":                  {only(of(100)), 200, in("2026-10", only(reached(of(100))))},
		"nothing may be spent":           {of(0), 0, in("2026-10", stopped(of(0)))},
		"a refund is more than all else": {of(100), -5, in("2026-10", of(100))},
	} {
		got := c.before.After(c.spent, month)
		if (got.Amount == nil) != (c.want.Amount == nil) || got.Amount != nil && *got.Amount != *c.want.Amount {
			t.Errorf("%s: the amount is %v", what, got.Amount)
		}
		if got.Amount = c.want.Amount; got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}

// spend puts a line of a month on the statement of the account.
func (h *house) spend(month string, n berth.Nano) {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		return tx.Lines().Put(ctx, berth.Line{AccountID: payer, WorkspaceID: home, Month: month, Day: month + "-02", Currency: "CNY", Amount: n, Quantity: 1, Per: 1})
	})
}

// A budget that is spent stops the calls of its workspace, until its month is over or it is
// larger; who looks after it is told once.
func TestBudgets(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	check := func(want int) berth.BudgetNews {
		t.Helper()
		news, err := h.workspaces.CheckBudgets(h.Context())
		must(t, err)
		if len(news) != want {
			t.Fatalf("%d are told, want %d: %+v", len(news), want, news)
		}
		if want == 0 {
			return berth.BudgetNews{}
		}
		return news[0]
	}
	set := func(n berth.Nano) berth.Budget {
		t.Helper()
		w, err := h.workspaces.Update(h.owner(), home, berth.WorkspaceChange{Budget: &berth.Budget{Amount: &n}})
		must(t, err)
		return w.Budget
	}
	stopped := func() time.Time {
		t.Helper()
		var state berth.Routing
		must(t, h.store.View(h.Context(), func(tx berth.Tx) (err error) {
			state, err = berth.ReadRouting(h.Context(), tx)
			return err
		}))
		return state.Snapshot(h.now()).Stopped[home]
	}
	set(100)
	check(0)
	h.spend("2026-10", 85)
	if n := check(1); n.Spent != 85 || n.Month != "2026-10" || n.Currency != "CNY" || n.Amount != 100 || n.Kind != berth.BudgetWarned {
		t.Errorf("told %+v", n)
	}
	check(0)
	h.spend("2026-10", 100)
	if n := check(1); n.WorkspaceID != home || n.Kind != berth.BudgetStopped || h.published.Load() != h.books().Version {
		t.Errorf("told %+v", n)
	}
	november := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if at := stopped(); !at.Equal(november) {
		t.Errorf("stopped until %s", at)
	}
	check(0)
	if w, err := h.workspaces.Get(h.owner(), home); err != nil || w.Budget.Spent != 100 || w.Budget.Currency != "CNY" || !w.Budget.Warned {
		t.Errorf("shown %+v, %v", w.Budget, err)
	}
	if b := set(200); !b.StoppedUntil.IsZero() || !stopped().IsZero() {
		t.Errorf("a larger one: %+v", b)
	}
	if b := set(50); !b.StoppedUntil.Equal(november) {
		t.Errorf("a smaller one: %+v", b)
	}
	h.pass(november.Sub(h.now()))
	check(0)
	if at := stopped(); !at.IsZero() {
		t.Errorf("in the next month it is stopped until %s", at)
	}
	if _, err := h.workspaces.Update(h.owner(), home, berth.WorkspaceChange{Budget: &berth.Budget{}}); err != nil {
		t.Error(err)
	}
	h.spend("2026-11", 1000)
	check(0)
}
