package store

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

func (s usage) KeptFrom(ctx context.Context, workspaceID string) (kept time.Time, err error) {
	err = read("workspace with usage", s.tx.queryRow(ctx, "SELECT kept_from FROM usage_spaces WHERE workspace_id = ?", workspaceID).Scan(instant{&kept}))
	if berth.CodeOf(err) == berth.CodeNotFound {
		err = nil
	}
	return kept, err
}
