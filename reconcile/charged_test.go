package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
)

// noted is a store that tells somebody what a write has left, before it is committed. The
// clock stands still in each write, so that what is told was so from that instant on.
type noted struct {
	berth.Store
	*yard
	mu   sync.Mutex // one write at a time
	note atomic.Pointer[func(context.Context, berth.Tx) (commit func(), err error)]
}

// Tx implements [berth.Store].
func (n *noted) Tx(ctx context.Context, fn func(berth.Tx) error) error {
	note := n.note.Load()
	if note == nil {
		return n.Store.Tx(ctx, fn)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.stand()()
	var commit func()
	err := n.Store.Tx(ctx, func(tx berth.Tx) (err error) {
		if err = fn(tx); err == nil {
			commit, err = (*note)(ctx, tx)
		}
		return err
	})
	if err == nil {
		commit()
	}
	return err
}

// Close implements [berth.Store].
func (n *noted) Close() error { return n.Store.Close() }

// stand stops the clock until the returned function is called.
func (n *noted) stand() (goOn func()) {
	at := n.now()
	n.still.Store(&at)
	return func() { n.still.Store(nil) }
}

// charges is what a history is to be charged, kept beside Berth: from what each deployment
// shows after each write, minute by minute and in fractions.
type charges struct {
	*history
	store      *noted
	desk       *billing.Desk
	prices     []berth.Price
	currencies []berth.CurrencyFrom // that followed CNY

	mu    sync.Mutex
	held  map[string]holding // by deployment
	wrong string
	runs  map[string][]*served // by deployment, in order; empty of those that never served
}

// served is a time in which a deployment was served, and with what.
type served struct {
	plan     berth.Plan
	from, to time.Time // to is zero while it goes on
	has      []capacity
}

// holding is what was held for a deployment after the last write.
type holding struct {
	berth.Deposit
	status berth.Status
	left   berth.Nano
}

// after says what is wrong with what is held after the next write.
func (h holding) after(was holding) string {
	if most := was.left - was.Nano; was.Growth && was.status == "UPDATING" && h.status == "UPDATING_FAILED" && h.left > max(0, most) {
		return fmt.Sprintf("a change has failed, for which %d were held, and of %d there are still %d", was.Nano, was.left, h.left)
	}
	return ""
}

// capacity is what serves from an instant on: units, or tokens per minute.
type capacity struct {
	at                   time.Time
	units, input, output int64
}

func (c capacity) nothing() bool { return c.units+c.input+c.output == 0 }

func newCharges(h *history) *charges {
	c := &charges{history: h, store: h.yard.store.(*noted), runs: map[string][]*served{}}
	h.charges = c
	note := c.note
	c.store.note.Store(&note)
	c.desk = h.newDesk()
	return c
}

func (h *history) newDesk() *billing.Desk {
	return billing.New(billing.Options{Store: h.store.(*noted).Store, Now: h.now, NewID: h.newID, Logger: slog.New(slog.DiscardHandler)})
}

// note reads what serves now.
func (c *charges) note(ctx context.Context, tx berth.Tx) (func(), error) {
	list, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
	if err != nil {
		return nil, err
	}
	now := c.now()
	serving := map[string]capacity{}
	plans, held := map[string]berth.Plan{}, map[string]holding{}
	for i := range list {
		d := &list[i]
		h := holding{Deposit: d.Deposit, status: d.Status}
		if h.left, err = tx.Ledger().Balance(ctx, berth.DepositSide(d.ID), d.Deposit.Currency); err != nil {
			return nil, err
		}
		held[d.ID] = h
		if d.Status != "RUNNING" && d.Status != "UPDATING" && d.Status != "UPDATING_FAILED" {
			continue
		}
		has := capacity{at: now}
		switch d.Plan {
		case berth.PlanMU:
			has.units = min(d.Capacity, d.ReadyCapacity)
			if d.Before != (berth.Terms{}) { // what grows is not there yet, what shrinks not any more
				has.units = min(has.units, d.Before.Capacity)
			}
		case berth.PlanPTU:
			if has.input, has.output, err = c.throughput(ctx, tx, d); err != nil {
				return nil, err
			}
		}
		serving[d.ID], plans[d.ID] = has, d.Plan
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, h := range held {
			if what := h.after(c.held[id]); what != "" {
				c.wrong = fmt.Sprintf("%s: %s", id, what)
			}
		}
		c.held = held
		for _, d := range list {
			if _, ok := c.runs[d.ID]; !ok {
				c.runs[d.ID] = nil
			}
		}
		for id := range c.runs {
			if _, ok := serving[id]; !ok {
				c.end(id, now)
			}
		}
		for id, has := range serving {
			c.serves(id, plans[id], has)
		}
	}, nil
}

// failed is what was wrong with a write, "" if nothing was.
func (c *charges) failed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong
}

