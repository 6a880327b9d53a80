package berth

import (
	"cmp"
	"context"
	"time"
)

// sale is one purchase on its way through its transaction.
type sale struct {
	*Deployments
	ctx    context.Context //nolint:containedctx // lives for one call of create
	tx     Tx
	caller Caller
	ask    Purchase
	// workspace is where it is bought.
	workspace Workspace
	// model is what is bought; weights is the model whose files its engine loads: the
	// base of an adapter, else the model itself.
	model, weights Model
	engine         EngineTraits
	d              Deployment
	// runs is the model whose entry the replicas are started from: that of the pool,
	// which cannot go while the pool has members.
	runs string
	// soldPPM is the load that it left its pool with.
	soldPPM int64
	// ahead is what is paid in advance.
	ahead []ahead
	// cost is what it costs, as soon as that is known.
	cost *Cost
	// had are the replicas that its owner had before the purchase.
	had []Replica
}

// create checks a purchase in the order of api.md 4.6 and writes it.
func (s *Deployments) create(ctx context.Context, tx Tx, caller Caller, p Purchase) (Deployment, error) {
	b, err := s.sell(ctx, tx, caller, p)
	if err != nil {
		return Deployment{}, err
	}
	return b.d, tx.Events().Append(ctx, b.d.Event(s.NewID("evt_"), b.d.CreatedAt, "Bought; the hardware is held."))
}

// sell makes a purchase. When it is refused, what is returned has what was found out before.
func (s *Deployments) sell(ctx context.Context, tx Tx, caller Caller, p Purchase) (*sale, error) {
	b := &sale{Deployments: s, ctx: ctx, tx: tx, caller: caller, ask: p}
	for _, step := range []func() error{func() error { return b.findModel(p.ModelName) }, b.checkPrivilege, b.describe, b.checkPlan, b.checkName, b.checkCount, b.depositFirst, b.write, b.hold, b.firstInstance} {
		if err := step(); err != nil {
			return b, err
		}
	}
	return b, nil
}

// depositFirst holds the first hour of a deployment that is not there yet, or all
// of a term that is paid in advance.
func (b *sale) depositFirst() error {
	now := RunStep{}
	switch {
	case b.d.Plan == PlanMU:
		now.Units = b.d.Capacity
	case b.d.Plan == PlanPTU && b.d.ChargeType == ChargeTypePrePaid:
		b.ahead = []ahead{{b.d.PTU, b.ask.Prepaid.Minutes()}}
	case b.d.Plan == PlanPTU:
		now.PTU = b.d.PTU
	}
	return b.deposit(now, false)
}

// findModel looks the model up among those that the workspace may see.
func (b *sale) findModel(name string) (err error) {
	if name == "" {
		return Errorf(CodeInvalid, "Field required: model_name")
	}
	if b.model, err = visibleModel(b.ctx, b.tx, b.caller.WorkspaceID, name); err != nil {
		return err
	}
	b.weights = b.model
	if b.model.Kind == ModelKindAdapter {
		if b.weights, err = b.tx.Models().Get(b.ctx, b.model.Base); err != nil {
			return err
		}
	}
	engine, ok := b.Engines[b.weights.Engine]
	if !ok {
		return Errorf(CodeInternal, "The engine %q of model %s is not known to this server.", b.weights.Engine, b.weights.Name)
	}
	b.engine, b.runs = engine, b.weights.Name
	return nil
}

// visibleModel hides models of other workspaces behind the answer for unknown ones.
func visibleModel(ctx context.Context, tx Tx, workspaceID, name string) (Model, error) {
	m, err := tx.Models().Get(ctx, name)
	if CodeOf(err) == CodeNotFound || err == nil && !m.VisibleTo(workspaceID) {
		return Model{}, modelNotFound(name)
	}
	return m, err
}

// checkPrivilege refuses a model that the workspace may see and not deploy (api.md 3.1).
func (b *sale) checkPrivilege() (err error) {
	if b.workspace, err = findWorkspace(b.ctx, b.tx, b.caller.WorkspaceID); err != nil {
		return err
	}
	if !b.workspace.MayDeploy(&b.model) {
		return noPrivilege(b.workspace, b.model)
	}
	return nil
}

