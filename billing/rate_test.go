package billing_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
)

const (
	payer     = "1000000000000001"
	workspace = "llm-home"
	nano      = 1_000_000_000
)

var noon = time.Date(2026, 10, 2, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// price is one of the seed's kind: CNY for each per, from ever on, for every model.
func price(d berth.Dimension, n berth.Nano, per int64, changes ...func(*berth.Price)) berth.Price {
	p := berth.Price{ID: fmt.Sprintf("price_%s_%d", d, n), Model: berth.AnyModel, Dimension: d, Nano: n, Per: per, Currency: "CNY"}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func mu(units int64, from time.Time, life time.Duration, steps ...berth.RunStep) berth.Run {
	return berth.Run{
		ID: "svc_1", AccountID: payer, WorkspaceID: workspace, DeploymentID: "dep_1", DeployedModel: "a", ModelName: "m", BaseModel: "b",
		Plan: berth.PlanMU, Spec: "MU1", StartedAt: from, EndedAt: from.Add(life),
		Steps: append([]berth.RunStep{{At: from, Units: units}}, steps...),
	}
}

// linesOf rates a UTC day with the prices.
func linesOf(t testing.TB, at time.Time, prices []berth.Price, f billing.Facts) []berth.Line {
	t.Helper()
	if f.Account == nil {
		f.Account = &berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}
	}
	f.Day = berth.DayOf(at, f.Account.Zone())
	if f.By.IsZero() {
		f.By = at.AddDate(1, 0, 0)
	}
	lines, err := billing.Lines(berth.NewBook(prices), &f)
	must(t, err)
	return lines
}

func sum(lines []berth.Line) (n berth.Nano) {
	for i := range lines {
		n += lines[i].Amount
	}
	return n
}

// api.md 6.1: MU1, base 4, capacity 8, 90 minutes = 1.5 x 8 x 54 = 648 CNY.
// conformance 118
func TestMU1For90MinutesIs648CNY(t *testing.T) {
	t.Parallel()
	lines := linesOf(t, noon, []berth.Price{price(berth.DimensionUnitMinute, 54*nano, 60)}, billing.Facts{
		Runs: []berth.Run{mu(8, noon, 90*time.Minute)},
	})
	want := berth.Line{
		AccountID: payer, Month: "2026-10", Day: "2026-10-02", WorkspaceID: workspace, DeploymentID: "dep_1", DeployedModel: "a", ModelName: "m",
		Plan: berth.PlanMU, Spec: "MU1", Dimension: berth.DimensionUnitMinute, PriceID: "price_unit_minute_54000000000",
		Quantity: 8 * 90, Price: 54 * nano, Per: 60, Currency: "CNY", Amount: 648 * nano,
	}
	if len(lines) != 1 || lines[0] != want {
		t.Errorf("lines = %+v\nwant %+v", lines, want)
	}
}

// api.md 6.1: 20,000 and 2,000 TPM for 3 h = 3 x (2 x 0.36 + 2 x 0.36) = 4.32 CNY.
// conformance 121
func TestPTUFor3HoursIs4_32CNY(t *testing.T) {
	t.Parallel()
	run := mu(0, noon, 3*time.Hour)
	run.Plan, run.Spec, run.Steps[0].PTU = berth.PlanPTU, "", berth.PTUCapacity{InputTPM: 20_000, OutputTPM: 2_000}
	lines := linesOf(t, noon, []berth.Price{
		price(berth.DimensionInputTPMMinute, 360_000_000, 60), price(berth.DimensionOutputTPMMinute, 360_000_000, 60),
	}, billing.Facts{Runs: []berth.Run{run}})
	if len(lines) != 2 || sum(lines) != 4_320_000_000 {
		t.Errorf("lines = %+v", lines)
	}
}

// Prices that are no whole number of nanos a minute are rounded once for the day.
func TestPricesOfNoWholeNumberOfNanosAMinute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		perHour berth.Nano
		minutes int64
		want    berth.Nano
	}{
		{137, 1, 2_283_333_333}, {137, 7, 15_983_333_333}, {137, 60, 137 * nano}, {137, 720, 12 * 137 * nano},
		{25, 1, 416_666_667}, {25, 2, 833_333_333}, {25, 59, 24_583_333_333}, {25, 60, 25 * nano},
		{47, 1, 783_333_333}, {47, 11, 8_616_666_667}, {47, 61, 47_783_333_333},
	} {
		lines := linesOf(t, noon, []berth.Price{price(berth.DimensionUnitMinute, c.perHour*nano, 60)}, billing.Facts{
			Runs: []berth.Run{mu(1, noon, time.Duration(c.minutes)*time.Minute)},
		})
		if sum(lines) != c.want {
			t.Errorf("%d CNY an hour for %d minutes = %d, want %d", c.perHour, c.minutes, sum(lines), c.want)
		}
	}
}

