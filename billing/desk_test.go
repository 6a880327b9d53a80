package billing_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/pgtest"
	"github.com/berthhq/berth/store/sqlitetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.M{M: m}) }

// office is a desk with a store and a clock.
type office struct {
	testing.TB
	store berth.Store
	desk  *billing.Desk
	ids   atomic.Int64
	mu    sync.Mutex
	time  time.Time
}

// newOffice opens the books of an account with one workspace.
func newOffice(t testing.TB, s berth.Store, a berth.Account, prices []berth.Price, at time.Time) *office {
	t.Helper()
	o := &office{TB: t, store: s, time: at}
	o.desk = o.newDesk(s)
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		must(t, tx.Accounts().InsertAccount(ctx, a))
		must(t, tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: workspace, AccountID: a.ID, Name: "home", CreatedAt: at}))
		must(t, tx.Deployments().Insert(ctx, berth.Deployment{ // whose base its runs and orders name, too
			ID: "dep_1", WorkspaceID: workspace, DeployedModel: "a", ModelName: "m", BaseModel: "b", Plan: berth.PlanLoRA,
			Status: berth.StatusDeleted, CreatedAt: at, DeletedAt: at,
		}))
		for _, p := range prices {
			must(t, tx.Prices().Insert(ctx, p))
			must(t, tx.Usage().Split(ctx, p.From, p.FromTokens))
		}
		for _, l := range a.Later {
			must(t, tx.Usage().Split(ctx, l.From, 0))
		}
		return nil
	})
	return o
}

func (o *office) newDesk(s berth.Store) *billing.Desk {
	return billing.New(billing.Options{
		Store: s, Now: o.now, NewID: func(prefix string) string { return fmt.Sprintf("%s%08d", prefix, o.ids.Add(1)) },
		Logger: slog.New(slog.DiscardHandler),
	})
}

func openSQLite(t testing.TB) berth.Store {
	t.Helper()
	return mustStore(t, store.Config{Path: sqlitetest.File(t)})
}

func openPostgres(t testing.TB) berth.Store {
	t.Helper()
	return mustStore(t, store.Config{URL: pgtest.Database(t)})
}

func mustStore(t testing.TB, c store.Config) berth.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func (o *office) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.time
}

func (o *office) set(at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.time = at
}

func (o *office) tx(fn func(context.Context, berth.Tx) error) {
	o.Helper()
	must(o, o.store.Tx(o.Context(), func(tx berth.Tx) error { return fn(o.Context(), tx) }))
}

func (o *office) rate() {
	o.Helper()
	must(o, o.desk.Rate(o.Context()))
}

// statements returns every month of the account that has lines, as they are written down.
func (o *office) statements() string {
	o.Helper()
	ctx := berth.WithCaller(o.Context(), berth.Caller{Role: berth.RoleOwner, AccountID: payer})
	service := berth.Statements{Store: o.store, Now: o.now, Settle: o.desk.RateFor}
	var text strings.Builder
	for _, m := range o.months() {
		st, err := service.Get(ctx, berth.StatementOf{Month: m})
		must(o, err)
		st.ClosedAt = time.Time{}
		b, err := json.Marshal(st)
		must(o, err)
		text.Write(b)
		text.WriteByte('\n')
	}
	return strings.ReplaceAll(text.String(), `},{"AccountID"`, "},\n{\"AccountID\"")
}

func (o *office) months() []string {
	a := berth.Account{TimeZone: "UTC"}
	var list []string
	for m := a.MonthOf(o.now().AddDate(0, -3, 0)); !m.Start.After(o.now()); m = a.Next(m) {
		list = append(list, m.Name)
	}
	return list
}

// lines returns the lines of a month's statement.
func (o *office) lines(month string) (list []berth.Line) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) (err error) {
		list, err = tx.Lines().Month(ctx, payer, month, "")
		return err
	})
	return list
}

func (o *office) postings() (list []berth.Posting) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) (err error) {
		list, err = tx.Ledger().Postings(ctx, berth.PostingFilter{}, "", 100_000)
		return err
	})
	return list
}

