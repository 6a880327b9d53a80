package store

import (
	"context"
	"time"

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
		{"parent_id", reference{&k.ParentID}},
		{"created_at", instant{&k.CreatedAt}},
		{"expires_at", instant{&k.ExpiresAt}},
		{"revoked_at", instant{&k.RevokedAt}},
	}
})

func (s keys) Insert(ctx context.Context, k berth.Key) error {
	s.tx.changed(berth.NounKey, k.ID)
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

func (s keys) Page(ctx context.Context, workspaceID, after string, limit int64) ([]berth.Key, error) {
	f := filter{conditions: []string{"parent_id IS NULL"}}
	f.equals("workspace_id", workspaceID)
	f.add("id > ?", after)
	return keyTable.all(ctx, s.tx, f.where()+" ORDER BY id"+f.page(0, limit), f.args...)
}

func (s keys) Tokens(ctx context.Context, parentID string, now time.Time) ([]berth.Key, error) {
	return keyTable.all(ctx, s.tx, "WHERE parent_id = ? AND expires_at > ? ORDER BY expires_at, id", parentID, instant{&now})
}

func (s keys) Sweep(ctx context.Context, now time.Time) (int64, error) {
	n, err := s.tx.exec(ctx, "DELETE FROM keys WHERE parent_id IS NOT NULL AND expires_at <= ?", instant{&now})
	return n, s.tx.dialect.wrote(keyTable.noun, err)
}

func (s keys) Update(ctx context.Context, k berth.Key) error {
	s.tx.changed(berth.NounKey, k.ID)
	return keyTable.update(ctx, s.tx, k)
}
