package billing

import (
	"context"
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

// daysAtOnce is how many days of deployments are rated in one transaction.
const daysAtOnce = 64

// rateUsage rates the days whose usage changed.
func (d *Desk) rateUsage(ctx context.Context) error {
	for more := true; more; {
		err := d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
			days, err := tx.Usage().ChangedDays(ctx, daysAtOnce)
			if err != nil || len(days) == 0 {
				more = false
				return err
			}
			more = len(days) == daysAtOnce
			for i := range days {
				if err := d.rateUsedDay(ctx, tx, &days[i]); err != nil {
					return err
				}
			}
			return tx.Usage().Rated(ctx, days)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rateUsedDay rates a day of which there is usage. Without usage that is paid for nothing
// is to be done: runs are rated for themselves.
func (d *Desk) rateUsedDay(ctx context.Context, tx berth.Tx, k *berth.UsageDayKey) error {
	used, err := tx.Usage().Days(ctx, k.DeploymentID, k.Day)
	if err != nil || len(used) == 0 {
		return err
	}
	w, err := tx.Accounts().Workspace(ctx, used[0].WorkspaceID)
	if err != nil {
		return err
	}
	return d.rateDays(ctx, tx, w.AccountID, k.DeploymentID, []string{k.Day})
}

// rateRuns rates the runs that are not rated to their end.
func (d *Desk) rateRuns(ctx context.Context) error {
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
			if list, err = d.rateSome(ctx, list); err != nil {
				return err
			}
		}
	}
	return nil
}

// rateSome rates runs in one transaction until that has done its share, and returns those
// that are left.
func (d *Desk) rateSome(ctx context.Context, list []berth.Run) (left []berth.Run, err error) {
	err = d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
		left = list
		for share := daysAtOnce; share > 0 && len(left) > 0; left = left[1:] {
			days, done, err := d.rateRun(ctx, tx, left[0].ID, share)
			if err != nil {
				return err
			}
			if share -= days; !done {
				return nil
			}
		}
		return nil
	})
	return left, err
}

// rateRun rates at most so many days of a run, and says how many it did and whether that
// were all.
func (d *Desk) rateRun(ctx context.Context, tx berth.Tx, id string, most int) (n int, done bool, err error) {
	r, err := tx.Runs().Get(ctx, id)
	if err != nil {
		return 0, false, err
	}
	by := later(d.opt.Now(), r.RatedTo)
	if upToDate(&r, by) {
		return 0, true, nil
	}
	a, err := tx.Accounts().Account(ctx, r.AccountID)
	if err != nil {
		return 0, false, err
	}
	days, to := unratedDays(&r, a.Zone(), by, most)
	if to.Equal(by) && !r.EndedAt.IsZero() {
		// What was rated before it turned out that the run had ended earlier.
		beyond, err := tx.Lines().Days(ctx, r.DeploymentID, days[len(days)-1])
		if err != nil {
			return 0, false, err
		}
		days = slices.Compact(append(days, beyond...))
	}
	if err := d.rateDays(ctx, tx, r.AccountID, r.DeploymentID, days); err != nil {
		return 0, false, err
	}
	return len(days), to.Equal(by), tx.Runs().Rated(ctx, id, to)
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

// rateDays makes the lines of days of a deployment anew and writes what is not as it was.
func (d *Desk) rateDays(ctx context.Context, tx berth.Tx, accountID, deploymentID string, days []string) error {
	b, err := d.bench(ctx, tx, accountID, deploymentID)
	if err != nil {
		return err
	}
	closed, err := tx.Lines().Closed(ctx, accountID)
	if err != nil {
		return err
	}
	var last string
	if len(closed) > 0 {
		last = closed[len(closed)-1].Month
	}
	for _, day := range days {
		lines, err := b.lines(ctx, tx, day, d.opt.Now())
		if berth.CodeOf(err) == berth.CodeInvalid {
			// Prices and capacities have bounds that make this impossible; others must not wait.
			d.opt.Logger.Error("a day is not charged any further", "deployment_id", deploymentID, "day", day, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		have, err := tx.Lines().Of(ctx, deploymentID, day)
		if err != nil {
			return err
		}
		changed, err := Changes(have, lines, last)
		if err != nil {
			return err
		}
		for i := range changed {
			changed[i].PostedAt = d.opt.Now()
			if err := tx.Lines().Put(ctx, changed[i]); err != nil {
				return err
			}
		}
	}
	return nil
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
		b.base, err = b.formerBase(ctx, tx)
	}
	return b, err
}

// formerBase finds the base of a deployment that is forgotten: its lines are kept, and the
// prices in them are those of the model, of any model, or of its base.
func (b *bench) formerBase(ctx context.Context, tx berth.Tx) (string, error) {
	days, err := tx.Lines().Days(ctx, b.deployment, "")
	if err != nil {
		return "", err
	}
	var model string
	for _, day := range days {
		lines, err := tx.Lines().Of(ctx, b.deployment, day)
		if err != nil {
			return "", err
		}
		for i := range lines {
			model = lines[i].ModelName
			if p, ok := b.book.ByID(lines[i].PriceID); ok && p.Model != model && p.Model != berth.AnyModel {
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

// lines reads the facts of a day and makes its lines.
func (b *bench) lines(ctx context.Context, tx berth.Tx, day string, now time.Time) ([]berth.Line, error) {
	f, err := b.byTime(ctx, tx, day)
	if err != nil {
		return nil, err
	}
	f.By = now
	for i := range f.Runs {
		if f.Runs[i].EndedAt.IsZero() { // clocks that are set back take no minute away
			f.By = later(f.By, f.Runs[i].RatedTo)
		}
	}
	if f.Usage, err = tx.Usage().Days(ctx, b.deployment, day); err != nil {
		return nil, err
	}
	return Lines(b.book, &f)
}

// byTime reads the facts of a day that are charged by the minute.
func (b *bench) byTime(ctx context.Context, tx berth.Tx, day string) (Facts, error) {
	f := Facts{Account: &b.account, BaseModel: b.base}
	var err error
	if f.Day, err = berth.DayNamed(day, b.zone); err != nil {
		return f, err
	}
	if f.Runs, err = tx.Runs().During(ctx, b.deployment, f.Day.Start, f.Day.End); err != nil {
		return f, err
	}
	f.Orders, err = tx.Orders().Of(ctx, b.deployment, f.Day.Start, f.Day.End)
	return f, err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
