package storetest

import (
	berth "github.com/berthhq/berth"
)

// uniqueness: what may be there once is refused the second time.
var uniqueness = []promise{
	{"an id, a name, a hash and a key are taken once", func(s suite) {
		s.settle()
		ctx := s.Context()
		twice := map[string]func(tx berth.Tx, id string) error{
			"a key's hash": func(tx berth.Tx, id string) error {
				return tx.Keys().Insert(ctx, berth.Key{ID: id, Hash: berth.KeyHash{1}})
			},
			"a key's id": func(tx berth.Tx, id string) error {
				return tx.Keys().Insert(ctx, berth.Key{ID: "key", Hash: berth.KeyHash{2, id[0]}})
			},
			"a model's name": func(tx berth.Tx, _ string) error {
				return tx.Models().Insert(ctx, berth.Model{Name: "model"})
			},
			"an import job's model name": func(tx berth.Tx, id string) error {
				return tx.Imports().Insert(ctx, berth.ImportJob{ID: id, WorkspaceID: workspaceID, ModelName: "name"})
			},
			"a workspace's id": func(tx berth.Tx, id string) error {
				return tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: "llm", AccountID: accountID, Name: id})
			},
			"a pool's key": func(tx berth.Tx, id string) error {
				return tx.Pools().Insert(ctx, berth.Pool{ID: id, Key: "key"})
			},
			"a deployment's place in a pool": func(tx berth.Tx, _ string) error {
				return tx.Pools().Join(ctx, berth.Member{PoolID: poolID, DeploymentID: deploymentID})
			},
			"a live deployment's name": func(tx berth.Tx, id string) error {
				return tx.Deployments().Insert(ctx, berth.Deployment{ID: id, DeployedModel: "name", WorkspaceID: workspaceID})
			},
		}
		for what, insert := range twice {
			s.Log(what)
			s.write(func(tx berth.Tx) error { return insert(tx, "a") })
			s.refuse(berth.CodeConflict, func(tx berth.Tx) error { return insert(tx, "b") })
		}
	}},
	{"a change cannot take a name that is taken", func(s suite) {
		s.settle()
		other := deployment("dep_other", 1)
		s.write(func(tx berth.Tx) error { return tx.Deployments().Insert(s.Context(), other) })
		other.DeployedModel = deployment(deploymentID, 0).DeployedModel
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error { return tx.Deployments().Update(s.Context(), other) })
	}},
	{"the name of a deleted deployment can be used again and again", func(s suite) {
		s.settle()
		name := "model-again"
		s.same("tombstone before", s.tombstone(workspaceID, name), false)
		for i := range 3 {
			d := deployment(numbered("dep_", i), i)
			d.DeployedModel = name
			s.write(func(tx berth.Tx) error { return tx.Deployments().Insert(s.Context(), d) })
			s.same("live one", view(s, func(tx berth.Tx) (berth.Deployment, error) {
				return tx.Deployments().ByName(s.Context(), name)
			}), d)
			d.DeletedAt = epoch.AddDate(0, 0, i+1)
			s.write(func(tx berth.Tx) error { return tx.Deployments().Update(s.Context(), d) })
			s.refuse(berth.CodeNotFound, func(tx berth.Tx) error {
				_, err := tx.Deployments().ByName(s.Context(), name)
				return err
			})
			s.same("deleted one by id", view(s, func(tx berth.Tx) (berth.Deployment, error) {
				return tx.Deployments().Get(s.Context(), d.ID)
			}), d)
		}
		s.same("tombstone of the workspace", s.tombstone(workspaceID, name), true)
		s.same("tombstone of another workspace", s.tombstone(otherSpaceID, name), false)
	}},
}

func (s suite) tombstone(workspaceID, name string) bool {
	s.Helper()
	return view(s, func(tx berth.Tx) (bool, error) {
		return tx.Deployments().Tombstone(s.Context(), workspaceID, name)
	})
}

