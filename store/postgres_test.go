package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

// two returns two stores on one new database, as two servers have them.
func two(t *testing.T) (a, b *store.Store) {
	t.Helper()
	url := pgtest.Database(t)
	a, b = mustConnect(t, url), mustConnect(t, url)
	t.Cleanup(func() { mustClose(t, a); mustClose(t, b) })
	return a, b
}

func route(t testing.TB) func(berth.Tx) error {
	return func(tx berth.Tx) error {
		_, err := tx.Route(t.Context())
		return err
	}
}

func routingVersion(t testing.TB, s *store.Store) (version int64) {
	t.Helper()
	err := s.View(t.Context(), func(tx berth.Tx) (err error) {
		version, err = tx.RoutingVersion(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestATransactionThatAnotherServerWasAheadOfIsRunAgain(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	runs := 0
	mustTx(t, a, func(tx berth.Tx) error {
		before, err := tx.RoutingVersion(t.Context())
		if err != nil {
			return err
		}
		if runs++; runs == 1 {
			mustTx(t, b, route(t))
		}
		got, err := tx.Route(t.Context())
		if err == nil && got != before+1 {
			t.Errorf("the other server wrote between %d and %d", before, got)
		}
		return err
	})
	if got := routingVersion(t, a); runs != 2 || got != 2 {
		t.Errorf("%d runs, version %d", runs, got)
	}
}

// Also when its function passes over the error.
func TestWhatLosesAgainIsGivenUpInTheEnd(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	runs := int64(0)
	err := a.Tx(t.Context(), func(tx berth.Tx) error {
		if _, err := tx.RoutingVersion(t.Context()); err != nil {
			return err
		}
		runs++
		mustTx(t, b, route(t))
		_ = route(t)(tx)
		return nil
	})
	if berth.CodeOf(err) != berth.CodeUnavailable || !strings.Contains(err.Error(), "busy") {
		t.Errorf("got %v", err)
	}
	if got := routingVersion(t, a); runs < 5 || got != runs {
		t.Errorf("%d runs, version %d", runs, got)
	}
}

func TestADeadlockIsResolved(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	ctx := t.Context()
	mustTx(t, a, func(tx berth.Tx) error {
		return errors.Join(tx.Nodes().Put(ctx, berth.Node{ID: "left"}), tx.Nodes().Put(ctx, berth.Node{ID: "right"}))
	})
	var runs atomic.Int64
	var met, done sync.WaitGroup
	met.Add(2)
	cross := func(s *store.Store, first, second string) {
		var once sync.Once
		err := s.Tx(ctx, func(tx berth.Tx) error {
			runs.Add(1)
			if err := tx.Nodes().Put(ctx, berth.Node{ID: first}); err != nil {
				return err
			}
			once.Do(func() { met.Done(); met.Wait() })
			return tx.Nodes().Put(ctx, berth.Node{ID: second})
		})
		if err != nil {
			t.Error(err)
		}
	}
	done.Go(func() { cross(a, "left", "right") })
	done.Go(func() { cross(b, "right", "left") })
	done.Wait()
	if runs.Load() < 3 {
		t.Errorf("%d runs: nobody had to give way", runs.Load())
	}
}

// A version that is taken first is also the first that can be seen: who follows the
// changes misses none.
func TestChangesAreSeenInTheOrderOfTheirVersions(t *testing.T) {
	t.Parallel()
	const writers, rounds = 4, 25
	url := pgtest.Database(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	written := map[berth.Ref]bool{}
	stop := make(chan struct{})
	for range writers {
		s := mustConnect(t, url)
		t.Cleanup(func() { mustClose(t, s) })
		wg.Go(func() {
			for range rounds {
				ref := berth.Ref{Noun: berth.NounModel}
				err := s.Tx(t.Context(), func(tx berth.Tx) error {
					version, err := tx.RoutingVersion(t.Context())
					ref.ID = "model-" + string(rune('a'+version%26)) + time.Now().Format(time.RFC3339Nano)
					return errors.Join(err, tx.Models().Insert(t.Context(), berth.Model{Name: ref.ID}))
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				written[ref] = true
				mu.Unlock()
			}
		})
	}
	follower := mustConnect(t, url)
	defer mustClose(t, follower)
	seen := map[berth.Ref]bool{}
	at := int64(0)
	follow := func() {
		var list []berth.Ref
		version := int64(0)
		err := follower.View(t.Context(), func(tx berth.Tx) (err error) {
			if version, err = tx.RoutingVersion(t.Context()); err != nil {
				return err
			}
			list, _, err = tx.Changes(t.Context(), at)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		at = version
		for _, c := range list {
			seen[c] = true
		}
	}
	go func() { wg.Wait(); close(stop) }()
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
		}
		follow()
	}
	if len(written) != writers*rounds {
		t.Fatalf("%d were written", len(written))
	}
	for c := range written {
		if !seen[c] {
			t.Errorf("%v was missed", c)
		}
	}
}

// cut ends all connections of stores to a database.
func cut(t testing.TB, url string) {
	t.Helper()
	query(t, url, `SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'berth'`)
}

// query runs a statement beside the stores, and returns the first column of its answer.
func query(t testing.TB, url, text string) (answer string) {
	t.Helper()
	db, err := sql.Open("pgx", url+"&application_name=test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := db.QueryRowContext(t.Context(), text).Scan(&answer); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("%s: %v", text, err)
	}
	return answer
}

func TestATransactionThatLosesItsConnectionIsRunAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := mustConnect(t, url)
	defer mustClose(t, s)
	runs := 0
	fn := func(tx berth.Tx) error {
		if runs++; runs == 1 {
			cut(t, url)
		}
		_, err := tx.Accounts().Accounts(t.Context())
		return err
	}
	mustTx(t, s, func(tx berth.Tx) error {
		return errors.Join(tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: "1"}), fn(tx))
	})
	if runs != 2 || len(accounts(t, s)) != 1 {
		t.Errorf("%d runs, accounts %v", runs, accounts(t, s))
	}
	runs = 0
	if err := s.View(t.Context(), fn); err != nil || runs != 2 {
		t.Errorf("a view: %d runs, %v", runs, err)
	}
	// Idle connections that died are not noticed at all.
	cut(t, url)
	accounts(t, s)
	cut(t, url)
	mustTx(t, s, route(t))
}

// A server that is started again is waited for, one that is not is told of.
func TestADatabaseThatGoesAway(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := mustConnect(t, server.URL("postgres"))
	defer mustClose(t, s)
	mustTx(t, s, route(t))

	server.Kill(t)
	for name, run := range map[string]func(context.Context, func(berth.Tx) error) error{"Tx": s.Tx, "View": s.View} {
		err := run(t.Context(), func(berth.Tx) error { t.Error("there is no database"); return nil })
		if berth.CodeOf(err) != berth.CodeUnavailable || !strings.HasPrefix(err.Error(), "The database cannot be reached; try again shortly.") {
			t.Errorf("%s: got %v", name, err)
		}
	}

	server.Start(t)
	runs := 0
	mustTx(t, s, func(tx berth.Tx) error {
		if runs++; runs == 1 {
			server.Kill(t)
			server.Start(t)
		}
		return route(t)(tx)
	})
	if got := routingVersion(t, s); got != 2 {
		t.Errorf("version %d", got)
	}
}

// proxy stands before a Postgres and breaks connections.
type proxy struct {
	net.Listener
	server string // the socket
	// fault is what happens to the next commit: "" nothing, "unsent" it does not arrive,
	// "unanswered" it does, and its answer does not.
	fault atomic.Pointer[string]
	// off: nobody is let in any more once a commit has been broken.
	off atomic.Bool
	wg  sync.WaitGroup
}

// newProxy returns the URL of a database behind a proxy.
func newProxy(t *testing.T, database string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, server: filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")}
	p.wg.Go(p.serve)
	t.Cleanup(func() { _ = l.Close(); p.wg.Wait() })
	return p, "postgres://" + u.User.String() + "@" + l.Addr().String() + u.Path + "?sslmode=disable"
}

func (p *proxy) serve() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		s, err := new(net.Dialer).Dial("unix", p.server)
		if err != nil || p.off.Load() {
			_ = c.Close()
			if s != nil {
				_ = s.Close()
			}
			continue
		}
		p.wg.Go(func() { p.up(c, s) })
		p.wg.Go(func() { _, _ = io.Copy(c, s); _ = c.Close(); _ = s.Close() })
	}
}

func (p *proxy) up(c, s net.Conn) {
	defer func() { _ = c.Close(); _ = s.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if fault := p.fault.Load(); fault != nil && bytes.Contains(b[:n], []byte("commit\x00")) {
			p.fault.Store(nil)
			if *fault == "unanswered" {
				_ = c.Close() // so that no answer gets through
				_, _ = s.Write(b[:n])
				_, _ = s.Read(b) // it is done
			}
			return
		}
		if _, err := s.Write(b[:n]); err != nil {
			return
		}
	}
}

func TestACommitWithoutAnAnswerIsDoneOnce(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]int{"unsent": 2, "unanswered": 1} {
		database := pgtest.Database(t)
		p, url := newProxy(t, database)
		s := mustConnect(t, url)
		runs := 0
		mustTx(t, s, func(tx berth.Tx) error {
			runs++
			if runs == 1 {
				p.fault.Store(&fault)
			}
			return route(t)(tx)
		})
		if got := routingVersion(t, s); runs != want || got != 1 {
			t.Errorf("%s: %d runs, want %d, version %d", fault, runs, want, got)
		}
		mustClose(t, s)
	}
}

// What is written in a commit whose answer is lost is there once: a batch of calls with its
// place in the journal, a payment by its reference, a purchase.
func TestWhatACommitWithoutAnAnswerWroteIsThereOnce(t *testing.T) {
	t.Parallel()
	post := func(tx berth.Tx) error {
		_, err := tx.Ledger().Post(t.Context(), berth.Posting{
			ID: "post_1", At: time.Unix(1, 0), AccountID: "1", Cause: berth.CausePayment, Reference: "transfer-1", Currency: "CNY",
			Entries: []berth.Entry{{Side: "bank", Nano: -5}, {Side: "customer/1", Nano: 5}},
		})
		return err
	}
	for _, fault := range []string{"unsent", "unanswered"} {
		for name, c := range map[string]struct {
			write func(berth.Tx) error
			rows  string // all 1
		}{
			"fold": {func(tx berth.Tx) error {
				return errors.Join(tx.Usage().Insert(t.Context(), []berth.UsageRecord{{ID: "use_1", WorkspaceID: "llm-1", InputTokens: 7}}),
					tx.Usage().PutFold(t.Context(), berth.Fold{Instance: "local", Position: 1}))
			}, "SELECT (SELECT count(*) FROM usage) * (SELECT sum(calls) FROM usage_days)"},
			"payment": {post, "SELECT (SELECT count(*) FROM postings) * (SELECT sum(nano) FROM entries WHERE nano > 0) / 5"},
			"create":  {func(tx berth.Tx) error { return tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: "1"}) }, "SELECT count(*) FROM accounts"},
		} {
			database := pgtest.Database(t)
			p, url := newProxy(t, database)
			s := mustConnect(t, url)
			once := fault
			first := true
			mustTx(t, s, func(tx berth.Tx) error {
				if first {
					first = false
					p.fault.Store(&once)
				}
				return c.write(tx)
			})
			if p.fault.Load() != nil {
				t.Errorf("%s %s: no commit was hit", name, fault)
			}
			if got, err := strconv.ParseFloat(query(t, database, c.rows), 64); err != nil || got != 1 {
				t.Errorf("%s %s: written %v times, %v", name, fault, got, err)
			}
			if name == "payment" { // a client that repeats it
				mustTx(t, s, post)
				if got := query(t, database, "SELECT count(*) FROM postings"); got != "1" {
					t.Errorf("%s: %s payments", fault, got)
				}
			}
			mustClose(t, s)
		}
	}
}

