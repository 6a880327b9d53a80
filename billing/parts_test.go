package billing_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// open returns all parts of a line, without what brings lines up to now.
func (o *office) open(l *berth.Line) (all berth.Opened) {
	o.Helper()
	ctx := berth.WithCaller(o.Context(), berth.Caller{Role: berth.RoleOwner, AccountID: payer})
	service := berth.Statements{Store: o.store, Now: o.now, Settle: func(context.Context, string) error { return nil }, Parts: o.desk.Parts}
	for cursor := ""; ; {
		page, err := service.Open(ctx, berth.StatementOf{Month: l.Month}, l.ID(), cursor)
		must(o, err)
		if len(page.Records) > berth.OpenLimit || len(page.Spans) > berth.OpenLimit {
			o.Errorf("a page of %d records and %d spans", len(page.Records), len(page.Spans))
		}
		page.Records, page.Spans = append(all.Records, page.Records...), append(all.Spans, page.Spans...)
		all = page
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// opens opens every line there is and proves that its parts add up to it.
func (o *office) opens() (lines, parts int) {
	o.Helper()
	for _, m := range append(o.months(), o.now().AddDate(0, 1, 0).Format("2006-01")) {
		for _, l := range o.lines(m) {
			if l.Quantity == 0 {
				continue
			}
			all := o.open(&l)
			var n int64
			for _, r := range all.Records {
				n += r.Quantity
			}
			for _, s := range all.Spans {
				n += s.Quantity
				if s.Quantity != s.Minutes*s.QuantityPerMinute || s.RunID != "" && s.To.Sub(s.From) != time.Duration(s.Minutes)*time.Minute {
					o.Errorf("%s: span %+v", l.ID(), s)
				}
			}
			if n != l.Quantity+all.Elsewhere || (len(all.Records) > 0) == l.Dimension.ByTime() && n != 0 {
				o.Errorf("%s of %s is %d, and %d elsewhere; its %d records and %d spans come to %d", l.ID(), m, l.Quantity, all.Elsewhere, len(all.Records), len(all.Spans), n)
			}
			lines, parts = lines+1, parts+len(all.Records)+len(all.Spans)
		}
	}
	return lines, parts
}

// Whatever happened, at whatever prices: the records and spans of a line add up to it, also
// while runs go on and when it was rated some time ago.
func TestWhatALineOpensToAddsUpToIt(t *testing.T) {
	t.Parallel()
	var lines, parts int
	for seed := range seeds(6) {
		h, r := madeUp(t, seed), rand.New(rand.NewPCG(seed, 5))
		o := newOffice(t, openSQLite(t), h.account, h.prices, h.from)
		for list, n := h.told(r), 0; len(list) > 0; n++ {
			list = o.tell(list, 1+r.IntN(40))
			o.rate()
			if n%4 == 0 {
				o.set(o.now().Add(time.Duration(r.Int64N(int64(5 * time.Minute)))))
				o.opens()
			}
		}
		o.set(h.end())
		o.rate()
		l, p := o.opens()
		lines, parts = lines+l, parts+p
	}
	if lines < 50 || parts < 100 {
		t.Errorf("only %d lines of %d parts were opened", lines, parts)
	}
}

func TestOrdersOpenToo(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, reserved, noon)
	for _, r := range []berth.Order{order("ord_1", 2*720, 20_000, 2_000), order("ord_2", -576, 10_000, 1_000)} {
		o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Orders().Insert(ctx, r) })
	}
	o.rate()
	if lines, parts := o.opens(); lines != 4 || parts != 4 {
		t.Errorf("%d lines of %d parts", lines, parts)
	}
	for _, l := range o.lines("2026-10") {
		if l.Class == berth.ClassRefund && l.Dimension == berth.DimensionInputTPMMinute {
			want := []berth.Span{{OrderID: "ord_2", From: noon, Minutes: -576, QuantityPerMinute: 10_000, Quantity: -5_760_000}}
			if got := o.open(&l); !reflect.DeepEqual(got.Spans, want) {
				t.Errorf("spans %+v, want %+v", got.Spans, want)
			}
		}
	}
}

