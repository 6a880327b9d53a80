package billing_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
)

// history is one that was made up: what one deployment did in a few days, and at what prices.
type history struct {
	account berth.Account
	zone    *time.Location
	prices  []berth.Price
	runs    []berth.Run
	calls   []berth.UsageRecord
	from    time.Time
	by      time.Time
}

// Days in which clocks change, and one in which they do not.
var starts = []struct {
	zone string
	at   time.Time
}{
	{"UTC", time.Date(2026, 2, 27, 20, 0, 0, 0, time.UTC)},
	{"Asia/Shanghai", time.Date(2026, 9, 30, 12, 0, 0, 0, time.UTC)},
	{"America/New_York", time.Date(2026, 3, 7, 22, 0, 0, 0, time.UTC)},
	{"America/New_York", time.Date(2026, 10, 31, 22, 0, 0, 0, time.UTC)},
	{"Europe/Berlin", time.Date(2026, 10, 24, 18, 0, 0, 0, time.UTC)},
	{"Australia/Lord_Howe", time.Date(2026, 4, 4, 2, 0, 0, 0, time.UTC)},
	{"Asia/Kathmandu", time.Date(2026, 12, 31, 12, 0, 0, 0, time.UTC)},
}

// lengths are the prompt lengths at which prices of made-up histories change.
var lengths = []int64{0, 100, 1000}

func madeUp(t testing.TB, seed uint64) *history {
	r := rand.New(rand.NewPCG(seed, 1))
	s := starts[r.IntN(len(starts))]
	zone, err := time.LoadLocation(s.zone)
	must(t, err)
	h := &history{account: berth.Account{ID: payer, Currency: "CNY", TimeZone: s.zone}, zone: zone, from: s.at}
	moment := func() time.Time { return s.at.Add(time.Duration(r.Int64N(int64(40 * time.Hour)))) }
	round := func(at time.Time) time.Time { // to a minute of some grid, often
		if r.IntN(2) == 0 {
			return s.at.Add(at.Sub(s.at).Truncate(time.Minute))
		}
		return at
	}
	if r.IntN(2) == 0 {
		h.account.Later = []berth.CurrencyFrom{{From: round(moment()), Currency: "USD"}}
	}
	for i := range 30 {
		d := berth.Dimensions()[r.IntN(8)]
		p := berth.Price{
			ID: fmt.Sprintf("price_%02d", i), Dimension: d, Model: []string{"m", "b", berth.AnyModel}[r.IntN(3)],
			Currency: []string{"CNY", "CNY", "USD"}[r.IntN(3)], Plan: []berth.Plan{"", "", berth.PlanMU, berth.PlanPTU}[r.IntN(4)],
			Nano: berth.Nano(r.Int64N(300 * nano)), Per: 1 + r.Int64N(100),
		}
		if d == berth.DimensionUnitMinute {
			p.Spec = []string{"", "MU1", "MU2"}[r.IntN(3)]
		}
		if !d.ByTime() {
			p.FromTokens = lengths[r.IntN(len(lengths))]
		}
		if r.IntN(3) > 0 {
			p.From = round(moment())
		}
		p.Withdrawn = r.IntN(6) == 0
		h.prices = append(h.prices, p)
	}
	at := round(s.at.Add(time.Duration(r.Int64N(int64(6 * time.Hour)))))
	plan := []berth.Plan{berth.PlanMU, berth.PlanPTU}[r.IntN(2)]
	for i := range 1 + r.IntN(5) {
		run := mu(r.Int64N(9), at, time.Duration(r.Int64N(int64(9*time.Hour))))
		run.ID, run.Plan = fmt.Sprintf("svc_%d", i), plan
		if r.IntN(10) == 0 {
			run.EndedAt = at
		}
		run.Steps = nil
		for step := at; !step.After(run.EndedAt); step = step.Add(time.Duration(1 + r.Int64N(int64([]time.Duration{time.Second, time.Minute, time.Hour}[r.IntN(3)])))) {
			if r.IntN(3) == 0 {
				step = at.Add(step.Sub(at).Truncate(time.Minute))
			}
			c := berth.RunStep{At: step, Units: r.Int64N(9)}
			if plan == berth.PlanPTU {
				run.Spec, c.Units, c.PTU = "", 0, berth.PTUCapacity{InputTPM: r.Int64N(4) * 10_000, OutputTPM: r.Int64N(4) * 500, ThinkingTPM: r.Int64N(2) * 300}
			}
			if n := len(run.Steps); n == 0 || c.At.After(run.Steps[n-1].At) {
				run.Steps = append(run.Steps, c)
			}
		}
		h.runs = append(h.runs, run)
		at = run.EndedAt.Add(time.Duration(r.Int64N(int64(2 * time.Hour))))
	}
	h.by = at
	if r.IntN(2) == 0 { // the last goes on
		h.runs[len(h.runs)-1].EndedAt = time.Time{}
	}
	for i := range 60 {
		u := berth.UsageRecord{
			ID: fmt.Sprintf("use_%02d", i), WorkspaceID: workspace, KeyID: fmt.Sprint("key_", r.IntN(2)), DeploymentID: "dep_1", DeployedModel: "a", ModelName: "m", Plan: plan,
			Class:     []berth.Class{berth.ClassShared, berth.ClassOverflow, berth.ClassReserved, berth.ClassProbe}[r.IntN(4)],
			StartedAt: round(moment()), InputTokens: r.Int64N(2000), OutputTokens: r.Int64N(500), Billable: r.IntN(5) > 0,
		}
		u.CachedTokens, u.ThinkingTokens = r.Int64N(u.InputTokens+1), r.Int64N(u.OutputTokens+1)
		u.EndedAt = u.StartedAt.Add(time.Second)
		h.calls = append(h.calls, u)
	}
	return h
}