func TestACommitThatNobodyCanTellOfSaysSo(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	p, url := newProxy(t, database)
	s := mustConnect(t, url)
	defer mustClose(t, s)
	fault := "unanswered"
	err := s.Tx(t.Context(), func(tx berth.Tx) error {
		p.fault.Store(&fault)
		p.off.Store(true)
		return route(t)(tx)
	})
	if berth.CodeOf(err) != berth.CodeUnavailable || !strings.Contains(err.Error(), "it is not known whether the change was made") {
		t.Errorf("got %v", err)
	}
	if got := query(t, database, "SELECT version FROM routing"); got != "1" {
		t.Errorf("version %s", got)
	}
}

func TestTwoServersMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), store.Config{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			mustClose(t, s)
		})
	}
	wg.Wait()
	if got := query(t, url, "SELECT count(*) FROM schema_version WHERE version_id = 22"); got != "1" {
		t.Errorf("the baseline was made %s times", got)
	}
}

func TestANewerSchemaOnPostgresIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	query(t, url, "INSERT INTO schema_version (version_id, is_applied) VALUES (9999, true) RETURNING id")
	_, err := store.Open(t.Context(), store.Config{URL: url})
	if berth.CodeOf(err) != berth.CodeUnsupported || !strings.Contains(err.Error(), "newer Berth (schema 9999") {
		t.Errorf("got %v", err)
	}
}

