package storetest

import (
	"fmt"
	"time"

	berth "github.com/berthhq/berth"
)

// The ids of what settle writes.
const (
	accountID     = "1000000001"
	workspaceID   = "llm-first"
	otherSpaceID  = "llm-other"
	nodeID        = "node-first"
	poolID        = "pool_first"
	deploymentID  = "dep_first"
	replicaID     = "rep_first"
	calibrationID = "cal_first"
)

// nodeVersion is the version of the settled node.
const nodeVersion = 4

// settle writes one of everything that other rows refer to.
func (s suite) settle() {
	s.Helper()
	if s.settled {
		return
	}
	ctx := s.Context()
	s.write(func(tx berth.Tx) error {
		return first(
			tx.Accounts().InsertAccount(ctx, berth.Account{ID: accountID}),
			tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: workspaceID, AccountID: accountID, CreatedAt: epoch}),
			tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: otherSpaceID, AccountID: accountID, CreatedAt: epoch.Add(1)}),
			tx.Nodes().Put(ctx, berth.Node{ID: nodeID, Version: nodeVersion, Online: true}),
			tx.Pools().Insert(ctx, berth.Pool{ID: poolID, Key: "first", CreatedAt: epoch}),
			tx.Calibrations().Insert(ctx, berth.Measurement{ID: calibrationID, ModelName: "measured", SpecName: "MU1", Engine: "first"}),
			tx.Deployments().Insert(ctx, deployment(deploymentID, 0)),
			tx.Replicas().Insert(ctx, berth.Replica{ID: replicaID, NodeID: nodeID, DeploymentID: deploymentID, CreatedAt: epoch}),
		)
	})
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// deployment returns a live one of the first workspace, named after its id and made
// the given minutes after the epoch.
func deployment(id string, minutes int) berth.Deployment {
	return berth.Deployment{
		ID: id, DeployedModel: "model-" + id, WorkspaceID: workspaceID, Plan: berth.PlanMU,
		CreatedAt: epoch.Add(time.Duration(minutes) * time.Minute),
	}
}

// numbered returns an id that sorts by n.
func numbered(prefix string, n int) string { return fmt.Sprintf("%s%06d", prefix, n) }