// audit proves that every posting balances, that the postings of a line add up to its
// amount, and that balances are what postings come to.
func (o *office) audit() {
	o.Helper()
	earned := map[string]berth.Nano{}
	sides := map[string]berth.Nano{}
	for _, p := range o.postings() {
		var sum berth.Nano
		for _, e := range p.Entries {
			sum += e.Nano
			sides[e.Side+" "+p.Currency] += e.Nano
			if strings.HasPrefix(e.Side, "revenue/") {
				earned[p.Reference[:strings.LastIndexByte(p.Reference, '/')]] += e.Nano
			}
		}
		if sum != 0 {
			o.Errorf("%s adds up to %d", p.Reference, sum)
		}
	}
	for _, m := range append(o.months(), o.now().AddDate(0, 1, 0).Format("2006-01")) {
		for _, l := range o.lines(m) {
			key := berth.ReferenceOf(l.AccountID, l.Month, l.Day, l.DeploymentID, string(l.Dimension), string(l.Class), fmt.Sprint(l.FromTokens), l.PriceID, l.Currency)
			if earned[key] != l.Amount || l.Posted != l.Amount {
				o.Errorf("%s comes to %d, of which %d are posted; its postings say %d", key, l.Amount, l.Posted, earned[key])
			}
			delete(earned, key)
		}
	}
	for key, n := range earned {
		if n != 0 {
			o.Errorf("%s was charged %d without a line", key, n)
		}
	}
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		list, err := tx.Ledger().Balances(ctx, payer)
		for _, b := range list {
			if sides[b.Side+" "+b.Currency] != b.Nano {
				o.Errorf("the balance of %s is %d; its postings come to %d", b.Side, b.Nano, sides[b.Side+" "+b.Currency])
			}
		}
		return err
	})
}

// happening is one thing that the store is told of a history, and when.
type happening struct {
	at   time.Time
	tell func(context.Context, berth.Tx) error
}

// told is the history as a store learns of it: what a run does when it does it, but some
// ends and steps late, and calls when they have ended.
func (h *history) told(r *rand.Rand) (list []happening) {
	for i := range h.runs {
		run := h.runs[i]
		until := h.by
		if i+1 < len(h.runs) {
			until = h.runs[i+1].StartedAt
		}
		late := func(at time.Time) time.Time {
			if r.IntN(3) == 0 && until.After(at) {
				at = at.Add(time.Duration(r.Int64N(int64(until.Sub(at)) + 1)))
			}
			return at
		}
		end := h.by
		if !run.EndedAt.IsZero() {
			end = late(run.EndedAt)
		}
		begin := run
		begin.EndedAt, begin.Steps = time.Time{}, run.Steps[:1]
		list = append(list, happening{run.StartedAt, func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, begin) }})
		for _, step := range run.Steps[1:] {
			at := later(step.At, run.StartedAt)
			if at = late(at); at.After(end) {
				at = end
			}
			list = append(list, happening{at, func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Step(ctx, run.ID, step) }})
		}
		if !run.EndedAt.IsZero() {
			list = append(list, happening{end, func(ctx context.Context, tx berth.Tx) error { return tx.Runs().End(ctx, run.ID, run.EndedAt) }})
		}
	}
	list = append(list, h.calling()...)
	slices.SortStableFunc(list, func(a, b happening) int { return a.at.Compare(b.at) })
	return list
}

// calling is the calls of the history, each told when it has ended.
func (h *history) calling() (list []happening) {
	for _, c := range h.calls {
		list = append(list, happening{c.EndedAt, func(ctx context.Context, tx berth.Tx) error {
			return tx.Usage().Insert(ctx, []berth.UsageRecord{c})
		}})
	}
	return list
}

// tell tells the store of the first n things that happened, at the time of the last, and
// returns the others.
func (o *office) tell(list []happening, n int) []happening {
	o.Helper()
	n = min(n, len(list))
	o.set(list[n-1].at)
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		for _, e := range list[:n] {
			if err := e.tell(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	return list[n:]
}

func later(a, b time.Time) time.Time { return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare) }

// end is when the books of the history are looked at.
func (h *history) end() time.Time { return later(h.by, h.from.Add(41*time.Hour)) }

// replayed tells a new store the whole history at once and rates it.
func (h *history) replayed(t testing.TB) string {
	t.Helper()
	o := newOffice(t, openSQLite(t), h.account, h.prices, h.from)
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		for _, r := range h.runs {
			must(t, tx.Runs().Insert(ctx, r))
		}
		return tx.Usage().Insert(ctx, h.calls)
	})
	o.set(h.end())
	o.rate()
	o.audit()
	return o.statements()
}

// goingOn ends the last run at a time that both tellings know.
func (h *history) goingOn() *history {
	if last := &h.runs[len(h.runs)-1]; last.EndedAt.IsZero() {
		h.by = h.end()
	}
	return h
}

