package app

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/config"
)

// seedCurrency is the currency of prices.txt.
const seedCurrency = "CNY"

//go:embed prices.txt
var seedText string

// seedPrices returns the book that a first start begins with: none in another currency, or
// where the configuration says so.
func seedPrices(c config.Billing) ([]berth.Price, error) {
	if c.Currency != seedCurrency || !c.SeedPrices {
		return nil, nil
	}
	return readSeeds(seedText)
}

func readSeeds(text string) ([]berth.Price, error) {
	var all []berth.Price
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		prices, err := seedLine(berth.Plan(fields[0]), fields[1:])
		if err != nil {
			return nil, fmt.Errorf("prices.txt:%d: %w", i+1, err)
		}
		all = append(all, prices...)
	}
	return all, nil
}

// What an amount on a line of prices.txt is for.
var (
	hourly  = []berth.Dimension{berth.DimensionInputTPMMinute, berth.DimensionOutputTPMMinute, berth.DimensionThinkingTPMMinute}
	million = []berth.Dimension{berth.DimensionInput, berth.DimensionOutput, berth.DimensionThinking}
)

func seedLine(plan berth.Plan, fields []string) ([]berth.Price, error) {
	price := berth.Price{Plan: plan, Currency: seedCurrency, Per: 60}
	dimensions := hourly
	named := map[berth.Plan]int{berth.PlanMU: 2, berth.PlanPTU: 1, berth.PlanLoRA: 2}[plan]
	if named == 0 || len(fields) <= named {
		return nil, fmt.Errorf("a line is a plan, a model, a spec or a tier, and amounts, not %q", fields)
	}
	price.Model = fields[0]
	switch plan {
	case berth.PlanMU:
		price.Spec, dimensions = fields[1], []berth.Dimension{berth.DimensionUnitMinute}
	case berth.PlanLoRA:
		from, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, err
		}
		price.FromTokens, price.Per, dimensions = from, 1_000_000, million
	}
	amounts := fields[named:]
	if len(amounts) > len(dimensions) {
		return nil, fmt.Errorf("%q are more amounts than %d", amounts, len(dimensions))
	}
	var prices []berth.Price
	for i, amount := range amounts {
		nano, err := api.ParseAmount(amount)
		if err != nil {
			return nil, err
		}
		price.Dimension, price.Nano = dimensions[i], berth.Nano(nano)
		prices = append(prices, price)
	}
	return prices, nil
}
