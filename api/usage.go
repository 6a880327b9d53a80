package api

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// UsageRow is the sum of the calls of one group.
type UsageRow struct {
	Group          map[string]string `json:"group"` // grouping to value, such as day to 2026-10-02
	Calls          int64             `json:"calls"`
	InputTokens    int64             `json:"input_tokens"` // cached ones included
	CachedTokens   int64             `json:"cached_tokens"`
	OutputTokens   int64             `json:"output_tokens"` // thinking ones included
	ThinkingTokens int64             `json:"thinking_tokens"`

	// Of those, what is billable.
	BillableCalls          int64 `json:"billable_calls"`
	BillableInputTokens    int64 `json:"billable_input_tokens"`
	BillableCachedTokens   int64 `json:"billable_cached_tokens"`
	BillableOutputTokens   int64 `json:"billable_output_tokens"`
	BillableThinkingTokens int64 `json:"billable_thinking_tokens"`
	CountedCalls           int64 `json:"counted_calls"` // whose figures were counted by Berth
	UnknownCalls           int64 `json:"unknown_calls"` // whose figures nobody was told; not billable
}

// UsageRows is the answer of GET /berth/v1/usage.
type UsageRows struct {
	Rows []UsageRow `json:"rows"`
	Next string     `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// UsageRecord is what one call used.
type UsageRecord struct {
	ID             string    `json:"id"`
	CallID         string    `json:"call_id"` // the answer's x-request-id, a label
	WorkspaceID    string    `json:"workspace_id"`
	KeyID          string    `json:"key_id"`
	DeployedModel  string    `json:"deployed_model"`
	ModelName      string    `json:"model_name"`
	Plan           string    `json:"plan"`
	Class          string    `json:"class"`
	Replica        string    `json:"replica"`
	StartedAt      time.Time `json:"started_at"`
	FirstTokenAt   time.Time `json:"first_token_at,omitzero"`
	EndedAt        time.Time `json:"ended_at"`
	InputTokens    int64     `json:"input_tokens"`
	CachedTokens   int64     `json:"cached_tokens"`
	OutputTokens   int64     `json:"output_tokens"`
	ThinkingTokens int64     `json:"thinking_tokens"`
	Billable       bool      `json:"billable"`
	End            string    `json:"end"`
	Source         string    `json:"source"`
}

// UsageRecords is one page of records, oldest first.
type UsageRecords struct {
	Records []UsageRecord `json:"records"`
	Next    string        `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// AllWorkspaces is what an owner may ask for.
const AllWorkspaces = "*"

// UsageFilter selects calls that were admitted in [From, To). Zero fields select all.
type UsageFilter struct {
	From, To time.Time
	// FromDay and ToDay are From and To as the beginning of a day, such as 2026-10-02, in the
	// time zone of the account that pays for the workspace.
	FromDay, ToDay string
	WorkspaceID    string // owners: another workspace than that of the key, or [AllWorkspaces]
	DeployedModel  string
	KeyID          string
	Class          string // reserved, overflow, shared, dedicated or probe
	// Of records only: how the call ended, where its figures come from, and whether they are
	// billed.
	End, Source string
	Billable    *bool
}

func (f UsageFilter) query() url.Values {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("from", cmp.Or(f.FromDay, moment(f.From)))
	set("to", cmp.Or(f.ToDay, moment(f.To)))
	set("workspace_id", f.WorkspaceID)
	set("deployed_model", f.DeployedModel)
	set("key_id", f.KeyID)
	set("class", f.Class)
	set("end", f.End)
	set("source", f.Source)
	if f.Billable != nil {
		query.Set("billable", strconv.FormatBool(*f.Billable))
	}
	return query
}

// moment is a time in a request, "" when it is zero.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// The forms of WriteUsage, WriteUsageRecords and WriteAudit.
const (
	FormatCSV    = "csv"
	FormatNDJSON = "ndjson" // a JSON value on each line
)

func usageRequest(f UsageFilter, groupBy []string) request {
	query := f.query()
	if len(groupBy) > 0 {
		query.Set("group_by", strings.Join(groupBy, ","))
	}
	return request{path: "/berth/v1/usage", query: query}
}

// Usage sums the calls that f selects, grouped by any of deployed_model, model_name,
// key_id, plan, class, hour, day, month and workspace_id.
func (c *Client) Usage(ctx context.Context, f UsageFilter, groupBy ...string) (all []UsageRow, err error) {
	for cursor := ""; ; {
		r := usageRequest(f, groupBy)
		r.query = withCursor(r.query, cursor)
		page, err := own[UsageRows](ctx, c, r)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Rows...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// WriteUsage writes what Usage returns as [FormatCSV] or [FormatNDJSON].
func (c *Client) WriteUsage(ctx context.Context, to io.Writer, format string, f UsageFilter, groupBy ...string) error {
	return c.export(ctx, to, format, usageRequest(f, groupBy))
}

// UsageRecords returns the page of records that cursor names, "" for the first. A page may
// be short and be followed by another: the last one has no Next.
func (c *Client) UsageRecords(ctx context.Context, f UsageFilter, cursor string) (UsageRecords, error) {
	return own[UsageRecords](ctx, c, request{path: "/berth/v1/usage/records", query: withCursor(f.query(), cursor)})
}

// WriteUsageRecords writes all records that f selects, oldest first, as [FormatCSV] or
// [FormatNDJSON].
func (c *Client) WriteUsageRecords(ctx context.Context, to io.Writer, format string, f UsageFilter) error {
	return c.export(ctx, to, format, request{path: "/berth/v1/usage/records", query: f.query()})
}

// export copies an answer that is a file. An error may come after a part was written.
func (c *Client) export(ctx context.Context, to io.Writer, format string, r request) error {
	r.query.Set("format", format)
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	return copyAnswer(to, response, r)
}

func copyAnswer(to io.Writer, response *http.Response, r request) error {
	if _, err := io.Copy(to, response.Body); err != nil {
		return fmt.Errorf("read the answer of %s: %w", r.path, err)
	}
	return nil
}
