package storetest

import (
	"cmp"
	"errors"
	"slices"

	berth "github.com/berthhq/berth"
)

var feed = []promise{
	{"a write of what others keep a copy of is told, once for each transaction, and a replica as its owner's", func(s suite) {
		s.settle()
		ctx := s.Context()
		deployment, pool := berth.Ref{Noun: berth.NounDeployment, ID: deploymentID}, berth.Ref{Noun: berth.NounPool, ID: poolID}
		engines := berth.Ref{Noun: berth.NounEngines, ID: poolID}
		key, model := berth.Ref{Noun: berth.NounKey, ID: "key"}, berth.Ref{Noun: berth.NounModel, ID: "model"}
		pooled := berth.Replica{ID: "rep_pooled", PoolID: poolID}
		own := berth.Replica{ID: replicaID, NodeID: nodeID, DeploymentID: deploymentID, CreatedAt: epoch}
		for _, step := range []struct {
			what  string
			write func(tx berth.Tx) error
			want  []berth.Ref
		}{
			{"a deployment", func(tx berth.Tx) error {
				d, err := tx.Deployments().Get(ctx, deploymentID)
				return first(err, tx.Deployments().Update(ctx, d), tx.Deployments().Update(ctx, d))
			}, []berth.Ref{deployment}},
			{"a replica's start", func(tx berth.Tx) error { return tx.Replicas().Insert(ctx, pooled) }, []berth.Ref{engines, pool}},
			{"a replica's change", func(tx berth.Tx) error { return tx.Replicas().Update(ctx, own) }, []berth.Ref{deployment}},
			{"a replica's end", func(tx berth.Tx) error { return tx.Replicas().Delete(ctx, pooled.ID) }, []berth.Ref{engines, pool}},
			{"a place in a pool", func(tx berth.Tx) error {
				return tx.Pools().Join(ctx, berth.Member{PoolID: poolID, DeploymentID: deploymentID})
			}, []berth.Ref{deployment, pool}},
			{"no place any more", func(tx berth.Tx) error { return tx.Pools().Leave(ctx, deploymentID) }, []berth.Ref{deployment, pool}},
			{"no place at all", func(tx berth.Tx) error { return tx.Pools().Leave(ctx, deploymentID) }, nil},
			{"a key and a model", func(tx berth.Tx) error {
				return first(
					tx.Keys().Insert(ctx, berth.Key{ID: "key", WorkspaceID: workspaceID}),
					tx.Models().Insert(ctx, berth.Model{Name: "model"}),
				)
			}, []berth.Ref{key, model}},
			{"changes of both", func(tx berth.Tx) error {
				return first(
					tx.Keys().Update(ctx, berth.Key{ID: "key", WorkspaceID: workspaceID}),
					tx.Models().Update(ctx, berth.Model{Name: "model"}),
				)
			}, []berth.Ref{key, model}},
			{"no model any more", func(tx berth.Tx) error { return tx.Models().Delete(ctx, "model") }, []berth.Ref{model}},
			{"a workspace", func(tx berth.Tx) error {
				return tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: "llm-new", AccountID: accountID})
			}, []berth.Ref{{Noun: berth.NounWorkspace, ID: "llm-new"}}},
			{"a workspace's change", func(tx berth.Tx) error {
				return tx.Accounts().UpdateWorkspace(ctx, berth.Workspace{ID: "llm-new", AccountID: accountID})
			}, []berth.Ref{{Noun: berth.NounWorkspace, ID: "llm-new"}}},
			{"no pool any more", func(tx berth.Tx) error { return tx.Pools().Delete(ctx, poolID) }, []berth.Ref{pool}},
			{"what nobody keeps", func(tx berth.Tx) error { return tx.Nodes().Put(ctx, berth.Node{ID: nodeID}) }, nil},
		} {
			before := s.routingVersion()
			s.write(step.write)
			s.same(step.what, s.changes(before), step.want)
		}
	}},
	{"a transaction that fails tells nothing", func(s suite) {
		s.settle()
		before := s.routingVersion()
		s.refuse(berth.CodeInternal, func(tx berth.Tx) error {
			return first(tx.Models().Insert(s.Context(), berth.Model{Name: "m"}), errors.New("boom"))
		})
		s.same("changes", s.changes(before), []berth.Ref(nil))
		s.same("version", s.routingVersion(), before)
	}},
	{"Route and the changes of a transaction share one version", func(s suite) {
		before := s.routingVersion()
		s.write(func(tx berth.Tx) error {
			v1, err1 := tx.Route(s.Context())
			err := tx.Models().Insert(s.Context(), berth.Model{Name: "m"})
			v2, err2 := tx.Route(s.Context())
			s.same("versions", []int64{v1, v2}, []int64{before + 1, before + 1})
			return first(err1, err, err2)
		})
		s.same("version after", s.routingVersion(), before+1)
		s.same("changes", len(s.changes(before)), 1)
		s.same("changes of others", len(s.changes(before+1)), 0)
	}},
	{"changes are remembered for hundreds of versions and forgotten in the end, which is said", func(s suite) {
		s.write(func(tx berth.Tx) error { return tx.Models().Insert(s.Context(), berth.Model{Name: "m"}) })
		start := s.routingVersion()
		touch := func() {
			s.write(func(tx berth.Tx) error { return tx.Models().Update(s.Context(), berth.Model{Name: "m"}) })
		}
		for range 300 {
			touch()
		}
		s.same("changes", len(s.changes(start)), 1)
		for range 5000 {
			if touch(); !s.remembers(start) {
				return
			}
		}
		s.Error("five thousand versions are kept")
	}},
}

// changes returns what the store tells since a version, which it must remember.
func (s suite) changes(after int64) []berth.Ref {
	s.Helper()
	list := view(s, func(tx berth.Tx) ([]berth.Ref, error) {
		list, known, err := tx.Changes(s.Context(), after)
		if err == nil && !known {
			err = errors.New("not remembered")
		}
		return list, err
	})
	slices.SortFunc(list, func(a, b berth.Ref) int {
		return cmp.Or(cmp.Compare(a.Noun, b.Noun), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (s suite) remembers(after int64) bool {
	s.Helper()
	return view(s, func(tx berth.Tx) (bool, error) {
		_, known, err := tx.Changes(s.Context(), after)
		return known, err
	})
}
