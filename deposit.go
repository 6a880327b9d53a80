package berth

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// DepositMinutes is how many minutes, an hour, of what a purchase will be charged for are held
// on the account in the transaction that buys it (design 3).
const DepositMinutes = 60

// Deposit is what the last purchase of a deployment holds on its account. Charges are taken
// from it first; what is left goes back when the deployment does not run any more.
type Deposit struct {
	Purchase string `json:"purchase,omitempty"` // buy_ + UUIDv7; "": nothing was held
	Currency string `json:"currency,omitempty"`
	Nano     Nano   `json:"nano,omitempty"`
	// Growth: it is for the change under way, and goes back when that fails.
	Growth bool `json:"growth,omitempty"`
}

// minus returns what s has beyond o, at least 0 of each.
func (s RunStep) minus(o RunStep) RunStep {
	p, q := s.PTU, o.PTU
	return RunStep{Units: max(0, s.Units-o.Units), PTU: PTUCapacity{
		max(0, p.InputTPM-q.InputTPM), max(0, p.OutputTPM-q.OutputTPM), max(0, p.ThinkingTPM-q.ThinkingTPM),
	}}
}

// bought returns what of d is paid by the minute once it serves, and what of that was there
// before the change under way.
func (d *Deployment) bought(instances []CapacityInstance) (now, before RunStep) {
	now, before = RunStep{PTU: d.PTU}, RunStep{PTU: d.Before.PTU}
	switch {
	case d.Plan == PlanMU:
		return RunStep{Units: d.Capacity}, RunStep{Units: d.Before.Capacity}
	case d.Plan != PlanPTU:
		return RunStep{}, RunStep{}
	case d.Reserved:
		now, before = RunStep{}, RunStep{PTU: d.postpaid(instances)}
		for k := range instances {
			if i := &instances[k]; !i.Prepaid() && !i.Released() {
				now.PTU = now.PTU.Plus(i.Target)
			}
		}
	}
	return now, before
}

// keptBook is a book and how many prices it was made of.
type keptBook struct {
	count int64
	book  *Book
}

// bookOf returns the book as the transaction sees it.
func (s *Deployments) bookOf(ctx context.Context, tx Tx) (*Book, error) {
	n, err := tx.Prices().Count(ctx)
	if err != nil {
		return nil, err
	}
	if k := s.book.Load(); k != nil && k.count == n {
		return k.book, nil
	}
	list, err := tx.Prices().List(ctx)
	if err != nil {
		return nil, err
	}
	k := &keptBook{int64(len(list)), NewBook(list)}
	s.book.Store(k)
	return k.book, nil
}

// deposit holds what the first hour of a purchase will cost, of a deployment that is bought
// as a whole or of what a change adds to it, and what is paid in advance: the charge for that
// is taken from the deposit when it takes effect. [CodeArrearage] when the account cannot pay
// that. It is called before d is written; instances are those of a reservation.
func (b *sale) deposit(more RunStep, growth bool) error {
	account, err := b.payer()
	if err != nil {
		return err
	}
	now := b.Now()
	asked := Asked{
		Currency: account.CurrencyAt(now), Plan: b.d.Plan, Model: b.d.ModelName, Base: b.d.BaseModel, At: now,
	}
	if b.d.Plan == PlanMU {
		asked.Spec = b.d.Spec.Name
	}
	book, err := b.bookOf(b.ctx, b.tx)
	if err != nil {
		return err
	}
	cost := Cost{Currency: asked.Currency}
	b.cost = &cost
	if err := b.priceOf(book, asked, more); err != nil {
		return err
	}
	if err := b.priced(asked); err != nil {
		return err
	}
	funds, err := fundsOf(b.ctx, b.tx, &account, now)
	if err != nil {
		return err
	}
	cost.Spendable = funds.spendable
	if err := b.afford(account.ID, &funds); err != nil {
		return err
	}
	if cost.Deposit == 0 {
		return nil
	}
	return b.hold60(&account, cost.Currency, cost.Deposit, growth)
}

// priceOf fills the cost with what is charged by the minute, in advance and by the token.
func (b *sale) priceOf(book *Book, asked Asked, more RunStep) error {
	hour, err := book.CostOf(more, DepositMinutes, asked)
	if err != nil {
		return err
	}
	if b.cost.Hour, err = b.cost.add(hour); err != nil {
		return err
	}
	for _, a := range b.ahead {
		term, err := book.CostOf(RunStep{PTU: a.ptu}, a.minutes, asked)
		if err != nil {
			return err
		}
		if _, err := b.cost.add(term); err != nil {
			return err
		}
	}
	if b.d.Plan == PlanLoRA {
		_, err = b.cost.add(book.TokenCost(asked))
	}
	if b.d.Plan == PlanPTU && b.d.Overflow == OverflowEnable {
		over := book.TokenCost(asked)
		for i := range over {
			over[i].Class = ClassOverflow
		}
		_, err = b.cost.add(over)
	}
	return err
}

