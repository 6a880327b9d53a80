// Package money measures usage and money in a store that has been in business for a month.
//
//	make bench-money
//
// Without its flag it does the same with little, to see that it still works and that what it
// measures is right. docs/performance.md says what came out.
package money

import (
	"cmp"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
	"github.com/berthhq/berth/journal"
	"github.com/berthhq/berth/meter"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

var (
	figures  = flag.Bool("figures", false, "measure, and print what came out")
	records  = flag.Int("records", 10_000_000, "usage records of the month, in SQLite")
	fewer    = flag.Int("postgres-records", 1_000_000, "usage records of the month, in Postgres")
	postings = flag.Int("postings", 1_000_000, "postings in each ledger")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.M{M: m}) }

// sizes are how much there is to measure.
type sizes struct{ folded, records, postings, times int }

func TestFigures(t *testing.T) {
	var table [][]string
	for _, c := range []struct {
		name string
		open func(testing.TB) *store.Store
		sizes
	}{
		{"SQLite", openSQLite, sizes{200_000, *records, *postings, 21}},
		{"Postgres", openPostgres, sizes{200_000, *fewer, *postings, 21}},
	} {
		if !*figures {
			c.sizes = sizes{1000, 2000, 200, 1}
		}
		t.Run(c.name, func(t *testing.T) {
			rows := measure(t, c.open, c.sizes)
			if c.name == "Postgres" { // a file has one server
				for _, n := range []int{2, 4} {
					rows = append(rows, foldedAtOnce(t, n, c.folded))
				}
			}
			for _, row := range rows {
				table = append(table, append([]string{c.name}, row...))
			}
		})
	}
	if *figures {
		show(table)
	}
}

func show(table [][]string) {
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("\n%s, %d CPUs, load at the end %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), strings.TrimSpace(string(load)))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "store\twhat\twanted\tmeasured")
	for _, row := range table {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}

func openSQLite(t testing.TB) *store.Store {
	return opened(t, store.Config{Path: sqlitetest.File(t)})
}

func openPostgres(t testing.TB) *store.Store {
	return opened(t, store.Config{URL: pgtest.Database(t)})
}

func opened(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	payer       = "1000000000000001"
	workspaces  = 10
	deployments = 20 // of a workspace
	keys        = 5  // of a deployment
)

var (
	month = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	after = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

// house is an account with workspaces in a store, and a desk.
type house struct {
	*testing.T
	store *store.Store
	desk  *billing.Desk
	ids   int
	calls *rand.Rand
	input int64 // tokens so far
	n     int
}

func measure(t *testing.T, open func(testing.TB) *store.Store, z sizes) (rows [][]string) {
	h := &house{T: t, store: open(t), calls: rand.New(rand.NewPCG(1, 2))}
	h.desk = billing.New(billing.Options{
		Store: h.store, Now: func() time.Time { return after }, Logger: slog.New(slog.DiscardHandler),
		NewID: func(prefix string) string { h.ids++; return fmt.Sprintf("%s%09d", prefix, h.ids) },
	})
	h.settle()
	row := func(what, wanted, format string, values ...any) {
		rows = append(rows, []string{what, wanted, fmt.Sprintf(format, values...)})
	}
	rate := h.fold(z.folded)
	row(fmt.Sprintf("usage records folded from the journal, %d", z.folded), "20000 records/s", "%.0f records/s", rate)
	took := h.fill(z.records - h.n)
	row(fmt.Sprintf("usage records inserted until there are %d", h.n), "", "%.0f records/s", float64(z.records-z.folded)/took.Seconds())
	took = once(func() { must(t, h.desk.Rate(t.Context())) })
	row("rating all of them at once, "+h.size(), "", "%s", took.Round(time.Millisecond))
	var st berth.Statement
	took = median(z.times, func() { st = h.statement() })
	h.check(st)
	row(fmt.Sprintf("statement of the month, %d records", h.n), "2 s", "%s", took.Round(10*time.Microsecond))
	took = once(h.trial)
	row(fmt.Sprintf("dry run of the month from %d records", h.n), "", "%s", took.Round(time.Millisecond))
	for _, workspace := range []string{"llm-00000000", ""} {
		for _, by := range [][]berth.UsageGroup{{berth.GroupDay}, {berth.GroupDeployedModel, berth.GroupDay}} {
			var groups int
			took = median(z.times, func() { groups = h.usage(workspace, by) })
			row(fmt.Sprintf("usage of the month of %s by %v, %d rows", cmp.Or(workspace, "all workspaces"), by, groups), "50 ms", "%s", took.Round(10*time.Microsecond))
		}
	}
	took = h.post(z.postings)
	row(fmt.Sprintf("postings made, %d, each %d at once", z.postings, atOnce), "", "%.0f postings/s", float64(z.postings)/took.Seconds())
	took = median(50*z.times, h.balance)
	row(fmt.Sprintf("balance in a ledger of %d postings", z.postings), "5 ms", "%s", took.Round(time.Microsecond))
	return rows
}

// settle makes the account, its workspaces and the book.
func (h *house) settle() {
	ctx := h.Context()
	h.tx(func(tx berth.Tx) error {
		must(h, tx.Accounts().InsertAccount(ctx, berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}))
		for w := range workspaces {
			id := fmt.Sprintf("llm-%08d", w)
			must(h, tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: id, Name: id, AccountID: payer}))
			for d := w * deployments; d < (w+1)*deployments; d++ {
				must(h, tx.Deployments().Insert(ctx, berth.Deployment{
					ID: fmt.Sprintf("dep_019aa3f0-2222-7abc-8def-%012x", d), WorkspaceID: id, DeployedModel: fmt.Sprintf("qwen3-8b-%08x", d),
					ModelName: "qwen3-8b", BaseModel: "qwen3-8b", Plan: berth.PlanLoRA, Status: berth.StatusRunning, CreatedAt: month,
				}))
			}
		}
		for i, d := range []berth.Dimension{berth.DimensionInput, berth.DimensionOutput} {
			for tier := range int64(2) {
				p := berth.Price{ID: fmt.Sprint("price_", i, tier), Model: berth.AnyModel, Dimension: d, FromTokens: tier * 128_000, Nano: berth.Nano(1+i+int(tier)) * 1_000_000_000, Per: 1_000_000, Currency: "CNY"}
				must(h, tx.Prices().Insert(ctx, p))
				must(h, tx.Usage().Split(ctx, p.From, p.FromTokens))
			}
		}
		return nil
	})
}

