package store

import (
	"context"
	"database/sql"
	"errors"

	berth "github.com/berthhq/berth"
)

type pools struct{ tx *tx }

var poolTable = newTable("pools", "pool", func(p *berth.Pool) []column {
	return []column{
		{"id", &p.ID},
		{"key", &p.Key},
		{"model_name", &p.ModelName},
		{"engine", &p.Engine},
		{"spec", document{&p.Spec}},
		{"max", &p.Max},
		{"min", &p.Min},
		{"idle_since", instant{&p.IdleSince}},
		{"grew_at", instant{&p.GrewAt}},
		{"grown_base", &p.GrownBase},
		{"grown_lora", &p.GrownLoRA},
		{"rated_by", &p.RatedBy},
		{"created_at", instant{&p.CreatedAt}},
	}
})

// A deployment has a place in one pool at most.
var memberTable = newTable("members", "member", func(m *berth.Member) []column {
	return []column{
		{"deployment_id", &m.DeploymentID},
		{"pool_id", &m.PoolID},
		{"plan", &m.Plan},
		{"load_ppm", &m.LoadPPM},
		{"adapter_digest", &m.Adapter.Digest},
		{"adapter_path", &m.Adapter.Path},
	}
})

var proofTable = newTable("proofs", "proof", func(p *berth.Proof) []column {
	return []column{
		{"pool_id", &p.PoolID},
		{"adapter", &p.Adapter},
		{"proved", &p.Proved},
		{"failures", &p.Failures},
	}
})

func (s pools) Insert(ctx context.Context, p berth.Pool) error {
	s.tx.changed(berth.NounPool, p.ID)
	return poolTable.insert(ctx, s.tx, p)
}

func (s pools) Update(ctx context.Context, p berth.Pool) error {
	s.tx.changed(berth.NounPool, p.ID)
	return poolTable.update(ctx, s.tx, p)
}

func (s pools) Delete(ctx context.Context, id string) error {
	s.tx.changed(berth.NounPool, id)
	return poolTable.delete(ctx, s.tx, id)
}

func (s pools) Get(ctx context.Context, id string) (berth.Pool, error) {
	return poolTable.one(ctx, s.tx, "WHERE id = ?", id)
}

func (s pools) ByKey(ctx context.Context, key string) (berth.Pool, error) {
	return poolTable.one(ctx, s.tx, "WHERE key = ?", key)
}

func (s pools) List(ctx context.Context) ([]berth.Pool, error) {
	return poolTable.all(ctx, s.tx, "ORDER BY created_at, id")
}

func (s pools) Join(ctx context.Context, m berth.Member) error {
	s.tx.changed(berth.NounDeployment, m.DeploymentID)
	s.tx.changed(berth.NounPool, m.PoolID)
	return memberTable.insert(ctx, s.tx, m)
}

func (s pools) Leave(ctx context.Context, deploymentID string) error {
	var pool string
	err := s.tx.queryRow(ctx, memberTable.deleteSQL+" RETURNING pool_id", deploymentID).Scan(&pool)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	s.tx.changed(berth.NounDeployment, deploymentID)
	s.tx.changed(berth.NounPool, pool)
	return s.tx.dialect.wrote(memberTable.noun, err)
}

func (s pools) Members(ctx context.Context, poolID string) ([]berth.Member, error) {
	var f filter
	f.equals("pool_id", poolID)
	return memberTable.all(ctx, s.tx, f.where()+" ORDER BY pool_id, deployment_id", f.args...)
}

func (s pools) Member(ctx context.Context, deploymentID string) (berth.Member, error) {
	return memberTable.one(ctx, s.tx, "WHERE deployment_id = ?", deploymentID)
}

func (s pools) Demand(ctx context.Context, poolID string) (d berth.Demand, err error) {
	err = s.tx.queryRow(ctx, `SELECT COUNT(CASE WHEN plan = ? THEN 1 END), COUNT(CASE WHEN plan <> ? THEN 1 END),
		COALESCE(SUM(CASE WHEN plan = ? THEN load_ppm END), 0) FROM members WHERE pool_id = ?`,
		berth.PlanPTU, berth.PlanPTU, berth.PlanPTU, poolID).Scan(&d.Sales, &d.LoRAs, &d.SoldPPM)
	if err != nil || d.LoRAs == 0 {
		return d, read(memberTable.noun, err)
	}
	err = s.tx.each(ctx, func(rows *sql.Rows) error {
		var a berth.AdapterRef
		err := rows.Scan(&a.Digest, &a.Path)
		d.Adapters = append(d.Adapters, a)
		return err
	}, "SELECT DISTINCT adapter_digest, adapter_path FROM members WHERE pool_id = ? AND plan <> ?", poolID, berth.PlanPTU)
	d.Adapters = berth.DistinctAdapters(d.Adapters)
	return d, read(memberTable.noun, err)
}

func (s pools) SoldPPM(ctx context.Context, poolID string) (sold int64, err error) {
	err = s.tx.queryRow(ctx, "SELECT COALESCE(SUM(load_ppm), 0) FROM members WHERE pool_id = ? AND plan = ?", poolID, berth.PlanPTU).Scan(&sold)
	return sold, read(memberTable.noun, err)
}

var proveSQL = proofTable.insertSQL + " ON CONFLICT (pool_id, adapter) DO UPDATE SET proved = excluded.proved, failures = excluded.failures"

func (s pools) Prove(ctx context.Context, p berth.Proof) error {
	_, err := s.tx.exec(ctx, proveSQL, proofTable.fields(&p)...)
	return s.tx.dialect.wrote(proofTable.noun, err)
}

func (s pools) Proofs(ctx context.Context, poolID string) ([]berth.Proof, error) {
	return proofTable.all(ctx, s.tx, "WHERE pool_id = ? ORDER BY adapter", poolID)
}

func (s pools) Unprove(ctx context.Context, poolID, adapter string) error {
	_, err := s.tx.exec(ctx, "DELETE FROM proofs WHERE pool_id = ? AND adapter = ?", poolID, adapter)
	return s.tx.dialect.wrote(proofTable.noun, err)
}
