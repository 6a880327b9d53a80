package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

// usageBeforeTable is where an earlier Berth wrote records (migration 23).
var usageBeforeTable = newTable("usage_before", "usage record", func(r *berth.UsageRecord) []column {
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

// usageMove is how many records one transaction moves.
const usageMove = 4096

// moveUsage moves what an earlier Berth wrote into today's tables and their sums, some
// records at a time: a move that is cut off goes on at the next opening.
func (s *Store) moveUsage(ctx context.Context) error {
	for {
		var list []berth.UsageRecord
		err := s.View(ctx, func(t berth.Tx) (err error) {
			list, err = usageBeforeTable.all(ctx, t.(*tx), "ORDER BY id LIMIT 1")
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		err = s.Tx(ctx, func(t berth.Tx) (err error) {
			if list, err = usageBeforeTable.all(ctx, t.(*tx), "ORDER BY id LIMIT ?", usageMove); err != nil || len(list) == 0 {
				return err
			}
			if err := t.Usage().Insert(ctx, list); err != nil {
				return err
			}
			_, err = t.(*tx).exec(ctx, "DELETE FROM usage_before WHERE id <= ?", list[len(list)-1].ID)
			return err
		})
		if err != nil {
			return err
		}
	}
}
