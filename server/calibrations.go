package server

import (
	"context"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// calibrate answers as soon as the calibration is accepted; how it goes on stands in the
// list.
func (s *Server) calibrate(ctx context.Context, r *http.Request) (any, error) {
	a, err := decode[api.CalibrateModel](r)
	if err != nil {
		return nil, err
	}
	const most = int64(berth.MaxCalibration / time.Second)
	ask := berth.CalibrationAsk{ModelName: r.PathValue("name"), Spec: a.Spec}
	if a.Seconds != nil { // bounded, so that no number of seconds overflows
		ask.Budget = max(time.Duration(max(min(*a.Seconds, most+1), 0))*time.Second, 1)
	}
	row, err := s.Calibrations.Order(ctx, ask)
	if err != nil {
		return nil, err
	}
	m, err := s.Models.Get(ctx, row.ModelName)
	if err != nil {
		return nil, err
	}
	return s.calibrationRun(&m, row), nil
}

func (s *Server) listCalibrations(ctx context.Context, r *http.Request) (any, error) {
	m, err := s.Models.Get(ctx, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	rows, err := s.Calibrations.Of(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	out := api.CalibrationList{Calibrations: make([]api.CalibrationRun, 0, len(rows))}
	for _, row := range rows {
		out.Calibrations = append(out.Calibrations, s.calibrationRun(&m, row))
	}
	return out, nil
}

// calibrationRun shows how the last run stands and what the last good one has found.
func (s *Server) calibrationRun(m *berth.Model, row berth.Measurement) api.CalibrationRun {
	out := api.CalibrationRun{
		ID: row.ID, Model: row.ModelName, Spec: row.SpecName, Engine: row.Engine, Status: string(row.Status), Reason: row.Reason,
		Seconds: int64(row.Budget / time.Second), StartedAt: row.StartedAt,
	}
	if !row.EndedAt.IsZero() {
		out.EndedAt = &row.EndedAt
	}
	if f := &row.Found; !f.At.IsZero() {
		out.Found = findings(f)
		now := s.Calibrations.Current(m, []berth.Measurement{row})
		out.Sells = now != nil && !m.Calibration.Known()
	}
	return out
}

// calibration is by what throughput of m is sold now; nil: not at all.
func (s *Server) calibration(m *berth.Model, known []berth.Measurement) *api.Calibration {
	if d := m.Calibration; d.Known() {
		in, out := berth.Yield{Declared: d}.Most()
		return &api.Calibration{Declared: true, InputTPM: d.InputTPM, OutputTPM: d.OutputTPM, MaxInputTPM: in, MaxOutputTPM: out}
	}
	if m.Kind != berth.ModelKindBase {
		return nil
	}
	f := s.Calibrations.Current(m, known)
	if f == nil {
		return nil
	}
	found := findings(f)
	return &api.Calibration{MaxInputTPM: found.MaxInputTPM, MaxOutputTPM: found.MaxOutputTPM, Measured: found}
}

func findings(f *berth.Findings) *api.Findings {
	in, out := berth.Yield{Line: f.Line}.Most()
	accelerators := append([]string{}, f.Machine.Accelerators...)
	return &api.Findings{
		Digest: f.Digest, Spec: f.Spec.Name, Slots: f.Spec.Slots, EngineVersion: f.EngineVersion,
		Machine:          api.Machine{CPU: f.Machine.CPU, Threads: f.Machine.Threads, Accelerators: accelerators},
		InputNSPerToken:  f.Line.InputNS,
		OutputNSPerToken: f.Line.OutputNS,
		FirstTokenP50MS:  f.FirstTokenP50.Milliseconds(), FirstTokenP95MS: f.FirstTokenP95.Milliseconds(), FirstTokenInput: f.FirstTokenInput,
		DeviationPPM: f.DeviationPPM, Calls: f.Calls, MaxInputTPM: in, MaxOutputTPM: out, MeasuredAt: f.At,
	}
}