// throughput is what calls may use of a ptu deployment that is paid by the minute.
func (c *charges) throughput(ctx context.Context, tx berth.Tx, d *berth.Deployment) (input, output int64, err error) {
	input, output = d.PTU.InputTPM, d.PTU.OutputTPM
	if d.Before != (berth.Terms{}) {
		input, output = min(input, d.Before.PTU.InputTPM), min(output, d.Before.PTU.OutputTPM)
	}
	if d.Reserved {
		instances, err := tx.Capacities().OfDeployment(ctx, d.ID)
		if err != nil {
			return 0, 0, err
		}
		input, output = 0, 0
		for _, i := range instances {
			if i.ChargeType == "post_paid" && i.DeletedAt.IsZero() {
				input, output = input+i.Effective.InputTPM, output+i.Effective.OutputTPM
			}
		}
	}
	if d.ReadyCapacity < d.Capacity { // a part of the pool serves
		input, output = input*d.PartPPM/1_000_000, output*d.PartPPM/1_000_000
	}
	return input, output, nil
}

// last is the run of a deployment that goes on, nil if none does.
func (c *charges) last(id string) *served {
	if n := len(c.runs[id]); n > 0 && c.runs[id][n-1].to.IsZero() {
		return c.runs[id][n-1]
	}
	return nil
}

func (c *charges) serves(id string, plan berth.Plan, has capacity) {
	run := c.last(id)
	if run == nil {
		if plan != berth.PlanLoRA && !has.nothing() {
			c.runs[id] = append(c.runs[id], &served{plan: plan, from: has.at, has: []capacity{has}})
		}
		return
	}
	was := run.has[len(run.has)-1]
	if was.units == has.units && was.input == has.input && was.output == has.output {
		return
	}
	run.has = append(run.has, has)
}

// end ends the run of a deployment, not before anything that happened in it.
func (c *charges) end(id string, at time.Time) {
	if run := c.last(id); run != nil {
		run.to = at
		if last := run.has[len(run.has)-1].at; last.After(at) {
			run.to = last
		}
	}
}

// down ends what goes on at a moment, with Berth.
func (c *charges) down(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.runs {
		c.end(id, at)
	}
}

// firstPrices are no whole number of anything for a minute.
func (h *history) firstPrices() {
	for _, currency := range []string{"CNY", "USD"} {
		h.setPrice(berth.DimensionUnitMinute, currency, 137, 60, 0)
		h.setPrice(berth.DimensionInputTPMMinute, currency, 25, 60, 0)
		h.setPrice(berth.DimensionOutputTPMMinute, currency, 47, 60, 0)
	}
}

// setPrice lets a price begin after a while.
func (h *history) setPrice(d berth.Dimension, currency string, nano berth.Nano, per int64, in time.Duration) {
	p := berth.Price{ID: h.newID("price_"), Model: berth.AnyModel, Dimension: d, Nano: nano, Per: per, Currency: currency, From: h.now().Add(in)}
	h.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Prices().Insert(ctx, p) })
	h.charges.prices = append(h.charges.prices, p)
}

// soon is a moment that is not a minute of anything.
func (h *history) soon() time.Duration {
	return time.Minute + time.Duration(h.number("soon", 0, int64(90*time.Minute)))
}

func (h *history) price() {
	of := []berth.Dimension{berth.DimensionUnitMinute, berth.DimensionInputTPMMinute, berth.DimensionOutputTPMMinute}[h.number("dimension", 0, 2)]
	currency := []string{"CNY", "USD"}[h.number("currency", 0, 1)]
	h.setPrice(of, currency, berth.Nano(h.number("price", 1, 500)), h.number("per", 1, 60), h.soon())
}

