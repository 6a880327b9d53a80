package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// A quote shows its cost, on both ways to ask for one; what the account cannot pay and what
// has no price are answers.
func TestQuotesShowTheCost(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ask := func() (own, dry reply) {
		t.Helper()
		body := `{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":2}`
		return d.mustAsk(request{key: "admin", call: "POST /berth/v1/quote", body: body}),
			d.mustAsk(request{key: "admin", call: "POST /api/v1/deployments?dry_run=true", body: body})
	}
	expect := func(what string, possible bool, reason, want string) {
		t.Helper()
		own, dry := ask()
		for _, got := range []any{own.body, dry.at("output")} {
			q, _ := got.(map[string]any)
			cost, err := json.Marshal(q["cost"])
			must(t, err)
			says, _ := q["reason"].(string)
			if q["possible"] != possible || !strings.Contains(says, reason) || string(cost) != want {
				t.Errorf("%s: possible %v, %q, cost %s; want %s", what, q["possible"], says, cost, want)
			}
		}
	}
	expect("no price", true, "",
		`{"currency":"CNY","deposit_nano":0,"lines":[{"amount_nano":0,"dimension":"unit_minute","from_tokens":0,"per":1,"price_nano":0,"quantity":120,"unit":"unit_minute","unpriced":true}],"per_hour_nano":0,"unpriced":true}`)
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		must(d, tx.Prices().Insert(ctx, berth.Price{
			ID: "price_1", Plan: berth.PlanMU, Model: berth.AnyModel, Spec: "MU1", Dimension: berth.DimensionUnitMinute, Nano: 54_000_000_000, Per: 60, Currency: "CNY", From: d.now(),
		}))
		a, err := tx.Accounts().Account(ctx, payer)
		must(d, err)
		limit := berth.Nano(200_000_000_000)
		a.CreditLimit = &limit
		return tx.Accounts().UpdateAccount(ctx, a)
	})
	cost := func(spendable string) string {
		return fmt.Sprintf(`{"currency":"CNY","deposit_nano":108000000000,"lines":[{"amount_nano":108000000000,"dimension":"unit_minute","from_tokens":0,"per":60,"price_nano":54000000000,"quantity":120,"unit":"unit_minute"}],"per_hour_nano":108000000000,"spendable_nano":%s}`, spendable)
	}
	expect("a price", true, "", cost("200000000000"))
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		a, err := tx.Accounts().Account(ctx, payer)
		must(d, err)
		a.Prepaid, a.CreditLimit = true, nil
		return tx.Accounts().UpdateAccount(ctx, a)
	})
	expect("no money", false, "has 0.00 CNY to spend and the purchase needs 108.00 CNY now", cost("0"))
}
