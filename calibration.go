package berth

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Calibration is what the configuration declares that one replica of the pool carries,
// both dimensions at the same time, in tokens per minute. The zero value means: nothing
// declared.
type Calibration struct {
	InputTPM  int64
	OutputTPM int64
	// Declared marks figures written in the configuration instead of measured.
	Declared bool
}

// Known reports whether there are figures.
func (c Calibration) Known() bool { return c.InputTPM > 0 && c.OutputTPM > 0 }

// CostLine is the time of a replica's engine that tokens take while all its slots are
// busy, in nanoseconds, as measured (design 2). Thinking tokens are output to an engine.
// The zero value means: never measured.
type CostLine struct {
	InputNS  int64 // per token of a prompt
	OutputNS int64 // per token of an answer
}

// Known reports whether there are figures.
func (l CostLine) Known() bool { return l.InputNS > 0 || l.OutputNS > 0 }

// Yield is what one replica of a pool carries: as declared, which rules while the entry
// says it, else as measured. The zero value sells nothing.
type Yield struct {
	Declared Calibration
	Line     CostLine
}

// Known reports whether anything may be sold by it.
func (y Yield) Known() bool { return y.Declared.Known() || y.Line.Known() }

// String tells two yields apart; a pool remembers by which its members were rated.
func (y Yield) String() string {
	if y.Declared.Known() {
		return fmt.Sprintf("declared %d %d", y.Declared.InputTPM, y.Declared.OutputTPM)
	}
	return fmt.Sprintf("measured %d %d", y.Line.InputNS, y.Line.OutputNS)
}

// SoldShare is the largest part of a calibrated replica that is sold, in millionths
// (design 2).
const SoldShare = 900_000

// mostLoad bounds the load of one member, so that sums of thousands stay in range.
const mostLoad = math.MaxInt64 >> 20

// LoadPPM returns the share of one replica that c reserves, in millionths rounded up: of
// a declared yield the larger of the two dimensions, of a measured one the engine time of
// both together.
func (y Yield) LoadPPM(c PTUCapacity) int64 {
	output := c.OutputTPM + c.ThinkingTPM
	if d := y.Declared; d.Known() {
		return max(partsOf(c.InputTPM, 1_000_000, d.InputTPM), partsOf(output, 1_000_000, d.OutputTPM))
	}
	// Nanoseconds of engine time per minute, of which there are 60,000 × 1,000,000.
	in, out := partsOf(c.InputTPM, y.Line.InputNS, 1), partsOf(output, y.Line.OutputNS, 1)
	if in == mostLoad || out == mostLoad {
		return mostLoad
	}
	return partsOf(in+out, 1, 60_000)
}

// partsOf returns n × times ÷ by, rounded up, at most mostLoad.
func partsOf(n, times, by int64) int64 {
	hi, lo := bits.Mul64(uint64(n), uint64(times)) //nolint:gosec // amounts are not negative
	lo, carry := bits.Add64(lo, uint64(by-1), 0)   //nolint:gosec // by is above 0
	if hi += carry; hi >= uint64(by) {             //nolint:gosec // as above
		return mostLoad
	}
	parts, _ := bits.Div64(hi, lo, uint64(by)) //nolint:gosec // as above
	return int64(min(parts, mostLoad))         //nolint:gosec // bounded
}

// Most returns the largest tokens per minute of each dimension that one replica sells
// while nothing of the other is sold; 0 of a dimension that costs nothing, which is not
// bounded.
func (y Yield) Most() (input, output int64) {
	if d := y.Declared; d.Known() {
		return d.InputTPM * SoldShare / 1_000_000, d.OutputTPM * SoldShare / 1_000_000
	}
	const soldNS = 60_000 * SoldShare
	if y.Line.InputNS > 0 {
		input = soldNS / y.Line.InputNS
	}
	if y.Line.OutputNS > 0 {
		output = soldNS / y.Line.OutputNS
	}
	return input, output
}

