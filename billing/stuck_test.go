package billing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

const stuck = "1000000000000002"

var errStuck = errors.New("it is stuck")

// stubborn is a store that refuses to write what is of one account.
type stubborn struct {
	berth.Store
	lines, postings bool
}

func (s *stubborn) Tx(ctx context.Context, fn func(berth.Tx) error) error {
	return s.Store.Tx(ctx, func(tx berth.Tx) error { return fn(stubbornTx{tx, s}) })
}

type stubbornTx struct {
	berth.Tx
	of *stubborn
}

func (t stubbornTx) Lines() berth.LineStore    { return stubbornLines{t.Tx.Lines(), t.of} }
func (t stubbornTx) Ledger() berth.LedgerStore { return stubbornLedger{t.Tx.Ledger(), t.of} }

type stubbornLines struct {
	berth.LineStore
	of *stubborn
}

func (s stubbornLines) Put(ctx context.Context, list ...berth.Line) error {
	if s.of.lines && slices.ContainsFunc(list, func(l berth.Line) bool { return l.AccountID == stuck }) {
		return errStuck
	}
	return s.LineStore.Put(ctx, list...)
}

type stubbornLedger struct {
	berth.LedgerStore
	of *stubborn
}

func (s stubbornLedger) PostAll(ctx context.Context, list []berth.Posting) (int, error) {
	if s.of.postings && slices.ContainsFunc(list, func(p berth.Posting) bool { return p.AccountID == stuck }) {
		return 0, errStuck
	}
	return s.LedgerStore.PostAll(ctx, list)
}

// An account that cannot be charged keeps no other from being charged, nor its months from
// being closed, and is charged as soon as it can be.
func TestOneAccountThatIsStuckKeepsNoOtherFromItsMonth(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*stubborn{"rating": {lines: true}, "posting": {postings: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.Store = openSQLite(t)
			o := newOffice(t, s, berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionInput, 2, 1), price(berth.DimensionUnitMinute, 3, 1)}, noon)
			o.tx(func(ctx context.Context, tx berth.Tx) error {
				must(t, tx.Accounts().InsertAccount(ctx, berth.Account{ID: stuck, Name: "stuck", Currency: "CNY", TimeZone: "UTC"}))
				must(t, tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: "llm-stuck", AccountID: stuck, Name: "stuck", CreatedAt: noon}))
				return nil
			})
			for i := range 40 { // days and runs of both, those that are stuck before and between the others
				at := noon.Add(time.Duration(i/2) * time.Hour * 12)
				u := lora(fmt.Sprint("use_", i), at, 10)
				run := mu(1, at, 10*time.Minute)
				run.ID, run.DeploymentID = fmt.Sprintf("svc_%02d", i), fmt.Sprintf("dep_mu%02d", i)
				u.DeploymentID = fmt.Sprintf("dep_%02d", i)
				if i%2 == 0 {
					u.WorkspaceID, run.WorkspaceID, run.AccountID = "llm-stuck", "llm-stuck", stuck
				}
				o.use(u)
				o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
			}
			o.set(time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
			if err := o.desk.Rate(t.Context()); !errors.Is(err, errStuck) {
				t.Fatalf("rate: %v", err)
			}
			if err := o.desk.RateFor(t.Context(), stuck); !errors.Is(err, errStuck) {
				t.Errorf("the stuck account is told %v", err)
			}
			must(t, o.desk.RateFor(t.Context(), payer))
			if got := sum(o.lines("2026-10")); got != 20*(10*2+10*3) || o.balance(berth.CustomerSide(payer)) != -got {
				t.Errorf("the other account was charged %d, has %d", got, o.balance(berth.CustomerSide(payer)))
			}
			closed := func(account string) (n int) {
				o.tx(func(ctx context.Context, tx berth.Tx) error {
					months, err := tx.Lines().Closed(ctx, account)
					n = len(months)
					return err
				})
				return n
			}
			if n, m := closed(payer), closed(stuck); n != 1 || m != 0 {
				t.Errorf("%d months of the other account were closed and %d of the stuck one", n, m)
			}
			s.lines, s.postings = false, false
			o.rate()
			if n := o.balance(berth.CustomerSide(stuck)); closed(stuck) != 1 || n != -20*(10*2+10*3) {
				t.Errorf("later: %d months are closed, the account has %d", closed(stuck), n)
			}
		})
	}
}

// Usage of a workspace that nobody knows can never be rated.
func TestADayThatCannotBeRatedKeepsNoOtherFromIt(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionInput, 2, 1)}, noon)
	for i := range 20 {
		u := lora(fmt.Sprint("use_", i), noon.Add(time.Duration(i)*time.Hour), 10)
		if u.DeploymentID = fmt.Sprintf("dep_%02d", i%4); i%4 == 0 {
			u.WorkspaceID = "llm-nobody"
		}
		o.use(u)
	}
	o.set(time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
	if err := o.desk.Rate(t.Context()); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("rate: %v", err)
	}
	must(t, o.desk.RateFor(t.Context(), payer))
	if got := sum(o.lines("2026-10")); got != 15*10*2 || len(o.closed()) != 1 {
		t.Errorf("others were charged %d, months %v", got, o.closed())
	}
}
