package berth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// mu is the price of a unit hour of a spec.
func mu(nano berth.Nano, from time.Time) berth.NewPrice {
	return berth.NewPrice{Plan: berth.PlanMU, Spec: "MU1", Dimension: berth.DimensionUnitMinute, Nano: nano, Per: 60, From: from}
}

func TestPricesHoldUntilTheNextVersionBegins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.pass(30 * time.Second)
	set := func(list ...berth.NewPrice) []berth.PriceVersion {
		t.Helper()
		got, err := h.prices.Set(h.owner(), list)
		must(t, err)
		return got
	}
	list := func(f berth.PriceFilter) string {
		t.Helper()
		got, err := h.prices.List(h.admin(), f)
		must(t, err)
		var text []string
		for _, v := range got {
			from, to := v.From.Format("15:04"), "…"
			if !v.To.IsZero() {
				to = v.To.Format("15:04")
			}
			if v.Withdrawn {
				from += " none"
			}
			text = append(text, fmt.Sprintf("%s %s %s %d %d %s %s-%s", v.Model, v.Spec, v.Dimension, v.FromTokens, v.Nano, v.Currency, from, to))
		}
		return strings.Join(text, "\n")
	}
	check := func(what, got string, want ...string) {
		t.Helper()
		if got != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
		}
	}
	made := set(mu(54, time.Time{}))
	if got, err := berth.NewPrices([]berth.NewPrice{{Dimension: berth.DimensionUnitMinute, Per: 1}, {Dimension: berth.DimensionOutputTPMMinute, Per: 1}, {Dimension: berth.DimensionOutput, Per: 1}}, "CNY", h.now()); err != nil ||
		got[0].Plan != berth.PlanMU || got[1].Plan != berth.PlanPTU || got[2].Plan != "" {
		t.Errorf("without a plan: %+v, %v", got, err)
	}
	if v := made[0]; v.Model != berth.AnyModel || v.Currency != "CNY" || !v.From.Equal(time.Date(2026, 10, 2, 9, 1, 0, 0, time.UTC)) || v.Creator == "" || !v.To.IsZero() {
		t.Errorf("set %+v", v)
	}
	check("before it begins", list(berth.PriceFilter{}))
	h.pass(30 * time.Second)
	check("then", list(berth.PriceFilter{}), "* MU1 unit_minute 0 54 CNY 09:01-…")

	ten, eleven := h.now().Add(59*time.Minute), h.now().Add(119*time.Minute)
	input := berth.NewPrice{Plan: berth.PlanLoRA, Model: "words", Dimension: berth.DimensionInput, Nano: 600_000_000, Per: 1_000_000, From: ten}
	long := input
	long.FromTokens, long.Nano = 128_000, 1_800_000_000
	withdrawn := mu(0, eleven)
	withdrawn.Per, withdrawn.Withdrawn = 0, true
	dollars := mu(8, ten)
	dollars.Currency = "USD"
	made = set(mu(60, ten), withdrawn, input, long, dollars)
	if len(made) != 5 || made[0].To != eleven || made[1].Withdrawn != true {
		t.Errorf("set %+v", made)
	}
	set(mu(61, ten)) // before the other of that moment began, which therefore never holds
	check("now", list(berth.PriceFilter{}), "* MU1 unit_minute 0 54 CNY 09:01-10:00")
	check("later", list(berth.PriceFilter{At: ten}),
		"* MU1 unit_minute 0 61 CNY 10:00-11:00", "* MU1 unit_minute 0 8 USD 10:00-…",
		"words  input 0 600000000 CNY 10:00-…", "words  input 128000 1800000000 CNY 10:00-…")
	check("once withdrawn", list(berth.PriceFilter{At: eleven, Spec: "MU1", Currency: "CNY"}))
	check("the history", list(berth.PriceFilter{History: true, Plan: berth.PlanMU, Currency: "CNY", Dimension: berth.DimensionUnitMinute, Model: berth.AnyModel}),
		"* MU1 unit_minute 0 54 CNY 09:01-10:00", "* MU1 unit_minute 0 60 CNY 10:00-10:00", "* MU1 unit_minute 0 61 CNY 10:00-11:00", "* MU1 unit_minute 0 0 CNY 11:00 none-…")
	if audits := h.books().Audits; len(audits) != 3 || audits[2].Action != "price.set" {
		t.Errorf("audits %+v", audits)
	}
}

