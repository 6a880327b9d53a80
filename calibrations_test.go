package berth_test

import (
	"context"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// calibrations are those of the house.
func (h *house) calibrations() *berth.Calibrations {
	return &berth.Calibrations{
		Writer: h.models.Writer, Engines: h.models.Engines, SpecsOf: h.models.SpecsOf, Begin: func(string) {},
	}
}

// An engine of an earlier life that is on its way out is waited for, and what is ordered
// meanwhile keeps its hardware.
func TestACalibrationIsOrderedWhileAnEarlierEngineEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	c := h.calibrations()
	old, err := c.Order(h.owner(), berth.CalibrationAsk{ModelName: "abacus"})
	must(t, err)
	must(t, c.Started(h.owner(), old.ID, 42, 1))

	must(t, c.Interrupt(h.owner())) // the next life
	gone := false
	recover := func() int {
		left, err := c.Recover(h.owner(), func(int64, int64) bool { return gone })
		must(t, err)
		return left
	}
	if left := recover(); left != 1 {
		t.Errorf("%d engines are left", left)
	}
	fresh, err := c.Order(h.owner(), berth.CalibrationAsk{ModelName: "plus"})
	must(t, err)
	recover()
	gone = true
	if left := recover(); left != 0 {
		t.Errorf("%d engines are left", left)
	}
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		row, err := tx.Calibrations().Get(ctx, fresh.ID)
		if err != nil || row.Status != berth.CalibrationRunning {
			t.Errorf("the new one: %s, %v", row.Status, err)
		}
		if _, err := tx.Nodes().HoldOf(ctx, fresh.ID); err != nil {
			t.Errorf("its hardware: %v", err)
		}
		row, err = tx.Calibrations().Get(ctx, old.ID)
		if err != nil || row.Status != berth.CalibrationInterrupted {
			t.Errorf("the old one: %s, %v", row.Status, err)
		}
		if _, err := tx.Nodes().HoldOf(ctx, old.ID); berth.CodeOf(err) != berth.CodeNotFound {
			t.Errorf("its hardware: %v", err)
		}
		return nil
	})
}

// Who must wait for a calibration is not told the name of another workspace's model.
func TestTheModelOfAnotherWorkspaceIsNotNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for _, workspace := range []string{home, away} {
			m := catalogue()[0]
			m.Name, m.WorkspaceID = "own-"+workspace, workspace
			must(t, tx.Models().Insert(ctx, m))
		}
		return nil
	})
	c := h.calibrations()
	_, err := c.Order(h.as(away, berth.RoleAdmin), berth.CalibrationAsk{ModelName: "own-" + away})
	must(t, err)
	for workspace, named := range map[string]bool{home: false, away: true} {
		_, err := c.Order(h.as(workspace, berth.RoleAdmin), berth.CalibrationAsk{ModelName: "own-" + workspace})
		if berth.CodeOf(err) != berth.CodeConflict || strings.Contains(err.Error(), "own-"+away) != named {
			t.Errorf("%s: %v", workspace, err)
		}
	}
}
