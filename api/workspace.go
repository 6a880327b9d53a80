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
	CreatedAt time.Time `json:"created_at"`
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
	Name   *string   `json:"name,omitempty"`
	Models *[]string `json:"models,omitempty"`
	Quota  *Quota    `json:"quota,omitempty"` // whole
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
