package berth

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Bounds of how long a calibration drives its engine.
const (
	MinCalibration     = 5 * time.Second
	MaxCalibration     = 10 * time.Minute
	DefaultCalibration = 30 * time.Second
)

// Calibrations takes orders to calibrate models and keeps what was found; a worker does
// them. One runs at a time, since engines on one machine slow each other down.
type Calibrations struct {
	Writer
	Engines map[string]EngineTraits
	// SpecsOf says which specs a model is sold on ([Deployments.SpecsOf]).
	SpecsOf func(m *Model) []ResolvedSpec
	// Begin hands a calibration that was accepted to the worker; it never blocks.
	Begin func(id string)
}

// CalibrationAsk is what a client asks to be calibrated.
type CalibrationAsk struct {
	ModelName string
	Spec      string        // "": that of the model's pool
	Budget    time.Duration // about how long to drive the engine; 0: [DefaultCalibration]
}

// CalibrationTask is a calibration with what its worker must know.
type CalibrationTask struct {
	Measurement
	Model Model
	Node  Node
	GPUs  []Accelerator // of the node, those that are held
}

// Order accepts a calibration: its hardware is held as for a purchase, and its engine will
// be started. Needs [RoleOwner]; of a workspace's own model [RoleAdmin]. What was found
// before stays until this one has succeeded. [CodeConflict] while another runs,
// [CodeNoCapacity] when the hardware is not free.
func (s *Calibrations) Order(ctx context.Context, ask CalibrationAsk) (Measurement, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Measurement{}, accessDenied()
	}
	if ask.Budget == 0 {
		ask.Budget = DefaultCalibration
	}
	if ask.Budget < MinCalibration || ask.Budget > MaxCalibration {
		return Measurement{}, Errorf(CodeInvalid, "Range of seconds should be [%d, %d]", MinCalibration/time.Second, MaxCalibration/time.Second)
	}
	var row Measurement
	err := s.write(ctx, "model.calibrate", func(tx Tx) (string, error) {
		m, err := visibleModel(ctx, tx, caller.WorkspaceID, ask.ModelName)
		if err != nil {
			return "", err
		}
		if m.WorkspaceID == "" && !caller.May(RoleOwner) {
			return "", accessDenied()
		}
		row, err = s.order(ctx, tx, m, ask)
		return m.Name, err
	})
	if err != nil {
		return Measurement{}, err
	}
	s.Begin(row.ID)
	return row, nil
}

// order writes the row and its hold.
func (s *Calibrations) order(ctx context.Context, tx Tx, m Model, ask CalibrationAsk) (Measurement, error) {
	spec, err := s.spec(&m, ask.Spec)
	if err != nil {
		return Measurement{}, err
	}
	row, err := s.free(ctx, tx, &m, spec)
	if err != nil {
		return Measurement{}, err
	}
	fresh := row.ID == ""
	if fresh {
		row.ID = s.NewID("cal_")
	}
	row.ModelName, row.SpecName, row.Engine, row.Spec = m.Name, spec.Name, m.Engine, spec
	row.Status, row.Reason, row.Budget = CalibrationRunning, "", ask.Budget
	row.Nonce, row.PID, row.StartTime = s.NewID("run_"), 0, 0
	row.StartedAt, row.EndedAt = s.Now(), time.Time{}
	if row.NodeID, err = s.hold(ctx, tx, row.ID, spec); err != nil {
		return Measurement{}, err
	}
	if fresh {
		return row, tx.Calibrations().Insert(ctx, row)
	}
	return row, tx.Calibrations().Update(ctx, row)
}

// spec resolves the spec that a model is to be calibrated on, if it can be at all.
func (s *Calibrations) spec(m *Model, name string) (ResolvedSpec, error) {
	engine := s.Engines[m.Engine]
	switch {
	case m.Kind == ModelKindAdapter:
		return ResolvedSpec{}, Errorf(CodeInvalid, "The model %s is an adapter; calibrate its base %s, whose throughput is what can be reserved.", m.Name, m.Base)
	case m.Kind != ModelKindBase || engine.Remote:
		return ResolvedSpec{}, Errorf(CodeInvalid, "The model %s runs on somebody else's hardware; only models of files can be calibrated.", m.Name)
	}
	sale := sale{Deployments: &Deployments{}, model: *m, weights: *m, engine: engine}
	offered := s.SpecsOf(m)
	if name == "" {
		name = m.Pool.Spec
	}
	for _, spec := range offered {
		switch {
		case spec.Name != name && (name != "" || spec.Type != SpecTypeCoupled):
		case spec.Type != SpecTypeCoupled:
			return spec, Errorf(CodeInvalid, "The spec %s separates prefill and decode, which pools do not; calibrate on one of type COUPLED.", spec.Name)
		default:
			return spec, sale.checkMemory(spec)
		}
	}
	return ResolvedSpec{}, Errorf(CodeInvalid, "The spec %q is not one that model %s is sold on; ask GET /berth/v1/models/%s for those.", name, m.Name, m.Name)
}

