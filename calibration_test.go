package berth_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

func TestLoadIsEngineTimeRoundedUp(t *testing.T) {
	t.Parallel()
	ptu := func(in, out, thinking int64) berth.PTUCapacity {
		return berth.PTUCapacity{InputTPM: in, OutputTPM: out, ThinkingTPM: thinking}
	}
	measured := func(in, out int64) berth.Yield {
		return berth.Yield{Line: berth.CostLine{InputNS: in, OutputNS: out}}
	}
	most := int64(math.MaxInt64) >> 20
	for name, c := range map[string]struct {
		yield berth.Yield
		ptu   berth.PTUCapacity
		want  int64
	}{
		"both kinds of tokens add up":         {measured(1_000_000, 10_000_000), ptu(30_000, 3_000, 0), 1_000_000},
		"thinking is output":                  {measured(1_000_000, 10_000_000), ptu(0, 1_000, 2_000), 500_000},
		"rounded up":                          {measured(1, 1), ptu(1, 0, 0), 1},
		"exactly one millionth":               {measured(1, 1), ptu(30_000, 30_000, 0), 1},
		"one token above it":                  {measured(1, 1), ptu(30_000, 30_001, 0), 2},
		"prompts that cost nothing":           {measured(0, 1_000_000), ptu(1_000_000_000, 6_000, 0), 100_000},
		"declared figures rule":               {berth.Yield{Declared: berth.Calibration{InputTPM: 10, OutputTPM: 10}, Line: berth.CostLine{OutputNS: 1}}, ptu(5, 1, 1), 500_000},
		"the largest reservation, declared":   {berth.Yield{Declared: berth.Calibration{InputTPM: 1, OutputTPM: 1}}, ptu(1e12, 1e12, 1e12), most},
		"more than anything carries, in all":  {measured(math.MaxInt64, math.MaxInt64), ptu(1e12, 1e12, 1e12), most},
		"more than anything carries, of one":  {measured(math.MaxInt64, 1), ptu(1e12, 1, 0), most},
		"a sum that is close to the boundary": {measured(1, 1), ptu(math.MaxInt64>>1, math.MaxInt64>>1, 0), most},
	} {
		if got := c.yield.LoadPPM(c.ptu); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestMostOfOneReplicaIsWhatItSells(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		y := berth.Yield{Line: berth.CostLine{InputNS: rapid.Int64Range(0, 1e12).Draw(r, "in"), OutputNS: rapid.Int64Range(1, 1e12).Draw(r, "out")}}
		if rapid.Bool().Draw(r, "declared") {
			y = berth.Yield{Declared: berth.Calibration{InputTPM: rapid.Int64Range(2, 1e12).Draw(r, "in"), OutputTPM: rapid.Int64Range(2, 1e12).Draw(r, "out")}}
		}
		in, out := y.Most()
		for _, c := range []berth.PTUCapacity{{InputTPM: in}, {OutputTPM: out}} {
			if load := y.LoadPPM(c); load > berth.SoldShare {
				r.Fatalf("%v: %+v is a load of %d", y, c, load)
			}
		}
		if load := y.LoadPPM(berth.PTUCapacity{OutputTPM: out + 1}); load < berth.SoldShare {
			r.Fatalf("%v: %d output would fit as well: %d", y, out+1, load)
		}
	})
}

// measure writes what a calibration of a model on MU1 has found, and takes the declared
// figures out of its entry.
func (h *house) measure(model string, line berth.CostLine) {
	h.Helper()
	h.change(model, func(m *berth.Model) { m.Calibration = berth.Calibration{} })
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		m, err := tx.Models().Get(ctx, model)
		must(h, err)
		spec := h.deployments.SpecsOf(&m)[0]
		row, err := tx.Calibrations().Of(ctx, model, spec.Name, m.Engine)
		found := berth.Findings{Digest: m.File.Digest, Spec: spec, Line: line, At: h.now()}
		if berth.CodeOf(err) == berth.CodeNotFound {
			return tx.Calibrations().Insert(ctx, berth.Measurement{ID: "cal_" + model, ModelName: model, SpecName: spec.Name, Engine: m.Engine, Found: found})
		}
		row.Found = found
		return tx.Calibrations().Update(ctx, row)
	})
}

func TestThroughputIsSoldAsMeasured(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	h.measure("abacus", berth.CostLine{InputNS: 100_000, OutputNS: 1_000_000}) // at 54 s a minute
	buy := func(in, out int64, suffix string) error {
		_, err := h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(in, out), Suffix: suffix})
		return err
	}
	must(t, buy(270_000, 27_000, "a"))
	if n := len(h.books().Replicas); n != 1 {
		t.Errorf("%d replicas for exactly what one sells", n)
	}
	must(t, buy(270_000, 27_000, "b"))
	if n := len(h.books().Replicas); n != 2 {
		t.Errorf("%d replicas for exactly what two sell", n)
	}
	refused(t, h.unchanged(func() error { return buy(1, 1, "c") }), berth.CodeNoCapacity, "would need 3 replicas and may have 2")

	// The same weights on other hardware, and other weights under the name, are as unknown
	// as those that nobody measured.
	for what, change := range map[string]func(*berth.Model){
		"other weights":  func(m *berth.Model) { m.File.Digest = "sha256:other" },
		"other hardware": func(m *berth.Model) { m.Specs[0].Threads = 2 },
		"another engine": func(m *berth.Model) { m.Engine = berth.EngineFake },
	} {
		var was berth.Model
		h.change("abacus", func(m *berth.Model) {
			was = *m
			was.Specs = append([]berth.SpecOverride(nil), m.Specs...)
			change(m)
		})
		err := h.unchanged(func() error { return buy(1, 1, "d") })
		refused(t, err, berth.CodeInvalid, "The model abacus is not calibrated, so no throughput of it can be reserved; run berth calibrate abacus --spec MU1")
		t.Log(what)
		h.change("abacus", func(m *berth.Model) { *m = was })
	}
}

