package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Account is who pays.
type Account struct {
	ID       string `json:"id"` // digits
	Name     string `json:"name"`
	Currency string `json:"currency"`  // ISO 4217
	TimeZone string `json:"time_zone"` // IANA name
	// Later are the currencies that follow the first one.
	Later   []CurrencyFrom `json:"currencies_later,omitempty"`
	Prepaid bool           `json:"prepaid"`
	// CreditLimitNano is how much a post-paid account may owe; nil: any amount.
	CreditLimitNano *int64 `json:"credit_limit_nano,omitempty"`
	// OverdueSince is when it began to owe more than it may; 24 hours later what it has
	// deployed is taken down.
	OverdueSince *time.Time `json:"overdue_since,omitempty"`
}

// CurrencyFrom is the currency of an account from a moment on.
type CurrencyFrom struct {
	Currency string    `json:"currency"`
	From     time.Time `json:"from"`
}

// UpdateAccount is the body of PATCH /berth/v1/accounts/{id}; what is left out stays.
type UpdateAccount struct {
	Prepaid         *bool      `json:"prepaid,omitempty"`
	CreditLimitNano *int64     `json:"credit_limit_nano,omitempty"`
	Unlimited       bool       `json:"unlimited,omitempty"` // lifts the credit limit
	Currency        string     `json:"currency,omitempty"`
	CurrencyFrom    *time.Time `json:"currency_from,omitempty"` // nil: the next full minute
}

// CreateAccount is the body of POST /berth/v1/accounts. Currency and time zone are the
// server's.
type CreateAccount struct {
	Name string `json:"name"`
}

// AccountList is a page of the answer of GET /berth/v1/accounts, by id.
type AccountList struct {
	Accounts []Account `json:"accounts"`
	Next     string    `json:"next,omitempty"` // cursor of the next page
}

// AnyModel in a workspace's list of models stands for all of the catalogue.
const AnyModel = "*"

// Workspace is where deployments, keys and custom models live and are visible.
type Workspace struct {
	ID        string `json:"id"`
	AccountID string `json:"account_id"`
	Name      string `json:"name"`
	// Models are those of the catalogue that the workspace may deploy; its own ones it
	// always may.
	Models    []string  `json:"models"`
	Quota     Quota     `json:"quota"`
	Budget    *Budget   `json:"budget,omitempty"` // nil: none
	CreatedAt time.Time `json:"created_at"`
}

// Budget is what a workspace may spend in a month.
type Budget struct {
	AmountNano int64 `json:"amount_nano"` // in the account's currency
	WarnOnly   bool  `json:"warn_only"`   // no call is refused
	// SpentNano is what was spent of it in Month, YYYY-MM; Warned says whether four fifths are.
	SpentNano int64  `json:"spent_nano"`
	Month     string `json:"month"`
	Currency  string `json:"currency"`
	Warned    bool   `json:"warned"`
	// StoppedUntil is the end of the month whose budget is spent.
	StoppedUntil *time.Time `json:"stopped_until,omitempty"`
}

// SetBudget is a budget to be; without an amount there is none.
type SetBudget struct {
	AmountNano *int64 `json:"amount_nano,omitempty"`
	WarnOnly   bool   `json:"warn_only,omitempty"`
}

// Quota bounds what the deployments of a workspace may have at a time; 0 is no bound,
// and for Deployments the server's limit.
type Quota struct {
	Threads      int64 `json:"threads"`
	MemoryBytes  int64 `json:"memory_bytes"`
	Accelerators int64 `json:"accelerators"`
	Deployments  int64 `json:"deployments"`
}

// CreateWorkspace is the body of POST /berth/v1/workspaces.
type CreateWorkspace struct {
	Name      string   `json:"name"`
	AccountID string   `json:"account_id,omitempty"` // "": the caller's
	Models    []string `json:"models,omitempty"`     // nil: any
	Quota     Quota    `json:"quota,omitzero"`
}

// UpdateWorkspace is the body of PUT /berth/v1/workspaces/{id}; what is nil stays.
type UpdateWorkspace struct {
	Name   *string    `json:"name,omitempty"`
	Models *[]string  `json:"models,omitempty"`
	Quota  *Quota     `json:"quota,omitempty"`  // whole
	Budget *SetBudget `json:"budget,omitempty"` // whole
}

// WorkspaceList is a page of the answer of GET /berth/v1/workspaces, by id.
type WorkspaceList struct {
	Workspaces []Workspace `json:"workspaces"`
	Next       string      `json:"next,omitempty"` // cursor of the next page
}

const (
	accountsPath   = "/berth/v1/accounts"
	workspacesPath = "/berth/v1/workspaces"
)

// CreateAccount opens an account.
func (c *Client) CreateAccount(ctx context.Context, a CreateAccount) (Account, error) {
	return own[Account](ctx, c, request{method: http.MethodPost, path: accountsPath, body: a})
}

// Accounts returns the page of accounts that cursor names, "" for the first.
func (c *Client) Accounts(ctx context.Context, cursor string) (AccountList, error) {
	return own[AccountList](ctx, c, request{path: accountsPath, query: withCursor(url.Values{}, cursor)})
}

// GetAccount returns an account.
func (c *Client) GetAccount(ctx context.Context, id string) (Account, error) {
	return own[Account](ctx, c, request{path: accountsPath + "/" + url.PathEscape(id)})
}

// UpdateAccount changes how an account pays.
func (c *Client) UpdateAccount(ctx context.Context, id string, u UpdateAccount) (Account, error) {
	return own[Account](ctx, c, request{method: http.MethodPatch, path: accountsPath + "/" + url.PathEscape(id), body: u})
}

// CreateWorkspace makes a workspace.
func (c *Client) CreateWorkspace(ctx context.Context, w CreateWorkspace) (Workspace, error) {
	return own[Workspace](ctx, c, request{method: http.MethodPost, path: workspacesPath, body: w})
}

// Workspaces returns the page of workspaces that cursor names, "" for the first.
func (c *Client) Workspaces(ctx context.Context, cursor string) (WorkspaceList, error) {
	return own[WorkspaceList](ctx, c, request{path: workspacesPath, query: withCursor(url.Values{}, cursor)})
}

// GetWorkspace returns a workspace.
func (c *Client) GetWorkspace(ctx context.Context, id string) (Workspace, error) {
	return own[Workspace](ctx, c, request{path: workspacesPath + "/" + url.PathEscape(id)})
}

// UpdateWorkspace changes a workspace, for purchases from the next one on.
func (c *Client) UpdateWorkspace(ctx context.Context, id string, u UpdateWorkspace) (Workspace, error) {
	return own[Workspace](ctx, c, request{method: http.MethodPut, path: workspacesPath + "/" + url.PathEscape(id), body: u})
}

// DeleteWorkspace takes an empty workspace away.
func (c *Client) DeleteWorkspace(ctx context.Context, id string) error {
	return nothing(ctx, c, request{method: http.MethodDelete, path: workspacesPath + "/" + url.PathEscape(id)})
}
