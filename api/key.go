package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The roles of keys, each including the ones before it.
const (
	RoleInference = "inference"
	RoleAdmin     = "admin"
	RoleOwner     = "owner"
)

// Key is the right of somebody who knows its text to act in a workspace.
type Key struct {
	ID          string    `json:"id"`
	WorkspaceID string    `json:"workspace_id"`
	Role        string    `json:"role"`
	Name        string    `json:"name,omitempty"`
	Hint        string    `json:"hint"` // such as "sk-abc…wxyz"
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
	// Text is the key itself, only in the answer to its creation.
	Text string `json:"key,omitempty"`
}

// CreateKey is the body of POST /berth/v1/keys.
type CreateKey struct {
	WorkspaceID string    `json:"workspace_id,omitempty"` // "": the caller's
	Role        string    `json:"role"`
	Name        string    `json:"name,omitempty"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
}

// KeyList is the answer of GET /berth/v1/keys.
type KeyList struct {
	Keys []Key `json:"keys"`
}

const keysPath = "/berth/v1/keys"

// CreateKey makes a key. Its text is in the answer and nowhere else, ever.
func (c *Client) CreateKey(ctx context.Context, k CreateKey) (Key, error) {
	return own[Key](ctx, c, request{method: http.MethodPost, path: keysPath, body: k})
}

// ListKeys returns the keys that the caller may see, revoked ones too, oldest first.
func (c *Client) ListKeys(ctx context.Context) ([]Key, error) {
	list, err := own[KeyList](ctx, c, request{path: keysPath})
	return list.Keys, err
}

// RevokeKey ends a key's validity, from the next call on.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return nothing(ctx, c, request{method: http.MethodDelete, path: keysPath + "/" + url.PathEscape(id)})
}