// free returns the row to write, a blank one for the first calibration, and refuses while
// one runs or the engine of the last one is on its way out.
func (s *Calibrations) free(ctx context.Context, tx Tx, m *Model, spec ResolvedSpec) (row Measurement, err error) {
	all, err := tx.Calibrations().List(ctx, "")
	if err != nil {
		return row, err
	}
	for _, c := range all {
		if c.Status == CalibrationRunning {
			name, err := nameFor(ctx, tx, c.ModelName)
			if err != nil {
				return row, err
			}
			return row, Errorf(CodeConflict, "%s is being calibrated on %s since %s; wait until that has ended.", name, c.SpecName, c.StartedAt.UTC().Format(time.RFC3339))
		}
		if c.ModelName == m.Name && c.SpecName == spec.Name && c.Engine == m.Engine {
			row = c
		}
	}
	if row.ID == "" {
		return row, nil
	}
	_, err = tx.Nodes().HoldOf(ctx, row.ID)
	switch CodeOf(err) {
	case CodeNotFound:
		return row, nil
	case "":
		return row, Errorf(CodeConflict, "The engine of the last calibration of %s is still ending; try again in a few seconds.", m.Name)
	}
	return row, err
}

// nameFor says which model it is to those who may know.
func nameFor(ctx context.Context, tx Tx, model string) (string, error) {
	switch _, err := visibleModel(ctx, tx, CallerFrom(ctx).WorkspaceID, model); CodeOf(err) {
	case "":
		return "The model " + model, nil
	case CodeNotFound:
		return "Another model", nil
	default:
		return "", err
	}
}

// hold takes the hardware of one replica.
func (s *Calibrations) hold(ctx context.Context, tx Tx, id string, spec ResolvedSpec) (nodeID string, err error) {
	nodes, err := tx.Nodes().List(ctx)
	if err != nil {
		return "", err
	}
	taken, err := tx.Nodes().HeldGPUs(ctx)
	if err != nil {
		return "", err
	}
	placed, err := Place(nodes, taken, spec, 1)
	if err != nil {
		return "", err
	}
	holds := []Hold{{ID: s.NewID("hold_"), NodeID: placed[0].NodeID, CalibrationID: id, Held: placed[0].Held, GPUs: placed[0].GPUs}}
	return placed[0].NodeID, tx.Nodes().Hold(ctx, versionsOf(nodes, holds), holds)
}

// Task returns a calibration for its worker.
func (s *Calibrations) Task(ctx context.Context, id string) (CalibrationTask, error) {
	var t CalibrationTask
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		if t.Measurement, err = tx.Calibrations().Get(ctx, id); err != nil {
			return err
		}
		if t.Model, err = tx.Models().Get(ctx, t.ModelName); err != nil {
			return err
		}
		hold, err := tx.Nodes().HoldOf(ctx, id)
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes().List(ctx)
		for _, n := range nodes {
			if n.ID == hold.NodeID {
				t.Node = n
			}
		}
		t.GPUs = nil
		for _, g := range t.Node.GPUs {
			if slices.Contains(hold.GPUs, g.ID) {
				t.GPUs = append(t.GPUs, g)
			}
		}
		if err == nil && len(t.GPUs) != len(hold.GPUs) {
			err = Errorf(CodeInternal, "An accelerator that was held is not in the machine any more.")
		}
		return err
	})
	return t, err
}

// Started keeps which process the engine of a calibration is.
func (s *Calibrations) Started(ctx context.Context, id string, pid, startTime int64) error {
	return s.Store.Tx(ctx, func(tx Tx) error {
		row, err := tx.Calibrations().Get(ctx, id)
		if err != nil {
			return err
		}
		row.PID, row.StartTime = pid, startTime
		return tx.Calibrations().Update(ctx, row)
	})
}

// CalibrationEnd is how a calibration ended.
type CalibrationEnd struct {
	Status CalibrationStatus
	Reason string   // unless it succeeded
	Found  Findings // if it succeeded
	// EngineGone says that the engine is measured gone, so that its hardware is free.
	EngineGone bool
}

