package billing

import (
	"cmp"
	"context"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// dayOf is a day of a deployment.
type dayOf struct{ deployment, day string }

// payer is an account with what all of its lines need.
type payer struct {
	berth.Account
	zone   *time.Location
	closed string // the month that was closed last; "": none was
}

// shelf is what the lines of some days are made of, read at once: there are few accounts and
// many days.
type shelf struct {
	tx     berth.Tx
	book   *berth.Book
	tried  *berth.Book       // to price with instead; nil: none
	payers map[string]*payer // by account
	spaces map[string]string // accounts of workspaces
	bases  map[string]string // base models of deployments
	usage  map[dayOf][]berth.UsageDay
	runs   map[string][]berth.Run // of deployments
	orders map[string][]berth.Order
}

func (d *Desk) shelf(ctx context.Context, tx berth.Tx) (*shelf, error) {
	book, err := d.bookOf(ctx, tx)
	return &shelf{tx: tx, book: book, payers: map[string]*payer{}, spaces: map[string]string{}}, err
}

// payer returns an account.
func (s *shelf) payer(ctx context.Context, accountID string) (*payer, error) {
	if p := s.payers[accountID]; p != nil {
		return p, nil
	}
	a, err := s.tx.Accounts().Account(ctx, accountID)
	if err != nil {
		return nil, err
	}
	closed, err := s.tx.Lines().Closed(ctx, accountID)
	if err != nil {
		return nil, err
	}
	p := &payer{Account: a, zone: a.Zone()}
	if len(closed) > 0 {
		p.closed = closed[len(closed)-1].Month
	}
	s.payers[accountID] = p
	return p, nil
}

// of returns the account of a workspace.
func (s *shelf) of(ctx context.Context, workspaceID string) (accountID string, err error) {
	if id, ok := s.spaces[workspaceID]; ok {
		return id, nil
	}
	w, err := s.tx.Accounts().Workspace(ctx, workspaceID)
	if err == nil {
		s.spaces[workspaceID] = w.AccountID
	}
	return w.AccountID, err
}

// names returns the deployments and the days of a list, each once.
func names(of []dayOf) (deployments, days []string) {
	for _, k := range of {
		deployments, days = append(deployments, k.deployment), append(days, k.day)
	}
	slices.Sort(deployments)
	slices.Sort(days)
	return slices.Compact(deployments), slices.Compact(days)
}

// readUsage reads the usage of days.
func (s *shelf) readUsage(ctx context.Context, of []dayOf) error {
	deployments, days := names(of)
	list, err := s.tx.Usage().Days(ctx, deployments, days)
	s.usage = map[dayOf][]berth.UsageDay{}
	for i := range list {
		k := dayOf{list[i].DeploymentID, list[i].Day}
		s.usage[k] = append(s.usage[k], list[i])
	}
	return err
}

// readTime reads what is charged by the minute between two instants.
func (s *shelf) readTime(ctx context.Context, deployments []string, from, to time.Time) error {
	var err error
	if s.bases, err = s.tx.Deployments().Bases(ctx, deployments); err != nil {
		return err
	}
	for _, id := range deployments {
		if _, ok := s.bases[id]; !ok { // its row was deleted by policy
			if s.bases[id], err = formerBase(ctx, s.tx, s.book, id); err != nil {
				return err
			}
		}
	}
	runs, err := s.tx.Runs().During(ctx, deployments, from, to)
	if err != nil {
		return err
	}
	orders, err := s.tx.Orders().Of(ctx, deployments, from, to)
	if err != nil {
		return err
	}
	s.runs, s.orders = map[string][]berth.Run{}, map[string][]berth.Order{}
	for _, r := range runs {
		s.runs[r.DeploymentID] = append(s.runs[r.DeploymentID], r)
	}
	for _, o := range orders {
		s.orders[o.DeploymentID] = append(s.orders[o.DeploymentID], o)
	}
	return nil
}

// lines makes the lines of a day.
func (s *shelf) lines(p *payer, k dayOf, day berth.Day, now time.Time) ([]berth.Line, error) {
	f := Facts{Account: &p.Account, Day: day, BaseModel: s.bases[k.deployment], Usage: s.usage[k], By: now}
	for _, r := range s.runs[k.deployment] {
		if !r.StartedAt.Before(day.End) || !r.EndedAt.IsZero() && !r.EndedAt.After(day.Start) {
			continue
		}
		if r.EndedAt.IsZero() { // clocks that are set back take no minute away
			f.By = later(f.By, r.RatedTo)
		}
		f.Runs = append(f.Runs, r)
	}
	for _, o := range s.orders[k.deployment] {
		if !o.At.Before(day.Start) && o.At.Before(day.End) {
			f.Orders = append(f.Orders, o)
		}
	}
	return Lines(cmp.Or(s.tried, s.book), &f)
}

// charged is a day of a deployment and who pays for it.
type charged struct {
	dayOf
	payer *payer
	time  berth.Day
}

// read reads all that the lines of days are made of.
func (s *shelf) read(ctx context.Context, of []charged) error {
	keys := make([]dayOf, len(of))
	for i := range of {
		keys[i] = of[i].dayOf
	}
	if s.usage == nil {
		if err := s.readUsage(ctx, keys); err != nil {
			return err
		}
	}
	from, to := of[0].time.Start, of[0].time.End
	for i := range of {
		from, to = earlier(from, of[i].time.Start), later(to, of[i].time.End)
	}
	deployments, _ := names(keys)
	return s.readTime(ctx, deployments, from, to)
}

// chargeDays makes the lines of days anew and writes what is not as it was.
func (d *Desk) chargeDays(ctx context.Context, s *shelf, of []charged) error {
	if len(of) == 0 {
		return nil
	}
	if err := s.read(ctx, of); err != nil {
		return err
	}
	keys := make([]dayOf, len(of))
	for i := range of {
		keys[i] = of[i].dayOf
	}
	deployments, days := names(keys)
	written, err := s.tx.Lines().Of(ctx, deployments, days)
	if err != nil {
		return err
	}
	have := map[dayOf][]berth.Line{}
	for i := range written {
		k := dayOf{written[i].DeploymentID, written[i].Day}
		have[k] = append(have[k], written[i])
	}
	var changed []berth.Line
	now := d.opt.Now()
	for i := range of {
		c := &of[i]
		lines, err := s.lines(c.payer, c.dayOf, c.time, now)
		if berth.CodeOf(err) == berth.CodeInvalid {
			// Prices and capacities have bounds that make this impossible; others must not wait.
			d.opt.Logger.Error("a day is not charged any further", "deployment_id", c.deployment, "day", c.day, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		more, err := Changes(have[c.dayOf], lines, c.payer.closed)
		if err != nil {
			return err
		}
		changed = append(changed, more...)
	}
	for i := range changed {
		changed[i].PostedAt = now
	}
	return s.tx.Lines().Put(ctx, changed...)
}

// charged finds the day of a deployment whose account is known.
func (s *shelf) charged(ctx context.Context, accountID string, k dayOf) (c charged, err error) {
	c.dayOf = k
	if c.payer, err = s.payer(ctx, accountID); err == nil {
		c.time, err = berth.DayNamed(k.day, c.payer.zone)
	}
	return c, err
}
