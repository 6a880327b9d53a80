package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
)

// The dimensions that prices are for.
const (
	DimensionUnitMinute        = "unit_minute" // one unit of a spec for a minute
	DimensionInputTPMMinute    = "10k_input_tpm_minute"
	DimensionOutputTPMMinute   = "1k_output_tpm_minute"
	DimensionThinkingTPMMinute = "1k_thinking_tpm_minute"
	DimensionInput             = "input" // tokens, from here on
	DimensionCached            = "cached"
	DimensionOutput            = "output"
	DimensionThinking          = "thinking"
)

// PriceNow as the From of a price to be: with the next full minute.
const PriceNow = "now"

// Price is one version of a price: so much for each Per of a dimension.
type Price struct {
	ID         string    `json:"id"`
	Model      string    `json:"model"` // a model, a base of models, or [AnyModel]
	Plan       string    `json:"plan"`  // "": every plan that sells the dimension
	Spec       string    `json:"spec"`  // "": every spec
	Dimension  string    `json:"dimension"`
	FromTokens int64     `json:"from_tokens"` // the shortest prompt that it is for
	PriceNano  int64     `json:"price_nano"`  // billionths of the currency
	Per        int64     `json:"per"`         // of the dimension
	Currency   string    `json:"currency"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to,omitzero"` // when the next version begins
	Withdrawn  bool      `json:"withdrawn,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	Creator    string    `json:"creator,omitempty"` // a key's id; the book that Berth comes with has none
}

// PriceList is the answer of GET and of POST /berth/v1/prices.
type PriceList struct {
	Prices []Price `json:"prices"`
}

// SetPrice is one version of a price to be.
type SetPrice struct {
	Model      string `json:"model,omitempty"` // "": [AnyModel]
	Plan       string `json:"plan,omitempty"`
	Spec       string `json:"spec,omitempty"`
	Dimension  string `json:"dimension"`
	FromTokens int64  `json:"from_tokens,omitempty"`
	PriceNano  *int64 `json:"price_nano,omitempty"`
	Per        int64  `json:"per,omitempty"`
	Currency   string `json:"currency,omitempty"` // "": that of the key's account
	// From is an RFC 3339 time in the future; "" and [PriceNow]: the next full minute.
	From string `json:"from,omitempty"`
	// Withdrawn ends the version before; then there is no PriceNano and no Per.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// SetPrices is the body of POST /berth/v1/prices: all of them, or none.
type SetPrices struct {
	Prices []SetPrice `json:"prices"`
}

// PriceQuery selects prices. Empty fields select everything.
type PriceQuery struct {
	Model, Plan, Spec, Dimension, Currency string
	At                                     time.Time // those that hold then; zero: now
	History                                bool      // all versions, past and to come
}

const pricesPath = "/berth/v1/prices"

func (q PriceQuery) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"model": q.Model, "plan": q.Plan, "spec": q.Spec, "dimension": q.Dimension, "currency": q.Currency,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if !q.At.IsZero() {
		query.Set("at", q.At.UTC().Format(time.RFC3339))
	}
	if q.History {
		query.Set("history", "true")
	}
	return query
}

// Prices lists the book of prices.
func (c *Client) Prices(ctx context.Context, q PriceQuery) ([]Price, error) {
	answer, err := own[PriceList](ctx, c, request{path: pricesPath, query: q.query()})
	return answer.Prices, err
}

// WritePrices writes what Prices returns as [FormatCSV] or [FormatNDJSON].
func (c *Client) WritePrices(ctx context.Context, to io.Writer, format string, q PriceQuery) error {
	return c.export(ctx, to, format, request{path: pricesPath, query: q.query()})
}

// SetPrices adds versions to the book of prices and returns them.
func (c *Client) SetPrices(ctx context.Context, prices []SetPrice) ([]Price, error) {
	answer, err := own[PriceList](ctx, c, request{method: http.MethodPost, path: pricesPath, body: SetPrices{Prices: prices}})
	return answer.Prices, err
}

// TryPrices is the body of POST /berth/v1/prices/dry-run.
type TryPrices struct {
	Month       string `json:"month"` // YYYY-MM, or [CurrentMonth]
	AccountID   string `json:"account_id,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	// Prices have no From: they are tried as if they had held all along. Each takes the place
	// of all versions of the same price.
	Prices []SetPrice `json:"prices"`
	// Only says that they are the whole book.
	Only bool `json:"only,omitempty"`
}

// PriceTrial is what a month came to beside what it would have come to.
type PriceTrial struct {
	Month       string       `json:"month"`
	AccountID   string       `json:"account_id"`
	WorkspaceID string       `json:"workspace_id,omitempty"`
	Provisional bool         `json:"provisional"`
	Currency    string       `json:"currency"`
	CostNano    int64        `json:"cost_nano"` // of the lines in Currency
	TrialNano   int64        `json:"trial_nano"`
	Totals      []TrialTotal `json:"totals"` // of each currency
	Lines       []TrialLine  `json:"lines"`
}

// TrialTotal is the sum of the lines in one currency.
type TrialTotal struct {
	Currency  string `json:"currency"`
	CostNano  int64  `json:"cost_nano"`
	TrialNano int64  `json:"trial_nano"`
}

// TrialLine is what one deployment used of one dimension on one day, in all tiers.
type TrialLine struct {
	Day           string `json:"day"`
	WorkspaceID   string `json:"workspace_id"`
	DeploymentID  string `json:"deployment_id"`
	DeployedModel string `json:"deployed_model"`
	ModelName     string `json:"model_name"`
	Plan          string `json:"plan"`
	Class         string `json:"class,omitempty"`
	Spec          string `json:"spec,omitempty"`
	Dimension     string `json:"dimension"`
	Quantity      int64  `json:"quantity"`
	Unit          string `json:"unit"`
	CostNano      int64  `json:"cost_nano"`
	TrialNano     int64  `json:"trial_nano"`
	Currency      string `json:"currency"`
}

// TryPrices says what a month would have come to under other prices. Nothing changes.
func (c *Client) TryPrices(ctx context.Context, t TryPrices) (PriceTrial, error) {
	return own[PriceTrial](ctx, c, request{method: http.MethodPost, path: pricesPath + "/dry-run", body: t})
}
