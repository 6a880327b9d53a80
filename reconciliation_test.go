package berth_test

import (
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store/sqlitetest"
)

// A record that was reconciled and is not in the store is unexplained, once.
func TestAuditFindsWhatTheStoreLost(t *testing.T) {
	t.Parallel()
	s := sqlitetest.Open(t)
	hour := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	right := berth.Reconciliation{ReplicaID: "rep_1", Nonce: "run_1", Hour: hour, Recorded: berth.Tokens{Input: 10, Output: 5}, Engine: berth.Tokens{Input: 10, Output: 5}}
	wrong := right
	wrong.Nonce, wrong.Recorded, wrong.Engine = "run_2", berth.Tokens{Input: 30, Output: 9}, berth.Tokens{Input: 30, Output: 9}
	err := s.Tx(t.Context(), func(tx berth.Tx) error {
		for _, r := range []berth.Reconciliation{right, wrong} {
			record := berth.UsageRecord{
				ID: "use_" + r.Nonce, ReplicaID: r.ReplicaID, Nonce: r.Nonce, Class: berth.ClassDedicated, Plan: berth.PlanMU, End: berth.EndStop, Source: berth.SourceEngine,
				StartedAt: hour, EndedAt: hour.Add(time.Minute), InputTokens: 10, OutputTokens: 5,
			}
			if err := tx.Usage().Insert(t.Context(), []berth.UsageRecord{record}); err != nil {
				return err
			}
			if err := tx.Reconciliations().PutRow(t.Context(), r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	audit := &berth.Reconciliations{Store: s}
	found, err := audit.Audit(t.Context(), hour, hour.Add(time.Hour))
	lost := berth.Tokens{Input: 20, Output: 4}
	if err != nil || len(found) != 1 || found[0].Nonce != "run_2" || found[0].Unexplained != lost || found[0].UnderWay() != (berth.Tokens{}) {
		t.Fatalf("%+v, %v", found, err)
	}
	if again, err := audit.Audit(t.Context(), hour, hour.Add(time.Hour)); err != nil || len(again) != 0 {
		t.Errorf("found again: %+v, %v", again, err)
	}
	if tokens, rows, err := audit.Unexplained(t.Context(), hour); tokens != 24 || rows != 1 || err != nil {
		t.Errorf("%d tokens in %d rows, %v", tokens, rows, err)
	}
}
