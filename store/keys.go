package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type keys struct{ tx *tx }

var keyTable = newTable("keys", "key", func(k *berth.Key) []column {
	return []column{
		{"id", &k.ID},
		{"workspace_id", reference{&k.WorkspaceID}},
		{"role", &k.Role},
		{"name", &k.Name},
		{"hash", digest{&k.Hash}},
		{"hint", &k.Hint},
		{"deployments", document{&k.Deployments}},
		{"created_at", instant{&k.CreatedAt}},
		{"expires_at", instant{&k.ExpiresAt}},
		{"revoked_at", instant{&k.RevokedAt}},
	}
})

func (s keys) Insert(ctx context.Context, k berth.Key) error {
	return keyTable.insert(ctx, s.tx, k)
}

func (s keys) Get(ctx context.Context, id string) (berth.Key, error) {
	return keyTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s keys) List(ctx context.Context, workspaceID string) ([]berth.Key, error) {
	var f filter
	f.equals("workspace_id", workspaceID)
	return keyTable.all(ctx, s.tx, f.where()+" ORDER BY created_at, id", f.args...)
}

func (s keys) Update(ctx context.Context, k berth.Key) error {
	return keyTable.update(ctx, s.tx, k)
}
