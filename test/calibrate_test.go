package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berthhq/berth/api"
)

// measuredYAML has a fake model of known speed, whose plans nobody chose, and one that
// hardly moves. A token of "even" costs (1 + 3 × 0.5) ÷ (400 × 4) s with four slots busy.
func measuredYAML(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name+".json")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	return `
node: {threads: 2, memory: 4GiB}
specs: {MU1: {threads: 1, memory: 256MiB, slots: 4, context: 4096}, MU2: {threads: 2, memory: 256MiB, slots: 2, context: 4096}}
models:
  even: {engine: fake, path: ` + script("even", `{"tokens_per_second":400,"prompt_tokens_per_second":4000,"slowdown":0.5,"slots":4}`) + `, context: 4096, pool: {spec: MU1, max: 2}}
  stuck: {engine: fake, path: ` + script("stuck", `{"tokens_per_second":0.5}`) + `, context: 4096}
  broken: {engine: fake, path: ` + script("broken", `{"faults":[{"kind":"error_500"}]}`) + `, context: 4096}
  told: {engine: fake, path: ` + script("told", `{"tokens_per_second":500,"prompt_tokens_per_second":5000}`) + `, plans: [mu, ptu], context: 4096, calibration: {input_tpm: 1000, output_tpm: 100}}
`
}

// calibrated runs a calibration to its end.
func (b *berth) calibrated(t *testing.T, model string, ask api.CalibrateModel) api.CalibrationRun {
	t.Helper()
	run, err := b.CalibrateModel(t.Context(), model, ask)
	must(t, err)
	run, err = b.WaitCalibration(t.Context(), run)
	must(t, err)
	return run
}

func TestThroughputIsSoldAsItWasMeasured(t *testing.T) {
	t.Parallel()
	b := inProcess(t, measuredYAML(t))
	ptu := func(in, out int64, suffix string) api.CreateDeployment {
		return api.CreateDeployment{ModelName: "even", Plan: api.PlanPTU, PTU: &api.PTUCapacity{InputTPM: in, OutputTPM: out}, Suffix: suffix}
	}
	_, err := b.CreateDeployment(t.Context(), ptu(1000, 1000, ""))
	if err == nil || !strings.Contains(err.Error(), "run berth calibrate even --spec MU1") {
		t.Errorf("before: %v", err)
	}

	// When it is calibrated, hardware is held, by name, and no second one begins.
	run, err := b.CalibrateModel(t.Context(), "even", api.CalibrateModel{Seconds: ptr(int64(5))})
	must(t, err)
	nodes, err := b.Nodes(t.Context())
	must(t, err)
	if h := nodes[0].Held; run.Status != api.CalibrationRunning || run.Spec != "MU1" || len(h) != 1 || h[0].Calibration != "even" || h[0].Threads != 1 || h[0].Replica != run.ID {
		t.Errorf("run %+v, held %+v", run, h)
	}
	for model, says := range map[string]string{"even": "is being calibrated on MU1", "told": "The model even is being calibrated"} {
		if _, err := b.CalibrateModel(t.Context(), model, api.CalibrateModel{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("another one of %s: %v", model, err)
		}
	}
	if err := b.DeleteModel(t.Context(), "even"); err == nil || !strings.Contains(err.Error(), "being calibrated") {
		t.Errorf("deleted meanwhile: %v", err)
	}
	run, err = b.WaitCalibration(t.Context(), run)
	must(t, err)

	// Then what was found is what the engine costs, shown in the catalogue, and sold.
	f := run.Found
	if run.Status != api.CalibrationSucceeded || !run.Sells || f == nil {
		t.Fatalf("ended as %+v", run)
	}
	const output, input = 2.5e9 / (400 * 4), 2.5e9 / (4000 * 4)
	if o, i := float64(f.OutputNSPerToken)/output, float64(f.InputNSPerToken)/input; o < 0.7 || o > 2 || i < 0.4 || i > 4 { // other tests run beside it
		t.Errorf("found %+v, want about %f and %f", f, input, output)
	}
	if f.Slots != 4 || f.Spec != "MU1" || f.Machine.Threads != 2 || f.MaxOutputTPM != 54_000_000_000/f.OutputNSPerToken || !strings.HasPrefix(f.Digest, "sha256:") {
		t.Errorf("found %+v", f)
	}
	if held := b.heldThreads(t); held != 0 {
		t.Errorf("%d threads are held afterwards", held)
	}
	m, err := b.GetModel(t.Context(), "even")
	must(t, err)
	if c := m.Calibration; c == nil || c.Declared || c.Measured == nil || c.MaxOutputTPM != f.MaxOutputTPM || strings.Join(m.Plans, " ") != "mu ptu" {
		t.Errorf("the catalogue says %+v", m)
	}
	half := f.MaxOutputTPM * 9 / 10
	b.running(t, ptu(1, half, ""))
	if held := b.heldThreads(t); held != 1 {
		t.Errorf("%d replicas carry 0.9 of what one sells", held)
	}
	b.running(t, ptu(1, half, "two"))
	if _, err := b.CreateDeployment(t.Context(), ptu(1, half, "three")); err == nil || !strings.Contains(err.Error(), "would need 3 replicas and may have 2") {
		t.Errorf("a third: %v", err)
	}
	// What is not free is not measured.
	if _, err := b.CalibrateModel(t.Context(), "told", api.CalibrateModel{Spec: "MU2"}); err == nil || !strings.Contains(err.Error(), "MU2 x 1 needs 1 x 2 threads; 0 of 2 are free; held: pool of even 2") {
		t.Errorf("on hardware that is taken: %v", err)
	}

	// A restart keeps all of it.
	b = b.restart(t)
	m, err = b.GetModel(t.Context(), "even")
	must(t, err)
	if m.Calibration == nil || m.Calibration.MaxOutputTPM != f.MaxOutputTPM || strings.Join(m.Plans, " ") != "mu ptu" {
		t.Errorf("after a restart: %+v", m)
	}
}

func TestCalibrationsThatFail(t *testing.T) {
	t.Parallel()
	b := inProcess(t, measuredYAML(t))
	if run := b.calibrated(t, "broken", api.CalibrateModel{Seconds: ptr(int64(5))}); run.Status != api.CalibrationFailed || !strings.Contains(run.Reason, "The engine answered 500") || run.Found != nil || run.Sells {
		t.Errorf("broken: %+v", run)
	}
	if held := b.heldThreads(t); held != 0 {
		t.Errorf("%d threads are held afterwards", held)
	}
	// Declared figures rule while the entry says them, and what was found is shown.
	if run := b.calibrated(t, "told", api.CalibrateModel{Seconds: ptr(int64(5))}); run.Status != api.CalibrationSucceeded || run.Sells || run.Found == nil {
		t.Errorf("told: %+v", run)
	}
	m, err := b.GetModel(t.Context(), "told")
	must(t, err)
	if c := m.Calibration; c == nil || !c.Declared || c.InputTPM != 1000 || c.MaxInputTPM != 900 {
		t.Errorf("told: %+v", m.Calibration)
	}
	for says, ask := range map[string]api.CalibrateModel{
		`The spec "MU9" is not one that model stuck is sold on`: {Spec: "MU9"},
		"Range of seconds should be [5, 600]":                   {Seconds: ptr(int64(4))},
		"Range of seconds should be [5, 600] ":                  {Seconds: ptr(int64(1 << 62))},
	} {
		if _, err := b.CalibrateModel(t.Context(), "stuck", ask); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(says)) {
			t.Errorf("%+v: %v", ask, err)
		}
	}
	// A stop interrupts what runs.
	run, err := b.CalibrateModel(t.Context(), "stuck", api.CalibrateModel{Seconds: ptr(int64(600))})
	must(t, err)
	until(t, "its engine runs", func() bool { return len(b.runner.Instances()) == 1 })
	b = b.restart(t)
	all, err := b.Calibrations(t.Context(), "stuck")
	must(t, err)
	if len(all) != 1 || all[0].ID != run.ID || all[0].Status != api.CalibrationInterrupted || !strings.Contains(all[0].Reason, "start it again") || b.heldThreads(t) != 0 {
		t.Errorf("after a stop: %+v, %d threads held", all, b.heldThreads(t))
	}
}

