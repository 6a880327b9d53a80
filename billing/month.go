package billing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// Changes compares the lines of a deployment's day that are written with those that it now
// has, and returns those to write: into the day's month or, once that is closed (last is the
// month closed last, "" before the first), into the one after the last closed, with what is
// not in closed ones. A line that fell away becomes one of nothing.
func Changes(have, now []berth.Line, last string) ([]berth.Line, error) {
	booked, open := map[lineKey]int64{}, map[lineKey]berth.Line{}
	for _, l := range have {
		if l.Month <= last {
			booked[keyOf(&l)] += l.Quantity
		} else {
			open[keyOf(&l)] = l
		}
	}
	want := map[lineKey]berth.Line{}
	for _, l := range have {
		l.Quantity, l.Amount = 0, 0
		want[keyOf(&l)] = l
	}
	for _, l := range now {
		want[keyOf(&l)] = l
	}
	var changed []berth.Line
	for k, l := range want {
		var err error
		if l.Month, err = openMonth(l.Day, last); err != nil {
			return nil, err
		}
		l.Quantity -= booked[k]
		if l.Amount, err = amountOf(&l); err != nil {
			return nil, err
		}
		if old := open[k]; l.Quantity != old.Quantity || l.Amount != old.Amount {
			l.Posted, l.Postings, l.PostedAt = 0, 0, time.Time{}
			changed = append(changed, l)
		}
	}
	slices.SortFunc(changed, compare)
	return changed, nil
}

// amountOf returns the amount of a line; of a quantity below 0, which takes back what a
// closed month had too much, one below 0.
func amountOf(l *berth.Line) (berth.Nano, error) {
	if l.Quantity < 0 {
		n, err := berth.AmountOf(l.Price, -l.Quantity, l.Per)
		return -n, err
	}
	return berth.AmountOf(l.Price, l.Quantity, l.Per)
}

// openMonth returns the month of whose statement a day's lines are.
func openMonth(day, last string) (string, error) {
	month := day[:len(monthLayout)]
	if month > last {
		return month, nil
	}
	t, err := time.Parse(monthLayout, last)
	return t.AddDate(0, 1, 0).Format(monthLayout), err
}

const monthLayout = "2006-01"

// compare orders lines of one day as statements do.
func compare(a, b berth.Line) int {
	return cmp.Or(
		strings.Compare(string(a.Dimension), string(b.Dimension)), strings.Compare(string(a.Class), string(b.Class)),
		cmp.Compare(a.FromTokens, b.FromTokens), strings.Compare(a.PriceID, b.PriceID), strings.Compare(a.Currency, b.Currency),
	)
}

// grace is how long after its end a month is closed: what comes later is corrected in the
// next.
const grace = 24 * time.Hour

// accounts runs fn for each account.
func (d *Desk) accounts(ctx context.Context, fn func(*berth.Account) error) error {
	const atOnce = 100
	for after, more := "", true; more; {
		var page []berth.Account
		err := d.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
			page, err = tx.Accounts().AccountPage(ctx, after, atOnce)
			return err
		})
		if err != nil {
			return err
		}
		if more = len(page) == atOnce; more {
			after = page[len(page)-1].ID
		}
		for i := range page {
			if err := fn(&page[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeMonths closes the months that were due when a pass over everything began, but for
// those of accounts with which it had trouble.
func (d *Desk) closeMonths(ctx context.Context, began time.Time, t *trouble) error {
	if began.Before(d.closing) && d.closing.Sub(began) <= time.Hour {
		return nil
	}
	next := began.Add(time.Hour)
	err := d.accounts(ctx, func(a *berth.Account) error {
		if _, has := t.accounts[a.ID]; has {
			next = began
			return nil
		}
		due, err := d.closeMonth(ctx, a, began)
		if err != nil && !general(ctx, err) {
			due, err = began, t.add(a.ID, fmt.Errorf("the month of account %s: %w", a.ID, err))
		}
		next = earlier(next, due)
		return err
	})
	if err == nil {
		d.closing = next
	}
	return err
}

// closeMonth closes the months of an account that are due, and returns when the next is.
func (d *Desk) closeMonth(ctx context.Context, a *berth.Account, began time.Time) (due time.Time, err error) {
	now := a.MonthOf(began.Add(-grace)) // the first that is not due
	if began = earlier(began, d.opt.Folded()); began.Before(now.Start.Add(grace)) {
		return began, nil
	}
	due = now.End.Add(grace)
	var months []string
	err = d.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		months, err = openMonths(ctx, tx, a, now)
		return err
	})
	if err != nil || len(months) == 0 {
		return due, err
	}
	if _, err := d.post(ctx, a.ID, forever); err != nil {
		return due, err
	}
	err = d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		months, err := openMonths(ctx, tx, a, now) // again, for other desks close, too
		if err != nil || len(months) == 0 {
			return err
		}
		if ready, err := d.settled(ctx, tx, a, now); err != nil || !ready {
			due = began
			return err
		}
		for _, m := range months {
			if err := tx.Lines().Close(ctx, berth.Month{AccountID: a.ID, Month: m, ClosedAt: d.opt.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	return due, err
}

// openMonths returns the months of an account before one that are not closed: the last of
// them only, where none was before.
func openMonths(ctx context.Context, tx berth.Tx, a *berth.Account, before berth.Period) ([]string, error) {
	closed, err := tx.Lines().Closed(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	m := a.MonthOf(before.Start.Add(-1))
	if len(closed) == 0 {
		return []string{m.Name}, nil
	}
	var months []string
	for ; m.Name > closed[len(closed)-1].Month; m = a.MonthOf(m.Start.Add(-1)) {
		months = append(months, m.Name)
	}
	slices.Reverse(months)
	return months, nil
}

// settled reports whether all there is of the time before a month of an account has been
// rated and posted.
func (d *Desk) settled(ctx context.Context, tx berth.Tx, a *berth.Account, m berth.Period) (bool, error) {
	unrated, err := tx.Usage().Unrated(ctx, a.ID, m.Name)
	if err != nil || unrated {
		return false, err
	}
	growing, err := tx.Lines().Growing(ctx, a.ID, forever, postAtOnce)
	return len(growing) < postAtOnce && !slices.ContainsFunc(growing, func(l berth.Line) bool { return l.Month < m.Name }), err
}
