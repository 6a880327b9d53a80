package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type imports struct{ tx *tx }

var importTable = newTable("imports", "import job", func(j *berth.ImportJob) []column {
	return []column{
		{"id", &j.ID},
		{"workspace_id", &j.WorkspaceID},
		{"base_model", &j.BaseModel},
		{"model_name", &j.ModelName},
		{"display_name", &j.DisplayName},
		{"weights", &j.Weights},
		{"store", &j.Store},
		{"prefix", &j.Prefix},
		{"status", &j.Status},
		{"reason", &j.Reason},
		{"created_at", instant{&j.CreatedAt}},
		{"started_at", instant{&j.StartedAt}},
		{"ended_at", instant{&j.EndedAt}},
	}
})

func (s imports) Insert(ctx context.Context, j berth.ImportJob) error {
	return importTable.insert(ctx, s.tx, j)
}

func (s imports) Update(ctx context.Context, j berth.ImportJob) error {
	return importTable.update(ctx, s.tx, j)
}

func (s imports) Get(ctx context.Context, id string) (berth.ImportJob, error) {
	return importTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s imports) Delete(ctx context.Context, id string) error {
	return importTable.delete(ctx, s.tx, id)
}

func (s imports) List(ctx context.Context, f berth.ImportFilter) ([]berth.ImportJob, int64, error) {
	var q filter
	q.equals("workspace_id", f.WorkspaceID)
	q.equals("status", string(f.Status))
	q.equals("model_name", f.ModelName)
	where := q.where()
	total, err := s.tx.number(ctx, "count import jobs", "SELECT count(*) FROM imports "+where, q.args...)
	if err != nil {
		return nil, 0, err
	}
	list, err := importTable.all(ctx, s.tx, where+" ORDER BY created_at DESC, id"+q.page(f.Offset, f.Limit), q.args...)
	return list, total, err
}