// sums adds the calls up as the store does: by day, key, class, prompt length and instant.
func (h *history) sums(day string) (list []berth.UsageDay) {
	instants := berth.NewBook(h.prices).Instants()
	for _, l := range h.account.Later {
		instants = append(slices.Clone(instants), l.From)
	}
	at := map[string]int{}
	for _, c := range h.calls {
		u := berth.UsageDay{
			Day: c.StartedAt.In(h.zone).Format(time.DateOnly), WorkspaceID: c.WorkspaceID, KeyID: c.KeyID, DeploymentID: c.DeploymentID,
			DeployedModel: c.DeployedModel, ModelName: c.ModelName, Plan: c.Plan, Class: c.Class,
		}
		if u.Day != day {
			continue
		}
		for _, n := range lengths {
			if c.InputTokens >= n {
				u.FromTokens = n
			}
		}
		for _, t := range instants {
			if !t.After(c.StartedAt) && t.After(u.Epoch) {
				u.Epoch = t
			}
		}
		key := fmt.Sprint(u)
		if _, ok := at[key]; !ok {
			at[key] = len(list)
			list = append(list, u)
		}
		f := berth.UsageFigures{Calls: 1, InputTokens: c.InputTokens, CachedTokens: c.CachedTokens, OutputTokens: c.OutputTokens, ThinkingTokens: c.ThinkingTokens}
		list[at[key]].UsageFigures.Add(f)
		if c.Billable {
			list[at[key]].Billable.Add(f)
		}
	}
	return list
}

// slow is what the history comes to, minute by minute and call by call, in exact fractions:
// by line the quantity and the amount.
type slow map[string]*slowLine

type slowLine struct {
	quantity int64
	amount   big.Rat
}

func (s slow) add(day string, l berth.Line, p berth.Price, found bool, quantity, each int64) {
	if quantity == 0 {
		return
	}
	if !found {
		p = berth.Price{Per: 1}
	}
	key := fmt.Sprint(day, l.Dimension, l.Class, p.FromTokens, p.ID, l.Currency)
	if s[key] == nil {
		s[key] = new(slowLine)
	}
	s[key].quantity += quantity
	x := big.NewRat(quantity, each)
	x.Mul(x, big.NewRat(int64(p.Nano), p.Per))
	s[key].amount.Add(&s[key].amount, x)
}

