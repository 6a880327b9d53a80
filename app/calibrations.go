package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/calibrate"
	"github.com/berthhq/berth/engine/keeper"
	"github.com/berthhq/berth/imports"
	"github.com/berthhq/berth/reconcile"
)

// bench does the calibrations that were ordered, one after the other.
type bench struct {
	orders  *berth.Calibrations
	verify  func(context.Context, berth.ModelFile) (berth.ModelFile, error)
	machine calibrate.Bench
	meter   reconcile.Probes
	client  *http.Client
	begin   chan string // ids; one runs at a time, so one has room
	logger  *slog.Logger
}

// Times of a calibration's engine.
const (
	calibrationStart = 5 * time.Minute // from start to first answer, unless configured
	calibrationGrace = 5 * time.Second // between asking it to end and forcing it
	calibrationWrite = 10 * time.Second
	// goneWait is how often an engine of an earlier life is looked for.
	goneWait = 100 * time.Millisecond
)

func (a *App) newCalibrations(drivers map[string]engine.Driver) *berth.Calibrations {
	s := &berth.Calibrations{
		Writer: a.services.models.Writer, Engines: a.services.models.Engines, SpecsOf: a.services.models.SpecsOf,
	}
	startTimeout := a.opt.Config.Engines.StartTimeout
	if startTimeout == 0 {
		startTimeout = calibrationStart
	}
	a.bench = &bench{
		orders: s, verify: imports.Files{}.Verify, meter: a.meter, begin: make(chan string, 1), logger: a.opt.Logger,
		machine: calibrate.Bench{Runner: a.runner, Drivers: drivers, StartTimeout: startTimeout, StopGrace: calibrationGrace},
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:        (&net.Dialer{Timeout: 5 * time.Second, Control: berth.RefuseLinkLocal}).DialContext,
				DisableCompression: true,
				// llama.cpp ends connections when it likes, and a call that meets that is lost.
				DisableKeepAlives: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.Begin = func(id string) {
		select {
		case a.bench.begin <- id:
		default: // the row says running, so there is one only; the next start says what became of it
			a.opt.Logger.Error("calibration not begun", "calibration", id)
		}
	}
	return s
}

// run does what is ordered until ctx ends. A calibration that runs then is interrupted,
// its engine ended.
func (b *bench) run(ctx context.Context) {
	ctx = berth.WithCaller(ctx, berth.System())
	b.recover(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-b.begin:
			b.calibrate(ctx, id)
		}
	}
}

// leftovers gives back the hardware of engines of an earlier life that are gone, and
// returns how many are not.
func (b *bench) leftovers(ctx context.Context) (left int, err error) {
	return b.orders.Recover(ctx, func(pid, startTime int64) bool { return !keeper.Alive(pid, startTime) })
}

// recover gives hardware back as engines of an earlier life are seen to be gone.
func (b *bench) recover(ctx context.Context) {
	for {
		left, err := b.leftovers(ctx)
		if err != nil && ctx.Err() == nil {
			b.logger.Error("hardware of calibrations of an earlier start not given back; trying again", "error", err)
		}
		if err == nil && left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(goneWait):
		}
	}
}

// calibrate does one calibration and writes how it ended.
func (b *bench) calibrate(ctx context.Context, id string) {
	end := berth.CalibrationEnd{Status: berth.CalibrationFailed, EngineGone: true}
	task, err := b.orders.Task(ctx, id)
	if err == nil {
		b.logger.Info("calibration begins", "model", task.ModelName, "spec", task.SpecName, "engine", task.Engine, "seconds", task.Budget.Seconds())
		err = b.measure(ctx, task, &end)
	}
	switch {
	case err == nil:
		end.Status = berth.CalibrationSucceeded
	case ctx.Err() != nil:
		end.Status, end.Reason = berth.CalibrationInterrupted, "The server was stopped while the calibration ran; start it again."
	default:
		end.Reason = sentence(err)
	}
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), calibrationWrite)
	defer cancel()
	if werr := b.orders.End(writing, id, end); werr != nil {
		b.logger.Error("end of a calibration not written; the next start says it was interrupted", "calibration", id, "error", werr)
	}
	line := end.Found.Line
	b.logger.Info("calibration ended", "model", task.ModelName, "spec", task.SpecName, "status", end.Status,
		"input_ns", line.InputNS, "output_ns", line.OutputNS, "deviation_ppm", end.Found.DeviationPPM, "reason", end.Reason)
}

