package storetest

import (
	"fmt"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

var reconciliation = []promise{
	{"an account of an engine that is closed is gone, and closing it again is no error", func(s suite) {
		for _, nonce := range []string{"run_1", "run_2"} {
			s.write(func(tx berth.Tx) error {
				return tx.Reconciliations().PutAccount(s.Context(), berth.EngineAccount{ReplicaID: "rep", Nonce: nonce})
			})
		}
		for range 2 {
			s.write(func(tx berth.Tx) error { return tx.Reconciliations().CloseAccount(s.Context(), "rep", "run_1") })
		}
		left := view(s, func(tx berth.Tx) ([]berth.EngineAccount, error) { return tx.Reconciliations().Accounts(s.Context()) })
		s.same("left", left, []berth.EngineAccount{{ReplicaID: "rep", Nonce: "run_2"}})
	}},
	{"the row of an hour in which nothing was is empty", func(s suite) {
		got := view(s, func(tx berth.Tx) (berth.Reconciliation, error) {
			return tx.Reconciliations().Row(s.Context(), "rep", "run", epoch)
		})
		s.same("row", got, berth.Reconciliation{ReplicaID: "rep", Nonce: "run", Hour: epoch})
	}},
	{"rows come the latest hour first, page by page, and by hour, replica or what is unexplained", func(s suite) {
		var all []berth.Reconciliation
		for hour := range 3 {
			for replica := range 2 {
				for run := range 2 {
					r := berth.Reconciliation{
						ReplicaID: fmt.Sprint("rep_", replica), Nonce: fmt.Sprint("run_", run), Hour: epoch.Add(-time.Duration(hour) * time.Hour),
					}
					if run == 1 {
						r.Unexplained = berth.Tokens{Input: int64(replica), Output: int64(replica - 1)}
					}
					all = append(all, r)
				}
			}
		}
		for _, r := range slices.Backward(all) {
			s.write(func(tx berth.Tx) error { return tx.Reconciliations().PutRow(s.Context(), r) })
		}
		rows := func(f berth.ReconciliationFilter, limit int64) (got []berth.Reconciliation) {
			for {
				var after *berth.ReconciliationPlace
				if n := len(got); n > 0 {
					after = &berth.ReconciliationPlace{Hour: got[n-1].Hour, ReplicaID: got[n-1].ReplicaID, Nonce: got[n-1].Nonce}
				}
				page := view(s, func(tx berth.Tx) ([]berth.Reconciliation, error) {
					return tx.Reconciliations().Rows(s.Context(), f, after, limit)
				})
				if got = append(got, page...); limit == 0 || int64(len(page)) < limit {
					return got
				}
			}
		}
		want := func(keep func(r berth.Reconciliation) bool) (list []berth.Reconciliation) {
			for _, r := range all {
				if keep(r) {
					list = append(list, r)
				}
			}
			return list
		}
		s.same("all", rows(berth.ReconciliationFilter{}, 0), all)
		s.same("page by page", rows(berth.ReconciliationFilter{}, 5), all)
		s.same("of a replica", rows(berth.ReconciliationFilter{ReplicaID: "rep_1"}, 2), want(func(r berth.Reconciliation) bool { return r.ReplicaID == "rep_1" }))
		s.same("unexplained", rows(berth.ReconciliationFilter{Unexplained: true}, 3), want(func(r berth.Reconciliation) bool { return r.Differs() > 0 }))
		s.same("from and up to, exclusive", rows(berth.ReconciliationFilter{From: epoch.Add(-time.Hour), To: epoch}, 3),
			want(func(r berth.Reconciliation) bool { return r.Hour.Equal(epoch.Add(-time.Hour)) }))
	}},
}
