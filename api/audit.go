package api

import (
	"context"
	"io"
	"net/url"
	"time"
)

// AuditEntry is one thing that somebody did.
type AuditEntry struct {
	ID          string    `json:"id"`
	At          time.Time `json:"at"`
	WorkspaceID string    `json:"workspace_id"` // in which it was done; "": in none
	KeyID       string    `json:"key_id"`       // or "system": Berth itself
	Action      string    `json:"action"`       // noun.verb, such as deployment.create
	Target      string    `json:"target"`       // the name or id that it was about
}

// AuditEntries is one page of the audit log, the newest entry first.
type AuditEntries struct {
	Entries []AuditEntry `json:"entries"`
	Next    string       `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// AuditFilter selects entries of things that were done in [From, To). Zero fields select
// all.
type AuditFilter struct {
	From, To    time.Time
	WorkspaceID string
	KeyID       string
	Action      string // such as deployment.create, or deployment for all that was done to one
	Target      string
}

func (f AuditFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"workspace_id": f.WorkspaceID, "key_id": f.KeyID, "action": f.Action, "target": f.Target, "from": moment(f.From), "to": moment(f.To),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// Audit returns the page of the audit log that cursor names, "" for the first. Needs
// [RoleOwner].
func (c *Client) Audit(ctx context.Context, f AuditFilter, cursor string) (AuditEntries, error) {
	return own[AuditEntries](ctx, c, request{path: "/berth/v1/audit", query: withCursor(f.query(), cursor)})
}

// WriteAudit writes all entries that f selects, the newest first, as [FormatCSV] or
// [FormatNDJSON].
func (c *Client) WriteAudit(ctx context.Context, to io.Writer, format string, f AuditFilter) error {
	return c.export(ctx, to, format, request{path: "/berth/v1/audit", query: f.query()})
}
