package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
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
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	Role        string `json:"role"`
	Name        string `json:"name,omitempty"`
	Hint        string `json:"hint"` // such as "sk-abc…wxyz"
	// Deployments are the only ones that the key may call, by name; none: all of its
	// workspace.
	Deployments []string  `json:"deployments,omitempty"`
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
	Deployments []string  `json:"deployments,omitempty"` // of role inference: the only ones it may call
}

// KeyList is a page of the answer of GET /berth/v1/keys, oldest first.
type KeyList struct {
	Keys []Key  `json:"keys"`
	Next string `json:"next,omitempty"` // cursor of the next page
}

// Token is the answer of POST /api/v1/tokens: a temporary key with the permissions of
// the one that it was made with.
type Token struct {
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expires_at"` // Unix seconds
}

const keysPath = "/berth/v1/keys"

// CreateKey makes a key. Its text is in the answer and nowhere else, ever.
func (c *Client) CreateKey(ctx context.Context, k CreateKey) (Key, error) {
	return own[Key](ctx, c, request{method: http.MethodPost, path: keysPath, body: k})
}

// ListKeys returns the keys that the caller may see, revoked ones too, oldest first.
func (c *Client) ListKeys(ctx context.Context) ([]Key, error) {
	var keys []Key
	for cursor := ""; ; {
		page, err := own[KeyList](ctx, c, request{path: keysPath, query: withCursor(url.Values{}, cursor)})
		keys = append(keys, page.Keys...)
		if cursor = page.Next; err != nil || cursor == "" {
			return keys, err
		}
	}
}

// CreateToken makes a temporary token of the client's key. It ends after life, 1 s to
// 1800 s, or with the key; 0 stands for 60 s.
func (c *Client) CreateToken(ctx context.Context, life time.Duration) (Token, error) {
	query := url.Values{}
	if life != 0 {
		query.Set("expire_in_seconds", strconv.FormatInt(int64(life/time.Second), 10))
	}
	return own[Token](ctx, c, request{method: http.MethodPost, path: "/api/v1/tokens", query: query})
}

// RevokeKey ends a key's validity, from the next call on.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return nothing(ctx, c, request{method: http.MethodDelete, path: keysPath + "/" + url.PathEscape(id)})
}
