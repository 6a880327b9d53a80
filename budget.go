package berth

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Budget is what a workspace may spend in a month of its account, in the account's currency.
type Budget struct {
	Amount *Nano `json:"amount,omitempty"` // nil: none
	// WarnOnly budgets refuse no call.
	WarnOnly bool `json:"warn_only,omitempty"`
	// Month is the one of which the following is known.
	Month string `json:"month,omitempty"` // YYYY-MM
	// Warned: four fifths of it are spent; Reached: all of it is.
	Warned  bool `json:"warned,omitempty"`
	Reached bool `json:"reached,omitempty"`
	// StoppedUntil is the end of a month whose budget is spent: until then calls that are paid
	// by it are refused. Zero: they are not.
	StoppedUntil time.Time `json:"stopped_until,omitzero"`
	// Spent is what was spent of it, in Currency, when it was last looked at; whoever asks for
	// the workspace looks.
	Spent    Nano   `json:"spent,omitempty"`
	Currency string `json:"currency,omitempty"`
}

// After returns what becomes of the budget when so much of a month is spent.
func (b Budget) After(spent Nano, m Period) Budget {
	if b.Amount == nil {
		return Budget{}
	}
	if b.Month != m.Name {
		b.Month, b.Warned = m.Name, false
	}
	b.Warned = b.Warned || spent >= *b.Amount-*b.Amount/5
	b.Reached, b.StoppedUntil = spent >= *b.Amount, time.Time{}
	if b.Reached && !b.WarnOnly {
		b.StoppedUntil = m.End.UTC()
	}
	return b
}

// same reports whether two budgets, of the same amount, stand alike.
func (b Budget) same(o Budget) bool {
	return b.Month == o.Month && b.Warned == o.Warned && b.Reached == o.Reached && b.StoppedUntil.Equal(o.StoppedUntil)
}

// BudgetKind is what is said of a budget.
type BudgetKind string

// The kinds of news of budgets.
const (
	BudgetWarned  BudgetKind = "warned"  // four fifths are spent
	BudgetSpent   BudgetKind = "spent"   // all is, and no call is refused
	BudgetStopped BudgetKind = "stopped" // all is, and calls are refused
)

// BudgetNews is something that is said of a budget, once: of a month and an amount.
type BudgetNews struct {
	ID          string // bud_ + workspace, month, amount and kind
	At          time.Time
	AccountID   string
	WorkspaceID string
	Month       string // YYYY-MM
	Kind        BudgetKind
	Amount      Nano
	Spent       Nano // when it was said
	Currency    string
}

// news returns what is to be said of the budget of a workspace as it stands.
func (w *Workspace) news(now time.Time) (n BudgetNews, ok bool) {
	b := &w.Budget
	switch {
	case b.Amount == nil || !b.Warned:
		return n, false
	case !b.StoppedUntil.IsZero():
		n.Kind = BudgetStopped
	case b.Reached:
		n.Kind = BudgetSpent
	default:
		n.Kind = BudgetWarned
	}
	n.At, n.AccountID, n.WorkspaceID, n.Month = now, w.AccountID, w.ID, b.Month
	n.Amount, n.Spent, n.Currency = *b.Amount, b.Spent, b.Currency
	n.ID = strings.Join([]string{"bud", w.ID, b.Month, strconv.FormatInt(int64(n.Amount), 10), string(n.Kind)}, "_")
	return n, true
}

// CheckBudgets compares what workspaces have spent with their budgets: it stops those that
// have reached theirs, lets those go on whose month or budget is new, and returns what there
// is to say of them for the first time. Called again and again, behind rating.
func (s *Workspaces) CheckBudgets(ctx context.Context) ([]BudgetNews, error) {
	var changed []string
	now := s.Now()
	err := s.Store.View(ctx, func(tx Tx) error {
		changed = nil
		all, err := tx.Accounts().Workspaces(ctx)
		for i := range all {
			if err != nil {
				return err
			}
			if all[i].Budget.Amount == nil {
				continue
			}
			w := all[i]
			if err = s.budget(ctx, tx, &w, now); err == nil && !w.Budget.same(all[i].Budget) {
				changed = append(changed, w.ID)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var said []BudgetNews
	for _, id := range changed {
		var news BudgetNews
		var first bool
		err := s.write(WithCaller(ctx, System()), "workspace.budget", func(tx Tx) (string, error) {
			w, err := tx.Accounts().Workspace(ctx, id)
			if err != nil {
				return "", err
			}
			news, first, err = s.keepBudget(ctx, tx, &w, now)
			return w.ID, err
		})
		if err != nil {
			return said, err
		}
		if first {
			said = append(said, news)
		}
	}
	return said, nil
}

// keepBudget writes a workspace with its budget as it stands now, and what there is to say of
// it, unless that was said before.
func (s *Workspaces) keepBudget(ctx context.Context, tx Tx, w *Workspace, now time.Time) (n BudgetNews, first bool, err error) {
	if err := s.budget(ctx, tx, w, now); err != nil {
		return n, false, err
	}
	if err := tx.Accounts().UpdateWorkspace(ctx, *w); err != nil {
		return n, false, err
	}
	n, ok := w.news(now)
	if ok {
		first, err = tx.Accounts().TellBudget(ctx, n)
	}
	return n, first, err
}

// budget brings the budget of a workspace up to what was spent.
func (s *Workspaces) budget(ctx context.Context, tx Tx, w *Workspace, now time.Time) error {
	if w.Budget.Amount == nil {
		return nil
	}
	a, err := tx.Accounts().Account(ctx, w.AccountID)
	if err != nil {
		return err
	}
	month, currency := a.MonthOf(now), a.CurrencyAt(now)
	spent, err := tx.Lines().Spent(ctx, w.ID, month.Name, currency)
	if err != nil {
		return err
	}
	w.Budget = w.Budget.After(spent, month)
	w.Budget.Spent, w.Budget.Currency = spent, currency
	return nil
}