// currency changes that of the account.
func (h *history) currency() {
	to := berth.CurrencyFrom{From: h.now().Add(h.soon()).UTC(), Currency: []string{"CNY", "USD"}[h.number("currency", 0, 1)]}
	owner := berth.WithCaller(context.Background(), berth.Caller{AccountID: "1", WorkspaceID: home, Role: berth.RoleOwner})
	w := berth.Workspaces{Writer: h.deployments.Writer}
	if _, err := w.UpdateAccount(owner, "1", berth.AccountChange{Currency: to.Currency, CurrencyFrom: to.From}); err != nil {
		h.Fatalf("%v", err)
	}
	c := h.charges
	c.currencies = append(slices.DeleteFunc(c.currencies, func(l berth.CurrencyFrom) bool { return !l.From.Before(to.From) }), to)
}

func (h *history) rate() { must(h, h.charges.desk.Rate(context.Background())) }

func (c *charges) currencyAt(at time.Time) string {
	currency := "CNY"
	for _, l := range c.currencies {
		if !l.From.After(at) {
			currency = l.Currency
		}
	}
	return currency
}

func (c *charges) priceAt(d berth.Dimension, currency string, at time.Time) (found berth.Price) {
	for _, p := range c.prices {
		if p.Dimension == d && p.Currency == currency && !p.From.After(at) && !p.From.Before(found.From) {
			found = p
		}
	}
	return found
}

// bill is one line as it should be.
type bill struct {
	quantity int64
	amount   big.Rat
}

type billKey struct {
	deployment, day, currency, price string
	class                            berth.Class
	dimension                        berth.Dimension
}

// rounded is an amount to the nearest nano, half up.
func rounded(r *big.Rat) berth.Nano {
	n := new(big.Int).Mul(r.Num(), big.NewInt(2))
	n.Add(n, r.Denom())
	return berth.Nano(n.Div(n, new(big.Int).Mul(r.Denom(), big.NewInt(2))).Int64())
}

type bills map[billKey]*bill

func (b bills) add(c *charges, id string, class berth.Class, d berth.Dimension, day, price time.Time, quantity int64) {
	if quantity == 0 {
		return
	}
	k := billKey{id, day.UTC().Format(time.DateOnly), c.currencyAt(price), "", class, d}
	p := c.priceAt(d, k.currency, price)
	k.price = p.ID
	if b[k] == nil {
		b[k] = new(bill)
	}
	each := map[berth.Dimension]int64{berth.DimensionUnitMinute: 1, berth.DimensionInputTPMMinute: 10_000, berth.DimensionOutputTPMMinute: 1000}[d]
	b[k].quantity += quantity
	b[k].amount.Add(&b[k].amount, new(big.Rat).Mul(big.NewRat(quantity, each), big.NewRat(int64(p.Nano), p.Per)))
}

// want makes the bills of everything up to a moment.
func (c *charges) want(by time.Time, orders []berth.Order) bills {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := bills{}
	for id, runs := range c.runs {
		for _, run := range runs {
			b.run(c, id, run, by)
		}
	}
	for _, o := range orders {
		class, minutes := berth.Class("prepaid"), o.Minutes
		if minutes < 0 {
			class, minutes = "refund", -minutes
		}
		b.add(c, o.DeploymentID, class, berth.DimensionInputTPMMinute, o.At, o.PriceAt, minutes*o.PTU.InputTPM)
		b.add(c, o.DeploymentID, class, berth.DimensionOutputTPMMinute, o.At, o.PriceAt, minutes*o.PTU.OutputTPM)
	}
	return b
}

// run adds the minutes of a run that have begun: each as much as there was at most in it, at
// the price and on the day of its first instant.
func (b bills) run(c *charges, id string, run *served, by time.Time) {
	end := by
	if !run.to.IsZero() {
		end = run.to
	}
	for at := run.from; at.Before(end); at = at.Add(time.Minute) {
		var most capacity
		for i, has := range run.has {
			until := end
			if i+1 < len(run.has) {
				until = run.has[i+1].at
			}
			if has.at.Before(until) && has.at.Before(at.Add(time.Minute)) && until.After(at) {
				most.units, most.input, most.output = max(most.units, has.units), max(most.input, has.input), max(most.output, has.output)
			}
		}
		b.add(c, id, "", berth.DimensionUnitMinute, at, at, most.units)
		b.add(c, id, "", berth.DimensionInputTPMMinute, at, at, most.input)
		b.add(c, id, "", berth.DimensionOutputTPMMinute, at, at, most.output)
	}
}