// A server that is killed while it calibrates leaves no engine, and the next one says what
// became of it and gives the hardware back.
func TestCalibrationOfAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	yaml := measuredYAML(t)
	s := p.serve(t, yaml)
	_, err := s.CalibrateModel(t.Context(), "stuck", api.CalibrateModel{Seconds: ptr(int64(600))})
	must(t, err)
	until(t, "server, keeper and engine run", func() bool { return len(p.processes(t)) == 3 })
	s.signal(t, syscall.SIGKILL)
	again := p.serve(t, yaml)
	all, err := again.Calibrations(t.Context(), "stuck")
	must(t, err)
	if len(all) != 1 || all[0].Status != api.CalibrationInterrupted || !strings.Contains(all[0].Reason, "The server ended") {
		t.Errorf("after a kill: %+v", all)
	}
	until(t, "the hardware is free", func() bool { return again.berth.heldThreads(t) == 0 })
	until(t, "no engine is left", func() bool { return len(p.processes(t)) == 1 })
	if code := again.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The tiny model on the real engine.
func TestAbacusIsCalibrated(t *testing.T) {
	t.Parallel()
	yaml := strings.ReplaceAll(abacusYAML(t), "    calibration: {input_tpm: 600000, output_tpm: 60000}\n", "")
	b := withProcesses(t, strings.ReplaceAll(yaml, "plans: [ptu]", "plans: [mu]"))
	run := b.calibrated(t, "abacus", api.CalibrateModel{Seconds: ptr(int64(6))})
	f := run.Found
	if run.Status != api.CalibrationSucceeded || !run.Sells || f == nil || f.EngineVersion == "" || f.FirstTokenP95MS < f.FirstTokenP50MS {
		t.Fatalf("%+v\n%+v", run, f)
	}
	t.Logf("%+v", *f)
	b.running(t, api.CreateDeployment{ModelName: "abacus", Plan: api.PlanPTU, PTU: &api.PTUCapacity{InputTPM: f.MaxInputTPM / 3, OutputTPM: f.MaxOutputTPM / 3}})
}