func TestReplayGivesTheSameStatementToTheByte(t *testing.T) {
	t.Parallel()
	for seed := range seeds(3) {
		h, r := madeUp(t, seed).goingOn(), rand.New(rand.NewPCG(seed, 3))
		o := newOffice(t, openSQLite(t), h.account, h.prices, h.from)
		for list := h.told(r); len(list) > 0; o.rate() {
			list = o.tell(list, 1+r.IntN(40))
		}
		o.set(h.end())
		o.rate()
		o.audit()
		lived := o.statements()
		if got := h.replayed(t); got != lived {
			t.Fatalf("seed %d:\nreplayed %s\n   lived %s", seed, got, lived)
		}
		if again := o.statements(); again != lived {
			t.Fatalf("seed %d: rated again:\n%s\nbefore\n%s", seed, again, lived)
		}
	}
}

func TestAnyOrderOfArrivalGivesTheSameStatement(t *testing.T) {
	t.Parallel()
	for seed := range seeds(3) {
		h, r := madeUp(t, seed).goingOn(), rand.New(rand.NewPCG(seed, 4))
		o := newOffice(t, openSQLite(t), h.account, h.prices, h.from)
		var list []happening
		for i := range h.runs {
			run := h.runs[i]
			list = append(list, happening{tell: func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) }})
		}
		list = append(list, h.calling()...)
		list = append(list, h.calling()[:20]...) // some come twice
		r.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
		for i := range list {
			list[i].at = h.from.Add(time.Duration(i) * time.Minute) // before any month is closed
		}
		for ; len(list) > 0; o.rate() {
			list = o.tell(list, 1+r.IntN(20))
		}
		o.set(h.end())
		o.rate()
		o.audit()
		if got, want := o.statements(), h.replayed(t); got != want {
			t.Fatalf("seed %d:\n got %s\nwant %s", seed, got, want)
		}
	}
}

// errCrash ends a process, as far as a test can tell.
var errCrash = errors.New("crashed")

// fragile is a store that crashes at a step: before a write, or behind a commit that nobody
// hears of.
type fragile struct {
	berth.Store
	left int
}

func (f *fragile) step() error {
	if f.left--; f.left <= 0 {
		return errCrash
	}
	return nil
}

func (f *fragile) Tx(ctx context.Context, fn func(berth.Tx) error) error {
	if err := f.step(); err != nil {
		return err
	}
	if err := f.Store.Tx(ctx, func(tx berth.Tx) error { return fn(fragileTx{tx, f}) }); err != nil {
		return err
	}
	return f.step()
}

type fragileTx struct {
	berth.Tx
	of *fragile
}

func (t fragileTx) Lines() berth.LineStore    { return fragileLines{t.Tx.Lines(), t.of} }
func (t fragileTx) Ledger() berth.LedgerStore { return fragileLedger{t.Tx.Ledger(), t.of} }
func (t fragileTx) Runs() berth.RunStore      { return fragileRuns{t.Tx.Runs(), t.of} }
func (t fragileTx) Usage() berth.UsageStore   { return fragileUsage{t.Tx.Usage(), t.of} }

type fragileLines struct {
	berth.LineStore
	of *fragile
}

func (s fragileLines) Put(ctx context.Context, list ...berth.Line) error {
	return halves(s.of, list, func(some []berth.Line) error { return s.LineStore.Put(ctx, some...) })
}

func (s fragileLines) Posted(ctx context.Context, list ...berth.Line) error {
	return halves(s.of, list, func(some []berth.Line) error { return s.LineStore.Posted(ctx, some...) })
}

// halves writes a list in two steps.
func halves[T any](f *fragile, list []T, write func([]T) error) error {
	half := len(list) / 2
	return cmp.Or(f.step(), write(list[:half]), f.step(), write(list[half:]), f.step())
}

func (s fragileLines) Close(ctx context.Context, m berth.Month) error {
	return cmp.Or(s.of.step(), s.LineStore.Close(ctx, m), s.of.step())
}

type fragileLedger struct {
	berth.LedgerStore
	of *fragile
}

func (s fragileLedger) PostAll(ctx context.Context, list []berth.Posting) (done int, err error) {
	err = halves(s.of, list, func(some []berth.Posting) error {
		n, err := s.LedgerStore.PostAll(ctx, some)
		done += n
		return err
	})
	return done, err
}

type fragileRuns struct {
	berth.RunStore
	of *fragile
}

