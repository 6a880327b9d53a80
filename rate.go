package berth

// yield returns what one replica of the deployment's pool carries, or of the pool that a
// purchase would go to.
func (b *sale) yield() (Yield, error) {
	spec := b.d.Spec
	if b.d.PoolID == "" {
		var err error
		if spec, err = b.poolSpec(); err != nil {
			return Yield{}, err
		}
	}
	return yieldOf(b.ctx, b.tx, &b.model, spec)
}

// calibrated refuses to reserve throughput of a model that nobody has measured, nor
// declared, on the spec of its pool.
func (b *sale) calibrated() error {
	yield, err := b.yield()
	if err != nil || yield.Known() {
		return err
	}
	name := b.d.Spec.Name
	if b.d.PoolID == "" {
		spec, err := b.poolSpec()
		if err != nil {
			return err
		}
		name = spec.Name
	}
	return uncalibrated(&b.model, name)
}

// rate writes the loads of the other members of a pool anew when throughput is sold by
// other figures than theirs were: what was sold stays sold, and nothing more is before the
// pool carries all of it by the newest figures. Between two calibrations it reads nothing.
func (b *sale) rate(pool Pool) error {
	if b.d.Plan != PlanPTU {
		return nil
	}
	yield, err := b.yield()
	if err != nil || !yield.Known() || pool.RatedBy == yield.String() {
		return err
	}
	members, err := b.tx.Pools().Members(b.ctx, pool.ID)
	if err != nil {
		return err
	}
	yields := map[string]Yield{b.model.Name: yield}
	for _, m := range members {
		if m.Plan != PlanPTU || m.DeploymentID == b.d.ID {
			continue
		}
		if err := b.rerate(pool, m, yields); err != nil {
			return err
		}
	}
	pool.RatedBy = yield.String()
	return b.tx.Pools().Update(b.ctx, pool)
}

// rerate writes the load of one member by the present figures of its model, if there are
// any. yields remembers those by model.
func (b *sale) rerate(pool Pool, m Member, yields map[string]Yield) error {
	d, err := b.tx.Deployments().Get(b.ctx, m.DeploymentID)
	if err != nil {
		return err
	}
	yield, ok := yields[d.ModelName]
	if !ok {
		model, err := b.tx.Models().Get(b.ctx, d.ModelName)
		if err != nil {
			return err
		}
		if yield, err = yieldOf(b.ctx, b.tx, &model, pool.Spec); err != nil {
			return err
		}
		yields[d.ModelName] = yield
	}
	if !yield.Known() {
		return nil
	}
	load := yield.LoadPPM(d.PTU.Plus(d.Kept))
	if load == m.LoadPPM {
		return nil
	}
	m.LoadPPM = load
	if err := b.tx.Pools().Leave(b.ctx, m.DeploymentID); err != nil {
		return err
	}
	return b.tx.Pools().Join(b.ctx, m)
}

// sellsOneKind refuses adapters beside reserved throughput where both would share the
// only slot of a replica: one call of the others would keep what is reserved waiting
// (design 2). Lanes keep the two apart.
func (p *Pool) sellsOneKind(d Demand, engine EngineTraits) error {
	if !engine.Mixes(p.Spec) || p.Spec.Slots > 1 || d.Sales == 0 || d.LoRAs == 0 {
		return nil
	}
	return Errorf(CodeNoCapacity, "A replica of %s on %s answers one call at a time, so its pool carries either reserved throughput or adapters, and has the other already; use a spec with more slots.", p.ModelName, p.Spec.Name)
}
