package api

import (
	"context"
	"net/url"
	"time"
)

// ReconciliationRow compares, for one start of a replica's engine and one hour, the tokens
// that its counters showed with those that were recorded.
//
//	engine + unread = recorded + explained + under_way + unexplained
type ReconciliationRow struct {
	Replica        string    `json:"replica"`
	Run            string    `json:"run"` // which start of its engine
	ModelName      string    `json:"model_name"`
	DeployedModels []string  `json:"deployed_models"` // whose calls ended in the hour
	Hour           time.Time `json:"hour"`            // its beginning, UTC

	EngineInputTokens    int64 `json:"engine_input_tokens"` // cached ones included
	EngineOutputTokens   int64 `json:"engine_output_tokens"`
	RecordedInputTokens  int64 `json:"recorded_input_tokens"`
	RecordedOutputTokens int64 `json:"recorded_output_tokens"`

	// Of the recorded ones: what Berth made the engine do itself, and calls that nobody
	// pays.
	ProbeInputTokens     int64 `json:"probe_input_tokens"`
	ProbeOutputTokens    int64 `json:"probe_output_tokens"`
	UnbilledInputTokens  int64 `json:"unbilled_input_tokens"`
	UnbilledOutputTokens int64 `json:"unbilled_output_tokens"`

	// What the engine made beyond records (below 0: less) for calls whose figures nobody was
	// told; InexactCalls is how many these are. Billed to nobody.
	ExplainedInputTokens  int64 `json:"explained_input_tokens"`
	ExplainedOutputTokens int64 `json:"explained_output_tokens"`
	InexactCalls          int64 `json:"inexact_calls"`
	// What calls had used that were under way when the hour ended, less what those had that
	// were when it began.
	UnderWayInputTokens  int64 `json:"under_way_input_tokens"`
	UnderWayOutputTokens int64 `json:"under_way_output_tokens"`
	// What was recorded and no counter confirms, because the engine died first.
	UnreadInputTokens  int64 `json:"unread_input_tokens"`
	UnreadOutputTokens int64 `json:"unread_output_tokens"`

	// What nothing explains: above 0 the engine made more, below 0 more is recorded.
	// Unexplained is both without their signs.
	UnexplainedInputTokens  int64 `json:"unexplained_input_tokens"`
	UnexplainedOutputTokens int64 `json:"unexplained_output_tokens"`
	Unexplained             int64 `json:"unexplained"`
}

// ReconciliationRows is one page of rows, the latest hour first.
type ReconciliationRows struct {
	Rows []ReconciliationRow `json:"rows"`
	Next string              `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// ReconciliationFilter selects rows of hours that begin in [From, To). Zero fields select
// all.
type ReconciliationFilter struct {
	From, To    time.Time
	Replica     string
	Unexplained bool // only rows in which something is
}

func (f ReconciliationFilter) query() url.Values {
	query := url.Values{}
	if !f.From.IsZero() {
		query.Set("from", f.From.UTC().Format(time.RFC3339))
	}
	if !f.To.IsZero() {
		query.Set("to", f.To.UTC().Format(time.RFC3339))
	}
	if f.Replica != "" {
		query.Set("replica", f.Replica)
	}
	if f.Unexplained {
		query.Set("unexplained", "true")
	}
	return query
}

// Reconciliation returns the page of rows that cursor names, "" for the first.
func (c *Client) Reconciliation(ctx context.Context, f ReconciliationFilter, cursor string) (ReconciliationRows, error) {
	return own[ReconciliationRows](ctx, c, request{path: "/berth/v1/reconciliation", query: withCursor(f.query(), cursor)})
}