// What Postgres cannot keep is replaced, so that a record is never refused for it.
func TestTextThatPostgresCannotKeep(t *testing.T) {
	t.Parallel()
	s := mustConnect(t, pgtest.Database(t))
	defer mustClose(t, s)
	mustTx(t, s, func(tx berth.Tx) error {
		return tx.Usage().Insert(t.Context(), []berth.UsageRecord{{ID: "1", DeployedModel: "a\x00b\xff"}})
	})
	mustTx(t, s, func(tx berth.Tx) error {
		list, _, err := tx.Usage().Records(t.Context(), berth.UsageFilter{DeployedModel: "a\x00b\xff"}, "", 10)
		if len(list) != 1 || list[0].DeployedModel != "a\ufffdb\ufffd" {
			t.Errorf("got %+v", list)
		}
		return err
	})
}

func TestAURLThatIsWrongShowsNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:hunter2@127.0.0.1:1/db",
		"postgres://u:hunter2@127.0.0.1:nowhere/db",
		"postgres://u:hunter2@/db?sslmode=never",
		"postgres://u:hunter2@%zz/db",
	} {
		_, err := store.Open(t.Context(), store.Config{URL: url})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

// Both folders have the same migrations, from where Postgres begins.
func TestMigrationsHaveTheSameNumbers(t *testing.T) {
	t.Parallel()
	names := func(folder string) []string {
		files, err := os.ReadDir(filepath.Join("migrations", folder))
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, f := range files {
			if f.Name() > "00023" {
				list = append(list, f.Name())
			}
		}
		return list
	}
	if a, b := strings.Join(names("sqlite"), " "), strings.Join(names("postgres"), " "); a != b {
		t.Errorf("SQLite has  %s\nPostgres has %s", a, b)
	}
}

// column is one of a table, of a type that both databases have.
type column struct{ table, name, kind, null string }

// Both databases have the same tables, columns and types.
func TestSchemasAreAlike(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t)
	file := columns(t, "sqlite", path, `SELECT m.name, c.name, c.type, CASE WHEN c."notnull" OR c.pk > 0 THEN 'NO' ELSE 'YES' END
		FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'`)
	server := columns(t, "pgx", pgtest.Database(t), `SELECT table_name, column_name,
		data_type || CASE WHEN data_type = 'text' AND collation_name IS DISTINCT FROM 'C' THEN ' of another collation' ELSE '' END, is_nullable
		FROM information_schema.columns WHERE table_schema = current_schema()`)
	kinds := map[string]string{"bigint": "INTEGER", "boolean": "INTEGER", "text": "TEXT", "bytea": "BLOB"}
	for c := range server {
		if c.table == "schema_version" {
			continue // goose's
		}
		if c.kind = kinds[c.kind]; !file[c] {
			t.Errorf("only Postgres has %v", c)
		}
		delete(file, c)
	}
	for c := range file {
		if c.table != "schema_version" {
			t.Errorf("only SQLite has %v", c)
		}
	}
}