func TestPricesThatCannotBe(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	with := func(change func(*berth.NewPrice)) berth.NewPrice {
		p := mu(54, time.Time{})
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		price berth.NewPrice
		want  string
	}{
		"a minute ago":          {with(func(p *berth.NewPrice) { p.From = h.now().Add(-time.Minute) }), "use 2026-10-02T09:00:10Z or later"},
		"too soon":              {with(func(p *berth.NewPrice) { p.From = h.now().Add(9 * time.Second) }), "prices hold from the future on"},
		"between seconds":       {with(func(p *berth.NewPrice) { p.From = h.now().Add(time.Hour + 1) }), "whole second"},
		"no dimension":          {with(func(p *berth.NewPrice) { p.Dimension = "" }), `The dimension "" is not known; use one of unit_minute, `},
		"a strange currency":    {with(func(p *berth.NewPrice) { p.Currency = "CNX" }), `"CNX"`},
		"half a currency":       {with(func(p *berth.NewPrice) { p.Currency = " CN" }), "ISO 4217"},
		"another plan":          {with(func(p *berth.NewPrice) { p.Plan = berth.PlanLoRA }), `the plan "lora" does not sell it; use mu`},
		"per nothing":           {with(func(p *berth.NewPrice) { p.Per = 0 }), "Range of per"},
		"below nothing":         {with(func(p *berth.NewPrice) { p.Nano = -1 }), "below 0"},
		"too dear":              {with(func(p *berth.NewPrice) { p.Nano = 60*5_000_000_000_000 + 1 }), "too large"},
		"a tier of time":        {with(func(p *berth.NewPrice) { p.FromTokens = 1 }), "from_tokens is for tokens only"},
		"a tier below nothing":  {with(func(p *berth.NewPrice) { p.Plan, p.Spec, p.Dimension, p.FromTokens = "", "", "input", -1 }), "Range of from_tokens"},
		"tokens of a spec":      {with(func(p *berth.NewPrice) { p.Plan, p.Dimension = "", "output" }), "spec is for unit_minute only"},
		"a withdrawal's price":  {with(func(p *berth.NewPrice) { p.Withdrawn = true }), "a withdrawal has no price"},
		"a name with a space":   {with(func(p *berth.NewPrice) { p.Model = "a b" }), "model has spaces"},
		"a spec without an end": {with(func(p *berth.NewPrice) { p.Spec = strings.Repeat("x", 129) }), "longer than 128 bytes"},
	} {
		err := h.unchanged(func() error {
			_, err := h.prices.Set(h.owner(), []berth.NewPrice{mu(1, time.Time{}), c.price})
			return err
		})
		if berth.CodeOf(err) != berth.CodeInvalid || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "prices[1] of ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, list := range map[string][]berth.NewPrice{
		"none": {}, "too many": make([]berth.NewPrice, berth.MaxPricesAtOnce+1), "twice": {mu(1, time.Time{}), mu(2, time.Time{})},
	} {
		if err := h.unchanged(func() error { _, err := h.prices.Set(h.owner(), list); return err }); berth.CodeOf(err) != berth.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	dearest := with(func(p *berth.NewPrice) { p.Nano = 60 * 5_000_000_000_000 })
	_, err := h.prices.Set(h.owner(), []berth.NewPrice{dearest})
	must(t, err)
	if err := h.unchanged(func() error { _, err := h.prices.Set(h.admin(), []berth.NewPrice{mu(1, time.Time{})}); return err }); berth.CodeOf(err) != berth.CodeForbidden {
		t.Errorf("an admin sets prices: %v", err)
	}
	if _, err := h.prices.List(h.as(home, berth.RoleInference), berth.PriceFilter{}); berth.CodeOf(err) != berth.CodeForbidden {
		t.Errorf("a guest lists prices: %v", err)
	}
	if _, err := h.prices.List(h.admin(), berth.PriceFilter{Dimension: "hour"}); berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("a strange dimension: %v", err)
	}
}
