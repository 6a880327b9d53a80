package berth

import (
	"math"
	"slices"
)

// Cost is what a quoted purchase costs.
type Cost struct {
	Currency string
	// Hour is what it costs for each hour in which it serves; 0 of what is paid in advance or
	// by the token.
	Hour Nano
	// Deposit is what the purchase holds on the account: [DepositMinutes] of its price, or all
	// that is paid in advance.
	Deposit Nano
	// Spendable is what the account has for that, below 0 by how much it is overdue; nil: any
	// amount.
	Spendable *Nano
	Parts     []CostPart
}

// CostPart is what one dimension costs. Its amount is that of its whole quantity, rounded
// once.
type CostPart struct {
	Dimension Dimension
	// Class is [ClassOverflow] of tokens beyond what is reserved, "" of all else.
	Class      Class
	FromTokens int64 // of the prompt: the tier of the price
	// Quantity is that of an hour, or of a whole term that is paid in advance, in the
	// dimension's [Dimension.Unit]; 0 of tokens, of which nobody knows how many come.
	Quantity int64
	Unpriced bool  // it has no price and is free
	Price    Nano  // for each Per
	Per      int64 // in the same unit as Quantity
	Amount   Nano
}

// Unpriced reports whether something that is sold has no price and is free. What goes beyond
// a reservation is not: it is served as far as there is room.
func (c *Cost) Unpriced() bool { return len(c.missing()) > 0 }

// missing are the dimensions that have no price.
func (c *Cost) missing() (missing []Dimension) {
	for _, p := range c.Parts {
		if p.Unpriced && p.Class == "" {
			missing = append(missing, p.Dimension)
		}
	}
	return missing
}

// add adds parts to the cost and returns what they come to.
func (c *Cost) add(parts []CostPart) (sum Nano, err error) {
	c.Parts = append(c.Parts, parts...)
	for _, p := range parts {
		if sum, err = sum.Plus(p.Amount); err != nil {
			return 0, err
		}
	}
	c.Deposit, err = c.Deposit.Plus(sum)
	return sum, err
}

// CostOf returns what so many minutes of a step come to, by dimension. a says what is asked
// for but for the dimension; a reservation of thinking that has no price costs what one of
// output does. [CodeInvalid] when it is more than can be booked.
func (b *Book) CostOf(step RunStep, minutes int64, a Asked) (parts []CostPart, err error) {
	for _, part := range []struct {
		dimension Dimension
		quantity  int64
	}{
		{DimensionUnitMinute, step.Units},
		{DimensionInputTPMMinute, step.PTU.InputTPM},
		{DimensionOutputTPMMinute, step.PTU.OutputTPM},
		{DimensionThinkingTPMMinute, step.PTU.ThinkingTPM},
	} {
		if part.quantity <= 0 || minutes <= 0 {
			continue
		}
		if part.quantity > math.MaxInt64/minutes {
			return nil, errTooMuch()
		}
		a.Dimension = part.dimension
		p, err := b.partOf(part.quantity*minutes, a)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// partOf returns what a quantity of the asked dimension by time comes to.
func (b *Book) partOf(quantity int64, a Asked) (part CostPart, err error) {
	part = CostPart{Dimension: a.Dimension, Quantity: quantity}
	price, ok := b.Find(a)
	if !ok && a.Dimension == DimensionThinkingTPMMinute {
		a.Dimension = DimensionOutputTPMMinute
		price, ok = b.Find(a)
	}
	if !ok {
		part.Unpriced, part.Per = true, 1
		return part, nil
	}
	_, each := a.Dimension.Unit()
	if price.Per > math.MaxInt64/each {
		return part, errTooMuch()
	}
	part.Price, part.Per = price.Nano, price.Per*each
	part.Amount, err = AmountOf(part.Price, part.Quantity, part.Per)
	return part, err
}

// TokenCost returns what tokens cost that are paid one by one, with all tiers. Cached and
// thinking ones are in it when they have a price of their own; else they cost what input and
// output do.
func (b *Book) TokenCost(a Asked) (parts []CostPart) {
	for _, a.Dimension = range []Dimension{DimensionInput, DimensionCached, DimensionOutput, DimensionThinking} {
		tiers := b.tiers(a)
		if must := a.Dimension == DimensionInput || a.Dimension == DimensionOutput; must && (len(tiers) == 0 || tiers[0].FromTokens > 0) {
			parts = append(parts, CostPart{Dimension: a.Dimension, Unpriced: true, Per: 1})
		}
		for _, p := range tiers {
			parts = append(parts, CostPart{Dimension: a.Dimension, FromTokens: p.FromTokens, Price: p.Nano, Per: p.Per})
		}
	}
	return parts
}

// tiers returns the prices that hold for prompts of some length, the shortest first.
func (b *Book) tiers(a Asked) (found []Price) {
	var starts []int64
	for _, model := range []string{a.Model, a.Base, AnyModel} {
		for _, spec := range []string{a.Spec, ""} {
			for _, plan := range []Plan{a.Plan, ""} {
				for _, p := range b.versions[selector{a.Currency, model, spec, plan, a.Dimension}] {
					starts = append(starts, p.FromTokens)
				}
			}
		}
	}
	slices.Sort(starts)
	for _, a.Tokens = range slices.Compact(starts) {
		p, ok := b.Find(a)
		if n := len(found); ok && (n == 0 || found[n-1].ID != p.ID) {
			found = append(found, p)
		}
	}
	return found
}