// CalibrationStatus is how the last run of a calibration stands.
type CalibrationStatus string

// The statuses of a calibration.
const (
	CalibrationRunning     CalibrationStatus = "running"
	CalibrationSucceeded   CalibrationStatus = "succeeded"
	CalibrationFailed      CalibrationStatus = "failed"
	CalibrationInterrupted CalibrationStatus = "interrupted" // the server ended meanwhile
)

// Measurement is the calibration of a model on a spec with an engine: how its last run
// stands, and what the last one that succeeded has found.
type Measurement struct {
	ID        string // cal_ + UUIDv7; one per model, spec and engine
	ModelName string
	SpecName  string
	Engine    string       // driver name
	Spec      ResolvedSpec // of the last run
	Status    CalibrationStatus
	Reason    string        // in words for a person, unless running or succeeded
	Budget    time.Duration // about how long the run was to drive the engine
	NodeID    string
	Nonce     string // of the engine's start
	PID       int64  // the engine's; 0: not started yet
	StartTime int64  // of the process, in clock ticks since boot
	StartedAt time.Time
	EndedAt   time.Time // zero while it runs
	Found     Findings
}

// Findings are what a calibration has found. A zero At: nothing yet.
type Findings struct {
	Digest        string // of the weights
	Spec          ResolvedSpec
	EngineVersion string // as the engine says it; "": it does not
	Machine       Machine
	Line          CostLine
	// FirstTokenP50 and FirstTokenP95 are the times from a call to its first token with
	// all slots busy and no queue, for prompts of FirstTokenInput tokens on average.
	FirstTokenP50, FirstTokenP95 time.Duration
	FirstTokenInput              int64
	// DeviationPPM is how far the runs were from the line, root of the mean of squares, in
	// millionths of the time that each took.
	DeviationPPM int64
	Calls        int64
	At           time.Time
}

// Machine is what an engine was measured on.
type Machine struct {
	CPU          string // the processor's name; "": unknown
	Threads      int64  // of the node
	Accelerators []string
}

// Applies reports whether the findings are about those weights on that hardware.
func (f *Findings) Applies(digest string, spec ResolvedSpec) bool {
	return !f.At.IsZero() && f.Digest == digest && f.Spec == spec
}

// CalibrationStore keeps calibrations, one for each model, spec and engine.
type CalibrationStore interface {
	Insert(ctx context.Context, m Measurement) error
	Update(ctx context.Context, m Measurement) error
	Get(ctx context.Context, id string) (Measurement, error)
	Of(ctx context.Context, modelName, specName, engine string) (Measurement, error)
	// List returns those of a model ("" = all), by model, spec and engine.
	List(ctx context.Context, modelName string) ([]Measurement, error)
	Delete(ctx context.Context, id string) error
}

// yieldOf returns what one replica of m carries on a spec; a zero one when nobody has
// said or measured it.
func yieldOf(ctx context.Context, tx Tx, m *Model, spec ResolvedSpec) (Yield, error) {
	if m.Calibration.Known() {
		return Yield{Declared: m.Calibration}, nil
	}
	found, err := tx.Calibrations().Of(ctx, m.Name, spec.Name, m.Engine)
	switch {
	case CodeOf(err) == CodeNotFound:
		return Yield{}, nil
	case err != nil || !found.Found.Applies(m.File.Digest, spec):
		return Yield{}, err
	}
	return Yield{Line: found.Found.Line}, nil
}

// uncalibrated refuses a reservation of throughput that nobody has measured or declared.
func uncalibrated(m *Model, specName string) error {
	return Errorf(CodeInvalid, "The model %s is not calibrated, so no throughput of it can be reserved; run berth calibrate %s --spec %s, or declare calibration.input_tpm and calibration.output_tpm in its entry of the configuration.",
		m.Name, m.Name, specName)
}
