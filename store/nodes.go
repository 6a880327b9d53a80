package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	berth "github.com/berthhq/berth"
)

type nodes struct{ tx *tx }

var nodeTable = newTable("nodes", "node", func(n *berth.Node) []column {
	return []column{
		{"id", &n.ID},
		{"threads", &n.Total.Threads},
		{"memory_bytes", &n.Total.MemoryBytes},
		{"accelerators", &n.Total.Accelerators},
		{"gpus", document{&n.GPUs}},
		{"online", &n.Online},
		{"version", &n.Version},
		{"held_threads", &n.Held.Threads},
		{"held_memory_bytes", &n.Held.MemoryBytes},
		{"held_accelerators", &n.Held.Accelerators},
	}
})

var holdTable = newTable("holds", "hold", func(h *berth.Hold) []column {
	return []column{
		{"id", &h.ID},
		{"node_id", &h.NodeID},
		{"replica_id", reference{&h.ReplicaID}},
		{"deployment_id", reference{&h.DeploymentID}},
		{"pool_id", reference{&h.PoolID}},
		{"calibration_id", reference{&h.CalibrationID}},
		{"threads", &h.Held.Threads},
		{"memory_bytes", &h.Held.MemoryBytes},
		{"accelerators", &h.Held.Accelerators},
		{"gpus", document{&h.GPUs}},
	}
})

// putNodeSQL leaves the version of a node that is there alone, and what is held of it.
var putNodeSQL = nodeTable.insertSQL + ` ON CONFLICT (id) DO UPDATE SET
	threads = excluded.threads, memory_bytes = excluded.memory_bytes, accelerators = excluded.accelerators,
	gpus = excluded.gpus, online = excluded.online`

func (s nodes) Put(ctx context.Context, n berth.Node) error {
	_, err := s.tx.exec(ctx, putNodeSQL, nodeTable.fields(&n)...)
	return s.tx.dialect.wrote(nodeTable.noun, err)
}

func (s nodes) List(ctx context.Context) ([]berth.Node, error) {
	return nodeTable.all(ctx, s.tx, "ORDER BY id")
}

func (s nodes) Hold(ctx context.Context, versions map[string]int64, holds []berth.Hold) error {
	// Always in the same order, so that two transactions cannot wait for each other
	// where rows are locked one by one.
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		if err := s.raise(ctx, id, versions[id]); err != nil {
			return err
		}
	}
	for _, h := range holds {
		if _, ok := versions[h.NodeID]; !ok {
			return fmt.Errorf("hold %s: the version of node %s is not given", h.ID, h.NodeID)
		}
		if err := holdTable.insert(ctx, s.tx, h); err != nil {
			return err
		}
		if err := s.keep(ctx, h.NodeID, h.Held); err != nil {
			return err
		}
	}
	return nil
}

// raise raises the version of a node, if it still is the given one.
func (s nodes) raise(ctx context.Context, id string, version int64) error {
	n, err := s.tx.exec(ctx, "UPDATE nodes SET version = version + 1 WHERE id = ? AND version = ?", id, version)
	if err == nil && n == 0 {
		return berth.Errorf(berth.CodeConflict, "What is free on the node %s has changed meanwhile; look again.", id)
	}
	return s.tx.dialect.wrote(nodeTable.noun, err)
}

// keep adds to what is held of a node.
func (s nodes) keep(ctx context.Context, id string, more berth.Resources) error {
	_, err := s.tx.exec(ctx, `UPDATE nodes SET held_threads = held_threads + ?,
		held_memory_bytes = held_memory_bytes + ?, held_accelerators = held_accelerators + ? WHERE id = ?`,
		more.Threads, more.MemoryBytes, more.Accelerators, id)
	return s.tx.dialect.wrote(nodeTable.noun, err)
}

func (s nodes) Holds(ctx context.Context) ([]berth.Hold, error) {
	return holdTable.all(ctx, s.tx, "ORDER BY id")
}

func (s nodes) HeldBy(ctx context.Context, workspaceID string) (berth.Resources, error) {
	var r berth.Resources
	err := s.tx.queryRow(ctx, `SELECT COALESCE(SUM(h.threads), 0), COALESCE(SUM(h.memory_bytes), 0), COALESCE(SUM(h.accelerators), 0)
		FROM holds h JOIN deployments d ON d.id = h.deployment_id WHERE d.workspace_id = ?`, workspaceID).
		Scan(&r.Threads, &r.MemoryBytes, &r.Accelerators)
	return r, read(holdTable.noun, err)
}

func (s nodes) HoldOf(ctx context.Context, id string) (berth.Hold, error) {
	return holdTable.one(ctx, s.tx, "WHERE replica_id = ? OR calibration_id = ?", id, id)
}

func (s nodes) HeldGPUs(ctx context.Context) (map[string][]string, error) {
	holds, err := holdTable.all(ctx, s.tx, "WHERE accelerators > 0 ORDER BY id")
	held := map[string][]string{}
	for _, h := range holds {
		held[h.NodeID] = append(held[h.NodeID], h.GPUs...)
	}
	return held, err
}

// holdersSQL names the pools and calibrations of models that the workspace may see, and its
// own deployments.
const holdersSQL = `SELECT COALESCE(pm.name, ''), COALESCE(d.deployed_model, ''), COALESCE(cm.name, ''),
	SUM(h.threads), SUM(h.memory_bytes), SUM(h.accelerators)
	FROM holds h LEFT JOIN pools p ON p.id = h.pool_id LEFT JOIN deployments d ON d.id = h.deployment_id AND d.workspace_id = ?
	LEFT JOIN calibrations c ON c.id = h.calibration_id
	LEFT JOIN models pm ON pm.name = p.model_name AND (pm.workspace_id IS NULL OR pm.workspace_id = ?)
	LEFT JOIN models cm ON cm.name = c.model_name AND (cm.workspace_id IS NULL OR cm.workspace_id = ?)
	GROUP BY 1, 2, 3`

func (s nodes) Holders(ctx context.Context, workspaceID string) ([]berth.Holder, error) {
	var list []berth.Holder
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var h berth.Holder
		err := rows.Scan(&h.PoolModel, &h.DeployedModel, &h.CalibratedModel, &h.Held.Threads, &h.Held.MemoryBytes, &h.Held.Accelerators)
		list = append(list, h)
		return err
	}, holdersSQL, workspaceID, workspaceID, workspaceID)
	return list, read(holdTable.noun, err)
}

func (s nodes) Release(ctx context.Context, id string) error {
	var node string
	var held berth.Resources
	err := s.tx.queryRow(ctx, "DELETE FROM holds WHERE replica_id = ? OR calibration_id = ? RETURNING node_id, threads, memory_bytes, accelerators", id, id).
		Scan(&node, &held.Threads, &held.MemoryBytes, &held.Accelerators)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return s.tx.dialect.wrote(holdTable.noun, err)
	}
	return s.keep(ctx, node, berth.Resources{}.Sub(held))
}