// priceAt looks through the whole book: the narrowest that holds, of the highest tier that
// the prompt reaches.
func (h *history) priceAt(currency string, plan berth.Plan, spec string, d berth.Dimension, tokens int64, at time.Time) (berth.Price, bool) {
	type place struct {
		model, spec string
		plan        berth.Plan
		from        int64
	}
	var best berth.Price
	rank := -1
	for _, model := range []string{"m", "b", "*"} {
		for _, sp := range []string{spec, ""} {
			for _, pl := range []berth.Plan{plan, ""} {
				for n := len(lengths) - 1; n >= 0 && rank < 0; n-- {
					var holds *berth.Price
					for i := range h.prices {
						p := &h.prices[i]
						if (place{p.Model, p.Spec, p.Plan, p.FromTokens} != place{model, sp, pl, lengths[n]}) || p.Dimension != d || p.Currency != currency || p.From.After(at) || p.FromTokens > tokens {
							continue
						}
						if holds == nil || p.From.After(holds.From) || p.From.Equal(holds.From) && p.ID > holds.ID {
							holds = p
						}
					}
					if holds != nil && !holds.Withdrawn {
						best, rank = *holds, n
					}
				}
			}
		}
	}
	if rank < 0 {
		switch d {
		case berth.DimensionCached:
			return h.priceAt(currency, plan, spec, berth.DimensionInput, tokens, at)
		case berth.DimensionThinking:
			return h.priceAt(currency, plan, spec, berth.DimensionOutput, tokens, at)
		case berth.DimensionThinkingTPMMinute:
			return h.priceAt(currency, plan, spec, berth.DimensionOutputTPMMinute, tokens, at)
		}
	}
	return best, rank >= 0
}

func (h *history) currencyAt(at time.Time) string {
	if len(h.account.Later) > 0 && !h.account.Later[0].From.After(at) {
		return h.account.Later[0].Currency
	}
	return h.account.Currency
}

func (h *history) slow() slow {
	s := slow{}
	for i := range h.runs {
		h.walk(s, &h.runs[i])
	}
	for i := range h.calls {
		c := &h.calls[i]
		if !c.Billable || c.Class != berth.ClassShared && c.Class != berth.ClassOverflow {
			continue
		}
		for d, n := range map[berth.Dimension]int64{
			berth.DimensionInput: c.InputTokens - c.CachedTokens, berth.DimensionCached: c.CachedTokens,
			berth.DimensionOutput: c.OutputTokens - c.ThinkingTokens, berth.DimensionThinking: c.ThinkingTokens,
		} {
			l := berth.Line{Dimension: d, Class: c.Class, Currency: h.currencyAt(c.StartedAt)}
			p, ok := h.priceAt(l.Currency, c.Plan, "", d, c.InputTokens, c.StartedAt)
			s.add(c.StartedAt.In(h.zone).Format(time.DateOnly), l, p, ok, n, 1)
		}
	}
	return s
}

// walk goes through a run minute by minute.
func (h *history) walk(s slow, r *berth.Run) {
	end := r.EndedAt
	if end.IsZero() || end.After(h.by) {
		end = h.by
	}
	for at := r.StartedAt; at.Before(end); at = at.Add(time.Minute) {
		var c berth.RunStep
		for i, step := range r.Steps {
			// It is effective from its moment to the next step's or the end.
			until := end
			if i+1 < len(r.Steps) && r.Steps[i+1].At.Before(end) {
				until = r.Steps[i+1].At
			}
			if step.At.Before(until) && step.At.Before(at.Add(time.Minute)) && until.After(at) {
				c.Units = max(c.Units, step.Units)
				c.PTU.InputTPM = max(c.PTU.InputTPM, step.PTU.InputTPM)
				c.PTU.OutputTPM = max(c.PTU.OutputTPM, step.PTU.OutputTPM)
				c.PTU.ThinkingTPM = max(c.PTU.ThinkingTPM, step.PTU.ThinkingTPM)
			}
		}
		for d, q := range map[berth.Dimension][2]int64{
			berth.DimensionUnitMinute: {c.Units, 1}, berth.DimensionInputTPMMinute: {c.PTU.InputTPM, 10_000},
			berth.DimensionOutputTPMMinute: {c.PTU.OutputTPM, 1000}, berth.DimensionThinkingTPMMinute: {c.PTU.ThinkingTPM, 1000},
		} {
			l := berth.Line{Dimension: d, Currency: h.currencyAt(at)}
			p, ok := h.priceAt(l.Currency, r.Plan, r.Spec, d, 0, at)
			s.add(at.In(h.zone).Format(time.DateOnly), l, p, ok, q[0], q[1])
		}
	}
}

