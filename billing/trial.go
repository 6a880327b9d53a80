package billing

import (
	"cmp"
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
// Tokens are taken from the sums of days, and where prices divide these, from the records of
// the day. [berth.CodeInvalid] when such records were deleted.
func (d *Desk) Rerate(ctx context.Context, accountID, workspaceID, month string, prices []berth.Price) ([]berth.Line, error) {
	if err := d.RateFor(ctx, accountID); err != nil {
		return nil, err
	}
	return d.rerate(ctx, accountID, workspaceID, month, prices, false)
}

// rerate does it without rating before; recount takes all tokens from records.
func (d *Desk) rerate(ctx context.Context, accountID, workspaceID, month string, prices []berth.Price, recount bool) ([]berth.Line, error) {
	var days []usedDay
	t := trial{desk: d, book: berth.NewBook(prices), prices: prices, recount: recount}
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
		t.account = a
		t.know(book, m)
		days, err = usedDays(ctx, tx, &a, workspaceID, m, d.opt.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	var lines []berth.Line
	for some := range slices.Chunk(days, daysAtOnce) {
		more, err := t.lines(ctx, some)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
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

// trial is a month at other prices.
type trial struct {
	desk     *Desk
	account  berth.Account
	prices   []berth.Price
	book     *berth.Book // of them
	recount  bool
	lengths  []int64     // at which sums of the month are apart
	instants []time.Time // likewise

	day     string                                // of which records were counted
	counted map[string]map[dayOf][]berth.UsageDay // by workspace
}

// know finds out what sums of a month are apart by.
func (t *trial) know(book []berth.Price, m berth.Period) {
	t.lengths = slices.Clone(sumLengths)
	for i := range book {
		if p := &book[i]; p.CreatedAt.Before(m.Start) {
			t.lengths = append(t.lengths, p.FromTokens)
		}
		t.instants = append(t.instants, book[i].From)
	}
	for _, l := range t.account.Later {
		t.instants = append(t.instants, l.From)
	}
}

// lines makes the lines of some days.
func (t *trial) lines(ctx context.Context, some []usedDay) ([]berth.Line, error) {
	var s *shelf
	of := make([]charged, len(some))
	err := t.desk.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		if s, err = t.desk.shelf(ctx, tx); err != nil {
			return err
		}
		for i, day := range some {
			if of[i], err = s.charged(ctx, t.account.ID, dayOf{day.deployment, day.day}); err != nil {
				return err
			}
		}
		return s.read(ctx, of)
	})
	if err != nil {
		return nil, err
	}
	s.tried = t.book
	var lines []berth.Line
	for i := range of {
		c := &of[i]
		if used := s.usage[c.dayOf]; len(used) > 0 && (t.recount || t.divides(used, s.bases[c.deployment], c.time)) {
			if s.usage[c.dayOf], err = t.count(ctx, used[0].WorkspaceID, c); err != nil {
				return nil, err
			}
		}
		more, err := s.lines(c.payer, c.dayOf, c.time, t.desk.opt.Now())
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

// divides reports whether some price divides sums of a day where these are not kept apart.
func (t *trial) divides(used []berth.UsageDay, base string, day berth.Day) bool {
	for i := range t.prices {
		p := &t.prices[i]
		if p.ByTime() || !slices.ContainsFunc(used, func(u berth.UsageDay) bool {
			return (p.Model == berth.AnyModel || p.Model == u.ModelName || p.Model == base) && (p.Plan == "" || p.Plan == u.Plan)
		}) {
			continue
		}
		if !slices.Contains(t.lengths, p.FromTokens) || p.From.After(day.Start) && p.From.Before(day.End) && !slices.ContainsFunc(t.instants, p.From.Equal) {
			return true
		}
	}
	return false
}

// count adds up the records of a day of a deployment as its prices divide them. Those of a
// workspace are read once, and an hour at a time.
func (t *trial) count(ctx context.Context, workspaceID string, c *charged) ([]berth.UsageDay, error) {
	if t.day != c.day {
		t.day, t.counted = c.day, map[string]map[dayOf][]berth.UsageDay{}
	}
	if sums, ok := t.counted[workspaceID]; ok {
		return sums[c.dayOf], nil
	}
	var lengths []int64
	var instants []time.Time
	for i := range t.prices {
		if p := &t.prices[i]; !p.ByTime() && p.FromTokens > 0 {
			lengths = append(lengths, p.FromTokens)
		}
	}
	for _, at := range t.book.Instants() {
		if at.After(c.time.Start) && at.Before(c.time.End) {
			instants = append(instants, at)
		}
	}
	for _, l := range t.account.Later {
		if l.From.After(c.time.Start) && l.From.Before(c.time.End) {
			instants = append(instants, l.From)
		}
	}
	slices.Sort(lengths)
	slices.SortFunc(instants, time.Time.Compare)
	lengths, instants = slices.Compact(lengths), slices.CompactFunc(instants, time.Time.Equal)
	all := map[berth.UsageDay]berth.UsageSum{}
	for from := c.time.Start; from.Before(c.time.End); from = from.Add(time.Hour) {
		var list []berth.UsageDay
		err := t.desk.opt.Store.View(ctx, func(tx berth.Tx) error {
			kept, err := tx.Usage().KeptFrom(ctx, workspaceID)
			if err != nil {
				return err
			}
			if kept.After(c.time.Start) {
				return berth.Errorf(berth.CodeInvalid, "These prices need the records of calls, which workspace %s has from %s on; try prices of tokens that begin at midnight, with from_tokens of 0, 32000, 32768, 128000, 131072, 256000, 262144 or of the book before the month, or a later month.",
					workspaceID, kept.In(c.payer.zone).Format(time.DateOnly))
			}
			list, err = tx.Usage().Recount(ctx, workspaceID, from, earlier(from.Add(time.Hour), c.time.End), lengths, instants)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, u := range list {
			sum := u.UsageSum
			u.Day, u.UsageSum, u.Epoch = c.day, berth.UsageSum{}, u.Epoch.UTC()
			had := all[u]
			had.Add(sum)
			all[u] = had
		}
	}
	sums := map[dayOf][]berth.UsageDay{}
	for u, sum := range all {
		u.UsageSum = sum
		k := dayOf{u.DeploymentID, c.day}
		sums[k] = append(sums[k], u)
	}
	for _, list := range sums {
		slices.SortFunc(list, func(a, b berth.UsageDay) int {
			return cmp.Or(
				cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.DeployedModel, b.DeployedModel), cmp.Compare(a.ModelName, b.ModelName), cmp.Compare(a.Plan, b.Plan),
				cmp.Compare(a.Class, b.Class), cmp.Compare(a.FromTokens, b.FromTokens), a.Epoch.Compare(b.Epoch))
		})
	}
	t.counted[workspaceID] = sums
	return sums[c.dayOf], nil
}