// call is what a sum of calls says of one.
func call(class berth.Class, from, input, cached, output, thinking int64) berth.UsageDay {
	f := berth.UsageFigures{Calls: 1, InputTokens: input, CachedTokens: cached, OutputTokens: output, ThinkingTokens: thinking}
	return berth.UsageDay{
		Day: "2026-10-02", WorkspaceID: workspace, DeploymentID: "dep_1", DeployedModel: "a", ModelName: "m", Plan: berth.PlanLoRA,
		Class: class, FromTokens: from, UsageSum: berth.UsageSum{UsageFigures: f, Billable: f},
	}
}

// conformance 120
func TestLoRAIsChargedByTheToken(t *testing.T) {
	t.Parallel()
	seed := []berth.Price{price(berth.DimensionInput, 2*nano, 1_000_000), price(berth.DimensionOutput, 8*nano, 1_000_000)}
	if lines := linesOf(t, noon, seed, billing.Facts{}); len(lines) != 0 {
		t.Errorf("an idle deployment costs %+v", lines)
	}
	unbilled := call(berth.ClassShared, 0, 999, 0, 999, 0)
	unbilled.Billable = berth.UsageFigures{}
	lines := linesOf(t, noon, seed, billing.Facts{Usage: []berth.UsageDay{
		call(berth.ClassShared, 0, 1, 0, 1, 0), call(berth.ClassShared, 0, 499, 0, 99, 0), unbilled,
		call(berth.ClassProbe, 0, 7, 0, 7, 0), call(berth.ClassReserved, 0, 7, 0, 7, 0), call(berth.ClassDedicated, 0, 7, 0, 7, 0),
	}})
	if len(lines) != 2 || lines[0].Quantity != 500 || lines[1].Quantity != 100 || sum(lines) != 1_000_000+800_000 {
		t.Errorf("lines = %+v", lines)
	}
}

func TestCachedAndThinkingTokensHavePricesOfTheirOwnOrNone(t *testing.T) {
	t.Parallel()
	used := billing.Facts{Usage: []berth.UsageDay{call(berth.ClassOverflow, 0, 100, 30, 50, 20)}}
	two := []berth.Price{price(berth.DimensionInput, 10, 1), price(berth.DimensionOutput, 100, 1)}
	if lines := linesOf(t, noon, two, used); len(lines) != 4 || sum(lines) != 70*10+30*10+30*100+20*100 {
		t.Errorf("without prices of their own: %+v", lines)
	}
	four := append(slices.Clone(two), price(berth.DimensionCached, 1, 1), price(berth.DimensionThinking, 1000, 1))
	if lines := linesOf(t, noon, four, used); len(lines) != 4 || sum(lines) != 70*10+30+30*100+20*1000 {
		t.Errorf("with prices of their own: %+v", lines)
	}
}

// api.md 5.4: below 128K at one price, from there on at another.
func TestTiersByPromptLength(t *testing.T) {
	t.Parallel()
	tier := func(p *berth.Price) { p.FromTokens, p.ID = 128_000, p.ID+"_long" }
	lines := linesOf(t, noon, []berth.Price{
		price(berth.DimensionInput, 6, 10), price(berth.DimensionInput, 18, 10, tier),
		price(berth.DimensionOutput, 48, 10), price(berth.DimensionOutput, 144, 10, tier),
	}, billing.Facts{Usage: []berth.UsageDay{
		call(berth.ClassShared, 0, 1000, 0, 10, 0), call(berth.ClassShared, 32_000, 100_000, 0, 10, 0),
		call(berth.ClassShared, 128_000, 200_000, 0, 20, 0), call(berth.ClassShared, 256_000, 300_000, 0, 20, 0),
	}})
	want := []berth.Nano{101_000 * 6 / 10, 500_000 * 18 / 10, 20 * 48 / 10, 40 * 144 / 10}
	if len(lines) != len(want) {
		t.Fatalf("lines = %+v", lines)
	}
	for i, l := range lines {
		if l.Amount != want[i] || (l.FromTokens != 0) != (i%2 == 1) {
			t.Errorf("line %d = %+v, want an amount of %d", i, l, want[i])
		}
	}
}

func TestWhatHasNoPriceIsFreeAndShown(t *testing.T) {
	t.Parallel()
	lines := linesOf(t, noon, nil, billing.Facts{
		Runs: []berth.Run{mu(3, noon, time.Minute)}, Usage: []berth.UsageDay{call(berth.ClassShared, 0, 5, 0, 0, 0)},
	})
	if len(lines) != 2 || sum(lines) != 0 || lines[1].Quantity != 3 || lines[1].PriceID != "" || lines[1].Price != 0 || lines[1].Per != 1 {
		t.Errorf("lines = %+v", lines)
	}
}

