package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

var lists = []promise{
	{"lists have the order that is promised", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			for i, id := range []string{"c", "a", "b"} { // c is the oldest
				at := epoch.Add(time.Duration(i+1) * time.Minute)
				err := first(
					tx.Keys().Insert(ctx, berth.Key{ID: id, WorkspaceID: workspaceID, Hash: berth.KeyHash{id[0]}, CreatedAt: at}),
					tx.Models().Insert(ctx, berth.Model{Name: id, CreatedAt: at}),
					tx.Nodes().Put(ctx, berth.Node{ID: id}),
					tx.Replicas().Insert(ctx, berth.Replica{ID: id, PoolID: poolID, CreatedAt: at}),
				)
				if err != nil {
					return err
				}
			}
			return nil
		})
		view(s, func(tx berth.Tx) (struct{}, error) {
			keys, err1 := tx.Keys().List(ctx, workspaceID)
			s.same("keys, oldest first", ids(keys, func(k berth.Key) string { return k.ID }), []string{"c", "a", "b"})
			models, err2 := tx.Models().List(ctx)
			s.same("models by name", ids(models, func(m berth.Model) string { return m.Name }), []string{"a", "b", "c"})
			nodes, err3 := tx.Nodes().List(ctx)
			s.same("nodes by id", ids(nodes, func(n berth.Node) string { return n.ID }), []string{"a", "b", "c", nodeID})
			replicas, err4 := tx.Replicas().List(ctx)
			s.same("replicas, oldest first", ids(replicas, replicaName), []string{replicaID, "c", "a", "b"})
			return struct{}{}, first(err1, err2, err3, err4)
		})
	}},
	{"import jobs are filtered and paged, newest first", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			for i, id := range []string{"a", "b", "c", "d"} {
				j := berth.ImportJob{
					ID: id, ModelName: "model-" + id, WorkspaceID: workspaceID, Status: berth.ImportPending,
					CreatedAt: epoch.Add(time.Duration(i/2) * time.Minute), // in pairs
				}
				if id == "d" {
					j.WorkspaceID, j.Status = otherSpaceID, berth.ImportFailed
				}
				if err := tx.Imports().Insert(ctx, j); err != nil {
					return err
				}
			}
			return nil
		})
		for want, f := range map[string]berth.ImportFilter{
			"[c d a b] of 4": {},
			"[c a b] of 3":   {WorkspaceID: workspaceID},
			"[a] of 3":       {WorkspaceID: workspaceID, Offset: 1, Limit: 1},
			"[d] of 1":       {Status: berth.ImportFailed},
			"[b] of 1":       {WorkspaceID: workspaceID, ModelName: "model-b"},
			"[] of 0":        {WorkspaceID: otherSpaceID, ModelName: "model-b"},
		} {
			s.same("jobs", view(s, func(tx berth.Tx) (string, error) {
				list, total, err := tx.Imports().List(ctx, f)
				return fmt.Sprint(ids(list, func(j berth.ImportJob) string { return j.ID }), " of ", total), err
			}), want)
		}
	}},
	{"a list of one owner has nothing of another", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Keys().Insert(ctx, berth.Key{ID: "mine", WorkspaceID: workspaceID, Hash: berth.KeyHash{1}}),
				tx.Keys().Insert(ctx, berth.Key{ID: "other", WorkspaceID: otherSpaceID, Hash: berth.KeyHash{2}, RevokedAt: epoch}),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "pooled", PoolID: poolID}),
				tx.Pools().Join(ctx, berth.Member{PoolID: poolID, DeploymentID: deploymentID}),
				tx.Events().Append(ctx, berth.Event{ID: "evt", DeploymentID: deploymentID}),
			)
		})
		view(s, func(tx berth.Tx) (struct{}, error) {
			mine, err1 := tx.Keys().List(ctx, workspaceID)
			s.same("keys of a workspace", len(mine), 1)
			all, err2 := tx.Keys().List(ctx, "")
			s.same("all keys, revoked ones too", len(all), 2)
			ofPool, err3 := tx.Replicas().OfPool(ctx, poolID)
			s.same("replicas of a pool", ids(ofPool, replicaName), []string{"pooled"})
			ofDeployment, err4 := tx.Replicas().OfDeployment(ctx, deploymentID)
			s.same("replicas of a deployment", ids(ofDeployment, replicaName), []string{replicaID})
			members, err5 := tx.Pools().Members(ctx, "pool_other")
			s.same("members of another pool", len(members), 0)
			every, err6 := tx.Pools().Members(ctx, "")
			s.same("members of all pools", len(every), 1)
			events, err7 := tx.Events().List(ctx, "dep_other", "", 10)
			s.same("events of another deployment", len(events), 0)
			owners, err9 := tx.Replicas().Owners(ctx)
			s.same("owners", owners, []berth.Ref{{Noun: berth.NounDeployment, ID: deploymentID}, {Noun: berth.NounPool, ID: poolID}})
			_, err8 := tx.Replicas().LastStart(ctx, "qwen")
			s.same("the last start, of a model that never ran", berth.CodeOf(err8), berth.CodeNotFound)
			return struct{}{}, first(err1, err2, err3, err4, err5, err6, err7, err9)
		})
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Replicas().Insert(ctx, berth.Replica{ID: "older", PoolID: poolID, ModelName: "qwen", StartedAt: epoch, ReadyAt: epoch.Add(3 * time.Second)}),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "newer", PoolID: poolID, ModelName: "qwen", StartedAt: epoch.Add(time.Minute), ReadyAt: epoch.Add(time.Minute + 2*time.Second)}),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "again", PoolID: poolID, ModelName: "qwen", StartedAt: epoch.Add(time.Hour), ReadyAt: epoch}),
			)
		})
		took := view(s, func(tx berth.Tx) (time.Duration, error) { return tx.Replicas().LastStart(ctx, "qwen") })
		s.same("the last start that came up", took, 2*time.Second)
	}},
	{"the sums of a pool are those of its members", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.same("a pool that is not there", view(s, func(tx berth.Tx) (berth.Demand, error) { return tx.Pools().Demand(ctx, "pool_gone") }), berth.Demand{})
		adapters := []berth.AdapterRef{{Digest: "d2", Path: "x"}, {Digest: "d1", Path: "old"}, {Digest: "d1", Path: "young"}, {Digest: "d2", Path: "x"}}
		s.write(func(tx berth.Tx) error {
			other := berth.Pool{ID: "pool_other", Key: "other"}
			err := tx.Pools().Insert(ctx, other)
			for i := range 9 {
				d := deployment(fmt.Sprint("member", i), i)
				m := berth.Member{PoolID: poolID, DeploymentID: d.ID, Plan: berth.PlanPTU, LoadPPM: int64(i)}
				switch {
				case i < len(adapters):
					m.Plan, m.Adapter, m.LoadPPM = berth.PlanLoRA, adapters[i], 0
				case i == 8:
					m.PoolID = other.ID
				}
				err = first(err, tx.Deployments().Insert(ctx, d), tx.Pools().Join(ctx, m))
			}
			return err
		})
		for _, id := range []string{poolID, "pool_other"} {
			members := view(s, func(tx berth.Tx) ([]berth.Member, error) { return tx.Pools().Members(ctx, id) })
			demand := view(s, func(tx berth.Tx) (berth.Demand, error) { return tx.Pools().Demand(ctx, id) })
			s.same("sums", demand, berth.DemandOf(members))
			sold := view(s, func(tx berth.Tx) (int64, error) { return tx.Pools().SoldPPM(ctx, id) })
			s.same("what is sold", sold, demand.SoldPPM)
			one := view(s, func(tx berth.Tx) (berth.Member, error) { return tx.Pools().Member(ctx, members[0].DeploymentID) })
			s.same("a member", one, members[0])
		}
		demand := view(s, func(tx berth.Tx) (berth.Demand, error) { return tx.Pools().Demand(ctx, poolID) })
		s.same("sums", demand, berth.Demand{Sales: 4, LoRAs: 4, SoldPPM: 22, Adapters: []berth.AdapterRef{{Digest: "d1", Path: "young"}, {Digest: "d2", Path: "x"}}})
		view(s, func(tx berth.Tx) (struct{}, error) {
			_, err := tx.Pools().Member(ctx, deploymentID)
			s.same("who is in no pool", berth.CodeOf(err), berth.CodeNotFound)
			return struct{}{}, nil
		})
	}},
	{"the owners of replicas are found whatever is gone", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			gone, pooled, over := deployment("gone", 1), deployment("pooled", 2), deployment("over", 3)
			gone.DeletedAt, over.DeletedAt, pooled.PoolID = epoch, epoch, "pool_gone"
			return first(
				tx.Deployments().Insert(ctx, gone), tx.Deployments().Insert(ctx, pooled), tx.Deployments().Insert(ctx, over),
				tx.Replicas().Insert(ctx, berth.Replica{ID: "of gone", DeploymentID: gone.ID}),
			)
		})
		owners := view(s, func(tx berth.Tx) ([]berth.Ref, error) { return tx.Replicas().Owners(ctx) })
		s.same("owners", owners, []berth.Ref{
			{Noun: berth.NounDeployment, ID: deploymentID}, {Noun: berth.NounDeployment, ID: "gone"},
			{Noun: berth.NounPool, ID: poolID}, {Noun: berth.NounPool, ID: "pool_gone"},
		})
	}},
	{"receipts end at their time, and are counted by workspace", func(s suite) {
		s.settle()
		ctx := s.Context()
		count := func(workspaceID string) int64 {
			return view(s, func(tx berth.Tx) (int64, error) { return tx.Receipts().Count(ctx, workspaceID) })
		}
		s.write(func(tx berth.Tx) error {
			var err error
			for i, space := range []string{workspaceID, workspaceID, workspaceID, otherSpaceID} {
				err = first(err, tx.Receipts().Put(ctx, berth.Receipt{
					WorkspaceID: space, Name: numbered("r", i), DeploymentID: deploymentID, ExpiresAt: epoch.Add(time.Duration(i) * time.Minute),
				}))
			}
			return err
		})
		s.same("of a workspace", count(workspaceID), int64(3))
		s.write(func(tx berth.Tx) error { return tx.Receipts().Expire(ctx, epoch.Add(time.Minute)) })
		s.same("that have not ended", count(workspaceID), int64(1))
		s.write(func(tx berth.Tx) error { return tx.Receipts().Delete(ctx, workspaceID, numbered("r", 2)) })
		s.same("after a deletion", count(workspaceID), int64(0))
		s.same("of another workspace", count(otherSpaceID), int64(1))
	}},
	{"pages of deployments are what a plain sort of the live ones says", pagesAreASort},
	{"pages of one View do not shift while deployments are inserted", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error { return insertDeployments(s, tx, 1, 10) })
		var seen []string
		view(s, func(tx berth.Tx) (struct{}, error) {
			for page := range int64(4) {
				list, total, err := tx.Deployments().List(ctx, berth.DeploymentFilter{Offset: page * 3, Limit: 3})
				if err != nil {
					return struct{}{}, err
				}
				s.same("total", total, int64(11))
				seen = append(seen, ids(list, deploymentName)...)
				s.write(func(tx berth.Tx) error { return insertDeployments(s, tx, 100+2*int(page), 2) })
			}
			return struct{}{}, nil
		})
		s.same("deployments seen", len(seen), 11)
		slices.Sort(seen)
		s.same("different ones", len(slices.Compact(seen)), 11)
	}},
	{"pages of several Views miss no deployment that was there from the first", func(s suite) {
		s.settle()
		s.write(func(tx berth.Tx) error { return insertDeployments(s, tx, 1, 10) })
		seen := map[string]bool{}
		for offset, total := int64(0), int64(1); offset < total; offset += 3 {
			list := view(s, func(tx berth.Tx) (list []berth.Deployment, err error) {
				list, total, err = tx.Deployments().List(s.Context(), berth.DeploymentFilter{Offset: offset, Limit: 3})
				return list, err
			})
			for _, d := range list {
				seen[d.ID] = true
			}
			s.write(func(tx berth.Tx) error { return insertDeployments(s, tx, 100+int(offset), 2) })
		}
		for i := range 10 {
			if id := numbered("dep_", 1+i); !seen[id] {
				s.Errorf("%s was missed", id)
			}
		}
	}},
	{"events go on after an id and stop at the limit while more are written", func(s suite) {
		s.settle()
		ctx := s.Context()
		var seen []string
		written := 0
		after := func(list []string) string {
			if len(list) == 0 {
				return ""
			}
			return list[len(list)-1]
		}
		for range 5 {
			s.write(func(tx berth.Tx) error {
				for range 2 {
					written++
					if err := tx.Events().Append(ctx, berth.Event{ID: numbered("evt_", written), DeploymentID: deploymentID}); err != nil {
						return err
					}
				}
				return nil
			})
			view(s, func(tx berth.Tx) (struct{}, error) {
				page, err := tx.Events().List(ctx, deploymentID, after(seen), 2)
				seen = append(seen, ids(page, func(e berth.Event) string { return e.ID })...)
				return struct{}{}, err
			})
		}
		var want []string
		for i := range written {
			want = append(want, numbered("evt_", i+1))
		}
		s.same("events", seen, want)
		view(s, func(tx berth.Tx) (struct{}, error) {
			count, err1 := tx.Events().Count(ctx, deploymentID)
			s.same("count", count, int64(written))
			none, err2 := tx.Events().Count(ctx, "dep_other")
			s.same("count of another deployment", none, int64(0))
			tail, err3 := tx.Events().After(ctx, deploymentID, 7, 2)
			s.same("behind the first 7", ids(tail, eventName), want[7:9])
			past, err4 := tx.Events().After(ctx, deploymentID, int64(written), 2)
			s.same("behind all", len(past), 0)
			return struct{}{}, first(err1, err2, err3, err4)
		})
	}},
	{"the audit log is read the newest first, by any of what an entry has, in pages that do not shift", auditLog},
}

