package berth

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Statement is what an account used in a month and owes for it, whole or the part of one
// workspace. Its lines are a pure function of usage, runs and prices.
type Statement struct {
	Account     Account
	Period      Period
	AccountID   string
	WorkspaceID string    // "": of all its workspaces
	Month       string    // YYYY-MM in the account's time zone
	ClosedAt    time.Time // zero: later data may still change it
	Currency    string    // the account's now, or at the end of the month
	Totals      []Total   // by currency; at least that one
	Lines       []Line    // late ones of earlier months too; none of nothing
}

// Total is what lines of one currency add up to.
type Total struct {
	Currency string
	Nano     Nano
}

// Statements answers what months came to, and what they would have.
type Statements struct {
	Store Store
	Now   func() time.Time
	// Settle brings lines and postings up to now (billing.Desk); an error is one of this account.
	Settle func(ctx context.Context, accountID string) error
	// Rerate computes the lines of an account's month with other prices (billing.Desk).
	Rerate func(ctx context.Context, accountID, workspaceID, month string, prices []Price) ([]Line, error)
	// Parts returns one page of the parts that a line is made of (billing.Desk).
	Parts func(ctx context.Context, tx Tx, l *Line, cursor string) (Opened, error)
}

// StatementOf names a statement.
type StatementOf struct {
	AccountID   string // "": the caller's
	WorkspaceID string // "": all that the caller may see
	Month       string // YYYY-MM; "": the present one
}

// Get returns a statement as of now. An admin sees the part of its own workspace, an owner
// the whole of any account (design 10).
func (s *Statements) Get(ctx context.Context, of StatementOf) (Statement, error) {
	of, err := of.seenBy(CallerFrom(ctx))
	if err != nil {
		return Statement{}, err
	}
	if err := s.Settle(ctx, of.AccountID); err != nil {
		return Statement{}, err
	}
	return s.view(ctx, of, func(tx Tx, month string) ([]Line, error) {
		return tx.Lines().Month(ctx, of.AccountID, month, of.WorkspaceID)
	})
}

// Head returns a statement without its lines, with whether it is closed, as of now. Who may
// see the statement may (see [Statements.Get]).
func (s *Statements) Head(ctx context.Context, of StatementOf) (Statement, error) {
	of, err := of.seenBy(CallerFrom(ctx))
	if err != nil {
		return Statement{}, err
	}
	return s.view(ctx, of, func(Tx, string) ([]Line, error) { return nil, nil })
}

// Trial returns what the month would have come to under other prices, which are taken for
// the whole book. Late lines of other months are not in it, those of the month that came
// late are. Needs [RoleOwner]. Nothing is written.
func (s *Statements) Trial(ctx context.Context, of StatementOf, prices []Price) (Statement, error) {
	if err := ownerOnly(ctx); err != nil {
		return Statement{}, err
	}
	of, err := of.seenBy(CallerFrom(ctx))
	if err != nil {
		return Statement{}, err
	}
	var month string
	if _, err := s.view(ctx, of, func(_ Tx, m string) ([]Line, error) { month = m; return nil, nil }); err != nil {
		return Statement{}, err
	}
	lines, err := s.Rerate(ctx, of.AccountID, of.WorkspaceID, month, prices)
	if err != nil {
		return Statement{}, err
	}
	return s.view(ctx, of, func(Tx, string) ([]Line, error) { return lines, nil })
}

// view makes a statement of the lines that read finds for a month.
func (s *Statements) view(ctx context.Context, of StatementOf, read func(tx Tx, month string) ([]Line, error)) (Statement, error) {
	var st Statement
	err := s.Store.View(ctx, func(tx Tx) error {
		a, err := findAccount(ctx, tx, of.AccountID)
		if err != nil {
			return err
		}
		now := s.Now()
		m, err := a.MonthNamed(of.Month, now)
		if err != nil {
			return err
		}
		st = Statement{Account: a, Period: m, AccountID: a.ID, WorkspaceID: of.WorkspaceID, Month: m.Name, Currency: a.CurrencyAt(now)}
		if m.End.Before(now) {
			st.Currency = a.CurrencyAt(m.End.Add(-1))
		}
		if st.Lines, err = read(tx, m.Name); err != nil {
			return err
		}
		closed, err := tx.Lines().Closed(ctx, a.ID)
		// A month that is closed closes all before it.
		if i := slices.IndexFunc(closed, func(c Month) bool { return c.Month >= m.Name }); i >= 0 {
			st.ClosedAt = closed[i].ClosedAt
		}
		return err
	})
	if err != nil {
		return Statement{}, err
	}
	st.Lines = slices.DeleteFunc(st.Lines, func(l Line) bool { return l.Quantity == 0 && l.Amount == 0 })
	for i := range st.Lines { // how far the ledger is behind is no part of what is owed
		st.Lines[i].Posted, st.Lines[i].Postings, st.Lines[i].PostedAt = 0, 0, time.Time{}
	}
	st.Totals, err = totals(st.Currency, st.Lines)
	return st, err
}

// totals adds lines up by currency.
func totals(first string, lines []Line) ([]Total, error) {
	list := []Total{{Currency: first}}
	for i := range lines {
		l := &lines[i]
		at := slices.IndexFunc(list, func(t Total) bool { return t.Currency == l.Currency })
		if at < 0 {
			at = len(list)
			list = append(list, Total{Currency: l.Currency})
		}
		var err error
		if list[at].Nano, err = list[at].Nano.Plus(l.Amount); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(t, u Total) int { return strings.Compare(t.Currency, u.Currency) })
	return list, nil
}

// seenBy narrows the name of a statement to what the caller may see.
func (of StatementOf) seenBy(c Caller) (StatementOf, error) {
	if !c.May(RoleAdmin) {
		return of, accessDenied()
	}
	if of.AccountID == "" {
		of.AccountID = c.AccountID
	}
	if c.May(RoleOwner) {
		return of, nil
	}
	if of.AccountID != c.AccountID || of.WorkspaceID != "" && of.WorkspaceID != c.WorkspaceID {
		return of, workspaceDenied()
	}
	of.WorkspaceID = c.WorkspaceID
	return of, nil
}