// More than a page of records and of spans, and a correction behind a closed month: neither
// line is without its records, and each says what the other has.
func TestPagesAndCorrectionsOfALine(t *testing.T) {
	t.Parallel()
	const n = 2*berth.OpenLimit + 1
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"},
		[]berth.Price{price(berth.DimensionInput, 1, 3), price(berth.DimensionUnitMinute, nano, 60)}, noon)
	run := mu(1, noon, n*time.Minute)
	run.EndedAt = noon.Add(11 * time.Hour)
	for i := range int64(n) {
		o.use(lora(fmt.Sprintf("use_%05d", i), noon.Add(time.Duration(i)*time.Second), i+1))
		if at := noon.Add(time.Duration(i+1) * time.Minute); i < 600 {
			run.Steps = append(run.Steps, berth.RunStep{At: at, Units: 1 + (i+1)%2})
		}
	}
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
	o.set(time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC))
	o.rate()
	if lines, parts := o.opens(); lines != 2 || parts != n+601 {
		t.Errorf("%d lines of %d parts", lines, parts)
	}
	o.use(lora("use_late", noon.Add(-time.Second), 50))
	o.rate()
	o.opens()
	for month, want := range map[string]struct{ quantity, elsewhere int64 }{"2026-10": {n * (n + 1) / 2, 50}, "2026-11": {50, n * (n + 1) / 2}} {
		for _, l := range o.lines(month) {
			if all := o.open(&l); l.Dimension == berth.DimensionInput && (all.Line.Quantity != want.quantity || all.Elsewhere != want.elsewhere || len(all.Records) != n+1) {
				t.Errorf("%s: %d and %d elsewhere, of %d records", month, all.Line.Quantity, all.Elsewhere, len(all.Records))
			}
		}
	}
}

// The price of an adapter's tokens is that of its base (api.md 5.4), and what was charged by
// it is explained, corrected and tried at other prices also when the row of the deployment
// is deleted.
func TestTheBaseOfADeploymentOutlivesItsRow(t *testing.T) {
	t.Parallel()
	of := price(berth.DimensionInput, 1, 3)
	of.Model = "b"
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{of}, noon)
	used := lora("use_1", noon, 7)
	o.use(used)
	o.rate()
	check := func(when string, quantity int64) {
		t.Helper()
		lines := o.lines("2026-10")
		if len(lines) != 1 || lines[0].PriceID != of.ID || lines[0].Quantity != quantity {
			t.Fatalf("%s the lines are %+v", when, lines)
		}
		var opened int64
		for _, r := range o.open(&lines[0]).Records {
			opened += r.Quantity
		}
		if opened != quantity {
			t.Errorf("%s the line opens to %d of %d tokens", when, opened, quantity)
		}
		trial, err := o.desk.Rerate(t.Context(), payer, "", "2026-10", []berth.Price{of})
		if must(t, err); len(trial) != 1 || trial[0].Amount != lines[0].Amount {
			t.Errorf("%s a trial comes to %+v", when, trial)
		}
	}
	check("before,", 7)
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		_, err := tx.Deployments().Forget(ctx, used.DeploymentID, 10)
		return err
	})
	check("without its row", 7)
	o.use(lora("use_2", noon.Add(time.Second), 4))
	o.rate()
	check("after a late call", 11)
}

// forgetful is a store whose records before a moment were deleted.
type forgetful struct {
	berth.Store
	kept time.Time
}

func (f forgetful) View(ctx context.Context, fn func(berth.Tx) error) error {
	return f.Store.View(ctx, func(tx berth.Tx) error { return fn(forgetfulTx{tx, f.kept}) })
}

type forgetfulTx struct {
	berth.Tx
	kept time.Time
}

func (t forgetfulTx) Usage() berth.UsageStore { return forgetfulUsage{t.Tx.Usage(), t.kept} }

type forgetfulUsage struct {
	berth.UsageStore
	kept time.Time
}

func (s forgetfulUsage) KeptFrom(context.Context, string) (time.Time, error) { return s.kept, nil }

func TestALineSaysThatItsRecordsWereDeleted(t *testing.T) {
	t.Parallel()
	day := noon.Truncate(24 * time.Hour)
	for kept, want := range map[time.Time]time.Time{{}: {}, day: {}, day.Add(time.Hour): day.Add(time.Hour)} {
		o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{price(berth.DimensionInput, 1, 3)}, noon)
		o.use(lora("use_1", noon, 7))
		o.rate()
		o.store = forgetful{o.store, kept}
		if all := o.open(&o.lines("2026-10")[0]); !all.KeptFrom.Equal(want) {
			t.Errorf("records are kept from %v on, and the line says %v", kept, all.KeptFrom)
		}
	}
}