func (s fragileRuns) Rated(ctx context.Context, id string, by time.Time) error {
	return cmp.Or(s.of.step(), s.RunStore.Rated(ctx, id, by), s.of.step())
}

type fragileUsage struct {
	berth.UsageStore
	of *fragile
}

func (s fragileUsage) Rated(ctx context.Context, days []berth.UsageDayKey) error {
	return cmp.Or(s.of.step(), s.UsageStore.Rated(ctx, days), s.of.step())
}

// A desk that crashes at any step, again and again and each time a bit later, comes to the
// same statement and the same ledger as one that never does.
func TestCrashesBetweenAnyTwoStepsNeitherLoseNorDouble(t *testing.T) {
	t.Parallel()
	for seed := range seeds(2) {
		h, r := madeUp(t, seed).goingOn(), rand.New(rand.NewPCG(seed, 5))
		o := newOffice(t, openSQLite(t), h.account, h.prices, h.from)
		o.pay(100*nano, "deposit", berth.DepositSide("dep_1"))
		crashes := 0
		list := append(h.told(r), happening{at: h.end(), tell: func(context.Context, berth.Tx) error { return nil }})
		for part := len(list)/4 + 1; len(list) > 0; {
			list = o.tell(list, part)
			for n := 1; ; n++ {
				err := o.newDesk(&fragile{o.store, n}).Rate(t.Context())
				if err == nil {
					break
				}
				if !errors.Is(err, errCrash) {
					t.Fatalf("seed %d, step %d: %v", seed, n, err)
				}
				crashes++
			}
		}
		o.audit()
		if got, want := o.statements(), h.replayed(t); got != want {
			t.Fatalf("seed %d:\n got %s\nwant %s", seed, got, want)
		}
		if crashes < 20 {
			t.Errorf("seed %d: only %d crashes", seed, crashes)
		}
	}
}

// pay books money onto a side.
func (o *office) pay(n berth.Nano, reference, side string) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		_, err := tx.Ledger().Post(ctx, berth.Posting{
			ID: fmt.Sprint("post_", reference), At: o.now(), AccountID: payer, Cause: berth.CausePayment, Reference: reference, Currency: "CNY",
			Entries: []berth.Entry{{Side: berth.CashSide(payer), Nano: -n}, {Side: side, Nano: n}},
		})
		return err
	})
}

func (o *office) balance(side string) (n berth.Nano) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) (err error) {
		n, err = tx.Ledger().Balance(ctx, side, "CNY")
		return err
	})
	return n
}

// Several desks on one store charge everything once.
func TestSeveralDesksDoNotDouble(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) berth.Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := madeUp(t, 7).goingOn()
			o := newOffice(t, open(t), h.account, h.prices, h.from)
			list := h.told(rand.New(rand.NewPCG(7, 6)))
			for len(list) > 0 {
				some := list[:min(40, len(list))]
				list = list[len(some):]
				var work sync.WaitGroup
				work.Go(func() {
					for left := some; len(left) > 0; {
						left = o.tell(left, 10)
					}
				})
				for range 3 {
					desk := o.newDesk(o.store)
					work.Go(func() { must(o, desk.Rate(t.Context())) })
				}
				work.Wait()
			}
			o.set(h.end())
			o.rate()
			o.audit()
			if got, want := o.statements(), h.replayed(t); got != want {
				t.Fatalf("got %s\nwant %s", got, want)
			}
		})
	}
}

func TestChargesAreTakenFromTheDepositFirst(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionUnitMinute, nano, 1)}, noon)
	o.pay(5*nano, "deposit", berth.DepositSide("dep_1"))
	run := mu(1, noon, 0)
	run.EndedAt = time.Time{}
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
	for _, c := range []struct {
		minutes           int
		deposit, customer berth.Nano
	}{{3, 2, 0}, {7, 0, -2}, {8, 0, -3}} {
		o.set(noon.Add(time.Duration(c.minutes) * time.Minute))
		o.rate()
		if d, n := o.balance(berth.DepositSide("dep_1")), o.balance(berth.CustomerSide(payer)); d != c.deposit*nano || n != c.customer*nano {
			t.Errorf("after %d minutes the deposit is %d and the customer has %d", c.minutes, d, n)
		}
	}
	if got := o.balance(berth.RevenueSide(workspace)); got != 8*nano {
		t.Errorf("%d were earned", got)
	}
	// The run turns out to have ended after six minutes: what was too much goes back.
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		return tx.Runs().End(ctx, run.ID, noon.Add(6*time.Minute))
	})
	o.rate()
	if n := o.balance(berth.CustomerSide(payer)); n != -1*nano {
		t.Errorf("the customer has %d", n)
	}
	o.audit()
}

