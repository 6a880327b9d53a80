package server

import (
	"context"
	"net/http"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

func (s *Server) createKey(ctx context.Context, r *http.Request) (any, error) {
	c, err := decode[api.CreateKey](r)
	if err != nil {
		return nil, err
	}
	k, text, err := s.Keys.Create(ctx, berth.NewKey{
		WorkspaceID: c.WorkspaceID, Role: berth.Role(c.Role), Name: c.Name, ExpiresAt: c.ExpiresAt,
	})
	if err != nil {
		return nil, err
	}
	out := key(k)
	out.Text = text
	return out, nil
}

func (s *Server) listKeys(ctx context.Context, _ *http.Request) (any, error) {
	keys, err := s.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	out := api.KeyList{Keys: make([]api.Key, 0, len(keys))}
	for _, k := range keys {
		out.Keys = append(out.Keys, key(k))
	}
	return out, nil
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