// rounded returns the amount to the nearest nano, half up.
func (l *slowLine) rounded() berth.Nano {
	n := new(big.Int).Mul(l.amount.Num(), big.NewInt(2))
	n.Add(n, l.amount.Denom())
	n.Div(n, new(big.Int).Mul(l.amount.Denom(), big.NewInt(2)))
	return berth.Nano(n.Int64())
}

// days returns every day of the history.
func (h *history) days() (list []berth.Day) {
	for d := berth.DayOf(h.from, h.zone); d.Start.Before(h.by.AddDate(0, 0, 2)); d = berth.DayOf(d.End, h.zone) {
		list = append(list, d)
	}
	return list
}

func (h *history) facts(d berth.Day) billing.Facts {
	return billing.Facts{Account: &h.account, Day: d, BaseModel: "b", Runs: h.runs, Usage: h.sums(d.Name), By: h.by}
}

func seeds(most uint64) uint64 {
	if testing.Short() {
		return max(1, most/5)
	}
	return most
}

func TestAmountsAreThoseOfASlowReference(t *testing.T) {
	t.Parallel()
	for seed := range seeds(40) {
		h := madeUp(t, seed)
		want := h.slow()
		book := berth.NewBook(h.prices)
		for _, d := range h.days() {
			f := h.facts(d)
			lines, err := billing.Lines(book, &f)
			must(t, err)
			for _, l := range lines {
				key := fmt.Sprint(l.Day, l.Dimension, l.Class, l.FromTokens, l.PriceID, l.Currency)
				w := want[key]
				if w == nil || l.Quantity != w.quantity || l.Amount != w.rounded() {
					t.Fatalf("seed %d: %s has %d for %d; the reference says %+v", seed, key, l.Quantity, l.Amount, w)
				}
				delete(want, key)
			}
		}
		if len(want) > 0 {
			t.Fatalf("seed %d: only the reference has %v", seed, want)
		}
	}
}

// Whatever happens in a run, it is charged for its minutes and at most one more.
func TestChargedMinutesAreAtMostRunMinutesPlusOne(t *testing.T) {
	t.Parallel()
	one := berth.NewBook([]berth.Price{price(berth.DimensionUnitMinute, 1, 1)})
	for seed := range seeds(300) {
		h := madeUp(t, seed)
		for i := range h.runs {
			r := h.runs[i]
			r.Plan, r.Spec = berth.PlanMU, "MU1"
			for k := range r.Steps {
				r.Steps[k].Units, r.Steps[k].PTU = 1, berth.PTUCapacity{}
			}
			end := r.EndedAt
			if end.IsZero() {
				end = h.by
			}
			var charged int64
			for _, d := range h.days() {
				lines, err := billing.Lines(one, &billing.Facts{Account: &h.account, Day: d, Runs: []berth.Run{r}, By: h.by})
				must(t, err)
				charged += minutesOf(lines)
			}
			if life := end.Sub(r.StartedAt); time.Duration(charged)*time.Minute < life || time.Duration(charged-1)*time.Minute >= max(life, 1) {
				t.Fatalf("seed %d: a run of %s is charged for %d minutes", seed, life, charged)
			}
		}
	}
}

// The order in which runs and sums come makes no difference.
func TestAnyOrderOfFactsMakesTheSameLines(t *testing.T) {
	t.Parallel()
	for seed := range seeds(50) {
		h, r := madeUp(t, seed), rand.New(rand.NewPCG(seed, 2))
		book := berth.NewBook(h.prices)
		for _, d := range h.days() {
			f := h.facts(d)
			want, err := billing.Lines(book, &f)
			must(t, err)
			for range 3 {
				r.Shuffle(len(h.prices), func(i, k int) { h.prices[i], h.prices[k] = h.prices[k], h.prices[i] })
				r.Shuffle(len(h.calls), func(i, k int) { h.calls[i], h.calls[k] = h.calls[k], h.calls[i] })
				f.Runs, f.Usage = slices.Clone(h.runs), h.sums(d.Name)
				r.Shuffle(len(f.Runs), func(i, k int) { f.Runs[i], f.Runs[k] = f.Runs[k], f.Runs[i] })
				got, err := billing.Lines(berth.NewBook(h.prices), &f)
				must(t, err)
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %s:\n got %+v\nwant %+v", seed, d.Name, got, want)
				}
			}
		}
	}
}
