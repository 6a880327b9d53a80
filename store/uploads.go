package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type uploads struct{ tx *tx }

var uploadTable = newTable("uploads", "upload", func(u *berth.Upload) []column {
	return []column{
		{"id", &u.ID},
		{"workspace_id", &u.WorkspaceID},
		{"files", document{&u.Files}},
		{"created_at", instant{&u.CreatedAt}},
		{"touched_at", instant{&u.TouchedAt}},
	}
})

func (s uploads) Insert(ctx context.Context, u berth.Upload) error {
	return uploadTable.insert(ctx, s.tx, u)
}

func (s uploads) Update(ctx context.Context, u berth.Upload) error {
	return uploadTable.update(ctx, s.tx, u)
}

func (s uploads) Get(ctx context.Context, id string) (berth.Upload, error) {
	return uploadTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s uploads) List(ctx context.Context, workspaceID string) ([]berth.Upload, error) {
	var f filter
	f.equals("workspace_id", workspaceID)
	return uploadTable.all(ctx, s.tx, f.where()+oldestFirst, f.args...)
}

func (s uploads) Delete(ctx context.Context, id string) error {
	return uploadTable.delete(ctx, s.tx, id)
}
