package app

import (
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
)

func TestTheBookThatBerthComesWith(t *testing.T) {
	t.Parallel()
	prices, err := seedPrices(config.Billing{Currency: "CNY", SeedPrices: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)
	asked := make([]berth.NewPrice, len(prices))
	for i, p := range prices {
		asked[i] = berth.NewPrice{
			Plan: p.Plan, Model: p.Model, Spec: p.Spec, Dimension: p.Dimension, FromTokens: p.FromTokens, Nano: p.Nano, Per: p.Per, Currency: p.Currency,
		}
		prices[i].From = now
	}
	// An owner could set every one of them, and each is there once.
	if _, err := berth.NewPrices(asked, "", now); err != nil {
		t.Error(err)
	}
	book := berth.NewBook(prices)
	for name, c := range map[string]struct {
		asked     berth.Asked
		nano, per int64
	}{
		"a unit hour of MU3":             {berth.Asked{Plan: berth.PlanMU, Model: "any", Spec: "MU3", Dimension: berth.DimensionUnitMinute}, 137e9, 60},
		"of MU8":                         {berth.Asked{Plan: berth.PlanMU, Model: "any", Spec: "MU8", Dimension: berth.DimensionUnitMinute}, 47e9, 60},
		"input throughput":               {berth.Asked{Plan: berth.PlanPTU, Model: "qwen-flash-2025-07-28", Dimension: berth.DimensionInputTPMMinute}, 360e6, 60},
		"output throughput":              {berth.Asked{Plan: berth.PlanPTU, Model: "qwen-plus-2025-12-01", Dimension: berth.DimensionOutputTPMMinute}, 480e6, 60},
		"thinking throughput":            {berth.Asked{Plan: berth.PlanPTU, Model: "qwen-plus-2025-12-01", Dimension: berth.DimensionThinkingTPMMinute}, 1920e6, 60},
		"input of an adapter's base":     {berth.Asked{Plan: berth.PlanLoRA, Model: "mine", Base: "qwen3-8b", Dimension: berth.DimensionInput, Tokens: 5}, 500e6, 1e6},
		"its thinking":                   {berth.Asked{Plan: berth.PlanLoRA, Model: "mine", Base: "qwen3-8b", Dimension: berth.DimensionThinking}, 5e9, 1e6},
		"a short prompt":                 {berth.Asked{Plan: berth.PlanLoRA, Base: "qwen3.5-27b", Dimension: berth.DimensionOutput, Tokens: 127_999}, 4800e6, 1e6},
		"a long prompt":                  {berth.Asked{Plan: berth.PlanLoRA, Base: "qwen3.5-27b", Dimension: berth.DimensionOutput, Tokens: 128_000}, 14400e6, 1e6},
		"no thinking of its own":         {berth.Asked{Plan: berth.PlanLoRA, Base: "qwen2.5-7b-instruct", Dimension: berth.DimensionThinking}, 0, 0},
		"no cached tokens":               {berth.Asked{Plan: berth.PlanLoRA, Base: "qwen3-8b", Dimension: berth.DimensionCached}, 0, 0},
		"no tokens beyond a reservation": {berth.Asked{Plan: berth.PlanPTU, Model: "qwen3-8b", Dimension: berth.DimensionInput}, 0, 0},
	} {
		c.asked.Currency, c.asked.At = "CNY", now
		if p, found := book.Find(c.asked); found != (c.per > 0) || int64(p.Nano) != c.nano || p.Per != c.per {
			t.Errorf("%s: %+v, %v", name, p, found)
		}
	}
	for name, c := range map[string]config.Billing{"another currency": {Currency: "EUR", SeedPrices: true}, "unwanted": {Currency: "CNY"}} {
		if prices, err := seedPrices(c); err != nil || prices != nil {
			t.Errorf("%s: %d prices, %v", name, len(prices), err)
		}
	}
}

func TestSeedsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"cu m 1", "mu *", "mu * MU1 1 2", "mu * MU1 x", "lora m x 1", "ptu m 1 2 3 4", "lora m 0"} {
		if prices, err := readSeeds("\n" + text); err == nil {
			t.Errorf("%s: %+v", text, prices)
		}
	}
}
