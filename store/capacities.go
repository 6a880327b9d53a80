package store

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

type capacities struct{ tx *tx }

var instanceTable = newTable("capacity_instances", "capacity instance", func(i *berth.CapacityInstance) []column {
	return []column{
		{"id", &i.ID},
		{"deployment_id", &i.DeploymentID},
		{"charge_type", &i.ChargeType},
		{"status", &i.Status},
		{"effective", document{&i.Effective}},
		{"configured", document{&i.Configured}},
		{"target", document{&i.Target}},
		{"terms", document{&i.Terms}},
		{"effective_at", instant{&i.EffectiveAt}},
		{"expires_at", instant{&i.ExpiresAt}},
		{"due_at", instant{&i.DueAt}},
		{"reason", &i.Reason},
		{"created_at", instant{&i.CreatedAt}},
		{"modified_at", instant{&i.ModifiedAt}},
		{"deleted_at", instant{&i.DeletedAt}},
	}
})

var operationTable = newTable("capacity_operations", "capacity operation", func(o *berth.CapacityOperation) []column {
	return []column{
		{"id", &o.ID},
		{"deployment_id", &o.DeploymentID},
		{"instance_id", &o.InstanceID},
		{"request_id", &o.RequestID},
		{"fingerprint", &o.Fingerprint},
		{"type", &o.Type},
		{"status", &o.Status},
		{"from_status", &o.FromStatus},
		{"to_status", &o.ToStatus},
		{"error_code", &o.ErrorCode},
		{"error_message", &o.ErrorMessage},
		{"target", document{&o.Target}},
		{"terms", document{&o.Terms}},
		{"charge", document{&o.Charge}},
		{"created_at", instant{&o.CreatedAt}},
		{"finished_at", instant{&o.FinishedAt}},
	}
})

func (s capacities) Insert(ctx context.Context, i berth.CapacityInstance) error {
	return instanceTable.insert(ctx, s.tx, i)
}

func (s capacities) Update(ctx context.Context, i berth.CapacityInstance) error {
	return instanceTable.update(ctx, s.tx, i)
}

func (s capacities) OfDeployment(ctx context.Context, deploymentID string) ([]berth.CapacityInstance, error) {
	return instanceTable.all(ctx, s.tx, "WHERE deployment_id = ? ORDER BY created_at, id", deploymentID)
}

func (s capacities) Due(ctx context.Context, at time.Time, limit int64) ([]berth.CapacityInstance, time.Time, error) {
	ns, err := nanos(at)
	if err != nil {
		return nil, time.Time{}, err
	}
	due, err := instanceTable.all(ctx, s.tx, "WHERE due_at <> 0 AND due_at <= ? ORDER BY due_at, id LIMIT ?", ns, limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	next, err := s.tx.number(ctx, "look for the next due instance",
		"SELECT COALESCE(MIN(due_at), 0) FROM capacity_instances WHERE due_at <> 0 AND due_at > ?", ns)
	return due, fromNanos(next), err
}

func (s capacities) InsertOperation(ctx context.Context, o berth.CapacityOperation) error {
	return operationTable.insert(ctx, s.tx, o)
}

func (s capacities) UpdateOperation(ctx context.Context, o berth.CapacityOperation) error {
	return operationTable.update(ctx, s.tx, o)
}

func (s capacities) Operation(ctx context.Context, id string) (berth.CapacityOperation, error) {
	return operationTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s capacities) OperationOf(ctx context.Context, deploymentID, requestID string) (berth.CapacityOperation, error) {
	return operationTable.one(ctx, s.tx, "WHERE deployment_id = ? AND request_id = ? AND request_id <> ''", deploymentID, requestID)
}

func (s capacities) Processing(ctx context.Context, deploymentID string) ([]berth.CapacityOperation, error) {
	return operationTable.all(ctx, s.tx, "WHERE deployment_id = ? AND status = ? ORDER BY created_at, id",
		deploymentID, string(berth.OperationProcessing))
}