// audit compares what was charged with what should have been, and the ledger with that. The
// clock stands still, and nothing is written beside it.
func (h *history) audit() {
	c := h.charges
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	defer c.store.stand()()
	h.rate()
	now, ctx := h.now(), context.Background()
	var lines []berth.Line
	var orders []berth.Order
	var runs []berth.Run
	must(h, c.store.View(ctx, func(tx berth.Tx) error {
		lines, orders, runs = nil, nil, nil
		account, err := tx.Accounts().Account(ctx, "1")
		must(h, err)
		began := now.AddDate(-1, 0, 0)
		for m := account.MonthOf(began); !m.Start.After(now.AddDate(0, 1, 0)); m = account.Next(m) {
			more, err := tx.Lines().Month(ctx, "1", m.Name, "")
			must(h, err)
			lines = append(lines, more...)
		}
		for _, id := range c.deployments() {
			more, err := tx.Orders().Of(ctx, []string{id}, began, now.Add(time.Second))
			must(h, err)
			orders = append(orders, more...)
			some, err := tx.Runs().During(ctx, []string{id}, began, now.Add(time.Second))
			must(h, err)
			runs = append(runs, some...)
		}
		return nil
	}))
	c.compare(lines, c.want(now, orders))
	c.opened(lines, runs, now)
	c.remade(lines)
	c.booked(lines)
}

