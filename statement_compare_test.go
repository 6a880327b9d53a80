package berth_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestAMonthUnderOtherPrices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	line := func(month, day, currency string, tier int64, quantity int64, amount berth.Nano) berth.Line {
		return berth.Line{
			AccountID: payer, Month: month, Day: day, WorkspaceID: home, DeploymentID: "dep_1", DeployedModel: "poet", ModelName: "poet", Plan: berth.PlanLoRA,
			Class: berth.ClassShared, Dimension: berth.DimensionOutput, FromTokens: tier, PriceID: "price_1", Quantity: quantity, Price: 1, Per: 1, Currency: currency, Amount: amount,
		}
	}
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for _, l := range []berth.Line{
			line("2026-09", "2026-09-02", "CNY", 0, 10, 100), line("2026-09", "2026-09-02", "CNY", 128_000, 5, 150),
			line("2026-10", "2026-09-02", "CNY", 0, 1, 10),  // came too late
			line("2026-09", "2026-08-31", "CNY", 0, 7, 777), // of another month
			line("2026-09", "2026-09-03", "USD", 0, 2, 20),
		} {
			must(t, tx.Lines().Put(ctx, l))
		}
		for id, p := range map[string]berth.Price{
			"price_1": {Dimension: berth.DimensionOutput, From: h.now().Add(-48 * time.Hour)},
			"price_2": {Dimension: berth.DimensionOutput, From: h.now().Add(-24 * time.Hour)},
			"price_3": {Dimension: berth.DimensionOutput, FromTokens: 128_000, From: h.now().Add(-48 * time.Hour)},
			"price_4": {Dimension: berth.DimensionInput, From: h.now().Add(time.Hour)}, // after the month
		} {
			p.ID, p.Model, p.Per, p.Currency = id, berth.AnyModel, 1, "CNY"
			must(t, tx.Prices().Insert(ctx, p))
		}
		return nil
	})
	var tried []berth.Price
	st := h.statements()
	st.Rerate = func(_ context.Context, _, _, _ string, prices []berth.Price) ([]berth.Line, error) {
		tried = prices
		return []berth.Line{line("2026-09", "2026-09-02", "CNY", 0, 16, 32), line("2026-09", "2026-09-03", "USD", 0, 2, 4)}, nil
	}
	h.pass(-24 * time.Hour) // the first of October: the price of that day has begun in it
	of := berth.StatementOf{Month: "2026-09"}
	ask := []berth.NewPrice{{Dimension: berth.DimensionOutput, Nano: 2, Per: 1}}
	c, err := st.Compare(h.owner(), of, ask, false)
	must(t, err)
	if !slices.Equal(c.Totals, []berth.ComparedTotal{{Currency: "CNY", Cost: 260, Trial: 32}, {Currency: "USD", Cost: 20, Trial: 4}}) {
		t.Errorf("totals %+v", c.Totals)
	}
	if len(c.Compared) != 2 || c.Compared[0].Quantity != 16 || c.Compared[0].Cost != 260 || c.Compared[0].Trial != 32 || c.Compared[0].DeployedModel != "poet" || c.Compared[0].PriceID != "" {
		t.Errorf("lines %+v", c.Compared)
	}
	var ids []string
	for _, p := range tried {
		ids = append(ids, p.ID)
	}
	if slices.Sort(ids); !slices.Equal(ids, []string{"price_3", "trial_0000"}) {
		t.Errorf("the book that is tried has %v", ids)
	}
	if _, err := st.Compare(h.owner(), of, ask, true); err != nil || len(tried) != 1 || tried[0].Nano != 2 || tried[0].Currency != "CNY" || !tried[0].From.IsZero() {
		t.Errorf("alone: %+v, %v", tried, err)
	}
	for name, c := range map[string]struct {
		as     berth.Role
		prices []berth.NewPrice
		of     berth.StatementOf
		want   string
	}{
		"an admin":        {berth.RoleAdmin, ask, of, "Access denied."},
		"from a day on":   {berth.RoleOwner, []berth.NewPrice{{Dimension: berth.DimensionOutput, Per: 1, From: h.now()}}, of, "prices[0] has a from"},
		"no prices":       {berth.RoleOwner, nil, of, "Field required: prices"},
		"a strange price": {berth.RoleOwner, []berth.NewPrice{{Dimension: "hour", Per: 1}}, of, `The dimension "hour" is not known`},
		"no month":        {berth.RoleOwner, ask, berth.StatementOf{Month: "x"}, "is no month"},
		"no account":      {berth.RoleOwner, ask, berth.StatementOf{AccountID: "7"}, "The account 7 is not there."},
	} {
		err := h.unchanged(func() error { _, err := st.Compare(h.as(home, c.as), c.of, c.prices, false); return err })
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
