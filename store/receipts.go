package store

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

type receipts struct{ tx *tx }

var receiptTable = newTable("receipts", "receipt", func(r *berth.Receipt) []column {
	return []column{
		{"workspace_id", &r.WorkspaceID},
		{"name", &r.Name},
		{"body", digest{(*berth.KeyHash)(&r.Body)}},
		{"deployment_id", &r.DeploymentID},
		{"expires_at", instant{&r.ExpiresAt}},
	}
})

func (s receipts) Put(ctx context.Context, r berth.Receipt) error {
	_, err := s.tx.exec(ctx, receiptTable.insertSQL+
		" ON CONFLICT (workspace_id, name) DO UPDATE SET body = excluded.body, deployment_id = excluded.deployment_id, expires_at = excluded.expires_at",
		receiptTable.fields(&r)...)
	return s.tx.dialect.wrote(receiptTable.noun, err)
}

func (s receipts) Get(ctx context.Context, workspaceID, name string) (berth.Receipt, error) {
	return receiptTable.one(ctx, s.tx, "WHERE workspace_id = ? AND name = ?", workspaceID, name)
}

func (s receipts) Delete(ctx context.Context, workspaceID, name string) error {
	n, err := s.tx.exec(ctx, "DELETE FROM receipts WHERE workspace_id = ? AND name = ?", workspaceID, name)
	return receiptTable.changedOne(s.tx, n, err)
}

func (s receipts) Expire(ctx context.Context, now time.Time) error {
	end, err := nanos(now)
	if err != nil {
		return err
	}
	_, err = s.tx.exec(ctx, "DELETE FROM receipts WHERE expires_at <= ?", end)
	return err
}

func (s receipts) Count(ctx context.Context, workspaceID string) (int64, error) {
	return s.tx.number(ctx, "count receipts", "SELECT count(*) FROM receipts WHERE workspace_id = ?", workspaceID)
}