// End writes how a calibration ended and gives its hardware back. From then on throughput
// is sold by what was found.
func (s *Calibrations) End(ctx context.Context, id string, end CalibrationEnd) error {
	return s.write(ctx, "model.calibrated", func(tx Tx) (string, error) {
		row, err := tx.Calibrations().Get(ctx, id)
		if err != nil {
			return "", err
		}
		row.Status, row.Reason, row.EndedAt = end.Status, end.Reason, s.Now()
		if end.Status == CalibrationSucceeded {
			row.Found = end.Found
		}
		if end.EngineGone {
			row.PID, row.StartTime = 0, 0
		}
		if err := tx.Calibrations().Update(ctx, row); err != nil {
			return "", err
		}
		if end.EngineGone {
			if err := tx.Nodes().Release(ctx, id); err != nil {
				return "", err
			}
		}
		return row.ModelName, s.sellPTU(ctx, tx, row)
	})
}

// sellPTU adds the plan that a calibration makes possible.
func (s *Calibrations) sellPTU(ctx context.Context, tx Tx, row Measurement) error {
	m, err := tx.Models().Get(ctx, row.ModelName)
	if CodeOf(err) == CodeNotFound || err == nil && (!m.PlansByKind || m.Offers(PlanPTU) || !row.Found.Applies(m.File.Digest, row.Spec)) {
		return nil
	}
	if err != nil {
		return err
	}
	m.calibrated()
	return tx.Models().Update(ctx, m)
}

// Interrupt ends the calibrations that an earlier life of the server left running. It is
// called before anybody can order one.
func (s *Calibrations) Interrupt(ctx context.Context) error {
	return s.Store.Tx(ctx, func(tx Tx) error {
		all, err := tx.Calibrations().List(ctx, "")
		if err != nil {
			return err
		}
		for _, row := range all {
			if row.Status != CalibrationRunning {
				continue
			}
			row.Status, row.EndedAt = CalibrationInterrupted, s.Now()
			row.Reason = "The server ended while the calibration ran; start it again."
			if err := tx.Calibrations().Update(ctx, row); err != nil {
				return err
			}
		}
		return nil
	})
}

// Recover gives back the hardware of calibrations that have ended and whose engine is
// gone. left is how many engines are still on their way out; call again for them.
func (s *Calibrations) Recover(ctx context.Context, gone func(pid, startTime int64) bool) (left int, err error) {
	err = s.Store.Tx(ctx, func(tx Tx) error {
		left = 0
		all, err := tx.Calibrations().List(ctx, "")
		if err != nil {
			return err
		}
		for _, row := range all {
			switch {
			case row.Status == CalibrationRunning: // it was ordered meanwhile
				continue
			case row.PID > 0 && !gone(row.PID, row.StartTime):
				left++
				continue
			}
			if err := tx.Nodes().Release(ctx, row.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return left, err
}

// Of returns the calibrations of a model that the caller's workspace may see, by spec.
// Needs [RoleInference].
func (s *Calibrations) Of(ctx context.Context, modelName string) ([]Measurement, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return nil, accessDenied()
	}
	var all []Measurement
	err := s.Store.View(ctx, func(tx Tx) error {
		m, err := visibleModel(ctx, tx, caller.WorkspaceID, modelName)
		if err != nil {
			return err
		}
		all, err = tx.Calibrations().List(ctx, m.Name)
		return err
	})
	return all, err
}

// Known returns what is known of all models, for those who list them. Needs
// [RoleInference].
func (s *Calibrations) Known(ctx context.Context) (map[string][]Measurement, error) {
	if !CallerFrom(ctx).May(RoleInference) {
		return nil, accessDenied()
	}
	byModel := map[string][]Measurement{}
	err := s.Store.View(ctx, func(tx Tx) error {
		all, err := tx.Calibrations().List(ctx, "")
		clear(byModel)
		for _, m := range all {
			byModel[m.ModelName] = append(byModel[m.ModelName], m)
		}
		return err
	})
	return byModel, err
}

// Current finds, among the calibrations of m, the findings that throughput of it is sold
// by: those of its present weights on the spec of its pool. nil: there are none.
func (s *Calibrations) Current(m *Model, all []Measurement) *Findings {
	spec, err := s.spec(m, "")
	if err != nil {
		return nil
	}
	for i := range all {
		if f := &all[i].Found; all[i].Engine == m.Engine && all[i].SpecName == spec.Name && f.Applies(m.File.Digest, spec) {
			return f
		}
	}
	return nil
}

// String is a calibration in logs.
func (m *Measurement) String() string { return fmt.Sprintf("%s on %s", m.ModelName, m.SpecName) }
