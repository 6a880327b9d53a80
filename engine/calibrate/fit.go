// Package calibrate measures what an engine carries: it starts one, drives it with calls
// of several shapes while all its slots are busy, and fits the line of design 2, engine
// time per input token and per output token, to what that took.
package calibrate

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// Sample is one round: calls of one shape that kept all slots busy.
type Sample struct {
	Input  int64 // tokens of prompts that the engine read; cached ones it did not
	Output int64 // tokens of answers, thinking ones too
	Took   time.Duration
}

// ErrShapes says that the samples cannot tell the two costs apart.
var ErrShapes = errors.New("prompts and answers were too much alike to tell what each costs; nothing else may run on the machine, and the context of a slot must have room for 64 tokens")

// Fit returns the line that is nearest to the samples: least squares of the deviation in
// parts of the time that each took, so that short rounds count as much as long ones, and
// no cost below 0. deviationPPM is the root of the mean of those squares, in millionths.
func Fit(samples []Sample) (line berth.CostLine, deviationPPM int64, err error) {
	// Each sample is one equation a × input + b × output = 1, all divided by the time.
	var xx, xy, yy, x, y float64
	for _, s := range samples {
		if s.Took <= 0 || s.Input < 0 || s.Output < 0 || s.Input+s.Output == 0 {
			return line, 0, ErrShapes
		}
		in, out := float64(s.Input)/float64(s.Took), float64(s.Output)/float64(s.Took)
		xx, xy, yy, x, y = xx+in*in, xy+in*out, yy+out*out, x+in, y+out
	}
	// 1 − cos² of the angle between inputs and outputs: 0 when all rounds have one shape.
	if xx == 0 || yy == 0 || 1-xy*xy/(xx*yy) < 1e-3 {
		return line, 0, ErrShapes
	}
	det := xx*yy - xy*xy
	in, out := (x*yy-y*xy)/det, (y*xx-x*xy)/det
	switch { // the nearest point of the quarter that has no negative cost is on its edge
	case in < 0:
		in, out = 0, y/yy
	case out < 0:
		in, out = x/xx, 0
	}
	sum := 0.0
	for _, s := range samples {
		d := (in*float64(s.Input)+out*float64(s.Output))/float64(s.Took) - 1
		sum += d * d
	}
	line = berth.CostLine{InputNS: int64(math.Ceil(in)), OutputNS: max(int64(math.Ceil(out)), 1)}
	return line, int64(math.Round(math.Sqrt(sum/float64(len(samples))) * 1e6)), nil
}

// typical keeps of the rounds of each shape those in the middle: what else ran on the
// machine for a moment made the others slow. Rounds follow each other as [shapesOf] says.
func typical(samples []Sample, shapes int) []Sample {
	var kept []Sample
	for shape := range shapes {
		var same []Sample
		for i := shape; i < len(samples); i += shapes {
			same = append(same, samples[i])
		}
		slices.SortFunc(same, func(a, b Sample) int { return cmp.Compare(a.Took, b.Took) })
		quarter := len(same) / 4
		kept = append(kept, same[quarter:len(same)-quarter]...)
	}
	return kept
}

// quantile returns the smallest value that at least the given part of all do not exceed;
// sorted must not be empty.
func quantile(sorted []time.Duration, part float64) time.Duration {
	i := int(math.Ceil(part*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
