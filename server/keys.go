package server

import (
	"context"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

func (s *Server) createKey(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.CreateKey](r)
	if err != nil {
		return nil, err
	}
	k, text, err := s.Keys.Create(ctx, berth.NewKey{
		WorkspaceID: c.WorkspaceID, Role: berth.Role(c.Role), Name: c.Name, ExpiresAt: c.ExpiresAt, Deployments: c.Deployments,
	})
	if err != nil {
		return nil, err
	}
	out := key(k)
	out.Text, out.Deployments = text, c.Deployments
	return out, nil
}

func (s *Server) listKeys(ctx context.Context, r *http.Request) (any, error) {
	size, err := number(r, "limit", ownPage, 1, ownPage)
	if err != nil {
		return nil, err
	}
	keys, err := s.Keys.List(ctx, r.URL.Query().Get("cursor"), size)
	if err != nil {
		return nil, err
	}
	out := api.KeyList{Keys: make([]api.Key, 0, len(keys))}
	for _, k := range keys {
		shown := key(k.Key)
		shown.Deployments = k.DeployedModels
		out.Keys = append(out.Keys, shown)
	}
	if int64(len(keys)) == size {
		out.Next = keys[size-1].ID
	}
	return out, nil
}

// createToken makes a temporary token (api.md 2.2).
func (s *Server) createToken(ctx context.Context, r *http.Request) (any, error) {
	seconds, err := number(r, "expire_in_seconds", 60, int64(berth.MinTokenLife/time.Second), int64(berth.MaxTokenLife/time.Second))
	if err != nil {
		return nil, err
	}
	token, text, err := s.Keys.CreateToken(ctx, time.Duration(seconds)*time.Second)
	if err != nil {
		return nil, err
	}
	return api.Token{Token: text, ExpiresAt: token.ExpiresAt.Unix()}, nil
}

func (s *Server) revokeKey(ctx context.Context, r *http.Request) (any, error) {
	k, err := s.Keys.Revoke(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return key(k), nil
}

func key(k berth.Key) api.Key {
	return api.Key{
		ID: k.ID, WorkspaceID: k.WorkspaceID, Role: string(k.Role), Name: k.Name, Hint: k.Hint,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt,
	}
}
