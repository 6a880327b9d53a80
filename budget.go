package berth

import (
	"context"
	"time"
)

// Budget is what a workspace may spend in a month of its account, in the account's currency.
type Budget struct {
	Amount *Nano `json:"amount,omitempty"` // nil: none
	// WarnOnly budgets refuse no call.
	WarnOnly bool `json:"warn_only,omitempty"`
	// Month is the one of which the following is known.
	Month string `json:"month,omitempty"` // YYYY-MM
	// Warned: four fifths of it are spent, which was said.
	Warned bool `json:"warned,omitempty"`
	// StoppedUntil is the end of a month whose budget is spent: until then calls that are paid
	// by it are refused. Zero: they are not.
	StoppedUntil time.Time `json:"stopped_until,omitzero"`
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
	b.StoppedUntil = time.Time{}
	if spent >= *b.Amount && !b.WarnOnly {
		b.StoppedUntil = m.End.UTC()
	}
	return b
}

// same reports whether two budgets, of the same amount, stand alike.
func (b Budget) same(o Budget) bool {
	return b.Month == o.Month && b.Warned == o.Warned && b.StoppedUntil.Equal(o.StoppedUntil)
}

// BudgetNews is a budget of which something has to be said.
type BudgetNews struct {
	Workspace Workspace
	Spent     Nano
	Currency  string
	Month     string
}

// CheckBudgets compares what workspaces have spent with their budgets: it stops those that
// have reached theirs, lets those go on whose month or budget is new, and returns those that
// passed four fifths of it or were stopped, to be said. Called again and again, behind rating.
func (s *Workspaces) CheckBudgets(ctx context.Context) ([]BudgetNews, error) {
	var changed []BudgetNews
	now := s.Now()
	err := s.Store.View(ctx, func(tx Tx) error {
		changed = nil
		all, err := tx.Accounts().Workspaces(ctx)
		for i := range all {
			if err != nil {
				return err
			}
			w := &all[i]
			if w.Budget.Amount == nil {
				continue
			}
			var news BudgetNews
			if news, err = s.budget(ctx, tx, w, now); err == nil && !news.Workspace.Budget.same(w.Budget) {
				changed = append(changed, news)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var said []BudgetNews
	for _, c := range changed {
		var news BudgetNews
		var before Budget
		err := s.write(WithCaller(ctx, System()), "workspace.budget", func(tx Tx) (string, error) {
			w, err := tx.Accounts().Workspace(ctx, c.Workspace.ID)
			if err != nil {
				return "", err
			}
			before = w.Budget
			if news, err = s.budget(ctx, tx, &w, now); err != nil {
				return "", err
			}
			return w.ID, tx.Accounts().UpdateWorkspace(ctx, news.Workspace)
		})
		if err != nil {
			return said, err
		}
		b := news.Workspace.Budget
		if b.Warned && (!before.Warned || before.Month != b.Month) || !b.StoppedUntil.IsZero() && before.StoppedUntil.IsZero() {
			said = append(said, news)
		}
	}
	return said, nil
}

// budget says what the budget of a workspace is to be.
func (s *Workspaces) budget(ctx context.Context, tx Tx, w *Workspace, now time.Time) (BudgetNews, error) {
	a, err := tx.Accounts().Account(ctx, w.AccountID)
	if err != nil {
		return BudgetNews{}, err
	}
	news := BudgetNews{Workspace: *w, Currency: a.CurrencyAt(now), Month: a.MonthOf(now).Name}
	if news.Spent, err = tx.Lines().Spent(ctx, w.ID, news.Month, news.Currency); err != nil {
		return news, err
	}
	news.Workspace.Budget = w.Budget.After(news.Spent, a.MonthOf(now))
	return news, nil
}