func noPrivilege(w Workspace, m Model) error {
	return Errorf(CodeForbidden, "Workspace %s does not have deployment privilege for model %s", w.ID, m.Name)
}

// checkCount refuses a deployment beyond the number that the workspace may have (api.md
// 12, point 16).
func (b *sale) checkCount() error {
	most := cmp.Or(b.workspace.Quota.Deployments, b.MaxPerWorkspace)
	if most == 0 {
		return nil
	}
	_, have, err := b.tx.Deployments().List(b.ctx, DeploymentFilter{WorkspaceID: b.workspace.ID, Limit: 1})
	if err != nil || have < most {
		return err
	}
	return Errorf(CodeThrottled, "The workspace %s may have %d deployments and has %d; delete one, or ask an owner for a larger quota.", b.workspace.ID, most, have)
}

// describe fills what deployments of every plan have.
func (b *sale) describe() error {
	plan, err := resolvePlan(&b.model, b.ask.Plan)
	if err != nil {
		return err
	}
	now := b.Now()
	b.d = Deployment{
		ID:          b.NewID("dep_"),
		WorkspaceID: b.caller.WorkspaceID,
		ModelName:   b.model.Name,
		BaseModel:   b.weights.Name,
		Plan:        plan,
		Status:      StatusPending,
		Capacity:    1, BaseCapacity: 1,
		ChargeType: ChargeTypePostPaid,
		Creator:    b.caller.AccountID, Modifier: b.caller.AccountID,
		CreatedAt: now, ModifiedAt: now,
	}
	return b.ask.fill(&b.d)
}

// checkPlan checks and fills what only deployments of the plan have.
func (b *sale) checkPlan() error {
	switch b.d.Plan {
	case PlanMU:
		spec, err := b.chosenSpec()
		if err != nil {
			return err
		}
		if err := b.ask.fillMU(&b.d, &b.model, spec); err != nil {
			return err
		}
		return b.checkMemory(b.d.Spec)
	case PlanPTU:
		if err := b.calibrated(); err != nil {
			return err
		}
		if !b.model.Offers(PlanPTU) {
			return Errorf(CodeInvalid, "The model %s does not exist or is not deployable", b.model.Name)
		}
		return b.ask.fillPTU(&b.d, &b.model, b.Reservations)
	}
	if !b.engine.Adapters {
		return Errorf(CodeInvalid, "The engine %s of base model %s cannot apply adapters; choose plan mu.", b.engine.Name, b.weights.Name)
	}
	return nil
}

// chosenSpec resolves deploy_spec. A purchase without plan may leave it out and gets
// the first one; with a plan it is required (api.md 4.4, statement 18).
func (b *sale) chosenSpec() (ResolvedSpec, error) {
	offered := b.SpecsOf(&b.weights)
	if len(offered) == 0 {
		return ResolvedSpec{}, Errorf(CodeInvalid, "The model %s does not exist or is not deployable", b.model.Name)
	}
	if b.ask.Spec == "" && b.ask.Plan == "" {
		return firstCoupled(offered, b.model.Name)
	}
	if b.ask.Spec == "" {
		return ResolvedSpec{}, Errorf(CodeInvalid, "Field required: deploy_spec")
	}
	for _, spec := range offered {
		if spec.Name != b.ask.Spec {
			continue
		}
		if spec.Type == SpecTypeSeparated && !b.engine.SeparatesRoles {
			return spec, Errorf(CodeInvalid, "The engine %s cannot separate prefill and decode; choose a template of type COUPLED.", b.engine.Name)
		}
		return spec, nil
	}
	return ResolvedSpec{}, Errorf(CodeInvalid, "The deploy_spec %q is not offered for model %s; ask GET /api/v1/deployments/models?version=v1.0 for those that are.", b.ask.Spec, b.model.Name)
}

// firstCoupled is the spec of purchases that name none.
func firstCoupled(offered []ResolvedSpec, model string) (ResolvedSpec, error) {
	for _, spec := range offered {
		if spec.Type == SpecTypeCoupled {
			return spec, nil
		}
	}
	return ResolvedSpec{}, Errorf(CodeInvalid, "The model %s does not exist or is not deployable", model)
}