// What an account's balance has no room for waits, and keeps nobody else's charges and
// closings back.
func TestABalanceThatIsFullStopsNobodyElse(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionUnitMinute, nano, 1)}, noon)
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		must(t, tx.Accounts().InsertAccount(ctx, berth.Account{ID: "acc_other", Currency: "CNY", TimeZone: "UTC"}))
		must(t, tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: "llm-other", AccountID: "acc_other", Name: "other", CreatedAt: noon}))
		for i := range 600 { // more than are posted at once
			run := mu(1, noon, 3*time.Minute)
			run.ID, run.DeploymentID = fmt.Sprint("svc_1", i), fmt.Sprint("dep_", 10+i)
			must(t, tx.Runs().Insert(ctx, run))
		}
		run := mu(1, noon, 3*time.Minute)
		run.ID, run.AccountID, run.WorkspaceID, run.DeploymentID = "svc_2", "acc_other", "llm-other", "dep_other"
		return tx.Runs().Insert(ctx, run)
	})
	o.pay(math.MaxInt64-100*nano, "much", berth.RevenueSide(workspace))
	o.set(noon.Add(time.Hour))
	o.rate()
	if got := o.balance(berth.RevenueSide("llm-other")); got != 3*nano {
		t.Errorf("%d were earned of the other account", got)
	}
	if got := o.balance(berth.RevenueSide(workspace)); got <= math.MaxInt64-103*nano {
		t.Errorf("there was room for more than %d", got)
	}
	o.set(noon.AddDate(0, 2, 0))
	o.rate()
	closed := func(account string) (n int) {
		o.tx(func(ctx context.Context, tx berth.Tx) error {
			list, err := tx.Lines().Closed(ctx, account)
			n = len(list)
			return err
		})
		return n
	}
	if closed("acc_other") == 0 || closed(payer) != 0 {
		t.Errorf("%d months of the one and %d of the other are closed", closed(payer), closed("acc_other"))
	}
}

// The desk's worker posts what has grown together, so that a busy deployment does not fill
// the ledger; whoever asks sees all of it.
func TestPostingsWaitUntilSomebodyAsks(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionUnitMinute, nano, 1)}, noon)
	o.rate() // the month before is closed
	run := mu(1, noon, 0)
	run.EndedAt = time.Time{}
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
	passed := make(chan struct{})
	desk := billing.New(billing.Options{
		Store: o.store, Now: o.now, Logger: slog.New(slog.DiscardHandler), Tick: time.Millisecond,
		NewID: func(prefix string) string { return fmt.Sprint(prefix, o.ids.Add(1)) },
		After: func(ctx context.Context) {
			select {
			case passed <- struct{}{}:
			case <-ctx.Done():
			}
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); desk.Run(ctx) }()
	for m := range 130 {
		o.set(noon.Add(time.Duration(m)*time.Minute + time.Second))
		<-passed
		<-passed // one that began after the clock was set
	}
	stop()
	<-done
	if n := len(o.postings()); n != 2 {
		t.Errorf("%d postings were made in 130 minutes, want 2: %+v", n, o.postings())
	}
	var unposted berth.Nano
	o.tx(func(ctx context.Context, tx berth.Tx) (err error) {
		unposted, err = tx.Lines().Unposted(ctx, payer, "CNY")
		return err
	})
	if posted := -o.balance(berth.CustomerSide(payer)); posted+unposted != 130*nano {
		t.Errorf("%d are posted and %d are not", posted, unposted)
	}
}

// begin begins a run of two units that goes on.
func (o *office) begin(at time.Time) {
	o.Helper()
	run := mu(2, at, 0)
	run.EndedAt = time.Time{}
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
}

func (o *office) step(at time.Time, units int64) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		return tx.Runs().Step(ctx, "svc_1", berth.RunStep{At: at, Units: units})
	})
}

func (o *office) rateAt(at time.Time) {
	o.Helper()
	o.set(at)
	o.rate()
}

// byDay returns the unit minutes of October's days.
func (o *office) byDay() map[string]int64 {
	o.Helper()
	days := map[string]int64{}
	for _, l := range o.lines("2026-10") {
		if l.Quantity != 0 {
			days[l.Day] += l.Quantity
		}
	}
	return days
}

