package calibrate

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// rounds are what engines of that line would take for three shapes, each time off by up
// to the given part.
func rounds(line berth.CostLine, each int, noise float64, random *rand.Rand) []Sample {
	var samples []Sample
	for range each {
		for _, s := range []Sample{{Input: 100, Output: 2000}, {Input: 8000, Output: 30}, {Input: 4000, Output: 1000}} {
			took := float64(s.Input*line.InputNS + s.Output*line.OutputNS)
			s.Took = time.Duration(took * (1 + noise*(2*random.Float64()-1)))
			samples = append(samples, s)
		}
	}
	return samples
}

func TestFitFindsWhatTokensCost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		want := berth.CostLine{
			InputNS: rapid.Int64Range(1_000, 10_000_000).Draw(r, "input"), OutputNS: rapid.Int64Range(10_000, 100_000_000).Draw(r, "output"),
		}
		got, deviation, err := Fit(rounds(want, 2, 0, seeded()))
		if err != nil || !near(got.InputNS, want.InputNS, 0.001, 2) || !near(got.OutputNS, want.OutputNS, 0.001, 2) || deviation > 10 {
			r.Fatalf("got %+v, %d ppm, %v; want %+v", got, deviation, err, want)
		}
	})
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func near(got, want int64, part float64, least int64) bool {
	d := max(got-want, want-got)
	return d <= least || float64(d) <= part*float64(want)
}

func TestFitStandsNoise(t *testing.T) {
	t.Parallel()
	want := berth.CostLine{InputNS: 50_000, OutputNS: 400_000}
	got, deviation, err := Fit(rounds(want, 12, 0.2, seeded()))
	if err != nil || !near(got.InputNS, want.InputNS, 0.1, 0) || !near(got.OutputNS, want.OutputNS, 0.1, 0) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if deviation < 50_000 || deviation > 200_000 {
		t.Errorf("deviation %d ppm of noise within 20 %%", deviation)
	}
}

func TestFitHasNoCostBelowNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		samples []Sample
		want    berth.CostLine
	}{
		"prompts cost nothing":            {[]Sample{{10, 100, 1000}, {1000, 100, 1000}}, berth.CostLine{InputNS: 0, OutputNS: 10}},
		"long prompts made it faster":     {[]Sample{{10, 100, 1100}, {1000, 100, 900}}, berth.CostLine{InputNS: 0, OutputNS: 10}},
		"answers cost next to nothing":    {[]Sample{{100, 10, 1000}, {100, 1000, 1000}}, berth.CostLine{InputNS: 10, OutputNS: 1}},
		"long answers made it faster":     {[]Sample{{100, 10, 1100}, {100, 1000, 900}}, berth.CostLine{InputNS: 10, OutputNS: 1}},
		"a part of a nanosecond is a one": {[]Sample{{1000, 1, 500}, {1, 1000, 500}}, berth.CostLine{InputNS: 1, OutputNS: 1}},
	} {
		got, _, err := Fit(c.samples)
		if err != nil || !near(got.InputNS, c.want.InputNS, 0.02, 1) || !near(got.OutputNS, c.want.OutputNS, 0.02, 1) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestFitRefusesShapesThatAreAlike(t *testing.T) {
	t.Parallel()
	for name, samples := range map[string][]Sample{
		"none":            nil,
		"one":             {{10, 10, 100}},
		"one shape":       {{10, 10, 100}, {20, 20, 200}, {30, 30, 310}},
		"no answers":      {{10, 0, 100}, {20, 0, 200}},
		"no prompts":      {{0, 10, 100}, {0, 20, 200}},
		"no time":         {{10, 100, 0}, {100, 10, 5}},
		"no tokens":       {{0, 0, 5}, {100, 10, 5}, {10, 100, 5}},
		"time ran back":   {{10, 100, -1}, {100, 10, 5}},
		"tokens ran back": {{-10, 100, 1}, {100, 10, 5}},
	} {
		if line, _, err := Fit(samples); !errors.Is(err, ErrShapes) {
			t.Errorf("%s: got %+v, %v", name, line, err)
		}
	}
}

// A round that something else slowed down does not count.
func TestRoundsInTheMiddleCount(t *testing.T) {
	t.Parallel()
	want := berth.CostLine{InputNS: 50_000, OutputNS: 400_000}
	samples := rounds(want, 6, 0, seeded())
	samples[0].Took *= 10 // of the first shape
	samples[4].Took *= 3  // of the second
	kept := typical(samples, 3)
	got, deviation, err := Fit(kept)
	if err != nil || !near(got.InputNS, want.InputNS, 0, 1) || !near(got.OutputNS, want.OutputNS, 0, 1) || deviation > 10 || len(kept) != 12 {
		t.Errorf("got %+v of %d rounds, %d ppm, %v", got, len(kept), deviation, err)
	}
	if kept := typical(samples[:6], 3); len(kept) != 6 {
		t.Errorf("of two rounds %d are kept", len(kept))
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	sorted := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for part, want := range map[float64]time.Duration{0: 1, 0.5: 5, 0.95: 10, 0.9: 9, 1: 10} {
		if got := quantile(sorted, part); got != want {
			t.Errorf("%v: got %d, want %d", part, got, want)
		}
	}
}
