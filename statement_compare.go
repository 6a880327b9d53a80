package berth

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Comparison is what a month came to beside what it would have come to under other prices.
type Comparison struct {
	Statement                 // of the month; its lines are those that were charged
	Totals    []ComparedTotal // by currency
	Compared  []ComparedLine
}

// ComparedTotal is what the lines of one currency add up to.
type ComparedTotal struct {
	Currency    string
	Cost, Trial Nano
}

// ComparedLine is what one deployment used of one dimension on one day, whatever the tiers
// and versions of prices that it falls apart into under one book and the other. Of the line
// only what is the same in both is set.
type ComparedLine struct {
	Line
	Cost, Trial Nano
}

// Compare returns what the month would have come to if prices had been in the book all
// along. only says that they are the whole book; else each takes the place of every version
// of the same model, plan, spec, dimension, currency and tier. What it cost is counted by the
// days of the month, so lines that came too late for its statement are in it. Needs
// [RoleOwner]. Nothing is written.
func (s *Statements) Compare(ctx context.Context, of StatementOf, prices []NewPrice, only bool) (Comparison, error) {
	if err := ownerOnly(ctx); err != nil {
		return Comparison{}, err
	}
	of, err := of.seenBy(CallerFrom(ctx))
	if err != nil {
		return Comparison{}, err
	}
	cost, err := s.Get(ctx, of)
	if err != nil {
		return Comparison{}, err
	}
	var book []Price
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		if book, err = tx.Prices().List(ctx); err == nil {
			cost.Lines, err = usedIn(ctx, tx, &cost, s.Now())
		}
		return err
	})
	if err != nil {
		return Comparison{}, err
	}
	book = slices.DeleteFunc(book, func(p Price) bool { return !p.From.Before(cost.Period.End) })
	if book, err = tried(book, prices, cost.Currency, s.Now(), only); err != nil {
		return Comparison{}, err
	}
	trial, err := s.Trial(ctx, of, book)
	if err != nil {
		return Comparison{}, err
	}
	return compare(cost, &trial)
}

// usedIn returns the lines of what was used in the month of a statement, on whichever
// statements they are.
func usedIn(ctx context.Context, tx Tx, st *Statement, now time.Time) ([]Line, error) {
	var used []Line
	for of := st.Period; !of.Start.After(now.AddDate(0, 1, 0)); of = st.Account.Next(of) {
		lines, err := tx.Lines().Month(ctx, st.AccountID, of.Name, st.WorkspaceID)
		if err != nil {
			return nil, err
		}
		for i := range lines {
			if strings.HasPrefix(lines[i].Day, st.Month) && lines[i].Quantity != 0 {
				used = append(used, lines[i])
			}
		}
	}
	return used, nil
}

// tried makes the book that is tried.
func tried(book []Price, prices []NewPrice, currency string, now time.Time, only bool) ([]Price, error) {
	always := slices.Clone(prices)
	for i := range always {
		if !always[i].From.IsZero() {
			return nil, Errorf(CodeInvalid, "prices[%d] has a from; prices are tried as if they had held all along, so leave it out.", i)
		}
	}
	made, err := NewPrices(always, currency, now)
	if err != nil {
		return nil, err
	}
	for i := range made {
		made[i].ID, made[i].From = fmt.Sprintf("trial_%04d", i), time.Time{}
	}
	if only {
		return made, nil
	}
	kept := slices.DeleteFunc(slices.Clone(book), func(p Price) bool {
		return slices.ContainsFunc(made, func(q Price) bool { return compareKeys(&p, &q) == 0 })
	})
	return append(kept, made...), nil
}

// comparedKey tells the lines of a comparison apart.
type comparedKey struct {
	day, deployment, currency string
	dimension                 Dimension
	class                     Class
}

func compare(cost Statement, trial *Statement) (Comparison, error) {
	c := Comparison{Statement: cost}
	lines := map[comparedKey]*ComparedLine{}
	totals := map[string]*ComparedTotal{cost.Currency: {Currency: cost.Currency}}
	add := func(list []Line, side func(*Nano, *Nano) *Nano, quantity bool) error {
		for i := range list {
			l := list[i]
			k := comparedKey{l.Day, l.DeploymentID, l.Currency, l.Dimension, l.Class}
			if totals[l.Currency] == nil {
				totals[l.Currency] = &ComparedTotal{Currency: l.Currency}
			}
			t := totals[l.Currency]
			if lines[k] == nil {
				first := l
				first.Quantity, first.Amount, first.Price, first.Per, first.PriceID, first.FromTokens = 0, 0, 0, 0, "", 0
				lines[k] = &ComparedLine{Line: first}
			}
			if quantity {
				lines[k].Quantity += l.Quantity
			}
			for _, sum := range []*Nano{side(&lines[k].Cost, &lines[k].Trial), side(&t.Cost, &t.Trial)} {
				var err error
				if *sum, err = sum.Plus(l.Amount); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := add(cost.Lines, func(cost, _ *Nano) *Nano { return cost }, true); err != nil {
		return c, err
	}
	if err := add(trial.Lines, func(_, trial *Nano) *Nano { return trial }, false); err != nil {
		return c, err
	}
	for _, l := range lines {
		c.Compared = append(c.Compared, *l)
	}
	slices.SortFunc(c.Compared, func(a, b ComparedLine) int {
		return cmp.Or(
			strings.Compare(a.Day, b.Day), strings.Compare(a.DeployedModel, b.DeployedModel), strings.Compare(a.DeploymentID, b.DeploymentID),
			strings.Compare(string(a.Dimension), string(b.Dimension)), strings.Compare(string(a.Class), string(b.Class)), strings.Compare(a.Currency, b.Currency),
		)
	})
	for _, t := range totals {
		c.Totals = append(c.Totals, *t)
	}
	slices.SortFunc(c.Totals, func(a, b ComparedTotal) int { return strings.Compare(a.Currency, b.Currency) })
	return c, nil
}
