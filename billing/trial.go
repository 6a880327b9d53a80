package billing

import (
	"context"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// sumLengths are the prompt lengths at which sums of usage have been kept apart since ever
// (store: price_lengths).
var sumLengths = []int64{0, 32_000, 32_768, 128_000, 131_072, 256_000, 262_144}

// Rerate returns what was used in a month by an account, or by one workspace of it ("" =
// all), as lines with these prices instead of the book. Nothing is written.
//
// Tokens are taken from the sums of days. [berth.CodeInvalid] names a price of tokens that
// would divide them where they are not: of a prompt length, or from an instant within the
// month, that the book does not have either.
func (d *Desk) Rerate(ctx context.Context, accountID, workspaceID, month string, prices []berth.Price) ([]berth.Line, error) {
	if err := d.Rate(ctx); err != nil {
		return nil, err
	}
	var days []usedDay
	err := d.opt.Store.View(ctx, func(tx berth.Tx) error {
		a, err := tx.Accounts().Account(ctx, accountID)
		if err != nil {
			return err
		}
		m, err := a.MonthNamed(month, d.opt.Now())
		if err != nil {
			return err
		}
		book, err := tx.Prices().List(ctx)
		if err != nil {
			return err
		}
		if err := divides(prices, book, &a, m); err != nil {
			return err
		}
		days, err = usedDays(ctx, tx, &a, workspaceID, m, d.opt.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	var lines []berth.Line
	for book := berth.NewBook(prices); len(days) > 0; {
		some := days[:min(daysAtOnce, len(days))]
		days = days[len(some):]
		done := len(lines)
		err := d.opt.Store.View(ctx, func(tx berth.Tx) error {
			lines = lines[:done] // the store may ask twice
			s, err := d.shelf(ctx, tx)
			if err != nil {
				return err
			}
			s.tried = book
			of := make([]charged, len(some))
			for i, day := range some {
				if of[i], err = s.charged(ctx, accountID, dayOf{day.deployment, day.day}); err != nil {
					return err
				}
			}
			if err := s.read(ctx, of); err != nil {
				return err
			}
			for i := range of {
				more, err := s.lines(of[i].payer, of[i].dayOf, of[i].time, d.opt.Now())
				if err != nil {
					return err
				}
				lines = append(lines, more...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// usedDay is a day on which a deployment was charged, if only at no price.
type usedDay struct{ day, name, deployment string }

// usedDays returns those of a month in the order of statements. Late ones are in the
// statements of later months.
func usedDays(ctx context.Context, tx berth.Tx, a *berth.Account, workspaceID string, m berth.Period, now time.Time) ([]usedDay, error) {
	seen := map[usedDay]bool{}
	var days []usedDay
	for of := m; !of.Start.After(now.AddDate(0, 1, 0)); of = a.Next(of) {
		lines, err := tx.Lines().Month(ctx, a.ID, of.Name, workspaceID)
		if err != nil {
			return nil, err
		}
		for i := range lines {
			l := &lines[i]
			d := usedDay{l.Day, l.DeployedModel, l.DeploymentID}
			if l.Day[:len(monthLayout)] == m.Name && !seen[d] {
				seen[d] = true
				days = append(days, d)
			}
		}
	}
	slices.SortFunc(days, func(d, e usedDay) int {
		return slices.Compare([]string{d.day, d.name, d.deployment}, []string{e.day, e.name, e.deployment})
	})
	return days, nil
}

// divides refuses prices of tokens that divide sums of a month's usage where those are not
// kept apart.
func divides(prices, book []berth.Price, a *berth.Account, m berth.Period) error {
	lengths := slices.Clone(sumLengths)
	var instants []time.Time
	for i := range book {
		if p := &book[i]; p.CreatedAt.Before(m.Start) {
			lengths = append(lengths, p.FromTokens)
		}
		instants = append(instants, book[i].From)
	}
	for _, l := range a.Later {
		instants = append(instants, l.From)
	}
	for i := range prices {
		p := &prices[i]
		switch {
		case p.ByTime():
		case !slices.Contains(lengths, p.FromTokens):
			return berth.Errorf(berth.CodeInvalid, "What %s used is not known apart by prompts of %d tokens, so it cannot be tried; try from_tokens of 0, 32000, 32768, 128000, 131072, 256000 or 262144, or one that the book had before the month.", m.Name, p.FromTokens)
		case p.From.After(m.Start) && p.From.Before(m.End) && !slices.ContainsFunc(instants, p.From.Equal):
			return berth.Errorf(berth.CodeInvalid, "What %s used is not known apart before and after %s, so it cannot be tried; let prices of tokens begin before the month.", m.Name, p.From.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
