package store

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

type usage struct{ tx *tx }

var usageTable = newTable("usage", "usage record", func(r *berth.UsageRecord) []column {
	return []column{
		{"id", &r.ID},
		{"call_id", &r.CallID},
		{"workspace_id", &r.WorkspaceID},
		{"key_id", &r.KeyID},
		{"deployment_id", &r.DeploymentID},
		{"deployed_model", &r.DeployedModel},
		{"model_name", &r.ModelName},
		{"plan", &r.Plan},
		{"class", &r.Class},
		{"replica_id", &r.ReplicaID},
		{"nonce", &r.Nonce},
		{"started_at", instant{&r.StartedAt}},
		{"first_token_at", instant{&r.FirstTokenAt}},
		{"ended_at", instant{&r.EndedAt}},
		{"input_tokens", &r.InputTokens},
		{"cached_tokens", &r.CachedTokens},
		{"output_tokens", &r.OutputTokens},
		{"thinking_tokens", &r.ThinkingTokens},
		{"billable", &r.Billable},
		{"ended_by", &r.End},
		{"http_status", &r.HTTPStatus},
		{"source", &r.Source},
	}
})

var insertUsageSQL = usageTable.insertSQL + " ON CONFLICT (id) DO NOTHING"

func (s usage) Insert(ctx context.Context, records []berth.UsageRecord) error {
	for i := range records {
		r := &records[i]
		for _, t := range []*time.Time{&r.StartedAt, &r.FirstTokenAt, &r.EndedAt} {
			if _, err := nanos(*t); err != nil {
				return err
			}
		}
	}
	values := make([]any, 0, 32)
	err := s.tx.execEach(ctx, insertUsageSQL, len(records), func(i int) []any {
		values = usageValues(values[:0], &records[i])
		return values
	})
	return s.tx.dialect.wrote(usageTable.noun, err)
}

// usageValues appends the columns of usageTable as a driver takes them: no other table is
// written to so often that it matters.
func usageValues(dst []any, r *berth.UsageRecord) []any {
	at := func(t time.Time) int64 {
		n, _ := nanos(t) // Insert has looked
		return n
	}
	return append(dst,
		r.ID, r.CallID, r.WorkspaceID, r.KeyID, r.DeploymentID, r.DeployedModel, r.ModelName,
		string(r.Plan), string(r.Class), r.ReplicaID, r.Nonce, at(r.StartedAt), at(r.FirstTokenAt), at(r.EndedAt),
		r.InputTokens, r.CachedTokens, r.OutputTokens, r.ThinkingTokens, r.Billable, string(r.End), int64(r.HTTPStatus), string(r.Source),
	)
}

var foldTable = newTable("usage_folds", "fold of a journal", func(f *berth.Fold) []column {
	return []column{
		{"instance", &f.Instance},
		{"position", &f.Position},
		{"life", &f.Life},
	}
})

var putFoldSQL = foldTable.insertSQL + " ON CONFLICT (instance) DO UPDATE SET position = excluded.position, life = excluded.life"

func (s usage) Fold(ctx context.Context, instance string) (berth.Fold, error) {
	f, err := foldTable.one(ctx, s.tx, "WHERE instance = ?", instance)
	if berth.CodeOf(err) == berth.CodeNotFound {
		return berth.Fold{Instance: instance}, nil
	}
	return f, err
}

func (s usage) PutFold(ctx context.Context, f berth.Fold) error {
	_, err := s.tx.exec(ctx, putFoldSQL, foldTable.fields(&f)...)
	return s.tx.dialect.wrote(foldTable.noun, err)
}

func (s usage) Records(ctx context.Context, f berth.UsageFilter, after string, limit int64) ([]berth.UsageRecord, error) {
	w := usageWhere(f)
	w.add("id > ?", after)
	return usageTable.all(ctx, s.tx, w.where()+" ORDER BY id"+w.page(0, limit), w.args...)
}

func usageWhere(f berth.UsageFilter) filter {
	var w filter
	w.equals("workspace_id", f.WorkspaceID)
	w.equals("deployed_model", f.DeployedModel)
	w.equals("key_id", f.KeyID)
	if !f.From.IsZero() {
		w.add("started_at >= ?", instant{&f.From})
	}
	if !f.To.IsZero() {
		w.add("started_at < ?", instant{&f.To})
	}
	return w
}