func (o *office) wantDays(want map[string]int64) {
	o.Helper()
	if got := o.byDay(); !maps.Equal(got, want) {
		o.Errorf("unit minutes by day = %v, want %v", got, want)
	}
}

// What is written of a time that has been rated changes the lines of that time.
func TestWhatIsWrittenLateIsRatedAgain(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T, at time.Time) *office {
		o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionUnitMinute, nano, 1)}, at)
		o.begin(at)
		return o
	}
	midnight := time.Date(2026, 10, 3, 0, 0, 0, 0, time.UTC)
	t.Run("a step in a minute that was rated", func(t *testing.T) {
		t.Parallel()
		o := begin(t, noon)
		o.rateAt(noon.Add(20 * time.Second))
		o.step(noon.Add(30*time.Second), 7)
		o.rateAt(noon.Add(40 * time.Second))
		o.wantDays(map[string]int64{"2026-10-02": 7})
	})
	t.Run("a step after midnight in a minute of the day before", func(t *testing.T) {
		t.Parallel()
		o := begin(t, midnight.Add(-30*time.Second))
		o.rateAt(midnight.Add(-10 * time.Second))
		o.step(midnight.Add(10*time.Second), 7)
		o.rateAt(midnight.Add(20 * time.Second))
		o.wantDays(map[string]int64{"2026-10-02": 7})
		o.rateAt(midnight.Add(40 * time.Second))
		o.wantDays(map[string]int64{"2026-10-02": 7, "2026-10-03": 7})
	})
	t.Run("an end on a day before the last that was rated", func(t *testing.T) {
		t.Parallel()
		o := begin(t, midnight.Add(-time.Hour))
		o.rateAt(midnight.Add(50 * time.Hour))
		o.wantDays(map[string]int64{"2026-10-02": 120, "2026-10-03": 2880, "2026-10-04": 2880, "2026-10-05": 240})
		o.tx(func(ctx context.Context, tx berth.Tx) error {
			return tx.Runs().End(ctx, "svc_1", midnight.Add(-30*time.Minute))
		})
		o.rate()
		o.wantDays(map[string]int64{"2026-10-02": 60})
		o.audit()
	})
	t.Run("a clock that is set back takes nothing away", func(t *testing.T) {
		t.Parallel()
		o := begin(t, noon)
		o.rateAt(noon.Add(time.Hour))
		o.use(lora("use_1", noon, 5)) // so that the day is rated again
		o.rateAt(noon.Add(10 * time.Minute))
		o.wantDays(map[string]int64{"2026-10-02": 120 + 5})
	})
}

// A run of years is rated in shares, and one that comes up late entirely.
func TestALongRunIsRatedInShares(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionUnitMinute, nano, 1)}, noon)
	o.begin(noon)
	o.rateAt(noon.AddDate(0, 0, 200))
	if earned := o.balance(berth.RevenueSide(workspace)); earned != 200*24*60*2*nano {
		t.Errorf("200 days earned %d", earned)
	}
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		r, err := tx.Runs().Get(ctx, "svc_1")
		if !r.RatedTo.Equal(o.now()) {
			t.Errorf("rated to %s", r.RatedTo)
		}
		return err
	})
}

// A clock that leaps ahead by months charges what it shows, and closes the months; when it is
// set right again, what was charged too much goes back with the end of the run, in the month
// after those that are closed.
func TestAClockThatLeapsChargesNothingInTheEnd(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "Asia/Shanghai"}, []berth.Price{price(berth.DimensionUnitMinute, nano, 1)}, noon)
	run := mu(1, noon, 0)
	run.EndedAt = time.Time{}
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
	o.rateAt(noon.Add(10 * time.Minute))
	o.rateAt(noon.AddDate(0, 2, 13))     // it leaps
	o.rateAt(noon.Add(20 * time.Minute)) // and is set back
	o.step(noon.Add(25*time.Minute), 2)
	o.rateAt(noon.Add(26 * time.Minute))
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		return tx.Runs().End(ctx, run.ID, noon.Add(30*time.Minute))
	})
	o.rateAt(noon.Add(31 * time.Minute))
	if got := -o.balance(berth.CustomerSide(payer)); got != 35*nano {
		t.Errorf("25 minutes of one unit and 5 of two were charged %d", got)
	}
	o.set(noon.AddDate(0, 3, 0)) // so that the audit sees every month
	o.rate()
	o.audit()
	if got := -o.balance(berth.CustomerSide(payer)); got != 35*nano {
		t.Errorf("in the end %d were charged", got)
	}
}