// auditLog holds pages of each filter against the definition, while more is written.
func auditLog(s suite) {
	ctx := s.Context()
	var all []berth.Audit
	write := func(n int) {
		s.write(func(tx berth.Tx) error {
			for range n {
				i := len(all)
				a := berth.Audit{
					ID: numbered("aud_", (i*7)%100), At: epoch.Add(time.Duration(i/3) * time.Second), // three in each instant, in no order of ids
					WorkspaceID: numbered("llm-", i%2), KeyID: numbered("key_", i%3),
					Action: []string{"deployment.create", "deployment.delete", "deployments.create", "key.create", "deploy.x"}[i%5], Target: numbered("target", i%4),
				}
				if err := tx.Events().AppendAudit(ctx, a); err != nil {
					return err
				}
				all = append(all, a)
			}
			return nil
		})
	}
	write(60)
	for i, f := range []berth.AuditFilter{
		{},
		{WorkspaceID: "llm-1"},
		{KeyID: "key_2"},
		{Action: "deployment.create"},
		{Action: "deployment"},
		{Action: "nobody"},
		{Target: "target3"},
		{From: epoch.Add(2 * time.Second), To: epoch.Add(9 * time.Second)},
		{WorkspaceID: "llm-0", KeyID: "key_0", Action: "deployment", To: epoch.Add(15 * time.Second)},
	} {
		var want, got []string
		for _, a := range slices.SortedFunc(slices.Values(all), func(a, b berth.Audit) int {
			return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID))
		}) {
			noun, _, _ := strings.Cut(a.Action, ".")
			if (f.WorkspaceID == "" || a.WorkspaceID == f.WorkspaceID) && (f.KeyID == "" || a.KeyID == f.KeyID) && (f.Target == "" || a.Target == f.Target) &&
				(f.Action == "" || a.Action == f.Action || noun == f.Action) &&
				!a.At.Before(f.From) && (f.To.IsZero() || a.At.Before(f.To)) {
				want = append(want, a.ID)
			}
		}
		var after *berth.AuditPlace
		for {
			page := view(s, func(tx berth.Tx) ([]berth.Audit, error) { return tx.Events().Audits(ctx, f, after, 4) })
			got = append(got, ids(page, func(a berth.Audit) string { return a.ID })...)
			if len(page) < 4 {
				break
			}
			after = &berth.AuditPlace{At: page[3].At, ID: page[3].ID}
			if i == 0 && len(all) < 80 {
				write(1) // newer than what is read
			}
		}
		s.same(fmt.Sprintf("entries of %+v", f), got, want)
	}
}

