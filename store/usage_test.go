package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func usageRecord(id, key string) berth.UsageRecord {
	return berth.UsageRecord{
		ID: id, CallID: "call " + id, WorkspaceID: "llm-1", KeyID: key, DeploymentID: "dep_1", DeployedModel: "model", ModelName: "base",
		Plan: berth.PlanMU, Class: berth.ClassDedicated, ReplicaID: "rep_1", Nonce: "run_1",
		StartedAt: noon, FirstTokenAt: noon.Add(1), EndedAt: noon.Add(2), InputTokens: 700, CachedTokens: 20, OutputTokens: 3, ThinkingTokens: 1,
		Billable: true, End: berth.EndStop, HTTPStatus: 200, Source: berth.SourceEngine,
	}
}

func mustInsertUsage(t testing.TB, s *store.Store, list ...berth.UsageRecord) {
	t.Helper()
	mustTx(t, s, func(tx berth.Tx) error { return tx.Usage().Insert(t.Context(), list) })
}

// wantUsage looks whether records and sums are those of the list.
func wantUsage(t testing.TB, s *store.Store, want ...berth.UsageRecord) {
	t.Helper()
	var sum berth.UsageSum
	for _, r := range want {
		sum.Add(r.Sum())
	}
	err := s.View(t.Context(), func(tx berth.Tx) error {
		list, _, err := tx.Usage().Records(t.Context(), berth.UsageFilter{}, "", 10_000)
		if err == nil && !reflect.DeepEqual(list, want) {
			t.Errorf("got %d records, want %d:\n%+v\n%+v", len(list), len(want), list[:min(3, len(list))], want[:min(3, len(want))])
		}
		if err != nil {
			return err
		}
		totals, err := tx.Usage().Totals(t.Context(), berth.UsageFilter{}, nil)
		if err == nil && (len(totals) != 1 || totals[0].UsageSum != sum) {
			t.Errorf("got %+v, want %+v", totals, sum)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOfAnEarlierSchemaAreMovedOnce(t *testing.T) {
	t.Parallel()
	const n = 5000 // more than one transaction moves
	path := filepath.Join(t.TempDir(), "berth.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations/sqlite"), goose.WithTableName("schema_version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 22); err != nil {
		t.Fatal(err)
	}
	var want []berth.UsageRecord
	change, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := usageRecord(fmt.Sprintf("use_%06d", i), fmt.Sprint("key_", i%7))
		r.Billable, r.InputTokens = i%2 == 0, int64(i)
		want = append(want, r)
		_, err := change.ExecContext(t.Context(), `INSERT INTO usage (id, call_id, workspace_id, key_id, deployment_id, deployed_model, model_name, plan, class,
			replica_id, nonce, started_at, first_token_at, ended_at, input_tokens, cached_tokens, output_tokens, thinking_tokens, billable, ended_by, http_status, source)
			VALUES (?, ?, 'llm-1', ?, 'dep_1', 'model', 'base', 'mu', 'dedicated', 'rep_1', 'run_1', ?, ?, ?, ?, 20, 3, 1, ?, 'stop', 200, 'engine')`,
			r.ID, r.CallID, r.KeyID, noon.UnixNano(), noon.UnixNano()+1, noon.UnixNano()+2, i, r.Billable)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := change.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := mustOpen(t, path)
		wantUsage(t, s, want...)
		mustClose(t, s)
	}
}

func TestNamesOfUsageAreRightAfterRollbacksAndBesideAnotherProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "berth.db")
	one, two := mustOpen(t, path), mustOpen(t, path)
	defer mustClose(t, one)
	defer mustClose(t, two)
	a, b, c := usageRecord("use_a", "key_a"), usageRecord("use_b", "key_b"), usageRecord("use_c", "key_c")
	if err := one.Tx(t.Context(), func(tx berth.Tx) error {
		if err := tx.Usage().Insert(t.Context(), []berth.UsageRecord{a}); err != nil {
			return err
		}
		return berth.Errorf(berth.CodeConflict, "no")
	}); berth.CodeOf(err) != berth.CodeConflict {
		t.Fatal(err)
	}
	mustInsertUsage(t, two, b) // under the number that a had
	mustInsertUsage(t, one, a)
	mustInsertUsage(t, two, a, c)
	wantUsage(t, one, a, b, c)

	mustTx(t, two, func(tx berth.Tx) error { return tx.Usage().Split(t.Context(), noon, 600) })
	d := usageRecord("use_d", "key_d")
	mustInsertUsage(t, one, d)
	err := two.View(t.Context(), func(tx berth.Tx) error {
		days, err := tx.Usage().Days(t.Context(), "dep_1", "2026-11-01")
		if err == nil && (len(days) != 4 || days[0].FromTokens != 0 || !days[0].Epoch.IsZero() || days[3].FromTokens != 600 || !days[3].Epoch.Equal(noon)) {
			t.Errorf("days: %+v", days)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
