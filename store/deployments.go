package store

import (
	"context"
	"database/sql"

	berth "github.com/berthhq/berth"
)

type deployments struct{ tx *tx }

var deploymentTable = newTable("deployments", "deployment", func(d *berth.Deployment) []column {
	return []column{
		{"id", &d.ID},
		{"deployed_model", &d.DeployedModel},
		{"display_name", &d.DisplayName},
		{"workspace_id", &d.WorkspaceID},
		{"model_name", &d.ModelName},
		{"base_model", &d.BaseModel},
		{"plan", &d.Plan},
		{"suffix", &d.Suffix},
		{"status", &d.Status},
		{"reason", &d.Reason},
		{"capacity", &d.Capacity},
		{"base_capacity", &d.BaseCapacity},
		{"ready_capacity", &d.ReadyCapacity},
		{"part_ppm", &d.PartPPM},
		{"prefill_capacity", &d.PrefillCapacity},
		{"decode_capacity", &d.DecodeCapacity},
		{"before", document{&d.Before}},
		{"deposit", document{&d.Deposit}},
		{"spec", document{&d.Spec}},
		{"input_tpm", &d.PTU.InputTPM},
		{"output_tpm", &d.PTU.OutputTPM},
		{"thinking_tpm", &d.PTU.ThinkingTPM},
		{"overflow", &d.Overflow},
		{"reserved", &d.Reserved},
		{"kept", document{&d.Kept}},
		{"service_tier", &d.ServiceTier},
		{"prepaid", document{&d.Prepaid}},
		{"pool_id", &d.PoolID},
		{"enable_thinking", &d.EnableThinking},
		{"max_context_length", &d.MaxContextLength},
		{"rpm_limit", &d.RPMLimit},
		{"tpm_limit", &d.TPMLimit},
		{"charge_type", &d.ChargeType},
		{"creator", &d.Creator},
		{"modifier", &d.Modifier},
		{"created_at", instant{&d.CreatedAt}},
		{"modified_at", instant{&d.ModifiedAt}},
		{"deleted_at", instant{&d.DeletedAt}},
	}
})

func (s deployments) Insert(ctx context.Context, d berth.Deployment) error {
	s.tx.changed(berth.NounDeployment, d.ID)
	return deploymentTable.insert(ctx, s.tx, d)
}

func (s deployments) Update(ctx context.Context, d berth.Deployment) error {
	s.tx.changed(berth.NounDeployment, d.ID)
	return deploymentTable.update(ctx, s.tx, d)
}

func (s deployments) Get(ctx context.Context, id string) (berth.Deployment, error) {
	return deploymentTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s deployments) ByName(ctx context.Context, deployedModel string) (berth.Deployment, error) {
	return deploymentTable.one(ctx, s.tx, "WHERE deployed_model = ? AND deleted_at = 0", deployedModel)
}

func (s deployments) Tombstone(ctx context.Context, workspaceID, deployedModel string) (bool, error) {
	n, err := s.tx.number(ctx, "look for tombstone",
		"SELECT COUNT(*) FROM deployments WHERE workspace_id = ? AND deployed_model = ? AND deleted_at <> 0", workspaceID, deployedModel)
	return n > 0, err
}

func (s deployments) OfPool(ctx context.Context, poolID string) ([]berth.Deployment, error) {
	return deploymentTable.all(ctx, s.tx, "WHERE pool_id = ? AND pool_id <> '' AND deleted_at = 0 ORDER BY id", poolID)
}

func (s deployments) OfModel(ctx context.Context, name string) ([]berth.Deployment, error) {
	return deploymentTable.all(ctx, s.tx, "WHERE (model_name = ? OR base_model = ?) AND deleted_at = 0 ORDER BY id", name, name)
}

func (s deployments) List(ctx context.Context, f berth.DeploymentFilter) ([]berth.Deployment, int64, error) {
	live := filter{conditions: []string{"deleted_at = 0"}}
	live.equals("workspace_id", f.WorkspaceID)
	live.equals("plan", string(f.Plan))
	total, err := s.tx.number(ctx, "count deployments", "SELECT COUNT(*) FROM deployments "+live.where(), live.args...)
	if err != nil {
		return nil, 0, err
	}
	if !f.UpTo.IsZero() {
		live.add("created_at <= ?", f.UpTo.UnixNano())
	}
	tail := live.where() + " ORDER BY created_at DESC, deployed_model" + live.page(f.Offset, f.Limit)
	list, err := deploymentTable.all(ctx, s.tx, tail, live.args...)
	return list, total, err
}

func (s deployments) Bases(ctx context.Context, ids []string) (map[string]string, error) {
	bases := map[string]string{}
	if len(ids) == 0 {
		return bases, nil
	}
	var w filter
	w.in("id", ids)
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var id, base string
		err := rows.Scan(&id, &base)
		bases[id] = base
		return err
	}, "SELECT id, base_model FROM deployments "+w.where(), w.args...)
	return bases, read("deployment", err)
}
