package berth_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// parts writes the parts of a cost: dimension, tier, quantity, price, per and amount, prices
// and amounts in hundredths.
func parts(c *berth.Cost) string {
	words := make([]string, len(c.Parts))
	for i, p := range c.Parts {
		words[i] = strings.TrimSpace(string(p.Class)+" "+string(p.Dimension)) + fmt.Sprintf("/%d %d at %d/%d: %d", p.FromTokens, p.Quantity, p.Price/(unit/100), p.Per, p.Amount/(unit/100))
		if p.Unpriced {
			words[i] += " unpriced"
		}
	}
	return strings.Join(words, ", ")
}

// A quote has what the purchase costs, would hold and may take, and changes nothing.
func TestQuotesSayWhatAPurchaseCosts(t *testing.T) {
	t.Parallel()
	ptu := berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(20_000, 2_000)}
	term := ptu
	term.ChargeType, term.Prepaid = "pre_paid", daily(10)
	three := onMU1("abacus", "")
	three.Capacity = num(3)
	all := three
	all.Capacity = num(999)
	lora := berth.Purchase{ModelName: "words", Plan: "lora"}
	for what, c := range map[string]struct {
		buy      berth.Purchase
		pay      int64 // in advance; -1: post-paid without a limit
		unpriced bool
		price    string // hour, deposit, what may be spent, in hundredths
		parts    string
		refusal  string // the refusal
	}{
		"units":             {three, -1, false, "16200 16200 any", "unit_minute/0 180 at 5400/60: 16200", ""},
		"reserved tokens":   {ptu, 2, false, "144 144 200", "10k_input_tpm_minute/0 1200000 at 36/600000: 72, 1k_output_tpm_minute/0 120000 at 36/60000: 72, overflow input/0 0 at 0/1: 0 unpriced, overflow output/0 0 at 0/1: 0 unpriced", ""},
		"a term in advance": {term, 200, false, "0 17280 20000", "10k_input_tpm_minute/0 144000000 at 36/600000: 8640, 1k_output_tpm_minute/0 14400000 at 36/60000: 8640, overflow input/0 0 at 0/1: 0 unpriced, overflow output/0 0 at 0/1: 0 unpriced", ""},
		"an adapter":        {lora, 1, false, "0 0 100", "input/0 0 at 50/1000000: 0, input/128000 0 at 150/1000000: 0, cached/0 0 at 5/1000000: 0, output/0 0 at 480/1000000: 0", ""},
		"what has no price": {three, 0, true, "0 0 0", "unit_minute/0 180 at 0/1: 0 unpriced", ""},
		"no price of tokens": {
			lora, -1, true, "0 0 any", "input/0 0 at 0/1: 0 unpriced, output/0 0 at 0/1: 0 unpriced", "",
		},
		"too little": {
			three, 100, false, "16200 16200 10000", "unit_minute/0 180 at 5400/60: 16200",
			"has 100.00 CNY to spend and the purchase needs 162.00 CNY now",
		},
		"overdue": {lora, -3, false, "0 0 -300", "input/0 0 at 50/1000000: 0, input/128000 0 at 150/1000000: 0, cached/0 0 at 5/1000000: 0, output/0 0 at 480/1000000: 0", "is overdue by 3.00 CNY"},
		"no room": {all, -1, false, "5394600 5394600 any", "unit_minute/0 59940 at 5400/60: 5394600", "MU1 x 999 needs"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, 16)
			if !c.unpriced {
				h.sells()
				h.sellsTokens()
			}
			if c.pay != -1 {
				h.terms(prepaid)
			}
			if c.pay > 0 || c.pay < -1 {
				h.pay(berth.Nano(c.pay) * unit)
			}
			books, money := h.books(), h.has(berth.Deployment{})
			q, err := h.deployments.Quote(h.admin(), c.buy)
			must(t, err)
			if now := h.has(berth.Deployment{}); now != money || !reflect.DeepEqual(h.books(), books) {
				t.Errorf("the quote changed the store; the account has %s, had %s", now, money)
			}
			spend := "any"
			if s := q.Cost.Spendable; s != nil {
				spend = fmt.Sprint(int64(*s / (unit / 100)))
			}
			price := fmt.Sprintf("%d %d %s", q.Cost.Hour/(unit/100), q.Cost.Deposit/(unit/100), spend)
			if price != c.price || parts(q.Cost) != c.parts || q.Cost.Currency != "CNY" || q.Cost.Unpriced() != c.unpriced {
				t.Errorf("%s %s: %s; want %s: %s", price, q.Cost.Currency, parts(q.Cost), c.price, c.parts)
			}
			if (q.Refusal == "") != (c.refusal == "") || !strings.Contains(q.Refusal, c.refusal) || (q.Refusal == "") != (q.Deployment.ID != "") {
				t.Errorf("refused %q with %+v; want %q", q.Refusal, q.Deployment, c.refusal)
			}
			if q.Refusal != "" {
				return
			}
			d := h.mustCreate(h.admin(), c.buy)
			if d.Deposit.Nano != q.Cost.Deposit {
				t.Errorf("the purchase holds %d, the quote said %d", d.Deposit.Nano, q.Cost.Deposit)
			}
		})
	}
}