func (h *house) tx(fn func(berth.Tx) error) {
	h.Helper()
	must(h, h.store.Tx(h.Context(), fn))
}

// record makes up the next call of the month; calls come in the order of time.
func (h *house) record(of int) berth.UsageRecord {
	at := month.Add(time.Duration(float64(31*24*time.Hour) * float64(h.n) / float64(of)))
	d := h.calls.IntN(workspaces * deployments)
	key := d*keys + h.calls.IntN(keys)
	input := 1 + h.calls.Int64N(4000)
	if h.calls.IntN(50) == 0 {
		input += 128_000
	}
	h.input += input
	h.n++
	return berth.UsageRecord{
		ID: fmt.Sprintf("use_%08x-%04x-7abc-8def-%012x", at.UnixMilli()>>16, at.UnixMilli()&0xffff, h.n), CallID: fmt.Sprintf("6a1f9f1e-0c3d-4d4e-9f3b-%012x", h.n),
		WorkspaceID: fmt.Sprintf("llm-%08d", d/deployments), KeyID: fmt.Sprintf("key_019aa3f0-1111-7abc-8def-%012x", key),
		DeploymentID: fmt.Sprintf("dep_019aa3f0-2222-7abc-8def-%012x", d), DeployedModel: fmt.Sprintf("qwen3-8b-%08x", d),
		ModelName: "qwen3-8b", Plan: berth.PlanLoRA, Class: berth.ClassShared,
		ReplicaID: fmt.Sprintf("rep_019aa3f0-3333-7abc-8def-%012x", d%50), Nonce: fmt.Sprintf("run_019aa3f0-4444-7abc-8def-%012x", d%50),
		StartedAt: at, FirstTokenAt: at.Add(20 * time.Millisecond), EndedAt: at.Add(time.Second),
		InputTokens: input, CachedTokens: input / 4, OutputTokens: 1 + h.calls.Int64N(500), Billable: true,
		End: berth.EndStop, HTTPStatus: 200, Source: berth.SourceEngine,
	}
}

