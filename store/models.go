package store

import (
	"context"

	berth "github.com/berthhq/berth"
)

type models struct{ tx *tx }

var modelTable = newTable("models", "model", func(m *berth.Model) []column {
	return []column{
		{"name", &m.Name},
		{"kind", &m.Kind},
		{"workspace_id", reference{&m.WorkspaceID}},
		{"base", &m.Base},
		{"engine", &m.Engine},
		{"file", document{&m.File}},
		{"url", &m.URL},
		{"remote_name", &m.RemoteName},
		{"sealed_key", &m.SealedKey},
		{"args", document{&m.Args}},
		{"plans", document{&m.Plans}},
		{"plans_by_kind", &m.PlansByKind},
		{"specs", document{&m.Specs}},
		{"pool_spec", &m.Pool.Spec},
		{"pool_min", &m.Pool.Min},
		{"pool_max", &m.Pool.Max},
		{"calibration_input_tpm", &m.Calibration.InputTPM},
		{"calibration_output_tpm", &m.Calibration.OutputTPM},
		{"calibration_declared", &m.Calibration.Declared},
		{"ptu", document{&m.PTU}},
		{"thinking", &m.Thinking},
		{"context_length", &m.ContextLength},
		{"stand_in", &m.StandIn},
		{"description", &m.Description},
		{"configured", &m.Configured},
		{"created_at", instant{&m.CreatedAt}},
	}
})

func (s models) Insert(ctx context.Context, m berth.Model) error {
	s.tx.changed(berth.NounModel, m.Name)
	return modelTable.insert(ctx, s.tx, m)
}

func (s models) Update(ctx context.Context, m berth.Model) error {
	s.tx.changed(berth.NounModel, m.Name)
	return modelTable.update(ctx, s.tx, m)
}

func (s models) Get(ctx context.Context, name string) (berth.Model, error) {
	return modelTable.one(ctx, s.tx, "WHERE name = ?", name)
}

func (s models) List(ctx context.Context) ([]berth.Model, error) {
	return modelTable.all(ctx, s.tx, "ORDER BY name")
}

func (s models) Delete(ctx context.Context, name string) error {
	s.tx.changed(berth.NounModel, name)
	return modelTable.delete(ctx, s.tx, name)
}
