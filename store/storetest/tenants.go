package storetest

import (
	"time"

	berth "github.com/berthhq/berth"
)

var tenants = []promise{
	{"pages of accounts and workspaces are by id, and a deleted workspace is found by its id alone", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Accounts().InsertAccount(ctx, berth.Account{ID: "3"}),
				tx.Accounts().InsertAccount(ctx, berth.Account{ID: "2"}),
				tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: "llm-gone", AccountID: "2", DeletedAt: epoch}),
				tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: "llm-a", AccountID: "2", CreatedAt: epoch.Add(time.Hour)}),
			)
		})
		view(s, func(tx berth.Tx) (struct{}, error) {
			accounts, err1 := tx.Accounts().AccountPage(ctx, accountID, 1)
			s.same("accounts", ids(accounts, func(a berth.Account) string { return a.ID }), []string{"2"})
			name := func(w berth.Workspace) string { return w.ID }
			all, err2 := tx.Accounts().Workspaces(ctx)
			s.same("workspaces, oldest first", ids(all, name), []string{workspaceID, otherSpaceID, "llm-a"})
			page, err3 := tx.Accounts().WorkspacePage(ctx, "", 2)
			s.same("first page", ids(page, name), []string{"llm-a", workspaceID})
			page, err4 := tx.Accounts().WorkspacePage(ctx, workspaceID, 2)
			s.same("second page", ids(page, name), []string{otherSpaceID})
			gone, err5 := tx.Accounts().Workspace(ctx, "llm-gone")
			s.same("deleted", gone.DeletedAt, epoch)
			return struct{}{}, first(err1, err2, err3, err4, err5)
		})
	}},
	{"temporary tokens are counted by their key, swept when they have ended, and in no page of keys", func(s suite) {
		s.settle()
		ctx := s.Context()
		token := func(id, parent string, ends time.Time) berth.Key {
			return berth.Key{ID: id, WorkspaceID: workspaceID, ParentID: parent, Hash: berth.KeyHash{id[4]}, ExpiresAt: ends}
		}
		name := func(k berth.Key) string { return k.ID }
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Keys().Insert(ctx, berth.Key{ID: "key_1", WorkspaceID: workspaceID, Hash: berth.KeyHash{1}, ExpiresAt: epoch}),
				tx.Keys().Insert(ctx, berth.Key{ID: "key_2", WorkspaceID: otherSpaceID, Hash: berth.KeyHash{2}}),
				tx.Keys().Insert(ctx, token("tok_late", "key_1", epoch.Add(2))),
				tx.Keys().Insert(ctx, token("tok_early", "key_1", epoch.Add(1))),
				tx.Keys().Insert(ctx, token("tok_gone", "key_1", epoch)),
				tx.Keys().Insert(ctx, token("tok_other", "key_2", epoch.Add(1))),
			)
		})
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return tx.Keys().Update(ctx, berth.Key{ID: "key_none"}) })
		view(s, func(tx berth.Tx) (struct{}, error) {
			valid, err1 := tx.Keys().Tokens(ctx, "key_1", epoch)
			s.same("valid tokens", ids(valid, name), []string{"tok_early", "tok_late"})
			keys, err2 := tx.Keys().Page(ctx, "", "", 10)
			s.same("keys", ids(keys, name), []string{"key_1", "key_2"})
			keys, err3 := tx.Keys().Page(ctx, "", "key_1", 10)
			s.same("keys after the first", ids(keys, name), []string{"key_2"})
			keys, err4 := tx.Keys().Page(ctx, workspaceID, "", 10)
			s.same("keys of a workspace", ids(keys, name), []string{"key_1"})
			return struct{}{}, first(err1, err2, err3, err4)
		})
		s.write(func(tx berth.Tx) error {
			n, err := tx.Keys().Sweep(ctx, epoch.Add(1))
			s.same("swept", n, int64(3))
			return err
		})
		left := view(s, func(tx berth.Tx) ([]berth.Key, error) { return tx.Keys().List(ctx, "") })
		s.same("left, with a key that has ended", len(left), 3)
	}},
	{"what a workspace holds is the sum of its deployments' holds", func(s suite) {
		s.settle()
		ctx := s.Context()
		elsewhere := deployment("dep_else", 1)
		elsewhere.WorkspaceID = otherSpaceID
		hold := func(id, deployment, pool string, n int64) berth.Hold {
			return berth.Hold{
				ID: "hold_" + id, NodeID: nodeID, ReplicaID: id, DeploymentID: deployment, PoolID: pool,
				Held: berth.Resources{Threads: n, MemoryBytes: 10 * n, Accelerators: 100 * n},
			}
		}
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Deployments().Insert(ctx, elsewhere),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "rep_a", DeploymentID: deploymentID}),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "rep_b", DeploymentID: "dep_else"}),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "rep_c", PoolID: poolID}),
				tx.Nodes().Hold(ctx, map[string]int64{nodeID: nodeVersion}, []berth.Hold{
					hold(replicaID, deploymentID, "", 1), hold("rep_a", deploymentID, "", 2),
					hold("rep_b", "dep_else", "", 4), hold("rep_c", "", poolID, 8),
				}),
			)
		})
		for space, n := range map[string]int64{workspaceID: 3, otherSpaceID: 4, "llm-none": 0} {
			held := view(s, func(tx berth.Tx) (berth.Resources, error) { return tx.Nodes().HeldBy(ctx, space) })
			s.same("held by "+space, held, berth.Resources{Threads: n, MemoryBytes: 10 * n, Accelerators: 100 * n})
		}
	}},
}
