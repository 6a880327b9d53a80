package cli

import (
	"math/big"
	"slices"
	"strings"

	"github.com/berthhq/berth/api"
)

// tagText says what one dimension costs, exactly.
func tagText(t api.PriceTag) string {
	if t.Unpriced {
		return "unpriced"
	}
	return money(t.PriceNano, t.Currency) + " for " + tagPer(t.Dimension, t.Per)
}

// tagPer says for how much of a dimension a price is.
func tagPer(dimension string, per int64) string {
	switch dimension {
	case api.DimensionUnitMinute:
		return amount(per, "unit minute")
	case api.DimensionInputTPMMinute:
		return amount(per, "minute") + " of 10,000 tpm"
	case api.DimensionOutputTPMMinute, api.DimensionThinkingTPMMinute:
		return amount(per, "minute") + " of 1,000 tpm"
	}
	return amount(per, "token")
}

// tagName says what a price is of.
func tagName(t api.PriceTag) string {
	name := "Price of " + t.Plan
	if t.Spec != "" {
		name += " on " + t.Spec
	}
	if t.Dimension == api.DimensionUnitMinute {
		return name
	}
	name += ", " + strings.TrimSuffix(t.Dimension, "_minute")
	if t.FromTokens > 0 {
		name += " " + count(t.FromTokens) + "+"
	}
	return name
}

// priceNote says in brief what a model costs under each plan: an hour of a unit on its
// first spec; of 10,000 input and 1,000 output tokens per minute; a million tokens of input
// and of output with the shortest prompts.
func priceNote(m api.Model) string {
	var parts []string
	currency := ""
	for _, plan := range m.Plans {
		var of []string
		after := "/h"
		for _, dimensions := range [][]string{{api.DimensionUnitMinute}, {api.DimensionInputTPMMinute, api.DimensionOutputTPMMinute}, {api.DimensionInput, api.DimensionOutput}} {
			if len(of) > 0 {
				break
			}
			for _, d := range dimensions {
				i := slices.IndexFunc(m.Prices, func(t api.PriceTag) bool { return t.Plan == plan && t.Dimension == d && t.FromTokens == 0 })
				if i < 0 || m.Prices[i].Unpriced {
					continue
				}
				each := int64(60)
				if !strings.HasSuffix(d, "_minute") {
					each, after = 1_000_000, "/M"
				}
				currency = m.Prices[i].Currency
				of = append(of, api.FormatAmount(scaled(m.Prices[i].PriceNano, each, m.Prices[i].Per), currency))
			}
		}
		if len(of) > 0 {
			parts = append(parts, plan+" "+strings.Join(of, "+")+after)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " " + currency
}

// scaled is the price of so many others than it is for, rounded half up.
func scaled(nano, each, per int64) int64 {
	n := new(big.Int).Mul(big.NewInt(nano), big.NewInt(2*each))
	n.Add(n, big.NewInt(per))
	return n.Quo(n, big.NewInt(2*per)).Int64()
}
