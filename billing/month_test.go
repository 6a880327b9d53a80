package billing_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
)

// lora is one billable call of a lora deployment.
func lora(id string, at time.Time, input int64) berth.UsageRecord {
	return berth.UsageRecord{
		ID: id, WorkspaceID: workspace, KeyID: "key_1", DeploymentID: "dep_1", DeployedModel: "a", ModelName: "m", Plan: berth.PlanLoRA,
		Class: berth.ClassShared, StartedAt: at, EndedAt: at.Add(time.Second), InputTokens: input, Billable: true,
	}
}

func (o *office) use(records ...berth.UsageRecord) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Usage().Insert(ctx, records) })
}

func (o *office) closed() (list []string) {
	o.Helper()
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		months, err := tx.Lines().Closed(ctx, payer)
		for _, m := range months {
			list = append(list, m.Month)
		}
		return err
	})
	return list
}

// A month closes a day after its end; what comes later is a line of its own day in the next
// statement, and a correction in the ledger.
func TestLateDataIsCorrectedInTheNextMonth(t *testing.T) {
	t.Parallel()
	zone := berth.Account{ID: payer, Currency: "CNY", TimeZone: "Asia/Shanghai"}
	o := newOffice(t, openSQLite(t), zone, []berth.Price{price(berth.DimensionInput, 1, 3)}, noon)
	end := time.Date(2026, 10, 31, 16, 0, 0, 0, time.UTC) // of October in Shanghai
	o.use(lora("use_1", end.Add(-time.Second), 100), lora("use_2", end, 7))
	o.set(end.Add(24*time.Hour - time.Second))
	o.rate()
	if got := o.closed(); len(got) != 1 || got[0] != "2026-09" {
		t.Errorf("closed a second before it is due: %v", got)
	}
	o.set(end.Add(25 * time.Hour))
	o.rate()
	if got := o.closed(); len(got) != 2 || got[1] != "2026-10" {
		t.Errorf("closed a day after its end: %v", got)
	}
	before := o.lines("2026-10")
	o.use(lora("use_3", end.Add(-time.Second), 50))
	o.rate()
	if after := o.lines("2026-10"); len(after) != 1 || len(before) != 1 || after[0] != before[0] {
		t.Errorf("a closed month changed from %+v to %+v", before, after)
	}
	next := o.lines("2026-11")
	if len(next) != 2 || !next[0].Late() || next[0].Day != "2026-10-31" || next[0].Quantity != 50 || next[0].Amount != 17 {
		t.Fatalf("the next month: %+v", next)
	}
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		list, err := tx.Ledger().Postings(ctx, berth.PostingFilter{Cause: berth.CauseCorrection}, "", 10)
		if len(list) != 1 || list[0].Entries[1].Nano != 17 {
			t.Errorf("corrections: %+v", list)
		}
		return err
	})
	o.use(lora("use_4", end.Add(-time.Second), 1))
	o.rate()
	if next := o.lines("2026-11"); len(next) != 2 || next[0].Quantity != 51 {
		t.Errorf("the next month after another: %+v", next)
	}
	o.audit()
}

func TestAMonthIsNotClosedBeforeItsUsageIsThere(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, nil, noon)
	end := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	folded := end
	desk := billing.New(billing.Options{Store: o.store, Now: o.now, Folded: func() time.Time { return folded }})
	o.set(end.Add(30 * time.Hour))
	must(t, desk.Rate(t.Context()))
	if got := o.closed(); len(got) != 0 {
		t.Errorf("closed %v while usage waits in the journal", got)
	}
	folded = end.Add(25 * time.Hour)
	must(t, desk.Rate(t.Context()))
	if got := o.closed(); len(got) != 1 || got[0] != "2026-10" {
		t.Errorf("closed %v", got)
	}
}

// A month that was missed is closed with those after it.
func TestMonthsThatWereMissedAreClosed(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, nil, noon)
	o.rate()
	o.use(lora("use_1", noon, 5))
	o.set(time.Date(2027, 2, 5, 0, 0, 0, 0, time.UTC))
	o.rate()
	if got := o.closed(); len(got) != 5 || got[0] != "2026-09" || got[4] != "2027-01" {
		t.Errorf("closed %v", got)
	}
	if lines := o.lines("2026-10"); len(lines) != 1 {
		t.Errorf("October has %+v", lines)
	}
}

