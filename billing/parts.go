package billing

import (
	"context"
	"strconv"

	berth "github.com/berthhq/berth"
)

// Parts returns one page of what a line of a statement is made of, as the transaction sees
// it; of the whole only parts, KeptFrom and Next are set. A line of tokens is the records
// that [Desk.Rate] has added up for it, one of time the minutes that it has charged.
func (d *Desk) Parts(ctx context.Context, tx berth.Tx, l *berth.Line, cursor string) (berth.Opened, error) {
	b, err := d.bench(ctx, tx, l.AccountID, l.DeploymentID)
	if err != nil {
		return berth.Opened{}, err
	}
	if !l.Dimension.ByTime() {
		return b.records(ctx, tx, l, cursor)
	}
	f, err := b.byTime(ctx, tx, l.Day)
	if err != nil {
		return berth.Opened{}, err
	}
	f.By = d.opt.Now()
	for i := range f.Runs { // what is not rated yet is not in the line
		if r := &f.Runs[i]; r.EndedAt.IsZero() || r.RatedTo.Before(r.EndedAt) {
			f.By = r.RatedTo
			break
		}
	}
	spans, err := Spans(b.book, &f, l)
	if err != nil {
		return berth.Opened{}, err
	}
	return spanPage(spans, cursor)
}

// spanPage cuts a page out of spans; a cursor is how many came before.
func spanPage(spans []berth.Span, cursor string) (o berth.Opened, err error) {
	var from int64
	if cursor != "" {
		if from, err = strconv.ParseInt(cursor, 10, 64); err != nil || from < 0 {
			return o, berth.Errorf(berth.CodeInvalid, "The cursor is not one of this list; use the next of its last page.")
		}
	}
	spans = spans[min(from, int64(len(spans))):]
	if len(spans) > berth.OpenLimit {
		spans, o.Next = spans[:berth.OpenLimit], strconv.FormatInt(from+berth.OpenLimit, 10)
	}
	o.Spans = spans
	return o, nil
}

// Spans returns what a line of time is made of, in order of runs, then of orders: a pure
// function of what made the line. Their quantities add up to what [Lines] says of it.
func Spans(book *berth.Book, f *Facts, of *berth.Line) ([]berth.Span, error) {
	var spans []berth.Span
	s := sheet{book: book, facts: f, lines: map[lineKey]*berth.Line{}}
	s.part = func(l *berth.Line, p berth.Span) {
		if keyOf(l) != keyOf(of) {
			return
		}
		if l.Class == berth.ClassRefund {
			p.Minutes, p.Quantity = -p.Minutes, -p.Quantity
		}
		if n := len(spans) - 1; n >= 0 && p.RunID != "" && spans[n].RunID == p.RunID && spans[n].To.Equal(p.From) && spans[n].QuantityPerMinute == p.QuantityPerMinute {
			spans[n].To = p.To
			spans[n].Minutes += p.Minutes
			spans[n].Quantity += p.Quantity
			return
		}
		spans = append(spans, p)
	}
	for i := range f.Runs {
		s.run(&f.Runs[i])
	}
	for i := range f.Orders {
		s.order(&f.Orders[i])
	}
	return spans, s.err
}

// records returns a page of the records of a line of tokens.
func (b *bench) records(ctx context.Context, tx berth.Tx, l *berth.Line, cursor string) (o berth.Opened, err error) {
	day, err := berth.DayNamed(l.Day, b.zone)
	if err != nil {
		return o, err
	}
	kept, err := tx.Usage().KeptFrom(ctx, l.WorkspaceID)
	if err != nil {
		return o, err
	}
	if kept.After(day.Start) {
		o.KeptFrom = kept
	}
	billable := true
	list, next, err := tx.Usage().Records(ctx, berth.UsageFilter{
		WorkspaceID: l.WorkspaceID, DeployedModel: l.DeployedModel, Class: l.Class, From: day.Start, To: day.End, Billable: &billable,
	}, cursor, berth.OpenLimit)
	if err != nil {
		return o, err
	}
	for i := range list {
		if n := b.share(&list[i], l); n > 0 {
			o.Records = append(o.Records, berth.OpenedRecord{UsageRecord: list[i], Quantity: n})
		}
	}
	o.Next = next
	return o, nil
}

// share returns how many tokens of a record are in a line.
func (b *bench) share(u *berth.UsageRecord, l *berth.Line) int64 {
	if u.DeploymentID != l.DeploymentID || u.Class != l.Class || !u.Billable {
		return 0
	}
	asked := berth.Asked{
		Currency: b.account.CurrencyAt(u.StartedAt), Plan: u.Plan, Model: u.ModelName, Base: b.base,
		Dimension: l.Dimension, Tokens: u.InputTokens, At: u.StartedAt,
	}
	p, _ := PriceOf(b.book, asked)
	if p.ID != l.PriceID || p.FromTokens != l.FromTokens || asked.Currency != l.Currency {
		return 0
	}
	switch l.Dimension {
	case berth.DimensionInput:
		return u.InputTokens - u.CachedTokens
	case berth.DimensionCached:
		return u.CachedTokens
	case berth.DimensionOutput:
		return u.OutputTokens - u.ThinkingTokens
	case berth.DimensionThinking:
		return u.ThinkingTokens
	}
	return 0
}
