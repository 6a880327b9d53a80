package billing

import (
	"math"
	"slices"
	"sort"
	"time"

	berth "github.com/berthhq/berth"
)

// Facts are what one deployment did on one day: all that its lines are made of, but for
// the prices.
type Facts struct {
	Account   *berth.Account
	Day       berth.Day // of the account's zone
	BaseModel string    // of the deployment; prices may be those of its base
	Runs      []berth.Run
	Usage     []berth.UsageDay
	Orders    []berth.Order // of the day
	// By is how far runs that go on are charged.
	By time.Time
}

// Lines makes the lines of a deployment's day: a pure function, the same whatever the order
// of runs and usage. An error is an amount that is too large to be booked.
//
// Time: a run's minutes lie on one grid that begins with it. Each minute that has begun is
// charged once, at the highest capacity effective in it (ptu: the highest of each
// dimension), on the day, at the price and in the currency of its first instant (api.md 6.1,
// design 9). Tokens: those of calls that are paid by the token, at the price of the prompt's
// length that held when the call was admitted. What has no price is free, and a line of its
// own without one.
func Lines(book *berth.Book, f *Facts) ([]berth.Line, error) {
	s := sheet{book: book, facts: f, lines: map[lineKey]*berth.Line{}}
	for i := range f.Runs {
		s.run(&f.Runs[i])
	}
	for i := range f.Orders {
		s.order(&f.Orders[i])
	}
	for i := range f.Usage {
		s.tokens(&f.Usage[i])
	}
	return s.finish()
}

// sheet is the lines of a day while they are made.
type sheet struct {
	book  *berth.Book
	facts *Facts
	lines map[lineKey]*berth.Line
	err   error
	// part is told what is added to a line, unless it is nil: a run's minutes from an instant
	// on, or those of an order.
	part func(l *berth.Line, of berth.Span)
	span berth.Span // that is being added
}

// lineKey tells the lines of one deployment and day apart.
type lineKey struct {
	dimension  berth.Dimension
	class      berth.Class
	fromTokens int64
	price      string
	currency   string
}

func keyOf(l *berth.Line) lineKey {
	return lineKey{l.Dimension, l.Class, l.FromTokens, l.PriceID, l.Currency}
}

// grid is the minutes of a run: minute i is [start + i min, start + (i+1) min).
type grid struct{ start time.Time }

// at returns the first instant of a minute.
func (g grid) at(i int64) time.Time { return g.start.Add(time.Duration(i) * time.Minute) }

// from returns the first minute that does not begin before t.
func (g grid) from(t time.Time) int64 {
	d := t.Sub(g.start)
	if d <= 0 {
		return 0
	}
	return int64((d-1)/time.Minute) + 1
}

// run charges the minutes of a run that begin on the day. It looks at the changes of
// capacity and price, not at the minutes between them.
func (s *sheet) run(r *berth.Run) {
	g, end := grid{r.StartedAt}, r.EndedAt
	if end.IsZero() || end.After(s.facts.By) {
		end = s.facts.By
	}
	first, behind := g.from(s.facts.Day.Start), min(r.Minutes(end), g.from(s.facts.Day.End))
	if first >= behind {
		return
	}
	steps := r.Steps
	cuts := s.cuts(g, steps, first, behind)
	for i, from := range cuts {
		to := behind
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		s.minutes(r, g.at(from), to-from, highest(steps, g.at(from), earlier(g.at(from+1), end)))
	}
}

