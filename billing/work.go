package billing

import (
	"context"
	"fmt"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// kept is a book and how many prices it was made of.
type kept struct {
	count int64
	book  *berth.Book
}

// bookOf returns the book as the transaction sees it.
func (d *Desk) bookOf(ctx context.Context, tx berth.Tx) (*berth.Book, error) {
	n, err := tx.Prices().Count(ctx)
	if err != nil {
		return nil, err
	}
	if k := d.book.Load(); k != nil && k.count == n {
		return k.book, nil
	}
	list, err := tx.Prices().List(ctx)
	if err != nil {
		return nil, err
	}
	k := &kept{int64(len(list)), berth.NewBook(list)}
	d.book.Store(k)
	return k.book, nil
}

const (
	// daysAtOnce is how many days of deployments are rated in one transaction.
	daysAtOnce = 256
	// apartAtMost is how many different days these are of, and changesAtOnce how many are
	// looked up at a time.
	apartAtMost   = 8
	changesAtOnce = 4096
)

// rateUsage rates the days whose usage changed. One that cannot be rated keeps no other from
// it, but for those of its own deployment.
func (d *Desk) rateUsage(ctx context.Context, t *trouble) error {
	for after, more := (berth.UsageDayKey{}), true; more; {
		var list []berth.UsageDayKey
		err := d.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
			list, err = tx.Usage().ChangedDays(ctx, after, changesAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		if more = len(list) == changesAtOnce; more {
			after = list[len(list)-1]
		}
		for len(list) > 0 {
			some := list[:together(list)]
			list = list[len(some):]
			if err := d.rateSomeUsage(ctx, some, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// together returns how many of the first days are rated in one transaction.
func together(list []berth.UsageDayKey) int {
	n, days := 0, 0
	for ; n < min(len(list), daysAtOnce); n++ {
		if n == 0 || list[n].Day != list[n-1].Day {
			if days++; days > apartAtMost {
				break
			}
		}
	}
	return n
}

// rateSomeUsage rates days in one transaction, or, when that fails, in smaller ones until
// only those are left that cannot be rated.
func (d *Desk) rateSomeUsage(ctx context.Context, list []berth.UsageDayKey, t *trouble) error {
	list = slices.DeleteFunc(slices.Clone(list), func(k berth.UsageDayKey) bool { return t.deployments[k.DeploymentID] })
	if len(list) == 0 {
		return nil
	}
	err := d.opt.Store.Tx(ctx, func(tx berth.Tx) error { return d.rateUsedDays(ctx, tx, list) })
	switch {
	case err == nil:
		return nil
	case general(ctx, err):
		return err
	case len(list) == 1:
		t.deployments[list[0].DeploymentID] = true
		return t.add(d.payerOf(ctx, list[0]), fmt.Errorf("the usage of deployment %s on %s: %w", list[0].DeploymentID, list[0].Day, err))
	}
	half := len(list) / 2
	if err := d.rateSomeUsage(ctx, list[:half], t); err != nil {
		return err
	}
	return d.rateSomeUsage(ctx, list[half:], t)
}

// payerOf returns the account that pays for a day of usage, [nobody] for one of a workspace
// that there is not; "" when that cannot be told.
func (d *Desk) payerOf(ctx context.Context, k berth.UsageDayKey) (accountID string) {
	err := d.opt.Store.View(ctx, func(tx berth.Tx) error {
		used, err := tx.Usage().Days(ctx, []string{k.DeploymentID}, []string{k.Day})
		if err != nil || len(used) == 0 {
			return err
		}
		w, err := tx.Accounts().Workspace(ctx, used[0].WorkspaceID)
		accountID = w.AccountID
		return err
	})
	if berth.CodeOf(err) == berth.CodeNotFound {
		return nobody
	}
	return accountID
}

// rateUsedDays rates days of which there is usage, in versions that were read before it is.
// Without usage that is paid for nothing is to be done: runs are rated for themselves.
func (d *Desk) rateUsedDays(ctx context.Context, tx berth.Tx, list []berth.UsageDayKey) error {
	s, err := d.shelf(ctx, tx)
	if err != nil {
		return err
	}
	keys := make([]dayOf, len(list))
	for i := range list {
		keys[i] = dayOf{list[i].DeploymentID, list[i].Day}
	}
	if err := s.readUsage(ctx, keys); err != nil {
		return err
	}
	var of []charged
	for _, k := range keys {
		if len(s.usage[k]) == 0 {
			continue
		}
		account, err := s.of(ctx, s.usage[k][0].WorkspaceID)
		if err != nil {
			return err
		}
		c, err := s.charged(ctx, account, k)
		if err != nil {
			return err
		}
		of = append(of, c)
	}
	if err := d.chargeDays(ctx, s, of); err != nil {
		return err
	}
	return tx.Usage().Rated(ctx, list)
}

// rateRuns rates the runs that are not rated to their end.
func (d *Desk) rateRuns(ctx context.Context, t *trouble) error {
	for after, more := "", true; more; {
		var list []berth.Run
		err := d.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
			list, err = tx.Runs().Unrated(ctx, after, daysAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		if more = len(list) == daysAtOnce; more {
			after = list[len(list)-1].ID
		}
		now := d.opt.Now()
		list = slices.DeleteFunc(list, func(r berth.Run) bool { return upToDate(&r, later(now, r.RatedTo)) })
		for len(list) > 0 {
			left, err := d.rateSome(ctx, list)
			if err != nil && !general(ctx, err) {
				if left, err = d.rateSome(ctx, list[:1]); err == nil { // another one fails
					left = append(left, list[1:]...)
				} else if !general(ctx, err) {
					err = t.add(list[0].AccountID, fmt.Errorf("the run %s: %w", list[0].ID, err))
					left = list[1:]
				}
			}
			if err != nil {
				return err
			}
			list = left
		}
	}
	return nil
}

// rateSome rates runs in one transaction until that has done its share, and returns those
// that are left.
func (d *Desk) rateSome(ctx context.Context, list []berth.Run) (left []berth.Run, err error) {
	err = d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		left = list
		s, err := d.shelf(ctx, tx)
		if err != nil {
			return err
		}
		for share := daysAtOnce; share > 0 && len(left) > 0; left = left[1:] {
			days, done, err := d.rateRun(ctx, s, left[0].ID, share)
			if err != nil {
				return err
			}
			if share -= days; !done {
				return nil
			}
		}
		return nil
	})
	return slices.Clip(left), err
}

// rateRun rates at most so many days of a run, and says how many it did and whether that
// were all.
func (d *Desk) rateRun(ctx context.Context, s *shelf, id string, most int) (n int, done bool, err error) {
	r, err := s.tx.Runs().Get(ctx, id)
	if err != nil {
		return 0, false, err
	}
	by := later(d.opt.Now(), r.RatedTo)
	if upToDate(&r, by) {
		return 0, true, nil
	}
	p, err := s.payer(ctx, r.AccountID)
	if err != nil {
		return 0, false, err
	}
	days, to := unratedDays(&r, p.zone, by, most)
	if to.Equal(by) && !r.EndedAt.IsZero() {
		// What was rated before it turned out that the run had ended earlier.
		beyond, err := s.tx.Lines().Days(ctx, r.DeploymentID, days[len(days)-1])
		if err != nil {
			return 0, false, err
		}
		days = slices.Compact(append(days, beyond...))
	}
	of := make([]charged, len(days))
	for i, day := range days {
		if of[i], err = s.charged(ctx, r.AccountID, dayOf{r.DeploymentID, day}); err != nil {
			return 0, false, err
		}
	}
	s.usage = nil
	if err := d.chargeDays(ctx, s, of); err != nil {
		return 0, false, err
	}
	return len(days), to.Equal(by), s.tx.Runs().Rated(ctx, id, to)
}

// upToDate reports whether a run that goes on has nothing to rate by a moment: no minute has
// begun since, and no step was taken.
func upToDate(r *berth.Run, by time.Time) bool {
	if !r.EndedAt.IsZero() || r.Minutes(by) != r.Minutes(r.RatedTo) {
		return false
	}
	return len(r.Steps) == 0 || r.Steps[len(r.Steps)-1].At.Before(r.RatedTo)
}

// unratedDays returns the first days, at most so many, on which minutes of a run begin that
// are not rated, and up to where it is when they are: by, if those are all.
func unratedDays(r *berth.Run, zone *time.Location, by time.Time, most int) (days []string, to time.Time) {
	g, end := grid{r.StartedAt}, by
	if !r.EndedAt.IsZero() {
		end = earlier(end, r.EndedAt)
	}
	// The last minute that was rated may have got another capacity.
	day := berth.DayOf(g.at(max(0, g.from(r.RatedTo)-1)), zone)
	for {
		days = append(days, day.Name)
		if !day.End.Before(end) {
			return days, by
		}
		if len(days) == most {
			return days, day.End
		}
		day = berth.DayOf(day.End, zone)
	}
}

// bench is what the lines of one deployment are made with.
type bench struct {
	book       *berth.Book
	account    berth.Account
	zone       *time.Location
	deployment string
	base       string
}

func (d *Desk) bench(ctx context.Context, tx berth.Tx, accountID, deploymentID string) (b bench, err error) {
	b.deployment = deploymentID
	if b.book, err = d.bookOf(ctx, tx); err != nil {
		return b, err
	}
	if b.account, err = tx.Accounts().Account(ctx, accountID); err != nil {
		return b, err
	}
	b.zone = b.account.Zone()
	deployment, err := tx.Deployments().Get(ctx, deploymentID)
	if b.base = deployment.BaseModel; berth.CodeOf(err) == berth.CodeNotFound { // its row was deleted by policy
		b.base, err = formerBase(ctx, tx, b.book, b.deployment)
	}
	return b, err
}

// formerBase finds the base of a deployment that is forgotten: its lines are kept, and the
// prices in them are those of the model, of any model, or of its base.
func formerBase(ctx context.Context, tx berth.Tx, book *berth.Book, deployment string) (string, error) {
	days, err := tx.Lines().Days(ctx, deployment, "")
	if err != nil {
		return "", err
	}
	var model string
	for some := range slices.Chunk(days, daysAtOnce) {
		lines, err := tx.Lines().Of(ctx, []string{deployment}, some)
		if err != nil {
			return "", err
		}
		for i := range lines {
			model = lines[i].ModelName
			if p, ok := book.ByID(lines[i].PriceID); ok && p.Model != model && p.Model != berth.AnyModel {
				return p.Model, nil
			}
		}
	}
	m, err := tx.Models().Get(ctx, model) // it was never charged by its base, and may be now
	if berth.CodeOf(err) == berth.CodeNotFound {
		err = nil
	}
	return m.Base, err
}

// byTime reads the facts of a day that are charged by the minute.
func (b *bench) byTime(ctx context.Context, tx berth.Tx, day string) (Facts, error) {
	f := Facts{Account: &b.account, BaseModel: b.base}
	var err error
	if f.Day, err = berth.DayNamed(day, b.zone); err != nil {
		return f, err
	}
	if f.Runs, err = tx.Runs().During(ctx, []string{b.deployment}, f.Day.Start, f.Day.End); err != nil {
		return f, err
	}
	f.Orders, err = tx.Orders().Of(ctx, []string{b.deployment}, f.Day.Start, f.Day.End)
	return f, err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
