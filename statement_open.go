package berth

import (
	"context"
	"strings"
	"time"
)

// Opened is one page of what a line of a statement is made of: of tokens records, of time
// spans, or orders where it was paid in advance. Over all pages their quantities add up to
// Line.Quantity and Elsewhere.
type Opened struct {
	Line Line
	// Elsewhere is how much of it is on the statements of other months: closed ones, or later
	// ones that correct this.
	Elsewhere int64
	Records   []OpenedRecord
	Spans     []Span
	// KeptFrom: the records of calls that were admitted earlier on the day are deleted. zero:
	// all are there.
	KeptFrom time.Time
	Next     string // cursor of the next page; "" on the last
}

// OpenedRecord is a record of a line.
type OpenedRecord struct {
	UsageRecord
	Quantity int64 // its tokens of the line's dimension
}

// Span is minutes of a run, or of an order, that were charged at one capacity.
type Span struct {
	RunID, OrderID    string    // one of them
	From, To          time.Time // of an order its moment, and zero
	Minutes           int64     // below 0: given back
	QuantityPerMinute int64     // in the dimension's [Dimension.Unit], without the minute
	Quantity          int64
}

// OpenLimit is how many records or spans one page of an opened line has at most. A page may
// have fewer and be followed by another.
const OpenLimit = 500

// Open returns one page of what a line of a statement is made of, after a cursor ("" from
// the first). Who may see the statement may (see [Statements.Get]). [CodeNotFound] when the
// statement has no such line.
func (s *Statements) Open(ctx context.Context, of StatementOf, line, cursor string) (Opened, error) {
	of, err := of.seenBy(CallerFrom(ctx))
	if err != nil {
		return Opened{}, err
	}
	if line == "" {
		return Opened{}, Errorf(CodeInvalid, "Field required: line; use the id of a line of the statement.")
	}
	if err := s.Settle(ctx, of.AccountID); err != nil {
		return Opened{}, err
	}
	var o Opened
	err = s.Store.View(ctx, func(tx Tx) error {
		l, elsewhere, err := s.line(ctx, tx, of, line)
		if err != nil {
			return err
		}
		o, err = s.Parts(ctx, tx, &l, cursor)
		l.Posted, l.Postings, l.PostedAt = 0, 0, time.Time{}
		o.Line, o.Elsewhere = l, elsewhere
		return err
	})
	return o, err
}

// line finds a line of a statement by its id, and how much of the same is on others.
func (s *Statements) line(ctx context.Context, tx Tx, of StatementOf, id string) (found Line, elsewhere int64, err error) {
	a, err := findAccount(ctx, tx, of.AccountID)
	if err != nil {
		return found, 0, err
	}
	m, err := a.MonthNamed(of.Month, s.Now())
	if err != nil {
		return found, 0, err
	}
	day, rest, _ := strings.Cut(id, ".")
	deployment, _, _ := strings.Cut(rest, ".")
	lines, err := tx.Lines().Of(ctx, []string{deployment}, []string{day})
	if err != nil {
		return found, 0, err
	}
	for i := range lines {
		l := &lines[i]
		switch {
		case l.AccountID != a.ID || of.WorkspaceID != "" && l.WorkspaceID != of.WorkspaceID || l.ID() != id:
		case l.Month == m.Name:
			found = *l
		default:
			elsewhere += l.Quantity
		}
	}
	if found.Quantity == 0 && found.Amount == 0 {
		return found, 0, Errorf(CodeNotFound, "The statement of %s has no line %s; take an id of its lines.", m.Name, id)
	}
	return found, elsewhere, nil
}