// What was sold stays sold, and by new figures nothing more is sold before the pool
// carries all of it.
func TestNewFiguresOversellNothing(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	buy := func(out int64, suffix string) error {
		_, err := h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(1, out), Suffix: suffix})
		return err
	}
	h.measure("abacus", berth.CostLine{OutputNS: 1_000_000})
	must(t, buy(50_000, "a"))
	h.measure("abacus", berth.CostLine{OutputNS: 2_000_000})
	before := h.books()
	must(t, buy(1, "b"))
	after := h.books()
	if len(before.Replicas) != 1 || len(after.Replicas) != 2 || after.Members[0].LoadPPM != 1_666_667 {
		t.Errorf("before %+v, after %+v", before.Members, after.Members)
	}
	h.measure("abacus", berth.CostLine{OutputNS: 3_000_000})
	refused(t, h.unchanged(func() error { return buy(1, "c") }), berth.CodeNoCapacity, "would need 3 replicas")
	h.measure("abacus", berth.CostLine{OutputNS: 1_000_000})
	must(t, buy(1_000, "c"))
	if m := h.books().Members; m[0].LoadPPM != before.Members[0].LoadPPM {
		t.Errorf("cheaper again: %+v", m)
	}
}

// No history of sales and calibrations ends with more sold than 0.9 of the engine time
// that there is, by the figures of the moment of the last sale.
func TestSalesNeverExceedTheEngineTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		h := newDesk(t)
		h.change("abacus", func(m *berth.Model) { m.Pool.Max = 0 })
		line := func() berth.CostLine {
			return berth.CostLine{InputNS: rapid.Int64Range(0, 400_000).Draw(r, "in ns"), OutputNS: rapid.Int64Range(1, 4_000_000).Draw(r, "out ns")}
		}
		now := line()
		h.measure("abacus", now)
		var names []string
		for i := range rapid.IntRange(1, 12).Draw(r, "steps") {
			ptu := tpm(rapid.Int64Range(1, 300_000).Draw(r, "in"), rapid.Int64Range(1, 30_000).Draw(r, "out"))
			var err error
			switch what := rapid.IntRange(0, 4).Draw(r, "what"); {
			case what == 0:
				now = line()
				h.measure("abacus", now)
				continue
			case what == 1 && len(names) > 0:
				name := rapid.SampledFrom(names).Draw(r, "which")
				h.move(name, berth.CauseEngineStarting)
				h.move(name, berth.CauseReady)
				_, err = h.deployments.Update(h.admin(), name, berth.Change{PTU: ptu})
				h.move(name, berth.CauseChangeDone)
				if d := h.get(name); err == nil && d.PTU.InputTPM < ptu.InputTPM {
					r.Fatalf("%+v instead of %+v", d.PTU, ptu)
				}
			default:
				var d berth.Deployment
				if d, err = h.deployments.Create(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: ptu, Suffix: fmt.Sprint(i)}); err == nil {
					names = append(names, d.DeployedModel)
				}
			}
			if err != nil {
				continue
			}
			b, sold := h.books(), int64(0)
			for _, d := range b.Deployments {
				sold += d.PTU.InputTPM*now.InputNS + d.PTU.OutputTPM*now.OutputNS
			}
			if there := int64(len(b.Replicas)) * 54_000_000_000; sold > there {
				r.Fatalf("%d ns are sold of %d", sold, there)
			}
		}
	})
}

func TestOneSlotIsNotShared(t *testing.T) {
	t.Parallel()
	h := newDesk(t)
	one := func(m *berth.Model) {
		m.Specs, m.Engine = []berth.SpecOverride{{Spec: "MU1", Slots: 1}}, berth.EngineFake
	}
	h.change("abacus", one)
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(1, 1)})
	err := h.unchanged(func() error {
		_, err := h.deployments.Create(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora"})
		return err
	})
	refused(t, err, berth.CodeNoCapacity, "A replica of abacus on MU1 answers one call at a time")
	// Lanes keep the two apart, and so do slots.
	h.change("abacus", func(m *berth.Model) { m.Engine = berth.EngineLlamaCpp })
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora"})
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(1, 1), Suffix: "lanes"})
	h.change("abacus", func(m *berth.Model) { m.Engine, m.Specs[0].Slots = berth.EngineFake, 2 })
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "words", Plan: "lora", Suffix: "two"})
	h.mustCreate(h.admin(), berth.Purchase{ModelName: "abacus", Plan: "ptu", PTU: tpm(1, 1), Suffix: "two"})
}
