package store

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

type orders struct{ tx *tx }

var orderTable = newTable("orders", "order", func(o *berth.Order) []column {
	return []column{
		{"id", &o.ID},
		{"account_id", &o.AccountID},
		{"workspace_id", &o.WorkspaceID},
		{"deployment_id", &o.DeploymentID},
		{"deployed_model", &o.DeployedModel},
		{"model_name", &o.ModelName},
		{"base_model", &o.BaseModel},
		{"instance_id", &o.InstanceID},
		{"operation_id", &o.OperationID},
		{"at", instant{&o.At}},
		{"price_at", instant{&o.PriceAt}},
		{"minutes", &o.Minutes},
		{"input_tpm", &o.PTU.InputTPM},
		{"output_tpm", &o.PTU.OutputTPM},
		{"thinking_tpm", &o.PTU.ThinkingTPM},
	}
})

const insertOrderSQL = `INSERT INTO orders (id, account_id, workspace_id, deployment_id, deployed_model, model_name, base_model,
	instance_id, operation_id, at, price_at, minutes, input_tpm, output_tpm, thinking_tpm, rated)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, FALSE)`

func (s orders) Insert(ctx context.Context, o berth.Order) error {
	_, err := s.tx.exec(ctx, insertOrderSQL, orderTable.fields(&o)...)
	return s.tx.dialect.wrote(orderTable.noun, err)
}

func (s orders) Of(ctx context.Context, deploymentIDs []string, from, to time.Time) ([]berth.Order, error) {
	if len(deploymentIDs) == 0 {
		return nil, nil
	}
	var w filter
	w.in("deployment_id", deploymentIDs)
	w.add("at >= ?", instant{&from})
	w.add("at < ?", instant{&to})
	return orderTable.all(ctx, s.tx, w.where()+" ORDER BY at, id", w.args...)
}

func (s orders) Unrated(ctx context.Context, after string, limit int64) ([]berth.Order, error) {
	return orderTable.all(ctx, s.tx, "WHERE NOT rated AND id > ? ORDER BY id LIMIT ?", after, limit)
}

func (s orders) Rated(ctx context.Context, id string) error {
	n, err := s.tx.exec(ctx, "UPDATE orders SET rated = TRUE WHERE id = ?", id)
	return orderTable.changedOne(s.tx, n, err)
}
