package server

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	html "html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

const formHTML = "html"

// pageLinks say where the links of a page lead: a browser sends no key, so below the API
// they are of use only behind something that adds it; a client that has a key keeps the
// pages as files beside each other.
type pageLinks struct {
	to    string     // linksFiles, linksNone or the API
	query url.Values // of the API: account and workspace
	path  string     // from the page of the statement to the API's records
}

// The values of links but for the API.
const (
	linksFiles = "files"
	linksNone  = "none"
)

func linksOf(r *http.Request) (pageLinks, error) {
	query := r.URL.Query()
	switch links := query.Get("links"); links {
	case "", "api", linksFiles, linksNone:
		l := pageLinks{to: links, query: url.Values{}, path: url.PathEscape(r.PathValue("month")) + "/records?"}
		for _, name := range []string{"account_id", "workspace_id"} {
			if value := query.Get(name); value != "" {
				l.query.Set(name, value)
			}
		}
		return l, nil
	default:
		return pageLinks{}, berth.Errorf(berth.CodeInvalid, "The value of links must be api, files or none, not %q.", links)
	}
}

// line is where a line of a statement opens, from the statement.
func (l pageLinks) line(id string) string {
	switch l.to {
	case linksNone:
		return ""
	case linksFiles:
		return "lines/" + id + ".html"
	}
	return l.path + l.records(id, "")
}