func TestATrialComputesAMonthWithOtherPrices(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{
		price(berth.DimensionInput, 10, 1), price(berth.DimensionUnitMinute, 1000, 1),
	}, noon)
	run := mu(2, noon, time.Hour)
	run.DeploymentID = "dep_2"
	o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Runs().Insert(ctx, run) })
	o.use(lora("use_1", noon, 5), lora("use_2", noon, 40_000))
	o.set(noon.Add(36 * time.Hour))
	trial := func(month string, prices ...berth.Price) ([]berth.Line, error) {
		return o.desk.Rerate(t.Context(), payer, "", month, prices)
	}
	tier := func(p *berth.Price) { p.FromTokens, p.ID = 32_000, "price_long" }
	lines, err := trial("2026-10", price(berth.DimensionInput, 20, 1), price(berth.DimensionInput, 30, 1, tier), price(berth.DimensionUnitMinute, 3, 1))
	must(t, err)
	if len(lines) != 3 || sum(lines) != 5*20+40_000*30+2*60*3 {
		t.Errorf("trial = %+v", lines)
	}
	if got := sum(o.lines("2026-10")); got != 40_005*10+120*1000 {
		t.Errorf("the statement comes to %d", got)
	}
	if lines, err := o.desk.Rerate(t.Context(), payer, "llm-other", "2026-10", nil); err != nil || len(lines) != 0 {
		t.Errorf("of another workspace: %+v, %v", lines, err)
	}
	odd := func(p *berth.Price) { p.FromTokens = 12_345 }
	inside := func(p *berth.Price) { p.From = noon.Add(time.Minute) }
	// What sums do not tell apart is taken from records: 5 tokens are below the tier and 40,000
	// above, both calls were before the instant.
	for name, c := range map[string]struct {
		prices []berth.Price
		want   berth.Nano
	}{
		"length":  {[]berth.Price{price(berth.DimensionInput, 2, 1), price(berth.DimensionInput, 3, 1, odd)}, 5*2 + 40_000*3},
		"instant": {[]berth.Price{price(berth.DimensionInput, 2, 1), price(berth.DimensionInput, 3, 1, inside)}, 40_005 * 2},
	} {
		if lines, err := trial("2026-10", c.prices...); err != nil || sum(lines) != c.want {
			t.Errorf("%s: %+v, %v", name, lines, err)
		}
	}
	o.tx(func(ctx context.Context, tx berth.Tx) error {
		_, err := tx.Usage().Expire(ctx, workspace, noon.Add(36*time.Hour), 100)
		return err
	})
	if _, err := trial("2026-10", price(berth.DimensionInput, 3, 1, odd)); berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("without records: %v", err)
	}
	if _, err := trial("2026-10", price(berth.DimensionUnitMinute, 1, 1, inside)); err != nil {
		t.Errorf("time can be divided anywhere: %v", err)
	}
}

// From records a trial is what it is from sums, to the byte.
func TestATrialFromRecordsIsThatFromSums(t *testing.T) {
	t.Parallel()
	priced := 0
	for seed := range seeds(6) {
		h := madeUp(t, seed).goingOn()
		o := newOffice(t, openSQLite(t), h.account, h.prices, h.from)
		o.tx(func(ctx context.Context, tx berth.Tx) error {
			for _, r := range h.runs {
				must(t, tx.Runs().Insert(ctx, r))
			}
			return tx.Usage().Insert(ctx, h.calls)
		})
		o.set(h.end())
		prices := slices.Clone(h.prices)
		for i := range prices {
			prices[i].Nano += 7
		}
		for _, m := range o.months() {
			sums, err := o.desk.Rerate(t.Context(), payer, "", m, prices)
			must(t, err)
			records, err := o.desk.Recounted(t.Context(), payer, "", m, prices)
			must(t, err)
			if !reflect.DeepEqual(sums, records) {
				t.Fatalf("seed %d, %s:\n   sums %+v\nrecords %+v", seed, m, sums, records)
			}
			for _, l := range sums {
				if !l.Dimension.ByTime() && l.Amount > 0 {
					priced++
				}
			}
		}
	}
	if priced == 0 {
		t.Error("no tokens were priced")
	}
}

// What a stream produced until its caller broke it off is charged, and what nobody was told
// of is not.
// conformance 122
func TestAnAbortedStreamIsChargedUpToTheAbort(t *testing.T) {
	t.Parallel()
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, []berth.Price{
		price(berth.DimensionInput, 2*nano, 1_000_000), price(berth.DimensionOutput, 8*nano, 1_000_000),
	}, noon)
	stream, plain := lora("use_1", noon, 100), lora("use_2", noon, 100)
	stream.OutputTokens, stream.End, stream.Source = 7, berth.EndClientGone, berth.SourceCounted
	plain.OutputTokens, plain.End, plain.Source, plain.Billable = 40, berth.EndClientGone, berth.SourceUnknown, false
	o.use(stream, plain)
	o.rateAt(noon.Add(time.Hour))
	if lines := o.lines("2026-10"); len(lines) != 2 || lines[0].Quantity != 100 || lines[1].Quantity != 7 || sum(lines) != 200_000+56_000 {
		t.Errorf("lines = %+v", lines)
	}
	o.audit()
}
