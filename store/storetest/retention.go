package storetest

import (
	"time"

	berth "github.com/berthhq/berth"
)

var retention = []promise{
	{"old usage records go bit by bit, sums of days stay, and what is not rated stays whole", func(s suite) {
		const day = 24 * time.Hour
		of := func(n int, age time.Duration) berth.UsageRecord {
			r := record(n, epoch.Add(-age))
			r.DeploymentID, r.ReplicaID = deploymentID, "replica"
			return r
		}
		old := []berth.UsageRecord{of(1, 10*day), of(2, 10*day+time.Minute), of(3, 9*day)}
		rest := []berth.UsageRecord{of(4, 5*day), of(5, 0)}
		s.insertUsage(append(old, rest...)...)
		before := epoch.Add(-5 * day)
		expire := func(limit int64) (n int64) {
			s.Helper()
			s.write(func(tx berth.Tx) (err error) {
				n, err = tx.Usage().Expire(s.Context(), workspaceID, before, limit)
				return err
			})
			return n
		}
		expired := func() []string {
			return view(s, func(tx berth.Tx) ([]string, error) { return tx.Usage().Expired(s.Context(), before) })
		}
		total := s.totals(berth.UsageFilter{}, nil)
		s.same("not rated", len(expired()), 1) // its days before the first record
		s.same("not rated", expire(100), int64(0))
		s.same("then", len(expired()), 0)
		s.write(func(tx berth.Tx) error {
			days, err := tx.Usage().ChangedDays(s.Context(), berth.UsageDayKey{}, 3)
			return first(err, tx.Usage().Rated(s.Context(), days))
		})
		s.same("rated", expired(), []string{workspaceID})
		s.same("records", []int64{expire(2), expire(2), expire(2), expire(2), expire(2)}, []int64{2, 1, 2, 1, 0})
		s.same("left", s.records(berth.UsageFilter{}), rest)
		for space, want := range map[string]bool{workspaceID: true, otherSpaceID: false, "llm-none": false} {
			kept := view(s, func(tx berth.Tx) (time.Time, error) { return tx.Usage().KeptFrom(s.Context(), space) })
			s.same("kept from in "+space, !kept.IsZero(), want)
			if want && (kept.After(before) || before.Sub(kept) >= day) {
				s.Errorf("records are kept from %v on, not from the day of %v", kept, before)
			}
		}
		s.same("sums", s.totals(berth.UsageFilter{}, nil), total)
		s.same("from the day on", s.totals(berth.UsageFilter{From: before}, []berth.UsageGroup{berth.GroupPlan})[0].Calls, int64(2))
		s.refuse(berth.CodeInvalid, func(tx berth.Tx) error {
			return second(tx.Usage().Totals(s.Context(), berth.UsageFilter{From: before.Add(-3*day + time.Second)}, nil))
		})
		s.insertUsage(of(3, 9*day), of(6, 9*day)) // whose origin may be gone
		s.same("late ones", s.records(berth.UsageFilter{To: before}), []berth.UsageRecord{of(3, 9*day), of(6, 9*day)})
	}},
	{"audit entries and deleted deployments go when they are over", func(s suite) {
		s.settle()
		ctx := s.Context()
		s.write(func(tx berth.Tx) error {
			buried, fresh := deployment("dep_buried", 0), deployment("dep_fresh", 0)
			buried.DeletedAt, fresh.DeletedAt = epoch, epoch.Add(time.Hour)
			return first(
				tx.Events().AppendAudit(ctx, berth.Audit{ID: "aud_1", At: epoch}),
				tx.Events().AppendAudit(ctx, berth.Audit{ID: "aud_2", At: epoch.Add(1)}),
				tx.Events().AppendAudit(ctx, berth.Audit{ID: "aud_3", At: epoch.Add(time.Hour)}),
				tx.Deployments().Insert(ctx, buried), tx.Deployments().Insert(ctx, fresh),
				tx.Events().Append(ctx, berth.Event{ID: "evt_1", DeploymentID: buried.ID}),
				tx.Events().Append(ctx, berth.Event{ID: "evt_2", DeploymentID: buried.ID}),
				tx.Capacities().Insert(ctx, berth.CapacityInstance{ID: "cap_1", DeploymentID: buried.ID}),
				tx.Capacities().InsertOperation(ctx, berth.CapacityOperation{ID: "op_1", InstanceID: "cap_1", DeploymentID: buried.ID}),
				tx.Receipts().Put(ctx, berth.Receipt{WorkspaceID: workspaceID, Name: "receipt", DeploymentID: buried.ID}),
			)
		})
		before := epoch.Add(time.Minute)
		rows := func(expire func(tx berth.Tx) (int64, error)) (list []int64) {
			for n := int64(1); n != 0; list = append(list, n) {
				s.write(func(tx berth.Tx) (err error) {
					n, err = expire(tx)
					return err
				})
			}
			return list
		}
		s.same("audits", rows(func(tx berth.Tx) (int64, error) { return tx.Events().ExpireAudits(ctx, before, 1) }), []int64{1, 1, 0})
		s.same("deployments that are over", view(s, func(tx berth.Tx) ([]string, error) {
			return tx.Deployments().Expired(ctx, before, "", 10)
		}), []string{"dep_buried"})
		s.same("after it", len(view(s, func(tx berth.Tx) ([]string, error) {
			return tx.Deployments().Expired(ctx, before, "dep_buried", 10)
		})), 0)
		s.same("its rows", rows(func(tx berth.Tx) (int64, error) { return tx.Deployments().Forget(ctx, "dep_buried", 1) }), []int64{1, 1, 1, 1, 1, 0})
		s.write(func(tx berth.Tx) error {
			return tx.Events().Append(ctx, berth.Event{ID: "evt_3", DeploymentID: deploymentID})
		})
		s.same("one that lives", rows(func(tx berth.Tx) (int64, error) { return tx.Deployments().Forget(ctx, deploymentID, 1) }), []int64{0})
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return second(tx.Deployments().Get(ctx, "dep_buried")) })
		s.same("audits left", len(view(s, func(tx berth.Tx) ([]berth.Audit, error) { return tx.Events().Audits(ctx, berth.AuditFilter{}, nil, 10) })), 1)
	}},
}
