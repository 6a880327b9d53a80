package calibrate

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/enginetest"
	"github.com/berthhq/berth/fakeengine"
)

// fakeBench starts engines of one script in this process.
func fakeBench(t *testing.T, script fakeengine.Script) (*Bench, *enginetest.Runner) {
	t.Helper()
	runner := enginetest.NewRunner(enginetest.Config{Script: func(engine.Launch) (fakeengine.Script, error) { return script, nil }})
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for range runner.Exits() {
			continue
		}
	}()
	t.Cleanup(func() {
		if err := runner.Close(context.Background()); err != nil {
			t.Error(err)
		}
		<-taken
	})
	return &Bench{
		Runner: runner, StartTimeout: 10 * time.Second, StopGrace: time.Second,
		Drivers: map[string]engine.Driver{berth.EngineFake: engine.NewFake(engine.FakeConfig{})},
	}, runner
}

func options(t *testing.T, budget time.Duration) Options {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return Options{Client: &http.Client{Transport: transport}, Now: time.Now, Draw: rand.Uint64, Budget: budget}
}

func launchOf(slots int64) engine.Launch {
	return engine.Launch{
		ReplicaID: "cal_1", Nonce: "run_1", Engine: berth.EngineFake, Model: berth.Model{Name: "m"},
		Spec: berth.ResolvedSpec{Slots: slots, ContextLength: 4096},
	}
}

// What an engine was told to cost is what a calibration finds, with all slots busy.
func TestKnownCostsAreFound(t *testing.T) {
	t.Parallel()
	script := fakeengine.Script{TokensPerSecond: 500, PromptTokensPerSecond: 5_000, Slowdown: 0.5, Slots: 4}
	bench, runner := fakeBench(t, script)
	var seen engine.Instance
	r, err, stopped := bench.Run(t.Context(), launchOf(4), options(t, 4*time.Second), func(i engine.Instance) error {
		seen = i
		return nil
	})
	if err != nil || stopped != nil {
		t.Fatal(err, stopped)
	}
	// Three others beside it make a token 2.5 times as long, and four are made at a time.
	const stretch = 2.5 / 4
	outputNS, inputNS := int64(stretch*1e9/500), int64(stretch*1e9/5_000)
	if !near(r.Line.OutputNS, outputNS, 0.25, 0) || !near(r.Line.InputNS, inputNS, 0.4, 0) {
		t.Errorf("found %+v, want about %d and %d (deviation %d ppm)", r.Line, inputNS, outputNS, r.DeviationPPM)
	}
	// A prompt of that length, and a token.
	first := time.Duration(2.5 * 1e9 * (float64(r.FirstTokenInput)/5_000 + 1.0/500))
	if r.FirstTokenP50 < first/3 || r.FirstTokenP50 > 3*first || r.FirstTokenP95 < r.FirstTokenP50 {
		t.Errorf("first tokens %s and %s after %d tokens, want about %s", r.FirstTokenP50, r.FirstTokenP95, r.FirstTokenInput, first)
	}
	if seen.ReplicaID != "cal_1" || runner.Runs("cal_1", "run_1") {
		t.Errorf("told of %+v; it still runs: %t", seen, runner.Runs("cal_1", "run_1"))
	}
	stats := runner.Engine("cal_1").Stats()
	if r.Used.Input != stats.PromptTokens || r.Used.Output != stats.OutputTokens || r.Used.Calls == 0 || !r.Used.Ended.After(r.Used.Began) {
		t.Errorf("the engine counted %+v, the calibration %+v", stats, r.Used)
	}
	t.Logf("%+v", r)
}

func TestWhatCannotBeMeasuredIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script fakeengine.Script
		launch func(*engine.Launch)
		budget time.Duration
		says   string
	}{
		"calls fail":           {script: fakeengine.Script{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultError500}}}, says: "the engine answered 500"},
		"no usage":             {script: fakeengine.Script{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultNoUsage}}}, says: "did not say how many tokens"},
		"it crashes":           {script: fakeengine.Script{Crash: &fakeengine.Crash{AfterCalls: 5}}, says: "the engine ended meanwhile"},
		"too slow":             {script: fakeengine.Script{TokensPerSecond: 2}, budget: 300 * time.Millisecond, says: "allow the calibration more time"},
		"no room":              {launch: func(l *engine.Launch) { l.Spec.ContextLength = 8 }, says: "context of a slot must have room"},
		"an unknown engine":    {launch: func(l *engine.Launch) { l.Engine = "steam" }, says: `the engine "steam" is not known`},
		"it does not come up":  {script: fakeengine.Script{StartDelayMS: 3_600_000}, says: "no answer from the engine"},
		"answers of one shape": {script: fakeengine.Script{Reply: "ok", PromptTokens: &fakeengine.PromptRule{PerCall: 3}}, says: "too much alike"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench, runner := fakeBench(t, c.script)
			bench.StartTimeout = 500 * time.Millisecond
			l := launchOf(2)
			if c.launch != nil {
				c.launch(&l)
			}
			_, err, stopped := bench.Run(t.Context(), l, options(t, max(c.budget, time.Second)), func(engine.Instance) error { return nil })
			if err == nil || !strings.Contains(err.Error(), c.says) || stopped != nil {
				t.Errorf("got %v, %v; want %q", err, stopped, c.says)
			}
			if runner.Runs(l.ReplicaID, l.Nonce) {
				t.Error("the engine runs on")
			}
		})
	}
}

// lateRunner notices the end of an engine some looks after it.
type lateRunner struct {
	engine.Runner
	looks atomic.Int64
}

func (r *lateRunner) Runs(replicaID, nonce string) bool {
	return r.Runner.Runs(replicaID, nonce) || r.looks.Add(1) <= 3
}

func TestAnEndIsNamedThoughItsRunnerIsLate(t *testing.T) {
	t.Parallel()
	bench, runner := fakeBench(t, fakeengine.Script{Crash: &fakeengine.Crash{AfterCalls: 5}})
	bench.Runner = &lateRunner{Runner: runner}
	_, err, _ := bench.Run(t.Context(), launchOf(2), options(t, time.Second), func(engine.Instance) error { return nil })
	if err == nil || !strings.HasPrefix(err.Error(), "the engine ended meanwhile: ") {
		t.Errorf("got %v", err)
	}
}

// A calibration that is given up ends its engine, and so does one that nobody could keep.
func TestNoEngineIsLeft(t *testing.T) {
	t.Parallel()
	bench, runner := fakeBench(t, fakeengine.Script{TokensPerSecond: 100})
	ctx, cancel := context.WithCancel(t.Context())
	_, err, stopped := bench.Run(ctx, launchOf(2), options(t, time.Minute), func(engine.Instance) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || stopped != nil || runner.Runs("cal_1", "run_1") {
		t.Errorf("cancelled: %v, %v", err, stopped)
	}
	full := errors.New("no room to write")
	_, err, stopped = bench.Run(t.Context(), launchOf(2), options(t, time.Minute), func(engine.Instance) error { return full })
	if !errors.Is(err, full) || stopped != nil || runner.Runs("cal_1", "run_1") {
		t.Errorf("not written: %v, %v", err, stopped)
	}
}

// No two prompts begin alike, so that no cache of prompts has any of them.
func TestPromptsHaveNothingInCommon(t *testing.T) {
	t.Parallel()
	m := target{draw: rand.Uint64}
	seen := map[string]bool{}
	for range 1000 {
		p := m.prompt(40)
		if words := strings.Fields(p); len(words) != 40 || seen[strings.Join(words[:4], " ")] {
			t.Fatalf("%q", p)
		}
		seen[strings.Join(strings.Fields(p)[:4], " ")] = true
	}
}
