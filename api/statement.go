package api

import (
	"context"
	"io"
	"net/url"
	"strings"
	"time"
)

// CurrentMonth names the present month of an account in requests for statements.
const CurrentMonth = "current"

// Statement is what an account used in a month and owes for it, or the part of one
// workspace.
type Statement struct {
	Month       string    `json:"month"` // YYYY-MM, in the account's time zone
	From        time.Time `json:"from"`  // the month is [From, To)
	To          time.Time `json:"to"`
	TimeZone    string    `json:"time_zone"`
	AccountID   string    `json:"account_id"`
	AccountName string    `json:"account_name"`
	WorkspaceID string    `json:"workspace_id,omitempty"` // "": all of the account's
	Provisional bool      `json:"provisional"`            // what comes later may still change it
	ClosedAt    time.Time `json:"closed_at,omitzero"`
	Currency    string    `json:"currency"`
	TotalNano   int64     `json:"total_nano"` // of the lines in Currency
	// Totals are the sums of each currency that there are lines of, and of Currency.
	Totals []Total         `json:"totals"`
	Lines  []StatementLine `json:"lines"`
}

// Total is the sum of the lines in one currency.
type Total struct {
	Currency  string `json:"currency"`
	TotalNano int64  `json:"total_nano"`
}

// StatementLine is what one deployment used of one dimension on one day at one price.
type StatementLine struct {
	ID            string `json:"id"` // for [Client.StatementRecords]
	Day           string `json:"day"`
	WorkspaceID   string `json:"workspace_id"`
	DeploymentID  string `json:"deployment_id"`
	DeployedModel string `json:"deployed_model"`
	ModelName     string `json:"model_name"`
	Plan          string `json:"plan"`
	Class         string `json:"class,omitempty"` // of the calls; "" of time
	Spec          string `json:"spec,omitempty"`
	Dimension     string `json:"dimension"`
	FromTokens    int64  `json:"from_tokens"`
	Quantity      int64  `json:"quantity"`
	Unit          string `json:"unit"`
	PriceID       string `json:"price_id,omitempty"` // "": unpriced, and free
	PriceNano     int64  `json:"price_nano"`
	Per           int64  `json:"per"` // of Unit
	AmountNano    int64  `json:"amount_nano"`
	Currency      string `json:"currency"`
	Late          bool   `json:"late,omitempty"` // of a month that was closed when it came
}

// StatementQuery names a statement. Only owners may name an account or another workspace
// than their own.
type StatementQuery struct {
	Month       string // YYYY-MM; "": [CurrentMonth]
	AccountID   string // "": the key's
	WorkspaceID string // "": all that the key may see
	// Links says where the links of HTML lead: [LinksFiles], [LinksNone], or "" to the API,
	// of use where something adds the key that a browser does not send.
	Links string
}

// Where links of HTML lead.
const (
	// LinksFiles: to files that are kept beside each other: the statement is index.html, lines
	// are lines/ID.html and, from the second page on, lines/ID.2.html.
	LinksFiles = "files"
	LinksNone  = "none"
)

func (q StatementQuery) request(what string) request {
	month := q.Month
	if month == "" {
		month = CurrentMonth
	}
	query := url.Values{}
	for name, value := range map[string]string{"account_id": q.AccountID, "workspace_id": q.WorkspaceID, "links": q.Links} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return request{path: "/berth/v1/statements/" + url.PathEscape(month) + what, query: query}
}

// Statement returns the statement of a month as it stands now.
func (c *Client) Statement(ctx context.Context, q StatementQuery) (Statement, error) {
	return own[Statement](ctx, c, q.request(""))
}

// WriteStatement writes a statement as "csv" or as a page to print, "html".
func (c *Client) WriteStatement(ctx context.Context, q StatementQuery, format string, to io.Writer) error {
	return c.export(ctx, to, format, q.request(""))
}

// OpenedLine is one page of what a line of a statement is made of: records of tokens, or
// spans of time. Over all pages their quantities add up to that of the line and Elsewhere.
type OpenedLine struct {
	Line StatementLine `json:"line"`
	// Elsewhere is how much of it is on the statements of other months: closed ones, or later
	// ones that correct this.
	Elsewhere int64          `json:"elsewhere_quantity,omitempty"`
	Records   []OpenedRecord `json:"records,omitzero"`           // of a line of tokens
	Spans     []Span         `json:"spans,omitzero"`             // of a line of time
	KeptFrom  time.Time      `json:"records_kept_from,omitzero"` // records of earlier calls of the day are deleted
	Next      string         `json:"next,omitempty"`             // cursor of the next page; absent on the last
}

// OpenedRecord is a record of a line and its share of the line's quantity.
type OpenedRecord struct {
	UsageRecord
	Quantity int64 `json:"quantity"`
}

// Span is minutes that were charged at one capacity, of a run or of an order.
type Span struct {
	Run               string    `json:"run,omitempty"`
	Order             string    `json:"order,omitempty"` // paid in advance, or given back
	From              time.Time `json:"from"`
	To                time.Time `json:"to,omitzero"` // of a run: the end of the last minute
	Minutes           int64     `json:"minutes"`     // below 0: given back
	QuantityPerMinute int64     `json:"quantity_per_minute"`
	Quantity          int64     `json:"quantity"`
}

// StatementRecords returns the page of what a line is made of that cursor names, "" for the
// first.
func (c *Client) StatementRecords(ctx context.Context, q StatementQuery, line, cursor string) (OpenedLine, error) {
	r := q.request("/records")
	r.query.Set("line", line)
	r.query = withCursor(r.query, cursor)
	return own[OpenedLine](ctx, c, r)
}

// WriteLine writes what a line is made of as [FormatCSV] or [FormatNDJSON], all of it, or as
// "html", one page to print; cursor is "" for the first, and next that of the page behind it,
// "" on the last.
func (c *Client) WriteLine(ctx context.Context, q StatementQuery, line, format, cursor string, to io.Writer) (next string, err error) {
	r := q.request("/records")
	r.query.Set("line", line)
	r.query.Set("format", format)
	r.query = withCursor(r.query, cursor)
	response, err := c.send(ctx, r)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	link, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
	if behind, err := url.Parse(link); err == nil {
		next = behind.Query().Get("cursor")
	}
	return next, copyAnswer(to, response, r)
}
