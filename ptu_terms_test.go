package berth_test

import (
	"testing"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// The worked example of api.md 5.3, and what a plain model's tokens count.
func TestTokensCountByTheTermsOfTheirModel(t *testing.T) {
	t.Parallel()
	worked := berth.PTUTerms{CacheFactor: 200, LongInput: []berth.LongInput{{Above: 32_000, Input: 1330, Output: 1170}}}
	tiers := berth.PTUTerms{LongInput: []berth.LongInput{{Above: 32, Input: 3000, Output: 3000}, {Above: 256, Input: 6000, Output: 6000}}}
	for name, c := range map[string]struct {
		terms                 berth.PTUTerms
		input, cached, output int64
		wantInput, wantOutput int64
	}{
		"no terms":               {berth.PTUTerms{}, 7, 5, 3, 7, 3},
		"long":                   {worked, 50_000, 0, 1000, 55_940, 1170},
		"long, its begin cached": {worked, 50_000, 30_000, 1000, 31_940, 1170},
		"long, all cached":       {worked, 50_000, 50_000, 0, 11_188, 0},
		"not long":               {worked, 32_000, 0, 1000, 32_000, 1000},
		"rounded up, once":       {worked, 32_003, 1, 1, 32_004, 2}, // 0.2 + 31,999 + 3.99
		"an engine that errs":    {worked, 10, 11, 1, 2, 1},
		"the second length":      {tiers, 300, 0, 10, 32 + 224*3 + 44*6, 60},
		"an eighth":              {berth.PTUTerms{CacheFactor: 125}, 100, 9, 1, 93, 1}, // 92.125
	} {
		if input, output := c.terms.ChargeInput(c.input, c.cached), c.terms.ChargeOutput(c.output, c.input); input != c.wantInput || output != c.wantOutput {
			t.Errorf("%s: %d and %d, want %d and %d", name, input, output, c.wantInput, c.wantOutput)
		}
	}
	limited := berth.PTUTerms{MaxInput: 8}
	if limited.TooLong(8) || !limited.TooLong(9) || worked.TooLong(1<<40) {
		t.Error("what is too long")
	}
}

// drawTerms draws terms that a model may have.
func drawTerms(t *rapid.T) (terms berth.PTUTerms) {
	terms.CacheFactor = berth.Factor(rapid.Int64Range(0, 1000).Draw(t, "cache"))
	last := berth.LongInput{Input: 1000, Output: 1000}
	for range rapid.IntRange(0, 3).Draw(t, "lengths") {
		last.Above += rapid.Int64Range(1, 100).Draw(t, "above")
		last.Input = berth.Factor(rapid.Int64Range(int64(last.Input), 16_000).Draw(t, "input"))
		last.Output = berth.Factor(rapid.Int64Range(int64(last.Output), 16_000).Draw(t, "output"))
		terms.LongInput = append(terms.LongInput, last)
	}
	return terms
}

// What a call is charged in the end never exceeds what it reserved: for the longest input
// that it could have, nothing of it cached, and the largest output.
func TestChargesNeverExceedTheirReservation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		terms := drawTerms(t)
		most := rapid.Int64Range(0, 1000).Draw(t, "most input")
		input := rapid.Int64Range(0, most).Draw(t, "input")
		cached := rapid.Int64Range(0, input).Draw(t, "cached")
		mostOutput := rapid.Int64Range(0, 1000).Draw(t, "most output")
		output := rapid.Int64Range(0, mostOutput).Draw(t, "output")
		if got, held := terms.ChargeInput(input, cached), terms.ChargeInput(most, 0); got < 0 || got > held {
			t.Fatalf("input is charged %d of %d", got, held)
		}
		if got, held := terms.ChargeOutput(output, input), terms.ChargeOutput(mostOutput, most); got < output || got > held {
			t.Fatalf("output is charged %d of %d", got, held)
		}
	})
	worst := berth.PTUTerms{CacheFactor: 999, LongInput: []berth.LongInput{{Above: 1, Input: berth.MaxFactor, Output: berth.MaxFactor}}}
	for _, n := range []int64{1<<62 - 1, 1 << 36} {
		if got := worst.ChargeInput(n, n/2); got < 1<<39 || got > 1<<40 {
			t.Errorf("%d tokens are charged %d", n, got)
		}
		if got := worst.ChargeOutput(n, n); got != 1<<40 {
			t.Errorf("%d tokens are charged %d", n, got)
		}
	}
}