// pagesAreASort compares random pages of random deployments with the definition.
func pagesAreASort(s suite) {
	s.settle()
	round := 0
	rapid.Check(s.T, func(t *rapid.T) {
		round++
		space := numbered("llm-", round)
		made := drawDeployments(t, space)
		s.write(func(tx berth.Tx) error {
			err := tx.Accounts().InsertWorkspace(s.Context(), berth.Workspace{ID: space, AccountID: accountID})
			for _, d := range made {
				err = first(err, tx.Deployments().Insert(s.Context(), d))
			}
			return err
		})
		f := berth.DeploymentFilter{
			WorkspaceID: space,
			Plan:        rapid.SampledFrom([]berth.Plan{"", berth.PlanMU, berth.PlanPTU}).Draw(t, "plan"),
			Offset:      rapid.Int64Range(0, 12).Draw(t, "offset"),
			UpTo:        rapid.SampledFrom([]time.Time{{}, epoch, epoch.Add(time.Minute)}).Draw(t, "up to"),
			Limit:       rapid.Int64Range(1, 5).Draw(t, "limit"),
		}
		want := slices.DeleteFunc(made, func(d berth.Deployment) bool {
			return !d.DeletedAt.IsZero() || f.Plan != "" && d.Plan != f.Plan
		})
		slices.SortFunc(want, func(a, b berth.Deployment) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.DeployedModel, b.DeployedModel))
		})
		all := int64(len(want))
		want = slices.DeleteFunc(want, func(d berth.Deployment) bool { return !f.UpTo.IsZero() && d.CreatedAt.After(f.UpTo) })
		var total int64
		got := view(s, func(tx berth.Tx) (list []berth.Deployment, err error) {
			list, total, err = tx.Deployments().List(s.Context(), f)
			return list, err
		})
		s.same("total", total, all)
		there := int64(len(want))
		low := min(f.Offset, there)
		s.same("page", ids(got, deploymentName), ids(want[low:min(low+f.Limit, there)], deploymentName))
	})
}