// A price and a currency that change at an instant split the line there; the minute that the
// instant is in belongs to the one that held at its start.
func TestPriceAndCurrencyChangesSplitALine(t *testing.T) {
	t.Parallel()
	at := noon.Add(10*time.Minute + 30*time.Second)
	from := func(t time.Time, currency string) func(*berth.Price) {
		return func(p *berth.Price) { p.From, p.Currency, p.ID = t, currency, p.ID+currency }
	}
	prices := []berth.Price{
		price(berth.DimensionUnitMinute, 60, 60), price(berth.DimensionUnitMinute, 120, 60, from(at, "CNY")),
		price(berth.DimensionUnitMinute, 30, 60, from(time.Time{}, "USD")),
	}
	lines := linesOf(t, noon, prices, billing.Facts{
		Account: &berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC", Later: []berth.CurrencyFrom{{From: noon.Add(20 * time.Minute), Currency: "USD"}}},
		Runs:    []berth.Run{mu(1, noon, 30*time.Minute)},
	})
	got := map[string]int64{}
	for _, l := range lines {
		got[fmt.Sprint(l.Price, l.Currency)] = l.Quantity
	}
	if len(lines) != 3 || got["60CNY"] != 11 || got["120CNY"] != 9 || got["30USD"] != 10 {
		t.Errorf("minutes by price = %v", got)
	}
}

func TestAMinuteIsChargedOnceAtItsHighestCapacity(t *testing.T) {
	t.Parallel()
	at := func(s float64, units int64) berth.RunStep {
		return berth.RunStep{At: noon.Add(time.Duration(s * float64(time.Second))), Units: units}
	}
	one := []berth.Price{price(berth.DimensionUnitMinute, 1, 1)}
	for name, c := range map[string]struct {
		life  time.Duration
		steps []berth.RunStep
		want  int64
	}{
		"an instant is a minute":                  {life: 1, want: 2},
		"nothing is none":                         {life: 0, want: 0},
		"a minute is one":                         {life: time.Minute, want: 2},
		"and a bit is two":                        {life: time.Minute + 1, want: 4},
		"the highest of a minute":                 {life: 2 * time.Minute, steps: []berth.RunStep{at(10, 9), at(11, 1)}, want: 9 + 1},
		"a step at the edge is of the next":       {life: 2 * time.Minute, steps: []berth.RunStep{at(60, 5)}, want: 2 + 5},
		"less from the middle on, from the next":  {life: 3 * time.Minute, steps: []berth.RunStep{at(90, 1)}, want: 2 + 2 + 1},
		"more from the middle on, for the whole":  {life: 3 * time.Minute, steps: []berth.RunStep{at(90, 7)}, want: 2 + 7 + 7},
		"a step behind the end is not charged":    {life: 30 * time.Second, steps: []berth.RunStep{at(40, 7)}, want: 2},
		"nor is one at the end":                   {life: 30 * time.Second, steps: []berth.RunStep{at(30, 7)}, want: 2},
		"to nothing and back":                     {life: 5 * time.Minute, steps: []berth.RunStep{at(60, 0), at(240, 2)}, want: 2 + 2},
		"a hundred changes in one minute are one": {life: time.Minute, steps: storm(), want: 100},
	} {
		if got := minutesOf(linesOf(t, noon, one, billing.Facts{Runs: []berth.Run{mu(2, noon, c.life, c.steps...)}})); got != c.want {
			t.Errorf("%s: %d unit minutes, want %d", name, got, c.want)
		}
	}
}

func storm() (steps []berth.RunStep) {
	for i := range 100 {
		steps = append(steps, berth.RunStep{At: noon.Add(time.Duration(i+1) * 500 * time.Millisecond), Units: int64(i+1) * 37 % 101})
	}
	return steps
}

func minutesOf(lines []berth.Line) (n int64) {
	for i := range lines {
		n += lines[i].Quantity
	}
	return n
}

func TestAmountsThatAreTooLargeAreErrors(t *testing.T) {
	t.Parallel()
	f := billing.Facts{
		Account: &berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, Day: berth.DayOf(noon, time.UTC), By: noon,
		Runs: []berth.Run{mu(1<<60, noon.Add(-time.Hour), time.Hour)},
	}
	if _, err := billing.Lines(berth.NewBook(nil), &f); berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("quantity: %v", err)
	}
	f.Runs = []berth.Run{mu(1<<50, noon.Add(-time.Hour), time.Hour)}
	if _, err := billing.Lines(berth.NewBook([]berth.Price{price(berth.DimensionUnitMinute, 1<<40, 1)}), &f); berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("amount: %v", err)
	}
}
