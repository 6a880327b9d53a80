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
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
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
	path := sqlitetest.File(t)
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
		days, err := tx.Usage().Days(t.Context(), []string{"dep_1"}, []string{"2026-11-01"})
		if err == nil && (len(days) != 4 || days[0].FromTokens != 0 || !days[0].Epoch.IsZero() || days[3].FromTokens != 600 || !days[3].Epoch.Equal(noon)) {
			t.Errorf("days: %+v", days)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What an earlier schema has summed is summed by model, too.
func TestDaysOfAnEarlierSchemaAreSummedByModel(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "berth.db")
		daysBefore(t, goose.DialectSQLite3, "sqlite", path)
		wantDaysBefore(t, mustOpen(t, path))
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		url := pgtest.Empty(t)
		daysBefore(t, goose.DialectPostgres, "pgx", url)
		s, err := store.Open(t.Context(), store.Config{URL: url, Copies: filepath.Join(t.TempDir(), "berth.db")})
		if err != nil {
			t.Fatal(err)
		}
		wantDaysBefore(t, s)
	})
}

// daysBefore makes a store with sums of days as they were before those by model: of two
// workspaces, three keys, two days and two lengths of prompts.
func daysBefore(t testing.TB, dialect goose.Dialect, driver, url string) {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	folder := map[string]string{"sqlite": "sqlite", "pgx": "postgres"}[driver]
	provider, err := goose.NewProvider(dialect, db, os.DirFS("migrations/"+folder), goose.WithTableName("schema_version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 28); err != nil {
		t.Fatal(err)
	}
	exec := func(format string, args ...any) {
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(format, args...)); err != nil {
			t.Fatal(err)
		}
	}
	for space := range 2 {
		exec("INSERT INTO usage_spaces (id, workspace_id, zone, kept_from) VALUES (%d, 'llm-%d', 'UTC', 0)", space, space)
		for key := range 3 {
			subject := space*3 + key
			exec("INSERT INTO usage_subjects (id, space, deployment_id, deployed_model, key_id, model_name, plan, class) VALUES (%d, %d, 'dep_1', 'm', 'key_%d', 'base', 'lora', 'shared')", subject, space, key)
			for i := range 4 {
				n := subject*4 + i
				exec(`INSERT INTO usage_days (subject, day, from_tokens, epoch, calls, input_tokens, cached_tokens, output_tokens, thinking_tokens,
					billable_calls, billable_input, billable_cached, billable_output, billable_thinking, unknown_calls, counted_calls)
					VALUES (%d, '2026-10-0%d', %d, 0, %d, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, %d)`, subject, 1+i/2, 500*(i%2), n, 100*n)
			}
		}
	}
}

func wantDaysBefore(t testing.TB, s *store.Store) {
	t.Helper()
	defer mustClose(t, s)
	day := func(workspace, day string, calls int64) berth.UsageTotal {
		return berth.UsageTotal{
			Group: map[berth.UsageGroup]string{berth.GroupWorkspace: workspace, berth.GroupDay: day},
			UsageSum: berth.UsageSum{
				UsageFigures: berth.UsageFigures{Calls: calls, InputTokens: 12, CachedTokens: 18, OutputTokens: 24, ThinkingTokens: 30},
				Billable:     berth.UsageFigures{Calls: 36, InputTokens: 42, CachedTokens: 48, OutputTokens: 54, ThinkingTokens: 60},
				UnknownCalls: 66, CountedCalls: 100 * calls,
			},
		}
	}
	err := s.View(t.Context(), func(tx berth.Tx) error {
		got, err := tx.Usage().Totals(t.Context(), berth.UsageFilter{}, []berth.UsageGroup{berth.GroupWorkspace, berth.GroupDay})
		want := []berth.UsageTotal{day("llm-0", "2026-10-01", 27), day("llm-0", "2026-10-02", 39), day("llm-1", "2026-10-01", 99), day("llm-1", "2026-10-02", 111)}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