func drawDeployments(t *rapid.T, space string) []berth.Deployment {
	list := make([]berth.Deployment, rapid.IntRange(0, 10).Draw(t, "deployments"))
	for i := range list {
		// Few minutes, so that there are ties.
		d := deployment(fmt.Sprintf("%s-%d", space, 9-i), rapid.IntRange(0, 3).Draw(t, "minutes"))
		d.WorkspaceID = space
		d.Plan = rapid.SampledFrom([]berth.Plan{berth.PlanMU, berth.PlanPTU}).Draw(t, "plan")
		if rapid.Bool().Draw(t, "deleted") {
			d.DeletedAt = epoch
		}
		list[i] = d
	}
	return list
}

// insertDeployments inserts count deployments, numbered from low, each newer than the
// one before.
func insertDeployments(s suite, tx berth.Tx, low, count int) error {
	for i := low; i < low+count; i++ {
		if err := tx.Deployments().Insert(s.Context(), deployment(numbered("dep_", i), i)); err != nil {
			return err
		}
	}
	return nil
}

func ids[T any](list []T, id func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = id(v)
	}
	return out
}

func deploymentName(d berth.Deployment) string { return d.ID }
func eventName(e berth.Event) string           { return e.ID }
func replicaName(r berth.Replica) string       { return r.ID }