// fold writes calls into a journal and returns how many records a second become rows of it,
// while nothing else is done.
func (h *house) fold(n int) float64 {
	const most = 50_000 // a journal holds at a time
	var took time.Duration
	dir := h.TempDir()
	for round, left := 0, n; left > 0; round++ {
		m, err := meter.Open(h.Context(), meter.Options{
			Store: h.store, Logger: slog.New(slog.DiscardHandler), NewID: func(prefix string) string { h.ids++; return fmt.Sprintf("%s%09d", prefix, h.ids) },
			Now: func() time.Time { return after }, Journal: journal.Options{Dir: filepath.Join(dir, fmt.Sprint(round)), Instance: fmt.Sprint("bench", round)},
		})
		must(h, err)
		for range min(left, most) {
			mark := &berth.UsageMark{UsageRecord: h.record(31 * n)} // all on the first day
			for m.Open(mark) != nil {                               // the next segment is being made
				time.Sleep(time.Millisecond)
			}
			m.Close(mark)
		}
		left -= min(left, most)
		took += once(func() {
			m.Start()
			must(h, m.Stop())
		})
	}
	return float64(n) / took.Seconds()
}

// foldedAtOnce measures how fast several instances, each with a store and a journal of its
// own, fold into one database what they have of the same deployments and days.
func foldedAtOnce(t *testing.T, instances, n int) []string {
	c := store.Config{URL: pgtest.Database(t)}
	h := &house{T: t, store: opened(t, c), calls: rand.New(rand.NewPCG(1, 2))}
	h.settle()
	stores := make([]*store.Store, instances)
	for i := range stores {
		stores[i] = opened(t, c)
	}
	const most = 50_000 // a journal holds at a time
	var took time.Duration
	for round, left := 0, n; left > 0; round++ {
		meters := make([]*meter.Meter, instances)
		for i := range meters {
			name := fmt.Sprint("bench", round, i)
			m, err := meter.Open(t.Context(), meter.Options{
				Store: stores[i], Logger: slog.New(slog.DiscardHandler), NewID: func(prefix string) string { return prefix + name },
				Now: func() time.Time { return after }, Journal: journal.Options{Dir: filepath.Join(t.TempDir(), name), Instance: name},
			})
			must(t, err)
			meters[i] = m
			for range min(n/instances, most) {
				mark := &berth.UsageMark{UsageRecord: h.record(31 * n)} // all on the first day
				for m.Open(mark) != nil {                               // the next segment is being made
					time.Sleep(time.Millisecond)
				}
				m.Close(mark)
			}
		}
		left -= instances * min(n/instances, most)
		took += once(func() {
			var all sync.WaitGroup
			for _, m := range meters {
				m.Start()
				all.Go(func() {
					for m.Figures().Records < int64(min(n/instances, most)) && t.Context().Err() == nil {
						time.Sleep(time.Millisecond)
					}
				})
			}
			all.Wait()
		})
		for _, m := range meters {
			must(t, m.Stop())
		}
	}
	h.tx(func(tx berth.Tx) error {
		list, err := tx.Usage().Totals(t.Context(), berth.UsageFilter{}, nil)
		if err != nil || len(list) != 1 || list[0].Calls != int64(h.n) || list[0].InputTokens != h.input {
			t.Errorf("%d calls and %d input tokens are %+v, %v", h.n, h.input, list, err)
		}
		return err
	})
	db, err := sql.Open("pgx", c.URL)
	must(t, err)
	var again, deadlocks int64
	must(t, db.QueryRowContext(t.Context(), "SELECT xact_rollback, deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&again, &deadlocks))
	must(t, db.Close())
	return []string{
		fmt.Sprintf("usage records folded by %d instances at once, %d", instances, h.n), "20000 records/s",
		fmt.Sprintf("%.0f records/s together; %d transactions rolled back, %d deadlocks", float64(h.n)/took.Seconds(), again, deadlocks),
	}
}

// fill inserts records until there are so many more.
func (h *house) fill(more int) time.Duration {
	of := h.n + more
	var took time.Duration
	batch := make([]berth.UsageRecord, 0, 4096)
	for h.n < of {
		batch = batch[:0]
		for h.n < of && len(batch) < cap(batch) {
			batch = append(batch, h.record(of))
		}
		took += once(func() { h.tx(func(tx berth.Tx) error { return tx.Usage().Insert(h.Context(), batch) }) })
	}
	return took
}

// size says of how much the lines are made.
func (h *house) size() string {
	days := 0
	h.tx(func(tx berth.Tx) error {
		for d := range workspaces * deployments {
			list, err := tx.Usage().Days(h.Context(), []string{fmt.Sprintf("dep_019aa3f0-2222-7abc-8def-%012x", d)}, []string{month.Format(time.DateOnly)})
			if err != nil {
				return err
			}
			days += len(list)
		}
		return nil
	})
	return fmt.Sprintf("about %d sums of a day", days)
}

func (h *house) owner() context.Context {
	return berth.WithCaller(h.Context(), berth.Caller{Role: berth.RoleOwner, AccountID: payer, WorkspaceID: "llm-00000000"})
}

func (h *house) statement() berth.Statement {
	s := berth.Statements{Store: h.store, Now: func() time.Time { return after }, Settle: h.desk.RateFor}
	st, err := s.Get(h.owner(), berth.StatementOf{Month: "2026-10"})
	must(h, err)
	return st
}

// trial asks for the month at prices that no sum tells apart.
func (h *house) trial() {
	lines, err := h.desk.Rerate(h.Context(), payer, "", "2026-10", []berth.Price{
		{ID: "short", Model: berth.AnyModel, Dimension: berth.DimensionInput, Nano: 1_000_000, Per: 1, Currency: "CNY"},
		{ID: "long", Model: berth.AnyModel, Dimension: berth.DimensionInput, FromTokens: 2000, Nano: 2_000_000, Per: 1, Currency: "CNY"},
	})
	must(h, err)
	var input int64
	for i := range lines {
		if l := &lines[i]; l.Dimension == berth.DimensionInput || l.Dimension == berth.DimensionCached {
			input += l.Quantity
		}
	}
	if input != h.input {
		h.Errorf("the dry run has %d input tokens; the records have %d", input, h.input)
	}
}

// check compares the statement with all that was ever written.
func (h *house) check(st berth.Statement) {
	var input int64
	for _, l := range st.Lines {
		if l.Dimension == berth.DimensionInput || l.Dimension == berth.DimensionCached {
			input += l.Quantity
		}
	}
	if input != h.input || st.Totals[0].Nano == 0 {
		h.Errorf("the statement has %d input tokens for %d; the records have %d", input, st.Totals[0].Nano, h.input)
	}
}

// usage asks for the month of a workspace ("" = all) and returns how many rows came.
func (h *house) usage(workspace string, by []berth.UsageGroup) (rows int) {
	must(h, h.store.View(h.Context(), func(tx berth.Tx) error {
		list, err := tx.Usage().Totals(h.Context(), berth.UsageFilter{WorkspaceID: workspace, From: month, To: month.AddDate(0, 1, 0)}, by)
		if rows = len(list); rows == 0 {
			h.Error("no usage")
		}
		return err
	}))
	return rows
}

// atOnce is how many postings a desk makes at once.
const atOnce = 512

// post fills the ledger.
func (h *house) post(n int) time.Duration {
	return once(func() {
		for done := 0; done < n; {
			list := make([]berth.Posting, 0, atOnce)
			for range min(atOnce, n-done) {
				done++
				h.ids++
				id := fmt.Sprintf("post_%09d", h.ids)
				list = append(list, berth.Posting{
					ID: id, At: month.Add(time.Duration(done) * time.Second), AccountID: payer, WorkspaceID: "llm-00000000", DeploymentID: fmt.Sprintf("dep_019aa3f0-2222-7abc-8def-%012x", done%200),
					Cause: berth.CauseCharge, Reference: berth.ReferenceOf("bench", id), Currency: "CNY",
					Entries: []berth.Entry{{Side: berth.CustomerSide(payer), Nano: -7}, {Side: berth.RevenueSide(fmt.Sprintf("llm-%08d", done%workspaces)), Nano: 7}},
				})
			}
			h.tx(func(tx berth.Tx) error {
				_, err := tx.Ledger().PostAll(h.Context(), list)
				return err
			})
		}
	})
}

func (h *house) balance() {
	must(h, h.store.View(h.Context(), func(tx berth.Tx) error {
		n, err := tx.Ledger().Balance(h.Context(), berth.CustomerSide(payer), "CNY")
		if n >= 0 {
			h.Errorf("the customer has %d", n)
		}
		return err
	}))
}

func once(fn func()) time.Duration {
	began := time.Now()
	fn()
	return time.Since(began)
}

func median(times int, fn func()) time.Duration {
	list := make([]time.Duration, times)
	for i := range list {
		list[i] = once(fn)
	}
	slices.Sort(list)
	return list[times/2]
}