// deployments are the ids of all that there were.
func (c *charges) deployments() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]string, 0, len(c.runs))
	for id := range c.runs {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

func keyOf(l *berth.Line) billKey {
	return billKey{l.DeploymentID, l.Day, l.Currency, l.PriceID, l.Class, l.Dimension}
}

// compare compares lines with bills. What a closed month had too little of, or too much, is in
// a line of its own.
func (c *charges) compare(lines []berth.Line, want bills) {
	got := map[billKey]*bill{}
	for i := range lines {
		l := &lines[i]
		k := keyOf(l)
		if got[k] == nil {
			got[k] = new(bill)
		}
		got[k].quantity += l.Quantity
		got[k].amount.Add(&got[k].amount, big.NewRat(int64(l.Amount), 1))
		if l.Posted != l.Amount {
			c.Fatalf("a line is not posted: %+v", l)
		}
	}
	for k, w := range want {
		if k.class == "refund" {
			w.quantity = -w.quantity
		}
		g, amount := got[k], rounded(&w.amount)
		if k.class == "refund" {
			amount = -amount
		}
		if g == nil || g.quantity != w.quantity || g.amount.Cmp(big.NewRat(int64(amount), 1)) != 0 {
			c.Fatalf("%+v is charged %+v instead of %d for %d\nserved: %s", k, g, w.quantity, amount, c.told(k.deployment))
		}
		delete(got, k)
	}
	for k, g := range got {
		if g.quantity != 0 || g.amount.Sign() != 0 {
			c.Fatalf("%+v is charged %+v and was not served\nserved: %s", k, g, c.told(k.deployment))
		}
	}
}

func (c *charges) told(id string) (text string) {
	for _, run := range c.runs[id] {
		text += fmt.Sprintf("\n%s %s to %s", run.plan, run.from.Format(time.RFC3339Nano), run.to.Format(time.RFC3339Nano))
		for _, has := range run.has {
			text += fmt.Sprintf("\n  %s %d units, %d and %d a minute", has.at.Sub(run.from), has.units, has.input, has.output)
		}
	}
	return text
}

// opened proves that each run is charged for its own minutes, none twice, and at most one
// that it did not last to the end of.
func (c *charges) opened(lines []berth.Line, runs []berth.Run, now time.Time) {
	ctx := context.Background()
	byID := map[string]*berth.Run{}
	for i := range runs {
		byID[runs[i].ID] = &runs[i]
	}
	type of struct {
		run string
		berth.Dimension
	}
	minutes := map[of]int64{}
	for i := range lines {
		if lines[i].Class != "" || lines[i].Late() {
			continue
		}
		for cursor := ""; ; {
			var part berth.Opened
			must(c, c.store.View(ctx, func(tx berth.Tx) (err error) {
				part, err = c.desk.Parts(ctx, tx, &lines[i], cursor)
				return err
			}))
			for _, s := range part.Spans {
				r := byID[s.RunID]
				if r == nil || s.From.Before(r.StartedAt) || !s.To.Add(-time.Minute).Before(ended(r, now)) {
					c.Fatalf("%+v of %+v is no time of %+v", s, lines[i], r)
				}
				minutes[of{s.RunID, lines[i].Dimension}] += s.Minutes
			}
			if cursor = part.Next; cursor == "" {
				break
			}
		}
	}
	for k, n := range minutes {
		if lasted := ended(byID[k.run], now).Sub(byID[k.run].StartedAt); time.Duration(n)*time.Minute >= lasted+time.Minute {
			c.Fatalf("a run of %s is charged for %d minutes", lasted, n)
		}
	}
}

func ended(r *berth.Run, now time.Time) time.Time {
	if r.EndedAt.IsZero() {
		return now
	}
	return r.EndedAt
}

// remade proves that lines made anew from what was written are the same to the byte.
func (c *charges) remade(lines []berth.Line) {
	ctx := context.Background()
	months := map[string][]berth.Line{}
	for _, l := range lines {
		if l.Late() || slices.ContainsFunc(lines, func(o berth.Line) bool { return o.Late() && keyOf(&o) == keyOf(&l) }) {
			continue // in parts
		}
		if l.Posted, l.Postings, l.PostedAt = 0, 0, (time.Time{}); l.Quantity != 0 {
			months[l.Month] = append(months[l.Month], l)
		}
	}
	for month, want := range months {
		got, err := c.desk.Rerate(ctx, "1", "", month, c.prices)
		must(c, err)
		got = slices.DeleteFunc(got, func(l berth.Line) bool {
			return !slices.ContainsFunc(want, func(o berth.Line) bool { return keyOf(&o) == keyOf(&l) })
		})
		if a, b := fmt.Sprintf("%+v", sorted(got)), fmt.Sprintf("%+v", sorted(want)); a != b {
			c.Fatalf("%s made anew is\n%s\nand was\n%s", month, a, b)
		}
	}
}

func sorted(list []berth.Line) []string {
	var words []string
	for _, l := range list {
		words = append(words, fmt.Sprintf("%+v", l))
	}
	slices.Sort(words)
	return words
}

// booked proves that the ledger has what the lines say, and that it comes to what the account
// has.
func (c *charges) booked(lines []berth.Line) {
	ctx := context.Background()
	type at struct{ deployment, currency string }
	charged, spent, paid := map[at]berth.Nano{}, map[string]berth.Nano{}, map[string]berth.Nano{}
	for _, l := range lines {
		charged[at{l.DeploymentID, l.Currency}] += l.Amount
		spent[l.Currency] += l.Amount
	}
	var postings []berth.Posting
	must(c, c.store.View(ctx, func(tx berth.Tx) (err error) {
		postings, err = tx.Ledger().Postings(ctx, berth.PostingFilter{AccountID: "1"}, "", 1_000_000)
		return err
	}))
	for _, p := range postings {
		for _, e := range p.Entries {
			switch e.Side {
			case berth.RevenueSide(home):
				charged[at{p.DeploymentID, p.Currency}] -= e.Nano
			case berth.CashSide("1"):
				paid[p.Currency] -= e.Nano
			}
		}
	}
	for k, n := range charged {
		if n != 0 {
			c.Fatalf("the lines of %s are %d %s more than was posted", k.deployment, n, k.currency)
		}
	}
	balances := c.ledger().balances
	for _, currency := range []string{"CNY", "USD"} {
		var deposits berth.Nano
		for side, n := range balances {
			if side.currency == currency && strings.HasPrefix(side.side, berth.DepositSide("")) {
				deposits += n
			}
		}
		if has, want := balances[sideIn{berth.CustomerSide("1"), currency}], paid[currency]-spent[currency]-deposits; has != want {
			c.Fatalf("the account has %d %s; it has paid %d, spent %d, and %d are on deposit", has, currency, paid[currency], spent[currency], deposits)
		}
	}
}
