package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type fineTunes struct{ tx *tx }

var fineTuneTable = newTable("fine_tunes", "fine-tune job", func(f *berth.FineTune) []column {
	return []column{
		{"id", &f.ID},
		{"workspace_id", &f.WorkspaceID},
		{"name", &f.Name},
		{"model", &f.Model},
		{"output", &f.Output},
		{"training_type", &f.TrainingType},
		{"training_file_ids", document{&f.TrainingFileIDs}},
		{"validation_file_ids", document{&f.ValidationFileIDs}},
		{"hyper_parameters", &f.HyperParameters},
		{"usage_tokens", &f.UsageTokens},
		{"creator", &f.Creator},
		{"created_at", instant{&f.CreatedAt}},
	}
})

func (s fineTunes) Insert(ctx context.Context, f berth.FineTune) error {
	return fineTuneTable.insert(ctx, s.tx, f)
}

func (s fineTunes) Get(ctx context.Context, id string) (berth.FineTune, error) {
	return fineTuneTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s fineTunes) List(ctx context.Context, workspaceID string) ([]berth.FineTune, error) {
	return fineTuneTable.all(ctx, s.tx, "WHERE workspace_id = ? ORDER BY created_at DESC, id DESC", workspaceID)
}

func (s fineTunes) Delete(ctx context.Context, id string) error {
	return fineTuneTable.delete(ctx, s.tx, id)
}