// absences: what is not there is said not to be, or is fine.
var absences = []promise{
	{"reading, changing or deleting what is not there is refused", func(s suite) {
		ctx := s.Context()
		gone := map[string]func(tx berth.Tx) error{
			"read workspace":          func(tx berth.Tx) error { return second(tx.Accounts().Workspace(ctx, "x")) },
			"read key":                func(tx berth.Tx) error { return second(tx.Keys().Get(ctx, "x")) },
			"change key":              func(tx berth.Tx) error { return tx.Keys().Update(ctx, berth.Key{ID: "x"}) },
			"read model":              func(tx berth.Tx) error { return second(tx.Models().Get(ctx, "x")) },
			"change model":            func(tx berth.Tx) error { return tx.Models().Update(ctx, berth.Model{Name: "x"}) },
			"delete model":            func(tx berth.Tx) error { return tx.Models().Delete(ctx, "x") },
			"read import job":         func(tx berth.Tx) error { return second(tx.Imports().Get(ctx, "x")) },
			"change import job":       func(tx berth.Tx) error { return tx.Imports().Update(ctx, berth.ImportJob{ID: "x"}) },
			"delete import job":       func(tx berth.Tx) error { return tx.Imports().Delete(ctx, "x") },
			"read deployment":         func(tx berth.Tx) error { return second(tx.Deployments().Get(ctx, "x")) },
			"read deployment by name": func(tx berth.Tx) error { return second(tx.Deployments().ByName(ctx, "x")) },
			"change deployment":       func(tx berth.Tx) error { return tx.Deployments().Update(ctx, berth.Deployment{ID: "x"}) },
			"read pool":               func(tx berth.Tx) error { return second(tx.Pools().Get(ctx, "x")) },
			"read pool by key":        func(tx berth.Tx) error { return second(tx.Pools().ByKey(ctx, "x")) },
			"change pool":             func(tx berth.Tx) error { return tx.Pools().Update(ctx, berth.Pool{ID: "x"}) },
			"delete pool":             func(tx berth.Tx) error { return tx.Pools().Delete(ctx, "x") },
			"read replica":            func(tx berth.Tx) error { return second(tx.Replicas().Get(ctx, "x")) },
			"read hold":               func(tx berth.Tx) error { return second(tx.Nodes().HoldOf(ctx, "x")) },
			"read receipt":            func(tx berth.Tx) error { return second(tx.Receipts().Get(ctx, workspaceID, "x")) },
			"delete receipt":          func(tx berth.Tx) error { return tx.Receipts().Delete(ctx, workspaceID, "x") },
			"change replica":          func(tx berth.Tx) error { return tx.Replicas().Update(ctx, berth.Replica{ID: "x"}) },
			"delete replica":          func(tx berth.Tx) error { return tx.Replicas().Delete(ctx, "x") },
		}
		for what, fn := range gone {
			s.Log(what)
			s.refuse(berth.CodeNotFound, fn)
		}
	}},
	{"releasing no hold and leaving no pool are fine", func(s suite) {
		s.write(func(tx berth.Tx) error {
			return first(tx.Nodes().Release(s.Context(), "x"), tx.Pools().Leave(s.Context(), "x"))
		})
	}},
	{"what was deleted, left or released is gone", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Models().Insert(ctx, berth.Model{Name: "m"}),
				tx.Pools().Join(ctx, berth.Member{PoolID: poolID, DeploymentID: deploymentID}),
				tx.Nodes().Hold(ctx, map[string]int64{nodeID: nodeVersion}, []berth.Hold{{ID: "hold", NodeID: nodeID, ReplicaID: replicaID}}),
			)
		})
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Models().Delete(ctx, "m"), tx.Pools().Leave(ctx, deploymentID), tx.Pools().Delete(ctx, poolID),
				tx.Nodes().Release(ctx, replicaID), tx.Replicas().Delete(ctx, replicaID),
			)
		})
		left := view(s, func(tx berth.Tx) (int, error) {
			models, err1 := tx.Models().List(ctx)
			pools, err2 := tx.Pools().List(ctx)
			members, err3 := tx.Pools().Members(ctx, "")
			holds, err4 := tx.Nodes().Holds(ctx)
			replicas, err5 := tx.Replicas().List(ctx)
			return len(models) + len(pools) + len(members) + len(holds) + len(replicas), first(err1, err2, err3, err4, err5)
		})
		s.same("rows left", left, 0)
	}},
}

// second returns the error of a read.
func second[T any](_ T, err error) error { return err }
