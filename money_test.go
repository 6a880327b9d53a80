package berth

import (
	"math"
	"math/big"
	"testing"
	"time"
)

// slowAmount is AmountOf by arithmetic without bounds: floor of the quotient and a half.
func slowAmount(price Nano, quantity, per int64) *big.Int {
	n := new(big.Int).Mul(big.NewInt(int64(price)), big.NewInt(quantity))
	n.Lsh(n, 1).Add(n, big.NewInt(per))
	return n.Div(n, new(big.Int).Lsh(big.NewInt(per), 1))
}

func FuzzAmountOf(f *testing.F) {
	for _, c := range [][3]int64{
		{0, 0, 1}, {54e9, 8 * 90, 60}, {1, 1, 2}, {1, 1, 3}, {2, 1, 3}, {137e9, 1, 60}, {25e9, 7, 60}, {47e9, 11, 60},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64}, {math.MaxInt64, 2, 2}, {math.MaxInt64, 2, 1}, {math.MaxInt64, math.MaxInt64, 1},
	} {
		f.Add(c[0], c[1], c[2])
	}
	f.Fuzz(func(t *testing.T, price, quantity, per int64) {
		got, err := AmountOf(Nano(price), quantity, per)
		if price < 0 || quantity < 0 || per <= 0 {
			if err == nil {
				t.Fatalf("AmountOf(%d, %d, %d) = %d", price, quantity, per, got)
			}
			return
		}
		want := slowAmount(Nano(price), quantity, per)
		if fits := want.IsInt64(); fits != (err == nil) || fits && want.Int64() != int64(got) {
			t.Fatalf("AmountOf(%d, %d, %d) = %d, %v; want %d", price, quantity, per, got, err, want)
		}
	})
}

func FuzzNanoPlus(f *testing.F) {
	f.Add(int64(math.MaxInt64), int64(1))
	f.Add(int64(math.MinInt64), int64(-1))
	f.Add(int64(5), int64(-7))
	f.Add(int64(0), int64(0))
	f.Fuzz(func(t *testing.T, a, b int64) {
		want := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		got, err := Nano(a).Plus(Nano(b))
		if want.IsInt64() != (err == nil) || err == nil && want.Int64() != int64(got) {
			t.Fatalf("%d + %d = %d, %v; want %d", a, b, got, err, want)
		}
	})
}

func TestFindPrice(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	price := func(id, model, spec string, plan Plan, from time.Time, tokens int64) Price {
		return Price{ID: id, Model: model, Spec: spec, Plan: plan, Dimension: DimensionInput, Currency: "CNY", From: from, FromTokens: tokens, Nano: 1, Per: 1}
	}
	gone := price("gone", "tuned", "", "", t0.Add(2*time.Hour), 0)
	gone.Withdrawn = true
	book := NewBook([]Price{
		price("any", AnyModel, "", "", t0, 0),
		price("base", "base", "", "", t0, 0),
		price("base on lora", "base", "", PlanLoRA, t0, 0),
		price("tuned", "tuned", "", "", t0.Add(time.Hour), 0),
		price("tuned on MU2", "tuned", "MU2", "", t0, 0),
		gone,
		price("long", "long", "", "", t0, 128_000),
		price("short", "long", "", "", t0, 0),
		price("long later", "long", "", "", t0.Add(time.Hour), 128_000),
	})
	for _, c := range []struct {
		name  string
		asked Asked
		want  string
	}{
		{"the widest", Asked{Model: "x", Base: "y", At: t0}, "any"},
		{"nothing before it holds", Asked{Model: "x", Base: "y", At: t0.Add(-1)}, ""},
		{"the base's", Asked{Model: "x", Base: "base", At: t0}, "base"},
		{"the plan's before that of any plan", Asked{Model: "x", Base: "base", Plan: PlanLoRA, At: t0}, "base on lora"},
		{"a later one does not hold yet", Asked{Model: "tuned", Base: "base", At: t0.Add(time.Hour - 1)}, "base"},
		{"the model's", Asked{Model: "tuned", Base: "base", At: t0.Add(time.Hour)}, "tuned"},
		{"the spec's before that of any spec", Asked{Model: "tuned", Base: "base", Spec: "MU2", At: t0.Add(time.Hour)}, "tuned on MU2"},
		{"one that was withdrawn holds no more", Asked{Model: "tuned", Base: "base", At: t0.Add(2 * time.Hour)}, "base"},
		{"below the tier", Asked{Model: "long", Tokens: 127_999, At: t0}, "short"},
		{"in the tier", Asked{Model: "long", Tokens: 128_000, At: t0}, "long"},
		{"tiers change one by one", Asked{Model: "long", Tokens: 1 << 20, At: t0.Add(time.Hour)}, "long later"},
		{"below the tier as before", Asked{Model: "long", Tokens: 1, At: t0.Add(time.Hour)}, "short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.asked.Currency, c.asked.Dimension = "CNY", DimensionInput
			if got, ok := book.Find(c.asked); got.ID != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v; want %q", got.ID, ok, c.want)
			}
			c.asked.Currency = "USD"
			if got, ok := book.Find(c.asked); ok {
				t.Errorf("got %q in another currency", got.ID)
			}
		})
	}
}

func TestMinutesOfARun(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 3, 1, 0, 0, 30, 0, time.UTC)
	for _, c := range []struct {
		ended, by time.Duration // ended 0: goes on
		want      int64
	}{{0, 0, 0}, {0, 1, 1}, {0, time.Minute, 1}, {0, time.Minute + 1, 2}, {90 * time.Minute, time.Hour * 9, 90}, {time.Hour, time.Minute, 1}} {
		r := Run{StartedAt: t0}
		if c.ended > 0 {
			r.EndedAt = t0.Add(c.ended)
		}
		if got := r.Minutes(t0.Add(c.by)); got != c.want {
			t.Errorf("a run that ended after %v has %d minutes after %v, want %d", c.ended, got, c.by, c.want)
		}
	}
}