// payer is the account of the workspace in which is bought.
func (b *sale) payer() (Account, error) {
	w, err := b.tx.Accounts().Workspace(b.ctx, b.d.WorkspaceID)
	if err != nil {
		return Account{}, err
	}
	return b.tx.Accounts().Account(b.ctx, w.AccountID)
}

// priced refuses what has no price where the configuration says so.
func (b *sale) priced(asked Asked) error {
	missing := b.cost.missing()
	if !b.RefuseUnpriced || len(missing) == 0 {
		return nil
	}
	words := make([]string, len(missing))
	for i, d := range missing {
		words[i] = string(d)
	}
	of := b.d.ModelName
	if asked.Spec != "" {
		of += " on " + asked.Spec
	}
	return Errorf(CodeInvalid, "No price in %s is set for %s of %s, and this server sells nothing without one; ask an owner to set it.", asked.Currency, strings.Join(words, " and "), of)
}

// afford refuses a purchase whose account is overdue or has less to spend than it needs now.
func (b *sale) afford(account string, funds *owing) error {
	left, need, currency := b.cost.Spendable, b.cost.Deposit, b.cost.Currency
	switch {
	case left == nil:
		return nil
	case funds.overdue > 0:
		return Errorf(CodeArrearage, "The account %s is overdue by %s; nothing is sold to it before that is paid. Pay it, or ask an owner for a larger credit limit.", account, money(funds.overdue, funds.currency))
	case *left < need:
		what := fmt.Sprintf("the first %d minutes of its price", DepositMinutes)
		if len(b.ahead) > 0 {
			what = "with what is paid in advance"
		}
		return Errorf(CodeArrearage, "The account %s has %s to spend and the purchase needs %s now, %s, which is held. Pay at least %s, ask an owner for a larger credit limit, or buy less.",
			account, money(*left, currency), money(need, currency), what, money(need-*left, currency))
	}
	return nil
}

// owing is what an account may still spend, and what it owes too much.
type owing struct {
	// spendable is in its present currency, below 0 by how much it is overdue in that; nil: any
	// amount.
	spendable *Nano
	// overdue is how much it owes beyond what it may in a currency, the present one first; 0: in
	// none.
	overdue  Nano
	currency string
}

// fundsOf returns what an account may still spend now in its present currency. It is overdue
// by any currency that it was kept in: what was used before another currency held is owed in
// the former one, and no sum in one pays for another. A credit limit is so much in each.
func fundsOf(ctx context.Context, tx Tx, a *Account, now time.Time) (o owing, err error) {
	if !a.Bounded() {
		return o, nil
	}
	for i, currency := range a.currencies(now) {
		left, err := spendable(ctx, tx, a, currency)
		if err != nil {
			return o, err
		}
		if i == 0 {
			o.spendable = &left
		}
		if left < 0 && o.overdue == 0 {
			o.overdue, o.currency = -left, currency
		}
	}
	return o, nil
}

// currencies are those that an account was kept in up to a moment, the one that holds then
// first.
func (a *Account) currencies(now time.Time) []string {
	list := []string{a.CurrencyAt(now), a.Currency}
	for _, l := range a.Later {
		if !l.From.After(now) {
			list = append(list, l.Currency)
		}
	}
	for i := 1; i < len(list); {
		if slices.Contains(list[:i], list[i]) {
			list = slices.Delete(list, i, i+1)
		} else {
			i++
		}
	}
	return list
}

// spendable returns what a bounded account may still spend in a currency, below 0 by how much
// it is overdue.
func spendable(ctx context.Context, tx Tx, a *Account, currency string) (Nano, error) {
	left, err := tx.Ledger().Balance(ctx, CustomerSide(a.ID), currency)
	if err != nil {
		return 0, err
	}
	owed, err := unposted(ctx, tx, a, currency)
	if err != nil {
		return 0, err
	}
	left -= owed
	if !a.Prepaid {
		if left, err = left.Plus(*a.CreditLimit); err != nil {
			left = math.MaxInt64
		}
	}
	return left, nil
}

// unposted is what charges will take from the balance of an account that are in its lines and
// not in the ledger yet: those of a deployment beyond its deposit, which is taken first.
func unposted(ctx context.Context, tx Tx, a *Account, currency string) (Nano, error) {
	sum, err := tx.Lines().Unposted(ctx, a.ID, currency)
	if err != nil || sum == 0 {
		return 0, err
	}
	balances, err := tx.Ledger().Balances(ctx, a.ID)
	if err != nil {
		return 0, err
	}
	held, growth := map[string]Nano{}, map[string]Nano{}
	for _, b := range balances {
		if id, ok := strings.CutPrefix(b.Side, DepositSide("")); ok && b.Currency == currency && b.Nano > 0 {
			held[id] = b.Nano
		}
	}
	if len(held) == 0 {
		return sum, nil
	}
	lines, err := tx.Lines().Growing(ctx, a.ID, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt32)
	if err != nil {
		return 0, err
	}
	for i := range lines {
		if l := &lines[i]; l.Currency == currency {
			growth[l.DeploymentID] += l.Amount - l.Posted
		}
	}
	for id, n := range growth {
		sum -= min(max(n, 0), held[id])
	}
	return sum, nil
}

