package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type calibrations struct{ tx *tx }

var calibrationTable = newTable("calibrations", "calibration", func(m *berth.Measurement) []column {
	return []column{
		{"id", &m.ID},
		{"model_name", &m.ModelName},
		{"spec_name", &m.SpecName},
		{"engine", &m.Engine},
		{"spec", document{&m.Spec}},
		{"status", &m.Status},
		{"reason", &m.Reason},
		{"budget", &m.Budget},
		{"node_id", &m.NodeID},
		{"nonce", &m.Nonce},
		{"pid", &m.PID},
		{"start_time", &m.StartTime},
		{"started_at", instant{&m.StartedAt}},
		{"ended_at", instant{&m.EndedAt}},
		{"found", document{&m.Found}},
	}
})

func (s calibrations) Insert(ctx context.Context, m berth.Measurement) error {
	return calibrationTable.insert(ctx, s.tx, m)
}

func (s calibrations) Update(ctx context.Context, m berth.Measurement) error {
	return calibrationTable.update(ctx, s.tx, m)
}

func (s calibrations) Get(ctx context.Context, id string) (berth.Measurement, error) {
	return calibrationTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s calibrations) Of(ctx context.Context, modelName, specName, engine string) (berth.Measurement, error) {
	return calibrationTable.one(ctx, s.tx, "WHERE model_name = ? AND spec_name = ? AND engine = ?", modelName, specName, engine)
}

func (s calibrations) List(ctx context.Context, modelName string) ([]berth.Measurement, error) {
	var f filter
	f.equals("model_name", modelName)
	return calibrationTable.all(ctx, s.tx, f.where()+" ORDER BY model_name, spec_name, engine", f.args...)
}

func (s calibrations) Delete(ctx context.Context, id string) error {
	return calibrationTable.delete(ctx, s.tx, id)
}