// cuts returns the minutes of [first, behind) at which something changes, the first one
// too: a minute in which the capacity changes stands alone.
func (s *sheet) cuts(g grid, steps []berth.RunStep, first, behind int64) []int64 {
	cuts := []int64{first}
	add := func(i int64) {
		if i > first && i < behind {
			cuts = append(cuts, i)
		}
	}
	lo := sort.Search(len(steps), func(i int) bool { return !steps[i].At.Before(g.at(first)) })
	for _, step := range steps[lo:] {
		i := g.from(step.At)
		if i > behind {
			break
		}
		if add(i); g.at(i).After(step.At) {
			add(i - 1)
		}
	}
	instants := s.book.Instants()
	lo = sort.Search(len(instants), func(i int) bool { return !instants[i].Before(g.at(first)) })
	for _, t := range instants[lo:] {
		if !t.Before(g.at(behind)) {
			break
		}
		add(g.from(t))
	}
	for _, l := range s.facts.Account.Later {
		add(g.from(l.From))
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// highest returns the highest capacity of each kind that is effective in [from, to).
func highest(steps []berth.RunStep, from, to time.Time) (h berth.RunStep) {
	i := max(0, sort.Search(len(steps), func(i int) bool { return steps[i].At.After(from) })-1)
	for ; i < len(steps) && steps[i].At.Before(to); i++ {
		h.Units = max(h.Units, steps[i].Units)
		h.PTU.InputTPM = max(h.PTU.InputTPM, steps[i].PTU.InputTPM)
		h.PTU.OutputTPM = max(h.PTU.OutputTPM, steps[i].PTU.OutputTPM)
		h.PTU.ThinkingTPM = max(h.PTU.ThinkingTPM, steps[i].PTU.ThinkingTPM)
	}
	return h
}

// minutes charges so many minutes of one capacity, at the price of the first.
func (s *sheet) minutes(r *berth.Run, at time.Time, n int64, c berth.RunStep) {
	l := berth.Line{
		AccountID: r.AccountID, WorkspaceID: r.WorkspaceID, DeploymentID: r.DeploymentID,
		DeployedModel: r.DeployedModel, ModelName: r.ModelName, Plan: r.Plan, Spec: r.Spec,
	}
	asked := berth.Asked{Plan: r.Plan, Model: r.ModelName, Base: r.BaseModel, Spec: r.Spec, At: at}
	s.span = berth.Span{RunID: r.ID, From: at, To: at.Add(time.Duration(n) * time.Minute)}
	for _, of := range []struct {
		berth.Dimension
		capacity int64
	}{
		{berth.DimensionUnitMinute, c.Units},
		{berth.DimensionInputTPMMinute, c.PTU.InputTPM},
		{berth.DimensionOutputTPMMinute, c.PTU.OutputTPM},
		{berth.DimensionThinkingTPMMinute, c.PTU.ThinkingTPM},
	} {
		l.Dimension, asked.Dimension = of.Dimension, of.Dimension
		s.add(l, asked, of.capacity, n)
	}
}

// tokens charges what calls of one class used that are paid by the token: those of lora,
// and of ptu beyond its reservation. mu, and ptu within it, are paid by the minute.
func (s *sheet) tokens(u *berth.UsageDay) {
	if u.Class != berth.ClassShared && u.Class != berth.ClassOverflow {
		return
	}
	l := berth.Line{
		AccountID: s.facts.Account.ID, WorkspaceID: u.WorkspaceID, DeploymentID: u.DeploymentID,
		DeployedModel: u.DeployedModel, ModelName: u.ModelName, Plan: u.Plan, Class: u.Class,
	}
	asked := berth.Asked{Plan: u.Plan, Model: u.ModelName, Base: s.facts.BaseModel, Tokens: u.FromTokens, At: s.facts.Day.Start}
	if u.Epoch.After(asked.At) {
		asked.At = u.Epoch
	}
	for _, of := range []struct {
		berth.Dimension
		tokens int64
	}{
		{berth.DimensionInput, u.Billable.InputTokens - u.Billable.CachedTokens},
		{berth.DimensionCached, u.Billable.CachedTokens},
		{berth.DimensionOutput, u.Billable.OutputTokens - u.Billable.ThinkingTokens},
		{berth.DimensionThinking, u.Billable.ThinkingTokens},
	} {
		l.Dimension, asked.Dimension = of.Dimension, of.Dimension
		s.add(l, asked, of.tokens, 1)
	}
}

// instead are the dimensions whose price holds where a dimension has none.
var instead = map[berth.Dimension]berth.Dimension{
	berth.DimensionCached:            berth.DimensionInput,
	berth.DimensionThinking:          berth.DimensionOutput,
	berth.DimensionThinkingTPMMinute: berth.DimensionOutputTPMMinute,
}

// PriceOf returns the price that something is charged at: cached tokens without one of
// their own cost what input does, and thinking, by tokens or reserved, what output does.
func PriceOf(book *berth.Book, a berth.Asked) (berth.Price, bool) {
	p, ok := book.Find(a)
	if other, has := instead[a.Dimension]; has && !ok {
		a.Dimension = other
		p, ok = book.Find(a)
	}
	return p, ok
}

// add adds a quantity, times times, to the line that it belongs to.
func (s *sheet) add(l berth.Line, asked berth.Asked, quantity, times int64) {
	if quantity <= 0 || s.err != nil {
		return
	}
	asked.Currency = s.facts.Account.CurrencyAt(asked.At)
	_, each := l.Dimension.Unit()
	l.Currency, l.Per = asked.Currency, each
	if p, ok := PriceOf(s.book, asked); ok {
		l.PriceID, l.FromTokens, l.Price = p.ID, p.FromTokens, p.Nano
		l.Per = s.times(p.Per, each)
	}
	sum, ok := s.lines[keyOf(&l)]
	if !ok {
		l.Day, l.Month = s.facts.Day.Name, s.facts.Day.Name[:len("2006-01")]
		sum = &l
		s.lines[keyOf(&l)] = sum
	}
	more := s.times(quantity, times)
	if more > math.MaxInt64-sum.Quantity {
		s.err = errQuantity(&l)
		return
	}
	sum.Quantity += more
	if s.part != nil {
		of := s.span
		of.Minutes, of.QuantityPerMinute, of.Quantity = times, quantity, more
		s.part(&l, of)
	}
}

func (s *sheet) times(a, b int64) int64 {
	if a > math.MaxInt64/b {
		s.err = berth.Errorf(berth.CodeInvalid, "A quantity is too large to be charged: %d times %d.", a, b)
		return 0
	}
	return a * b
}

func errQuantity(l *berth.Line) error {
	return berth.Errorf(berth.CodeInvalid, "The %s of deployment %s on %s is too much to be charged.", l.Dimension, l.DeploymentID, l.Day)
}

// finish returns the lines in their order, with their amounts.
func (s *sheet) finish() ([]berth.Line, error) {
	if s.err != nil {
		return nil, s.err
	}
	list := make([]berth.Line, 0, len(s.lines))
	for _, l := range s.lines {
		var err error
		if l.Amount, err = berth.AmountOf(l.Price, l.Quantity, l.Per); err != nil {
			return nil, err
		}
		if l.Class == berth.ClassRefund {
			l.Quantity, l.Amount = -l.Quantity, -l.Amount
		}
		list = append(list, *l)
	}
	slices.SortFunc(list, compare)
	return list, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