// records is the query of a page of a line.
func (l pageLinks) records(id, cursor string) string {
	query := url.Values{"line": {id}, "format": {formHTML}}
	for name, value := range l.query {
		query[name] = value
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return query.Encode()
}

// next is where the page after the given one is, from that one.
func (l pageLinks) next(id string, at pageCursor) string {
	switch l.to {
	case linksNone:
		return ""
	case linksFiles:
		return fmt.Sprintf("%s.%d.html", id, at.page+1)
	}
	return "?" + l.records(id, at.String())
}

// back is the statement, from a page of a line.
func (l pageLinks) back(month string) string {
	switch l.to {
	case linksNone:
		return ""
	case linksFiles:
		return "../index.html"
	}
	query := url.Values{"format": {formHTML}}
	for name, value := range l.query {
		query[name] = value
	}
	return "../" + url.PathEscape(month) + "?" + query.Encode()
}

// pageCursor is where a page of an opened line begins: behind so many pages, whose
// quantities add up to the sum, at a cursor of the records.
type pageCursor struct {
	page, sum int64
	records   string
}

func (c pageCursor) String() string { return fmt.Sprintf("%d.%d.%s", c.page, c.sum, c.records) }

func readPageCursor(text string) (c pageCursor, err error) {
	if text == "" {
		return c, nil
	}
	page, rest, _ := strings.Cut(text, ".")
	sum, records, ok := strings.Cut(rest, ".")
	if c.page, err = strconv.ParseInt(page, 10, 64); err == nil {
		c.sum, err = strconv.ParseInt(sum, 10, 64)
	}
	if c.records = records; err != nil || !ok || records == "" || c.page < 1 {
		return c, berth.Errorf(berth.CodeInvalid, "The cursor is not one of these pages; take the link to the next one.")
	}
	return c, nil
}

//go:embed opened.html
var openedHTML string

var openedTemplate = html.Must(html.New("line").Parse(openedHTML))

// sheetOpened is a page of an opened line as its HTML shows it: everything is a text.
type sheetOpened struct {
	Month, DeployedModel, ModelName, Plan, WorkspaceID, TimeZone, Unit string

	Line     pageLine
	Page     int64
	Carried  string // the sum of the pages before; "" on the first
	Heads    []string
	Rows     []pageRow
	Sum      string // of all pages so far
	Else     string // how much of it is on other statements
	KeptFrom string
	Back     string
	Next     string
	More     bool // pages follow
}

type pageRow struct {
	Cells    []string
	Quantity string
}

// openedPageRows is the least number of rows of a page that is followed by another, as a
// browser and a printer can take.
const openedPageRows = 5000

// openedPage answers a page of what a line is made of, to look at and print, with the sum
// at its end.
func (s *Server) openedPage(ctx context.Context, r *http.Request) (any, error) {
	links, err := linksOf(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	of, line := statementOf(r), query.Get("line")
	at, err := readPageCursor(query.Get("cursor"))
	if err != nil {
		return nil, err
	}
	st, err := s.Statements.Head(ctx, of)
	if err != nil {
		return nil, err
	}
	zone := zoneOf(&api.Statement{TimeZone: st.Account.TimeZone})
	p := sheetOpened{Page: at.page + 1, TimeZone: st.Account.TimeZone, Month: st.Month, Back: links.back(r.PathValue("month"))}
	if at.page > 0 {
		p.Carried = api.FormatCount(at.sum)
	}
	for {
		o, err := s.Statements.Open(ctx, of, line, at.records)
		if err != nil {
			return nil, err
		}
		if p.Heads == nil {
			p.about(&o, zone)
		}
		at.sum += p.rows(&o, zone)
		if at.records = o.Next; o.Next == "" || len(p.Rows) >= openedPageRows {
			break
		}
	}
	at.page++
	p.Sum = api.FormatCount(at.sum)
	d := document{kind: "text/html; charset=utf-8"}
	if at.records != "" {
		p.Next, p.More = links.next(line, at), true
		d.next = "?" + links.records(line, at.String())
	}
	var text bytes.Buffer
	err = openedTemplate.Execute(&text, p)
	d.text = text.Bytes()
	return d, err
}

// about says what the line is.
func (p *sheetOpened) about(o *berth.Opened, zone *time.Location) {
	l := statementLine(&o.Line)
	p.DeployedModel, p.ModelName, p.Plan, p.WorkspaceID, p.Unit = l.DeployedModel, l.ModelName, l.Plan, l.WorkspaceID, unitWords[l.Unit]
	p.Line = shownLine(&l, "")
	p.Heads = []string{"Started", "Took", "Key", "Ended", "Call"}
	if o.Line.Dimension.ByTime() {
		p.Heads = []string{"From", "To", "Minutes", "At once", "Run or order"}
	}
	if o.Elsewhere != 0 {
		p.Else = api.FormatCount(o.Elsewhere)
	}
	if !o.KeptFrom.IsZero() {
		p.KeptFrom = o.KeptFrom.In(zone).Format(time.DateTime)
	}
}

// rows adds the rows of what was read, and returns their sum.
func (p *sheetOpened) rows(o *berth.Opened, zone *time.Location) (sum int64) {
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.In(zone).Format(time.DateTime)
	}
	for i := range o.Records {
		r := &o.Records[i]
		sum += r.Quantity
		took := strconv.FormatFloat(r.EndedAt.Sub(r.StartedAt).Seconds(), 'f', 1, 64) + " s"
		p.Rows = append(p.Rows, pageRow{[]string{moment(r.StartedAt), took, r.KeyID, string(r.End), r.CallID}, api.FormatCount(r.Quantity)})
	}
	for _, t := range o.Spans {
		sum += t.Quantity
		p.Rows = append(p.Rows, pageRow{
			[]string{moment(t.From), moment(t.To), api.FormatCount(t.Minutes), api.FormatCount(t.QuantityPerMinute), t.RunID + t.OrderID}, api.FormatCount(t.Quantity),
		})
	}
	return sum
}

var spanColumns = []string{"line", "run", "order", "from", "to", "minutes", "quantity_per_minute", "quantity", "unit"}

// openedExport has a row for each record or span.
func openedExport(form string, first *berth.Opened, more func() (berth.Opened, error)) export {
	line := statementLine(&first.Line)
	if first.Line.Dimension.ByTime() {
		spans := func() ([]api.Span, error) {
			o, err := more()
			return openedLine(o).Spans, err
		}
		return paged(form, "spans", spanColumns, openedLine(*first).Spans, spans, func(t *api.Span) (any, []any) {
			return t, []any{line.ID, t.Run, t.Order, t.From, t.To, t.Minutes, t.QuantityPerMinute, t.Quantity, line.Unit}
		})
	}
	columns := slices.Concat([]string{"line", "quantity", "unit"}, recordColumns)
	records := func() (list []berth.OpenedRecord, err error) {
		for len(list) == 0 && err == nil {
			var o berth.Opened
			if o, err = more(); err != nil || o.Line.DeploymentID == "" {
				return nil, err
			}
			list = o.Records
		}
		return list, err
	}
	return paged(form, "records", columns, first.Records, records, func(r *berth.OpenedRecord) (any, []any) {
		v := api.OpenedRecord{UsageRecord: usageRecord(&r.UsageRecord), Quantity: r.Quantity}
		return v, append([]any{line.ID, v.Quantity, line.Unit}, recordCells(&v.UsageRecord)...)
	})
}
