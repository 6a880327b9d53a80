package server

import (
	"cmp"
	"math"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// shownTerms returns nil for terms by which each token counts as one.
func shownTerms(t *berth.PTUTerms) *api.PTUTerms {
	if t.IsZero() {
		return nil
	}
	out := api.PTUTerms{CacheFactor: shownFactor(t.CacheFactor), MaxInput: t.MaxInput}
	for _, l := range t.LongInput {
		out.LongInput = append(out.LongInput, api.LongInput{Above: l.Above, Input: shownFactor(l.Input), Output: shownFactor(l.Output)})
	}
	return &out
}

func shownFactor(f berth.Factor) float64 { return float64(f) / 1000 }

// readTerms takes factors as they are written; the domain checks what they say.
func readTerms(t *api.PTUTerms) (out berth.PTUTerms, err error) {
	if t == nil {
		return out, nil
	}
	read := func(f float64) berth.Factor {
		thousandths := math.Round(f * 1000)
		if math.Abs(thousandths-f*1000) > 1e-6 || math.Abs(thousandths) > 1e6 {
			err = berth.Errorf(berth.CodeInvalid, "The factor %v of ptu is not usable; a factor has at most three decimals, such as 0.125.", f)
			return 0
		}
		return berth.Factor(thousandths)
	}
	out = berth.PTUTerms{CacheFactor: read(t.CacheFactor), MaxInput: t.MaxInput}
	for _, l := range t.LongInput {
		out.LongInput = append(out.LongInput, berth.LongInput{
			Above: l.Above, Input: read(cmp.Or(l.Input, 1)), Output: read(cmp.Or(l.Output, 1)),
		})
	}
	return out, err
}