// Bounded reports whether there is an end to what the account may spend.
func (a *Account) Bounded() bool { return a.Prepaid || a.CreditLimit != nil }

// hold60 posts a deposit and notes it on d, which is written afterwards.
func (b *sale) hold60(a *Account, currency string, n Nano, growth bool) error {
	if was := b.d.Deposit; was.Purchase != "" && was.Currency != currency {
		if err := b.giveBack(b.ctx, b.tx, &b.d, math.MaxInt64, "currency"); err != nil {
			return err
		}
	}
	b.d.Deposit = Deposit{Purchase: b.NewID("buy_"), Currency: currency, Nano: n, Growth: growth}
	_, err := b.tx.Ledger().Post(b.ctx, Posting{
		ID: b.NewID("post_"), At: b.Now(), AccountID: a.ID, WorkspaceID: b.d.WorkspaceID, DeploymentID: b.d.ID,
		Cause: CauseDeposit, Reference: ReferenceOf(b.d.ID, b.d.Deposit.Purchase), Currency: currency,
		Entries: []Entry{{Side: CustomerSide(a.ID), Nano: -n}, {Side: DepositSide(b.d.ID), Nano: n}},
	})
	return err
}

// giveBack returns what is left of the deposit of d to its customer, at most so much. why
// tells the refunds of one purchase apart.
func (s *Deployments) giveBack(ctx context.Context, tx Tx, d *Deployment, most Nano, why string) error {
	left, err := tx.Ledger().Balance(ctx, DepositSide(d.ID), d.Deposit.Currency)
	n := min(left, most)
	if err != nil || n <= 0 {
		return err
	}
	w, err := tx.Accounts().Workspace(ctx, d.WorkspaceID)
	if err != nil {
		return err
	}
	_, err = tx.Ledger().Post(ctx, Posting{
		ID: s.NewID("post_"), At: s.Now(), AccountID: w.AccountID, WorkspaceID: d.WorkspaceID, DeploymentID: d.ID,
		Cause: CauseRefund, Reference: ReferenceOf(d.ID, d.Deposit.Purchase, why), Currency: d.Deposit.Currency,
		Entries: []Entry{{Side: DepositSide(d.ID), Nano: -n}, {Side: CustomerSide(w.AccountID), Nano: n}},
	})
	return err
}

// SettleDeposit gives back what the status of d leaves no use for: all that is left when it
// neither runs nor comes up, and what a change held when the change has failed.
func (s *Deployments) SettleDeposit(ctx context.Context, tx Tx, d *Deployment) error {
	switch {
	case d.Deposit.Purchase == "":
	case !d.Status.Callable() && !d.Status.ComingUp():
		if err := s.giveBack(ctx, tx, d, math.MaxInt64, "rest"); err != nil {
			return err
		}
		d.Deposit = Deposit{}
	case d.Deposit.Growth && d.Status == StatusUpdatingFailed:
		if err := s.giveBack(ctx, tx, d, d.Deposit.Nano, "change"); err != nil {
			return err
		}
		d.Deposit.Growth = false
	case d.Deposit.Growth && d.Status == StatusRunning:
		d.Deposit.Growth = false
	}
	return nil
}

// depositAll holds the first hour of a deployment that is bought anew.
func (b *sale) depositAll() error {
	now, _, err := b.terms()
	if err != nil {
		return err
	}
	return b.deposit(now, false)
}

// depositGrowth holds the first hour of what a change adds. One that adds nothing that is
// paid by the minute needs nothing, so that who is overdue may still buy less.
func (b *sale) depositGrowth() error {
	now, before, err := b.terms()
	if more := now.minus(before); err == nil && (!more.IsZero() || len(b.ahead) > 0) {
		err = b.deposit(more, true)
	}
	return err
}

// terms are what is bought and what was before, as they stand in the transaction.
func (b *sale) terms() (now, before RunStep, err error) {
	var instances []CapacityInstance
	if b.d.Reserved {
		if instances, err = b.tx.Capacities().OfDeployment(b.ctx, b.d.ID); err != nil {
			return now, before, err
		}
	}
	now, before = b.d.bought(instances)
	return now, before, nil
}

// money writes an amount for people, with two decimals or as many as it has.
func money(n Nano, currency string) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	decimals := strings.TrimRight(fmt.Sprintf("%09d", n%1e9), "0")
	for len(decimals) < 2 {
		decimals += "0"
	}
	return fmt.Sprintf("%s%d.%s %s", sign, n/1e9, decimals, currency)
}
