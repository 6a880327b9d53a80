package storetest

import (
	"context"
	"fmt"
	"slices"

	berth "github.com/berthhq/berth"
)

// trip is the way of a noun into a store and back.
type trip[T any] struct {
	// place gives v its id and lets it refer to what settle wrote.
	place  func(v *T)
	insert func(context.Context, berth.Tx, T) error
	update func(context.Context, berth.Tx, T) error // nil: the noun is never changed
	read   func(context.Context, berth.Tx) (T, error)
}

// check inserts a value without a zero field, and changes it to a blank one and back.
func (r trip[T]) check(s suite) {
	s.settle()
	r.steps(s)
}

// steps is check in a world that is settled already.
func (r trip[T]) steps(s suite) {
	s.Helper()
	full, blank := filled[T](), *new(T)
	r.place(&full)
	r.place(&blank)
	step := func(what string, write func(context.Context, berth.Tx, T) error, v T) {
		s.Helper()
		s.write(func(tx berth.Tx) error { return write(s.Context(), tx, v) })
		s.same(what, view(s, func(tx berth.Tx) (T, error) { return r.read(s.Context(), tx) }), v)
	}
	step("inserted", r.insert, full)
	if r.update != nil {
		step("changed to blank", r.update, blank)
		step("changed back", r.update, full)
	}
}

// pick returns the only element that is the wanted one.
func pick[T any](list []T, err error, wanted func(T) bool) (T, error) {
	i := slices.IndexFunc(list, wanted)
	if err == nil && i < 0 {
		err = fmt.Errorf("not among %+v", list)
	}
	if err != nil {
		return *new(T), err
	}
	return list[i], nil
}