// SpecsOf returns the specs that a model may be deployed on, its own entry's first to
// last, else every configured one.
func (s *Deployments) SpecsOf(m *Model) []ResolvedSpec {
	var out []ResolvedSpec
	if len(m.Specs) == 0 {
		for _, spec := range s.Specs {
			out = append(out, spec.Resolve(SpecOverride{}))
		}
	}
	for _, o := range m.Specs {
		for _, spec := range s.Specs {
			if spec.Name == o.Spec {
				out = append(out, spec.Resolve(o))
			}
		}
	}
	for i := range out {
		if m.ContextLength > 0 {
			out[i].ContextLength = min(out[i].ContextLength, m.ContextLength)
		}
	}
	return out
}

// checkMemory refuses a replica whose engine is not here or that could not hold its
// weights and context.
func (b *sale) checkMemory(spec ResolvedSpec) error {
	if b.engine.Missing != "" {
		return Errorf(CodeInvalid, "The model %s needs the engine %s, which this server does not have: %s.", b.model.Name, b.engine.Name, b.engine.Missing)
	}
	need := MemoryNeed(b.weights.File, b.engine, spec.Slots, spec.ContextLength)
	if b.engine.Remote || need <= spec.Replica.MemoryBytes {
		return nil
	}
	return Errorf(CodeInvalid, "A replica of %s on %s needs about %d MiB for its weights and %d sequences of %d tokens, but has %d MiB; choose a smaller max_context_length or a larger spec.",
		b.model.Name, spec.Name, need>>20, spec.Slots, spec.ContextLength, spec.Replica.MemoryBytes>>20)
}

// checkName makes the name and refuses one that is taken (api.md 4.5).
func (b *sale) checkName() error {
	suffix, err := NormalSuffix(b.ask.Suffix)
	if err != nil {
		return err
	}
	b.d.Suffix = suffix
	b.d.DeployedModel = DeployedModelName(&b.model, b.caller.WorkspaceID, suffix)
	_, err = b.tx.Deployments().ByName(b.ctx, b.d.DeployedModel)
	switch CodeOf(err) {
	case CodeNotFound:
		return nil
	case "":
		return Errorf(CodeConflict, "Deployed model %s already exists, please specify a suffix.", b.d.DeployedModel)
	}
	return err
}

// write inserts the deployment and, for a pooled plan, its place in the pool.
func (b *sale) write() error {
	if !b.d.Plan.Pooled() {
		return b.tx.Deployments().Insert(b.ctx, b.d)
	}
	spec, err := b.poolSpec()
	if err != nil {
		return err
	}
	if err := b.checkMemory(spec); err != nil {
		return err
	}
	if err := b.choosePool(spec); err != nil {
		return err
	}
	if err := b.tx.Deployments().Insert(b.ctx, b.d); err != nil {
		return err
	}
	return b.join()
}

// choosePool puts the deployment into the pool of its weights on a spec.
func (b *sale) choosePool(spec ResolvedSpec) error {
	pool, err := b.pool(spec)
	b.d.PoolID, b.d.Spec, b.runs = pool.ID, pool.Spec, pool.ModelName
	return err
}

// join makes the deployment a member of its pool.
func (b *sale) join() error {
	member := Member{PoolID: b.d.PoolID, DeploymentID: b.d.ID, Plan: b.d.Plan}
	if b.d.Plan != PlanPTU {
		member.Adapter = AdapterRef{Digest: b.model.File.Digest, Path: b.model.File.Path}
		return b.tx.Pools().Join(b.ctx, member)
	}
	yield, err := b.yield()
	if err != nil {
		return err
	}
	member.LoadPPM = b.soldPPM // of a model that lost its calibration: what was sold by it stays
	if yield.Known() {
		member.LoadPPM = yield.LoadPPM(b.d.PTU.Plus(b.d.Kept))
	}
	return b.tx.Pools().Join(b.ctx, member)
}

// leave takes the deployment out of its pool.
func (b *sale) leave() error {
	if b.d.Plan == PlanPTU {
		member, err := b.tx.Pools().Member(b.ctx, b.d.ID)
		switch CodeOf(err) {
		case "":
			b.soldPPM = member.LoadPPM
		case CodeNotFound: // it left when it failed or was stopped
		default:
			return err
		}
	}
	return b.tx.Pools().Leave(b.ctx, b.d.ID)
}

