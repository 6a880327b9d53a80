package api

import (
	"context"
	"net/url"
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
}

// UsageRows is the answer of GET /berth/v1/usage.
type UsageRows struct {
	Rows []UsageRow `json:"rows"`
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

// UsageFilter selects calls that were admitted in [From, To). Zero fields select all.
type UsageFilter struct {
	From, To      time.Time
	DeployedModel string
}

func (f UsageFilter) query() url.Values {
	query := url.Values{}
	if !f.From.IsZero() {
		query.Set("from", f.From.UTC().Format(time.RFC3339))
	}
	if !f.To.IsZero() {
		query.Set("to", f.To.UTC().Format(time.RFC3339))
	}
	if f.DeployedModel != "" {
		query.Set("deployed_model", f.DeployedModel)
	}
	return query
}

// Usage sums the calls that f selects, grouped by any of deployed_model, model_name,
// key_id, plan and day.
func (c *Client) Usage(ctx context.Context, f UsageFilter, groupBy ...string) ([]UsageRow, error) {
	query := f.query()
	if len(groupBy) > 0 {
		query.Set("group_by", strings.Join(groupBy, ","))
	}
	answer, err := own[UsageRows](ctx, c, request{path: "/berth/v1/usage", query: query})
	return answer.Rows, err
}

// UsageRecords returns the page of records that cursor names, "" for the first.
func (c *Client) UsageRecords(ctx context.Context, f UsageFilter, cursor string) (UsageRecords, error) {
	return own[UsageRecords](ctx, c, request{path: "/berth/v1/usage/records", query: withCursor(f.query(), cursor)})
}
