package berth

import "context"

// HoldReplicas places count replicas like the given one, takes their hardware and
// writes them for the reconciler to start: all of them or none, as the transaction
// goes. A [*Shortage] when they do not fit; [CodeNoCapacity] when the workspace of the
// deployment that they are for would have more than its quota. Remote engines hold
// nothing.
func HoldReplicas(ctx context.Context, tx Tx, like Replica, count int64, engine EngineTraits, newID func(string) string) error {
	if engine.Remote {
		for range count {
			like.ID = newID("rep_")
			if err := tx.Replicas().Insert(ctx, like); err != nil {
				return err
			}
		}
		return nil
	}
	if like.DeploymentID != "" {
		if err := withinQuota(ctx, tx, like.DeploymentID, like.Spec.Replica.Times(count)); err != nil {
			return err
		}
	}
	nodes, err := tx.Nodes().List(ctx)
	if err != nil {
		return err
	}
	var taken map[string][]string
	if like.Spec.Replica.Accelerators > 0 {
		if taken, err = tx.Nodes().HeldGPUs(ctx); err != nil {
			return err
		}
	}
	placements, err := Place(nodes, taken, like.Spec, count)
	if err != nil {
		return err
	}
	holds := make([]Hold, 0, len(placements))
	for _, p := range placements {
		like.ID, like.NodeID = newID("rep_"), p.NodeID
		if err := tx.Replicas().Insert(ctx, like); err != nil {
			return err
		}
		holds = append(holds, Hold{
			ID: newID("hold_"), NodeID: p.NodeID, ReplicaID: like.ID, DeploymentID: like.DeploymentID, PoolID: like.PoolID,
			Held: p.Held, GPUs: p.GPUs,
		})
	}
	return tx.Nodes().Hold(ctx, versionsOf(nodes, holds), holds)
}

// withinQuota refuses hardware that the workspace of a deployment may not have.
func withinQuota(ctx context.Context, tx Tx, deploymentID string, asked Resources) error {
	d, err := tx.Deployments().Get(ctx, deploymentID)
	if err != nil {
		return err
	}
	w, err := tx.Accounts().Workspace(ctx, d.WorkspaceID)
	if err != nil || w.Quota.Resources == (Resources{}) {
		return err
	}
	held, err := tx.Nodes().HeldBy(ctx, w.ID)
	if err != nil {
		return err
	}
	return w.Quota.check(w.ID, held, asked)
}

// versionsOf returns the versions of the nodes that holds are about.
func versionsOf(nodes []Node, holds []Hold) map[string]int64 {
	versions := map[string]int64{}
	for _, n := range nodes {
		for _, h := range holds {
			if h.NodeID == n.ID {
				versions[n.ID] = n.Version
			}
		}
	}
	return versions
}