// pool finds the pool of the weights, or makes it (design 2).
func (b *sale) pool(spec ResolvedSpec) (Pool, error) {
	key := PoolKey(b.weights.File.Digest, spec, b.weights.Engine)
	pool, err := b.tx.Pools().ByKey(b.ctx, key)
	if err == nil {
		before := pool
		pool.IdleSince = time.Time{}
		if pool.ModelName == b.weights.Name { // whose entry may have been changed since
			pool.Min, pool.Max = b.weights.Pool.Min, b.weights.Pool.Max
		}
		if _, err := b.tx.Models().Get(b.ctx, pool.ModelName); CodeOf(err) == CodeNotFound {
			pool.ModelName = b.weights.Name // the one that made the pool went while nobody used it
		} else if err != nil {
			return Pool{}, err
		}
		if pool == before {
			return pool, nil
		}
		return pool, b.tx.Pools().Update(b.ctx, pool)
	}
	if CodeOf(err) != CodeNotFound {
		return Pool{}, err
	}
	pool = Pool{
		ID: b.NewID("pool_"), Key: key, ModelName: b.weights.Name, Engine: b.weights.Engine, Spec: spec,
		Min: b.weights.Pool.Min, Max: b.weights.Pool.Max, CreatedAt: b.Now(),
	}
	return pool, b.tx.Pools().Insert(b.ctx, pool)
}

// poolSpec is the spec that the model's entry names for its pool, else its first.
func (b *sale) poolSpec() (ResolvedSpec, error) {
	offered := b.SpecsOf(&b.weights)
	for _, spec := range offered {
		if spec.Name == b.weights.Pool.Spec {
			return spec, nil
		}
	}
	return firstCoupled(offered, b.model.Name)
}

// hold takes the hardware of every replica that the purchase needs beyond those that
// exist, all or none, and writes the replicas for the reconciler to start.
func (b *sale) hold() error {
	lanes, err := b.needed()
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		like := Replica{
			DeploymentID: b.d.ID, PoolID: b.d.PoolID, Lane: lane.Lane, Engine: b.weights.Engine, ModelName: b.runs,
			Spec: b.d.Spec, Adapters: lane.Adapters, State: ReplicaPending, CreatedAt: b.Now(),
		}
		if b.d.Plan.Pooled() {
			like.DeploymentID = "" // the pool owns it
		}
		if err := HoldReplicas(b.ctx, b.tx, like, lane.Replicas, b.engine, b.NewID); err != nil {
			return err
		}
	}
	return nil
}

// replicas returns those of the deployment, or of its pool.
func (b *sale) replicas() ([]Replica, error) {
	if b.d.Plan.Pooled() {
		return b.tx.Replicas().OfPool(b.ctx, b.d.PoolID)
	}
	return b.tx.Replicas().OfDeployment(b.ctx, b.d.ID)
}

// needed returns the lanes that must grow for this purchase.
func (b *sale) needed() ([]LaneWant, error) {
	have, err := b.replicas()
	if err != nil {
		return nil, err
	}
	b.had = have
	if !b.d.Plan.Pooled() {
		var adapters []AdapterRef
		if b.model.Kind == ModelKindAdapter {
			adapters = []AdapterRef{{Digest: b.model.File.Digest, Path: b.model.File.Path}}
		}
		return Missing(b.d.Lanes(adapters), have), nil
	}
	pool, err := b.tx.Pools().Get(b.ctx, b.d.PoolID)
	if err != nil {
		return nil, err
	}
	if err := b.rate(pool); err != nil {
		return nil, err
	}
	demand, err := b.tx.Pools().Demand(b.ctx, pool.ID)
	if err != nil {
		return nil, err
	}
	if err := pool.sellsOneKind(demand, b.engine); err != nil {
		return nil, err
	}
	want := pool.Needs(demand, b.engine)
	var total int64
	for _, w := range want {
		total += w.Replicas
	}
	if pool.Max > 0 && total > int64(pool.Max) {
		return nil, Errorf(CodeNoCapacity, "The pool of %s would need %d replicas and may have %d; reserve less, or raise pool.max of the model.", pool.ModelName, total, pool.Max)
	}
	return Missing(want, have), nil
}