func columns(t testing.TB, driver, url, text string) map[column]bool {
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
	rows, err := db.QueryContext(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	all := map[column]bool{}
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.table, &c.name, &c.kind, &c.null); err != nil {
			t.Fatal(err)
		}
		all[c] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Several servers that fold calls of the same deployments and days at once wait for each
// other: every sum is that of the records, and no transaction was in vain.
func TestSeveralServersFoldAtOnce(t *testing.T) {
	t.Parallel()
	const servers, batches, size = 4, 12, 50
	url := pgtest.Database(t)
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	var all sync.WaitGroup
	for server := range servers {
		s := mustConnect(t, url)
		t.Cleanup(func() { mustClose(t, s) })
		random := rand.New(rand.NewPCG(7, uint64(server)))
		all.Go(func() {
			instance := fmt.Sprint("server-", server)
			for batch := range batches {
				list := make([]berth.UsageRecord, size)
				for i := range list {
					d := random.IntN(3)
					list[i] = berth.UsageRecord{
						ID: fmt.Sprintf("use_%d_%02d_%02d", server, batch, i), WorkspaceID: "llm-1", KeyID: "key_1",
						DeploymentID: fmt.Sprint("dep_", d), DeployedModel: fmt.Sprint("m-", d), ModelName: "m", Plan: berth.PlanLoRA, Class: berth.ClassShared,
						ReplicaID: "rep_1", Nonce: "run_1", StartedAt: day.AddDate(0, 0, random.IntN(3)), InputTokens: random.Int64N(1000), OutputTokens: 1,
						Billable: random.IntN(2) == 0, End: berth.EndStop, Source: berth.SourceEngine,
					}
				}
				list[size-1] = list[0] // a repeat
				mustTx(t, s, func(tx berth.Tx) error {
					return errors.Join(
						tx.Usage().Insert(t.Context(), list),
						tx.Usage().PutFold(t.Context(), berth.Fold{Instance: instance, Position: int64(batch + 1)}),
					)
				})
			}
		})
	}
	all.Wait()
	s := mustConnect(t, url)
	defer mustClose(t, s)
	mustTx(t, s, func(tx berth.Tx) error {
		for _, by := range [][]berth.UsageGroup{{berth.GroupDay, berth.GroupDeployedModel}, {berth.GroupHour, berth.GroupKey}} {
			want := map[string]berth.UsageSum{}
			for after := ""; ; {
				list, next, err := tx.Usage().Records(t.Context(), berth.UsageFilter{}, after, 500)
				if err != nil {
					return err
				}
				for _, r := range list {
					key := r.StartedAt.Format(time.DateOnly) + r.DeployedModel
					if by[0] == berth.GroupHour {
						key = r.StartedAt.Format(time.DateOnly)
					}
					sum := want[key]
					sum.Add(r.Sum())
					want[key] = sum
				}
				if after = next; after == "" {
					break
				}
			}
			totals, err := tx.Usage().Totals(t.Context(), berth.UsageFilter{}, by)
			if err != nil {
				return err
			}
			var calls int64
			for _, total := range totals {
				key := total.Group[by[0]][:len(time.DateOnly)] + total.Group[berth.GroupDeployedModel]
				if total.UsageSum != want[key] {
					t.Errorf("%v is %+v, its records are %+v", total.Group, total.UsageSum, want[key])
				}
				calls += total.Calls
			}
			if len(totals) != len(want) || calls != servers*batches*(size-1) {
				t.Errorf("%d groups of %d with %d calls", len(totals), len(want), calls)
			}
		}
		return nil
	})
	if n := query(t, url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); n != "0" {
		t.Errorf("%s deadlocks", n)
	}
}