// A server that sells nothing without a price refuses to quote it, as it would the purchase.
func TestQuotesOfWhatIsNotSoldUnpriced(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	h.deployments.RefuseUnpriced = true
	_, err := h.deployments.Quote(h.admin(), onMU1("abacus", ""))
	refused(t, err, berth.CodeInvalid, "No price in CNY is set for unit_minute of abacus on MU1")
}

// A quote of reserved throughput says what goes beyond it, while that is served at all: at the
// price of tokens, or free where there is none, also where nothing else is sold without one.
func TestQuotesSayWhatOverflowCosts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 16)
	h.sells()
	h.deployments.RefuseUnpriced = true
	buy := berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(20_000, 2_000)}
	over := func() (text string) {
		t.Helper()
		q, err := h.deployments.Quote(h.admin(), buy)
		must(t, err)
		if q.Cost.Hour != 144*unit/100 || q.Cost.Deposit != q.Cost.Hour || q.Cost.Unpriced() {
			t.Errorf("it costs %+v", q.Cost)
		}
		_, text, _ = strings.Cut(parts(q.Cost), ": 72, overflow ")
		return text
	}
	if got, want := over(), "input/0 0 at 0/1: 0 unpriced, overflow output/0 0 at 0/1: 0 unpriced"; got != want {
		t.Errorf("without a price %q, want %q", got, want)
	}
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		return tx.Prices().Insert(ctx, berth.Price{
			ID: "price_o", Plan: berth.PlanPTU, Model: "abacus", Dimension: berth.DimensionInput, Nano: unit / 2, Per: 1_000_000, Currency: "CNY", From: h.now(),
		})
	})
	if got, want := over(), "input/0 0 at 50/1000000: 0, overflow output/0 0 at 0/1: 0 unpriced"; !strings.HasSuffix(got, want) {
		t.Errorf("with one %q, want %q", got, want)
	}
}

// sellsTokens sets prices of the base for lora, and one that begins later.
func (h *house) sellsTokens() {
	h.Helper()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for i, p := range []berth.Price{
			{Dimension: berth.DimensionInput, Nano: unit / 2},
			{Dimension: berth.DimensionInput, Nano: 3 * unit / 2, FromTokens: 128_000},
			{Dimension: berth.DimensionCached, Nano: unit / 20},
			{Dimension: berth.DimensionOutput, Nano: 48 * unit / 10},
			{Dimension: berth.DimensionThinking, Nano: unit, From: h.now().AddDate(0, 1, 0)},
		} {
			p.ID, p.Plan, p.Model, p.Per, p.Currency = fmt.Sprint("price_t", i), berth.PlanLoRA, "abacus", 1_000_000, "CNY"
			if p.From.IsZero() {
				p.From = h.now()
			}
			must(h, tx.Prices().Insert(ctx, p))
		}
		return nil
	})
}
