package store

import (
	"context"
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
	}
})

var holdTable = newTable("holds", "hold", func(h *berth.Hold) []column {
	return []column{
		{"id", &h.ID},
		{"node_id", &h.NodeID},
		{"replica_id", &h.ReplicaID},
		{"deployment_id", reference{&h.DeploymentID}},
		{"pool_id", reference{&h.PoolID}},
		{"threads", &h.Held.Threads},
		{"memory_bytes", &h.Held.MemoryBytes},
		{"accelerators", &h.Held.Accelerators},
		{"gpus", document{&h.GPUs}},
	}
})

// putNodeSQL leaves the version of a node that is there alone.
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

func (s nodes) Holds(ctx context.Context) ([]berth.Hold, error) {
	return holdTable.all(ctx, s.tx, "ORDER BY id")
}

func (s nodes) Release(ctx context.Context, replicaID string) error {
	_, err := s.tx.exec(ctx, "DELETE FROM holds WHERE replica_id = ?", replicaID)
	return s.tx.dialect.wrote(holdTable.noun, err)
}