// measure drives an engine and fills in what was found and used.
func (b *bench) measure(ctx context.Context, t berth.CalibrationTask, end *berth.CalibrationEnd) error {
	if t.Model.File.Path != "" {
		if _, err := b.verify(ctx, t.Model.File); err != nil {
			return err
		}
	}
	launch := engine.Launch{
		ReplicaID: t.ID, Nonce: t.Nonce, NodeID: t.NodeID, Engine: t.Engine, Model: t.Model, Spec: t.Spec, GPUs: t.GPUs, Held: t.Spec.Replica,
	}
	o := calibrate.Options{Client: b.client, Now: time.Now, Draw: rand.Uint64, Budget: t.Budget}
	mark := engine.ProbeMark(t.ID, t.Nonce, t.Model.Name, time.Now())
	mark.CallID = t.ID
	mark.Most = berth.Tokens{Input: mostTokens, Output: mostTokens}
	if err := b.meter.Open(&mark); err != nil {
		return err
	}
	r, err, stopped := b.machine.Run(ctx, launch, o, func(i engine.Instance) error {
		return b.orders.Started(ctx, t.ID, i.PID, i.StartTime)
	})
	b.record(&mark, r.Used, err)
	b.client.CloseIdleConnections()
	if stopped != nil { // the next start gives the hardware back
		b.logger.Error("engine of a calibration not ended", "calibration", t.ID, "error", stopped)
	}
	end.EngineGone = stopped == nil
	end.Found = berth.Findings{
		Digest: t.Model.File.Digest, Spec: t.Spec, EngineVersion: r.EngineVersion, Machine: machineOf(t.Node, t.GPUs), Line: r.Line,
		FirstTokenP50: r.FirstTokenP50, FirstTokenP95: r.FirstTokenP95, FirstTokenInput: r.FirstTokenInput,
		DeviationPPM: r.DeviationPPM, Calls: r.Used.Calls, At: time.Now().UTC(),
	}
	return err
}

// mostTokens is more than a calibration makes its engine read or write.
const mostTokens = 1 << 40

// record closes the usage record of a calibration, or takes it back where nothing was
// asked of the engine.
func (b *bench) record(m *berth.UsageMark, used calibrate.Used, err error) {
	if used.Spent == (engine.Spent{}) {
		b.meter.Drop(m)
		return
	}
	used.Settle(m, newID("use_"), time.Now(), err)
	m.Most.Input += used.Unheard * calibrate.CallInput
	m.Most.Output += used.Unheard * calibrate.CallOutput
	b.meter.Close(m)
}

// sentence is an error in words for people, with a beginning and an end.
func sentence(err error) string {
	text := strings.TrimPrefix(err.Error(), engine.ErrPermanent.Error()+": ")
	var refusal *berth.Error
	if errors.As(err, &refusal) {
		text = refusal.Message
	}
	if text == "" {
		return "It failed."
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// machineOf says what an engine ran on.
func machineOf(n berth.Node, gpus []berth.Accelerator) berth.Machine {
	m := berth.Machine{CPU: processor("/proc/cpuinfo"), Threads: n.Total.Threads}
	for _, g := range gpus {
		name := g.Name
		if name == "" {
			name = fmt.Sprintf("%s %s", g.Vendor, g.ID)
		}
		m.Accelerators = append(m.Accelerators, name)
	}
	return m
}

// processor finds the name of the processor; "" where it is not said.
func processor(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
