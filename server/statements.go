package server

import (
	"context"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// getStatement is GET /berth/v1/statements/{month} (design 10).
func (s *Server) getStatement(ctx context.Context, r *http.Request) (any, error) {
	format := r.URL.Query().Get("format")
	write, known := statementFormats[format]
	if !known {
		return nil, berth.Errorf(berth.CodeInvalid, "The format %q is not known; use json, csv or html.", format)
	}
	links, err := linksOf(r)
	if err != nil {
		return nil, err
	}
	st, err := s.Statements.Get(ctx, statementOf(r))
	if err != nil {
		return nil, err
	}
	return write(statement(&st), links, s.Deployments.Now())
}

// statementFormats are the forms in which a statement is answered.
var statementFormats = map[string]func(st api.Statement, links pageLinks, now time.Time) (any, error){
	"":     statementJSON,
	"json": statementJSON,
	"csv":  func(st api.Statement, _ pageLinks, _ time.Time) (any, error) { return statementCSV(st) },
	"html": statementPage,
}

func statementJSON(st api.Statement, _ pageLinks, _ time.Time) (any, error) { return st, nil }

func statementOf(r *http.Request) berth.StatementOf {
	query := r.URL.Query()
	of := berth.StatementOf{AccountID: query.Get("account_id"), WorkspaceID: query.Get("workspace_id"), Month: r.PathValue("month")}
	if of.Month == api.CurrentMonth {
		of.Month = ""
	}
	return of
}

func statement(st *berth.Statement) api.Statement {
	out := api.Statement{
		Month: st.Month, From: st.Period.Start.UTC(), To: st.Period.End.UTC(), TimeZone: st.Account.TimeZone,
		AccountID: st.Account.ID, AccountName: st.Account.Name, WorkspaceID: st.WorkspaceID,
		Provisional: st.ClosedAt.IsZero(), ClosedAt: st.ClosedAt, Currency: st.Currency,
		Totals: make([]api.Total, len(st.Totals)), Lines: make([]api.StatementLine, len(st.Lines)),
	}
	for i, t := range st.Totals {
		out.Totals[i] = api.Total{Currency: t.Currency, TotalNano: int64(t.Nano)}
		if t.Currency == st.Currency {
			out.TotalNano = int64(t.Nano)
		}
	}
	for i := range st.Lines {
		out.Lines[i] = statementLine(&st.Lines[i])
	}
	return out
}

func statementLine(l *berth.Line) api.StatementLine {
	unit, _ := l.Dimension.Unit()
	return api.StatementLine{
		ID: l.ID(), Day: l.Day, WorkspaceID: l.WorkspaceID, DeploymentID: l.DeploymentID, DeployedModel: l.DeployedModel,
		ModelName: l.ModelName, Plan: string(l.Plan), Class: string(l.Class), Spec: l.Spec, Dimension: string(l.Dimension),
		FromTokens: l.FromTokens, Quantity: l.Quantity, Unit: unit, PriceID: l.PriceID, PriceNano: int64(l.Price), Per: l.Per,
		AmountNano: int64(l.Amount), Currency: l.Currency, Late: l.Late(),
	}
}

// openLine is GET /berth/v1/statements/{month}/records: what a line is made of. As CSV and
// NDJSON it is all of it from the cursor on, as HTML a page to print.
func (s *Server) openLine(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	if query.Get("format") == formHTML {
		return s.openedPage(ctx, r)
	}
	form, err := formOf(r)
	if err != nil {
		return nil, berth.Errorf(berth.CodeInvalid, "The format %q is not known; use json, csv, ndjson or html.", query.Get("format"))
	}
	of, line := statementOf(r), query.Get("line")
	o, err := s.Statements.Open(ctx, of, line, query.Get("cursor"))
	if err != nil || form == formJSON {
		return shown(openedLine)(o, err)
	}
	next := o.Next
	more := func() (berth.Opened, error) {
		if next == "" {
			return berth.Opened{}, nil
		}
		o, err := s.Statements.Open(ctx, of, line, next)
		next = o.Next
		return o, err
	}
	return openedExport(form, &o, more), nil
}

func openedLine(o berth.Opened) api.OpenedLine {
	out := api.OpenedLine{Line: statementLine(&o.Line), Elsewhere: o.Elsewhere, KeptFrom: o.KeptFrom, Next: o.Next}
	if !o.Line.Dimension.ByTime() {
		out.Records = make([]api.OpenedRecord, len(o.Records))
		for i := range o.Records {
			out.Records[i] = api.OpenedRecord{UsageRecord: usageRecord(&o.Records[i].UsageRecord), Quantity: o.Records[i].Quantity}
		}
		return out
	}
	out.Spans = make([]api.Span, len(o.Spans))
	for i, p := range o.Spans {
		out.Spans[i] = api.Span{
			Run: p.RunID, Order: p.OrderID, From: p.From, To: p.To, Minutes: p.Minutes, QuantityPerMinute: p.QuantityPerMinute, Quantity: p.Quantity,
		}
	}
	return out
}
