package berth

import "fmt"

// PTUTerms are how tokens of a model's ptu deployments count against what is reserved
// (api.md 5.3, 6.3). The zero value counts each token as one. What they cost the engine,
// by which throughput is sold, and what usage records say are real tokens all the same.
type PTUTerms struct {
	// CacheFactor is what a token of the input counts that was found in the prefix cache;
	// 0 stands for 1.
	CacheFactor Factor
	// MaxInput is the longest input, in real tokens, that reservations serve; a longer one
	// is overflow whatever the strategy. 0: none is too long.
	MaxInput int64
	// LongInput has what tokens of longer inputs count, the shortest first.
	LongInput []LongInput
}

// LongInput is what tokens of an input count from a length on.
type LongInput struct {
	Above int64 // real tokens of the input, of which those up to here count less
	// Input is what each token beyond Above counts, Output what every token of the answer
	// counts when the input is longer than Above.
	Input, Output Factor
}

// Factor is a number in thousandths.
type Factor int64

// Bounds of terms. The largest factor in the documents is 6.
const (
	one           Factor = 1000
	MaxFactor            = 16 * one
	MaxLongInputs        = 8
	// mostCharged bounds the tokens of a call that are charged, so that nothing overflows
	// whatever an engine reports.
	mostCharged = int64(1) << 36
)

// IsZero reports whether each token counts as one and no input is too long.
func (t *PTUTerms) IsZero() bool {
	return t.CacheFactor == 0 && t.MaxInput == 0 && len(t.LongInput) == 0
}

// TooLong reports whether reservations do not serve an input of so many tokens.
func (t *PTUTerms) TooLong(input int64) bool { return t.MaxInput > 0 && input > t.MaxInput }

// ChargeInput returns what an input counts of which the first cached tokens came from the
// cache: each token by its place and, if it was cached, by the cache factor as well, the
// sum rounded up. More input never counts less, and more of it cached never counts more.
func (t *PTUTerms) ChargeInput(tokens, cached int64) int64 {
	if t.CacheFactor == 0 && len(t.LongInput) == 0 {
		return tokens
	}
	tokens = min(max(tokens, 0), mostCharged)
	cached = min(max(cached, 0), tokens)
	discounted := t.CacheFactor
	if discounted == 0 {
		discounted = one
	}
	millionths := t.weigh(cached)*int64(discounted) + (t.weigh(tokens)-t.weigh(cached))*int64(one)
	return ceil(millionths, int64(one*one))
}

// weigh returns what the first tokens of an input count by their places, in thousandths.
func (t *PTUTerms) weigh(tokens int64) (thousandths int64) {
	from, factor := int64(0), one
	for _, l := range t.LongInput {
		if tokens <= l.Above {
			break
		}
		thousandths += (l.Above - from) * int64(factor)
		from, factor = l.Above, l.Input
	}
	return thousandths + (tokens-from)*int64(factor)
}

// ChargeOutput returns what tokens of the answer to an input count, rounded up.
func (t *PTUTerms) ChargeOutput(tokens, input int64) int64 {
	if len(t.LongInput) == 0 {
		return tokens
	}
	factor := one
	for _, l := range t.LongInput {
		if input > l.Above {
			factor = l.Output
		}
	}
	return ceil(min(max(tokens, 0), mostCharged)*int64(factor), int64(one))
}

func ceil(n, by int64) int64 { return (n + by - 1) / by }

// check says what is wrong with the terms of a model.
func (t *PTUTerms) check(m *Model) error {
	wrong := func(format string, args ...any) error {
		return Errorf(CodeInvalid, "The ptu terms of model %s are not usable: %s.", m.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case t.IsZero():
		return nil
	case m.Kind != ModelKindBase:
		return wrong("ptu is not sold for %s models", m.Kind)
	case t.CacheFactor < 0 || t.CacheFactor > one:
		return wrong("cache_factor must be from 0.001 to 1")
	case t.MaxInput < 0:
		return wrong("max_input must be above 0")
	case len(t.LongInput) > MaxLongInputs:
		return wrong("long_input has %d lengths; use at most %d", len(t.LongInput), MaxLongInputs)
	}
	before := LongInput{Input: one, Output: one}
	for _, l := range t.LongInput {
		if l.Above <= before.Above || l.Above > mostCharged {
			return wrong("the lengths of long_input must be above 0 and rise")
		}
		if l.Input < before.Input || l.Output < before.Output || max(l.Input, l.Output) > MaxFactor {
			return wrong("the factors of long_input must be from 1 to %d, and must not fall from one length to the next", MaxFactor/one)
		}
		before = l
	}
	return nil
}