var roundTrips = []promise{
	{"an account keeps every field", trip[berth.Account]{
		place: func(a *berth.Account) { a.ID = "2" },
		insert: func(ctx context.Context, tx berth.Tx, a berth.Account) error {
			return tx.Accounts().InsertAccount(ctx, a)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Account, error) {
			return tx.Accounts().Account(ctx, "2")
		},
	}.check},
	{"a workspace keeps every field", trip[berth.Workspace]{
		place: func(w *berth.Workspace) { w.ID, w.AccountID = "llm-new", accountID },
		insert: func(ctx context.Context, tx berth.Tx, w berth.Workspace) error {
			return tx.Accounts().InsertWorkspace(ctx, w)
		},
		update: func(ctx context.Context, tx berth.Tx, w berth.Workspace) error {
			return tx.Accounts().UpdateWorkspace(ctx, w)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Workspace, error) {
			return tx.Accounts().Workspace(ctx, "llm-new")
		},
	}.check},
	{"a key keeps every field", trip[berth.Key]{
		place: func(k *berth.Key) {
			k.ID, k.WorkspaceID = "key_new", workspaceID
			if k.ParentID != "" {
				k.ParentID = "key_new" // any that is there
			}
		},
		insert: func(ctx context.Context, tx berth.Tx, k berth.Key) error { return tx.Keys().Insert(ctx, k) },
		update: func(ctx context.Context, tx berth.Tx, k berth.Key) error { return tx.Keys().Update(ctx, k) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Key, error) {
			return tx.Keys().Get(ctx, "key_new")
		},
	}.check},
	{"a model keeps every field", trip[berth.Model]{
		place:  func(m *berth.Model) { m.Name, m.WorkspaceID = "new", workspaceID },
		insert: func(ctx context.Context, tx berth.Tx, m berth.Model) error { return tx.Models().Insert(ctx, m) },
		update: func(ctx context.Context, tx berth.Tx, m berth.Model) error { return tx.Models().Update(ctx, m) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Model, error) {
			return tx.Models().Get(ctx, "new")
		},
	}.check},
	{"a node keeps every field, and its version and what is held when it is put again", trip[berth.Node]{
		place:  func(n *berth.Node) { n.ID, n.Version, n.Held = "node-new", 7, berth.Resources{Threads: 1} },
		insert: func(ctx context.Context, tx berth.Tx, n berth.Node) error { return tx.Nodes().Put(ctx, n) },
		update: func(ctx context.Context, tx berth.Tx, n berth.Node) error {
			n.Version, n.Held = 0, berth.Resources{}
			return tx.Nodes().Put(ctx, n)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Node, error) {
			list, err := tx.Nodes().List(ctx)
			return pick(list, err, func(n berth.Node) bool { return n.ID == "node-new" })
		},
	}.check},
	{"a hold keeps every field", trip[berth.Hold]{
		place: func(h *berth.Hold) {
			h.ID, h.NodeID, h.ReplicaID, h.DeploymentID, h.PoolID, h.CalibrationID = "hold_new", nodeID, replicaID, deploymentID, poolID, calibrationID
		},
		insert: func(ctx context.Context, tx berth.Tx, h berth.Hold) error {
			return tx.Nodes().Hold(ctx, map[string]int64{nodeID: nodeVersion}, []berth.Hold{h})
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Hold, error) {
			return tx.Nodes().HoldOf(ctx, replicaID)
		},
	}.check},
	{"a deployment keeps every field", trip[berth.Deployment]{
		place: func(d *berth.Deployment) { d.ID, d.WorkspaceID = "dep_new", workspaceID },
		insert: func(ctx context.Context, tx berth.Tx, d berth.Deployment) error {
			return tx.Deployments().Insert(ctx, d)
		},
		update: func(ctx context.Context, tx berth.Tx, d berth.Deployment) error {
			return tx.Deployments().Update(ctx, d)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Deployment, error) {
			return tx.Deployments().Get(ctx, "dep_new")
		},
	}.check},
	{"a pool keeps every field", trip[berth.Pool]{
		place:  func(p *berth.Pool) { p.ID = "pool_new" },
		insert: func(ctx context.Context, tx berth.Tx, p berth.Pool) error { return tx.Pools().Insert(ctx, p) },
		update: func(ctx context.Context, tx berth.Tx, p berth.Pool) error { return tx.Pools().Update(ctx, p) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Pool, error) {
			return tx.Pools().Get(ctx, "pool_new")
		},
	}.check},
	{"a member keeps every field", trip[berth.Member]{
		place:  func(m *berth.Member) { m.PoolID, m.DeploymentID = poolID, deploymentID },
		insert: func(ctx context.Context, tx berth.Tx, m berth.Member) error { return tx.Pools().Join(ctx, m) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Member, error) {
			list, err := tx.Pools().Members(ctx, poolID)
			return pick(list, err, func(berth.Member) bool { return true })
		},
	}.check},
	{"a proof keeps every field", trip[berth.Proof]{
		place:  func(p *berth.Proof) { p.PoolID, p.Adapter = poolID, "sha256:new" },
		insert: func(ctx context.Context, tx berth.Tx, p berth.Proof) error { return tx.Pools().Prove(ctx, p) },
		update: func(ctx context.Context, tx berth.Tx, p berth.Proof) error { return tx.Pools().Prove(ctx, p) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Proof, error) {
			list, err := tx.Pools().Proofs(ctx, poolID)
			return pick(list, err, func(berth.Proof) bool { return true })
		},
	}.check},
	{"a calibration keeps every field", trip[berth.Measurement]{
		place: func(m *berth.Measurement) { m.ID = "cal_new" },
		insert: func(ctx context.Context, tx berth.Tx, m berth.Measurement) error {
			return tx.Calibrations().Insert(ctx, m)
		},
		update: func(ctx context.Context, tx berth.Tx, m berth.Measurement) error {
			return tx.Calibrations().Update(ctx, m)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Measurement, error) {
			m, err := tx.Calibrations().Get(ctx, "cal_new")
			if err != nil {
				return m, err
			}
			return tx.Calibrations().Of(ctx, m.ModelName, m.SpecName, m.Engine)
		},
	}.check},
	{"a replica keeps every field", trip[berth.Replica]{
		place: func(r *berth.Replica) {
			r.ID, r.NodeID, r.DeploymentID, r.PoolID = "rep_new", nodeID, deploymentID, poolID
		},
		insert: func(ctx context.Context, tx berth.Tx, r berth.Replica) error {
			return tx.Replicas().Insert(ctx, r)
		},
		update: func(ctx context.Context, tx berth.Tx, r berth.Replica) error {
			return tx.Replicas().Update(ctx, r)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Replica, error) {
			return tx.Replicas().Get(ctx, "rep_new")
		},
	}.check},
	{"a fine-tune job keeps every field", trip[berth.FineTune]{
		place:  func(f *berth.FineTune) { f.ID, f.WorkspaceID = "ft-new", workspaceID },
		insert: func(ctx context.Context, tx berth.Tx, f berth.FineTune) error { return tx.FineTunes().Insert(ctx, f) },
		read: func(ctx context.Context, tx berth.Tx) (berth.FineTune, error) {
			list, err := tx.FineTunes().List(ctx, workspaceID)
			return pick(list, err, func(f berth.FineTune) bool { return f.ID == "ft-new" })
		},
	}.check},
	{"an upload keeps every field", trip[berth.Upload]{
		place:  func(u *berth.Upload) { u.ID, u.WorkspaceID = "upl_new", workspaceID },
		insert: func(ctx context.Context, tx berth.Tx, u berth.Upload) error { return tx.Uploads().Insert(ctx, u) },
		update: func(ctx context.Context, tx berth.Tx, u berth.Upload) error { return tx.Uploads().Update(ctx, u) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Upload, error) {
			return tx.Uploads().Get(ctx, "upl_new")
		},
	}.check},
	{"an event keeps every field", trip[berth.Event]{
		place:  func(e *berth.Event) { e.ID, e.DeploymentID = "evt_new", deploymentID },
		insert: func(ctx context.Context, tx berth.Tx, e berth.Event) error { return tx.Events().Append(ctx, e) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Event, error) {
			list, err := tx.Events().List(ctx, deploymentID, "", 1)
			return pick(list, err, func(berth.Event) bool { return true })
		},
	}.check},
	{"a receipt keeps every field, and is replaced", trip[berth.Receipt]{
		place:  func(r *berth.Receipt) { r.WorkspaceID, r.Name, r.DeploymentID = workspaceID, "new", deploymentID },
		insert: func(ctx context.Context, tx berth.Tx, r berth.Receipt) error { return tx.Receipts().Put(ctx, r) },
		update: func(ctx context.Context, tx berth.Tx, r berth.Receipt) error { return tx.Receipts().Put(ctx, r) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Receipt, error) {
			return tx.Receipts().Get(ctx, workspaceID, "new")
		},
	}.check},
	{"an audit entry keeps every field", trip[berth.Audit]{
		place:  func(a *berth.Audit) { a.ID = "aud_new" },
		insert: func(ctx context.Context, tx berth.Tx, a berth.Audit) error { return tx.Events().AppendAudit(ctx, a) },
		read: func(ctx context.Context, tx berth.Tx) (berth.Audit, error) {
			list, err := tx.Events().Audits(ctx, berth.AuditFilter{}, nil, 1)
			return pick(list, err, func(berth.Audit) bool { return true })
		},
	}.check},
	{"an import job keeps every field", trip[berth.ImportJob]{
		place:  func(j *berth.ImportJob) { j.ID, j.WorkspaceID = "imp_new", workspaceID },
		insert: func(ctx context.Context, tx berth.Tx, j berth.ImportJob) error { return tx.Imports().Insert(ctx, j) },
		update: func(ctx context.Context, tx berth.Tx, j berth.ImportJob) error { return tx.Imports().Update(ctx, j) },
		read: func(ctx context.Context, tx berth.Tx) (berth.ImportJob, error) {
			return tx.Imports().Get(ctx, "imp_new")
		},
	}.check},
	{"an account of an engine keeps every field, and is replaced", trip[berth.EngineAccount]{
		place: func(a *berth.EngineAccount) { a.ReplicaID, a.Nonce = replicaID, "run_new" },
		insert: func(ctx context.Context, tx berth.Tx, a berth.EngineAccount) error {
			return tx.Reconciliations().PutAccount(ctx, a)
		},
		update: func(ctx context.Context, tx berth.Tx, a berth.EngineAccount) error {
			return tx.Reconciliations().PutAccount(ctx, a)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.EngineAccount, error) {
			list, err := tx.Reconciliations().Accounts(ctx)
			return pick(list, err, func(a berth.EngineAccount) bool { return a.Nonce == "run_new" })
		},
	}.check},
	{"a reconciliation keeps every field, and is replaced", trip[berth.Reconciliation]{
		place: func(r *berth.Reconciliation) { r.ReplicaID, r.Nonce, r.Hour = replicaID, "run_new", epoch },
		insert: func(ctx context.Context, tx berth.Tx, r berth.Reconciliation) error {
			return tx.Reconciliations().PutRow(ctx, r)
		},
		update: func(ctx context.Context, tx berth.Tx, r berth.Reconciliation) error {
			return tx.Reconciliations().PutRow(ctx, r)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.Reconciliation, error) {
			return tx.Reconciliations().Row(ctx, replicaID, "run_new", epoch)
		},
	}.check},
	{"a usage record keeps every field", trip[berth.UsageRecord]{
		place: func(r *berth.UsageRecord) {
			r.ID, r.End, r.Source = "use_new", berth.EndClientGone, berth.SourceCounted
		},
		insert: func(ctx context.Context, tx berth.Tx, r berth.UsageRecord) error {
			return tx.Usage().Insert(ctx, []berth.UsageRecord{r})
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.UsageRecord, error) {
			list, _, err := tx.Usage().Records(ctx, berth.UsageFilter{}, "", 1)
			return pick(list, err, func(berth.UsageRecord) bool { return true })
		},
	}.check},
}
