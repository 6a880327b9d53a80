package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	berth "github.com/berthhq/berth"
)

type replicas struct{ tx *tx }

var replicaTable = newTable("replicas", "replica", func(r *berth.Replica) []column {
	return []column{
		{"id", &r.ID},
		{"deployment_id", reference{&r.DeploymentID}},
		{"pool_id", reference{&r.PoolID}},
		{"node_id", reference{&r.NodeID}},
		{"lane", &r.Lane},
		{"engine", &r.Engine},
		{"model_name", &r.ModelName},
		{"spec", document{&r.Spec}},
		{"adapters", document{&r.Adapters}},
		{"proving", &r.Proving},
		{"state", &r.State},
		{"reason", &r.Reason},
		{"nonce", &r.Nonce},
		{"pid", &r.PID},
		{"start_time", &r.StartTime},
		{"url", &r.URL},
		{"failures", instants{&r.Failures}},
		{"restart_at", instant{&r.RestartAt}},
		{"started_at", instant{&r.StartedAt}},
		{"ready_at", instant{&r.ReadyAt}},
		{"drain_from", instant{&r.DrainFrom}},
		{"created_at", instant{&r.CreatedAt}},
	}
})

const oldestFirst = " ORDER BY created_at, id"

func (s replicas) Insert(ctx context.Context, r berth.Replica) error {
	s.changed(r.DeploymentID, r.PoolID)
	return replicaTable.insert(ctx, s.tx, r)
}

func (s replicas) Update(ctx context.Context, r berth.Replica) error {
	s.changed(r.DeploymentID, r.PoolID)
	return replicaTable.update(ctx, s.tx, r)
}

func (s replicas) Delete(ctx context.Context, id string) error {
	var deployment, pool string
	err := s.tx.queryRow(ctx, replicaTable.deleteSQL+" RETURNING deployment_id, pool_id", id).
		Scan(reference{&deployment}, reference{&pool})
	if errors.Is(err, sql.ErrNoRows) {
		return missing(replicaTable.noun)
	}
	s.changed(deployment, pool)
	return s.tx.dialect.wrote(replicaTable.noun, err)
}

// changed notes a replica's owner.
func (s replicas) changed(deploymentID, poolID string) {
	s.tx.changed(berth.NounDeployment, deploymentID)
	s.tx.changed(berth.NounPool, poolID)
	s.tx.changed(berth.NounEngines, poolID)
}

func (s replicas) Get(ctx context.Context, id string) (berth.Replica, error) {
	return replicaTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s replicas) List(ctx context.Context) ([]berth.Replica, error) {
	return replicaTable.all(ctx, s.tx, oldestFirst)
}

func (s replicas) OfPool(ctx context.Context, poolID string) ([]berth.Replica, error) {
	return replicaTable.all(ctx, s.tx, "WHERE pool_id = ?"+oldestFirst, poolID)
}

func (s replicas) OfDeployment(ctx context.Context, deploymentID string) ([]berth.Replica, error) {
	return replicaTable.all(ctx, s.tx, "WHERE deployment_id = ?"+oldestFirst, deploymentID)
}

func (s replicas) Owners(ctx context.Context) ([]berth.Ref, error) {
	var list []berth.Ref
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var o berth.Ref
		err := rows.Scan(&o.Noun, &o.ID)
		list = append(list, o)
		return err
	}, `SELECT ?, id FROM pools
		UNION SELECT ?, pool_id FROM deployments WHERE pool_id <> '' AND deleted_at = 0
		UNION SELECT ?, id FROM deployments WHERE pool_id = '' AND deleted_at = 0
		UNION SELECT ?, deployment_id FROM replicas WHERE deployment_id IS NOT NULL
		ORDER BY 1, 2`, berth.NounPool, berth.NounPool, berth.NounDeployment, berth.NounDeployment)
	return list, read(replicaTable.noun, err)
}

func (s replicas) LastStart(ctx context.Context, modelName string) (time.Duration, error) {
	var took int64
	err := s.tx.queryRow(ctx, "SELECT ready_at - started_at FROM replicas WHERE model_name = ? AND started_at > 0 AND ready_at >= started_at ORDER BY ready_at DESC LIMIT 1", modelName).Scan(&took)
	return time.Duration(took), read(replicaTable.noun, err)
}
