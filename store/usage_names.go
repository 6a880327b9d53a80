package store

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// usageOrigin is what the records of one key, deployment and run of a replica say alike.
type usageOrigin struct {
	workspaceID, keyID, deploymentID, deployedModel, modelName string
	plan                                                       berth.Plan
	class                                                      berth.Class
	replicaID, nonce                                           string
}

// usageRef is where an origin is kept.
type usageRef struct {
	id, subject, space int64
	zone               *time.Location // of the workspace's account
	seen               int64          // last day since 1970 in UTC of a record
}

// usageBounds are what the sums of days are kept apart by, in ascending order.
type usageBounds struct {
	instants []int64 // of changes of prices, in nanoseconds since 1970
	lengths  []int64 // of prompts, in tokens
}

// maxUsageRefs bounds what a process remembers of origins.
const maxUsageRefs = 1 << 16

// usageNames is what a process remembers of names and boundaries in the store. Only what
// was committed comes in, and all of it is forgotten when the store's generation changes.
type usageNames struct {
	mu         sync.RWMutex
	generation int64
	refs       map[usageOrigin]usageRef
	bounds     *usageBounds
}

func (n *usageNames) ref(generation int64, o usageOrigin) (usageRef, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.generation != generation {
		return usageRef{}, false
	}
	ref, ok := n.refs[o]
	return ref, ok
}

func (n *usageNames) boundaries(generation int64) *usageBounds {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.generation != generation {
		return nil
	}
	return n.bounds
}

// usageTx is what a transaction has learned of names and boundaries.
type usageTx struct {
	names      *usageNames
	generation int64 // 0: nothing was asked
	refs       map[usageOrigin]usageRef
	bounds     *usageBounds
}

// begin forgets what was learned under another generation.
func (t *usageTx) begin(generation int64) {
	if t.generation != generation {
		t.generation, t.refs, t.bounds = generation, map[usageOrigin]usageRef{}, nil
	}
}

// committed tells the process what the transaction learned.
func (t *usageTx) committed() {
	n := t.names
	if t.generation == 0 || len(t.refs) == 0 && t.bounds == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.generation > t.generation:
		return
	case n.generation < t.generation:
		n.generation, n.refs, n.bounds = t.generation, nil, nil
	}
	if n.refs == nil || len(n.refs)+len(t.refs) > maxUsageRefs {
		n.refs = make(map[usageOrigin]usageRef, len(t.refs))
	}
	maps.Copy(n.refs, t.refs)
	if t.bounds != nil {
		n.bounds = t.bounds
	}
}

const nanosPerDay = int64(24 * time.Hour)

// origin returns where the origin of a record is kept that was admitted at started.
func (s usage) origin(ctx context.Context, u *berth.UsageRecord, started int64) (usageRef, error) {
	t := &s.tx.usage
	o := usageOrigin{
		workspaceID: u.WorkspaceID, keyID: u.KeyID, deploymentID: u.DeploymentID, deployedModel: u.DeployedModel, modelName: u.ModelName,
		plan: u.Plan, class: u.Class, replicaID: u.ReplicaID, nonce: u.Nonce,
	}
	ref, ok := t.refs[o]
	if !ok {
		ref, ok = t.names.ref(t.generation, o)
	}
	day := started / nanosPerDay
	switch {
	case !ok:
		var err error
		if ref, err = s.keepOrigin(ctx, &o, day); err != nil {
			return ref, s.tx.dialect.wrote("origin of usage", err)
		}
	case ref.seen < day:
	default:
		return ref, nil
	}
	if ref.seen < day {
		if _, err := s.tx.exec(ctx, "UPDATE usage_origins SET seen = ? WHERE id = ?", day, ref.id); err != nil {
			return ref, s.tx.dialect.wrote("origin of usage", err)
		}
		ref.seen = day
	}
	t.refs[o] = ref
	return ref, nil
}

// keepOrigin finds an origin in the store, or inserts it.
func (s usage) keepOrigin(ctx context.Context, o *usageOrigin, day int64) (ref usageRef, err error) {
	if ref.space, ref.zone, err = s.keepSpace(ctx, o.workspaceID); err != nil {
		return ref, err
	}
	ref.subject, err = s.keepName(ctx, "usage_subjects",
		"space = ? AND deployment_id = ? AND deployed_model = ? AND key_id = ? AND model_name = ? AND plan = ? AND class = ?",
		"INSERT INTO usage_subjects (id, space, deployment_id, deployed_model, key_id, model_name, plan, class) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		ref.space, o.deploymentID, o.deployedModel, o.keyID, o.modelName, string(o.plan), string(o.class))
	if err != nil {
		return ref, err
	}
	err = s.tx.queryRow(ctx, "SELECT id, seen FROM usage_origins WHERE subject = ? AND replica_id = ? AND nonce = ?",
		ref.subject, o.replicaID, o.nonce).Scan(&ref.id, &ref.seen)
	if !errors.Is(err, sql.ErrNoRows) {
		return ref, err
	}
	if ref.id, err = s.nextID(ctx, "usage_origins"); err != nil {
		return ref, err
	}
	ref.seen = day
	_, err = s.tx.exec(ctx, "INSERT INTO usage_origins (id, subject, replica_id, nonce, seen) VALUES (?, ?, ?, ?, ?)",
		ref.id, ref.subject, o.replicaID, o.nonce, day)
	return ref, err
}

// keepSpace returns the number and the time zone of a workspace.
func (s usage) keepSpace(ctx context.Context, workspaceID string) (id int64, zone *time.Location, err error) {
	var name string
	err = s.tx.queryRow(ctx, "SELECT id, zone FROM usage_spaces WHERE workspace_id = ?", workspaceID).Scan(&id, &name)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return id, zoneNamed(name), err
	}
	err = s.tx.queryRow(ctx, "SELECT a.time_zone FROM workspaces w JOIN accounts a ON a.id = w.account_id WHERE w.id = ?", workspaceID).Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, nil, err
	}
	if id, err = s.nextID(ctx, "usage_spaces"); err != nil {
		return 0, nil, err
	}
	zone = zoneNamed(name)
	_, err = s.tx.exec(ctx, "INSERT INTO usage_spaces (id, workspace_id, zone, kept_from) VALUES (?, ?, ?, 0)", id, workspaceID, zone.String())
	return id, zone, err
}

// zoneNamed is UTC for what is no zone.
func zoneNamed(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil || zone == time.Local {
		return time.UTC
	}
	return zone
}

// keepName returns the id of the row that the condition selects, or of one that it
// inserts: with the next id before args.
func (s usage) keepName(ctx context.Context, table, condition, insert string, args ...any) (id int64, err error) {
	err = s.tx.queryRow(ctx, "SELECT id FROM "+table+" WHERE "+condition, args...).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	if id, err = s.nextID(ctx, table); err != nil {
		return 0, err
	}
	_, err = s.tx.exec(ctx, insert, append([]any{id}, args...)...)
	return id, err
}

// nextID may be that of a row which was deleted: then the generation has changed.
func (s usage) nextID(ctx context.Context, table string) (int64, error) {
	return s.tx.number(ctx, "number "+table, "SELECT COALESCE(MAX(id), 0) + 1 FROM "+table)
}

func (s usage) Split(ctx context.Context, at time.Time, fromTokens int64) error {
	changed := int64(0)
	if !at.IsZero() {
		n, err := s.tx.exec(ctx, "INSERT INTO price_instants (at) VALUES (?) ON CONFLICT DO NOTHING", instant{&at})
		if err != nil {
			return s.tx.dialect.wrote("change of prices", err)
		}
		changed += n
	}
	n, err := s.tx.exec(ctx, "INSERT INTO price_lengths (from_tokens) VALUES (?) ON CONFLICT DO NOTHING", fromTokens)
	if err != nil {
		return s.tx.dialect.wrote("length of prompts", err)
	}
	if changed += n; changed == 0 {
		return nil
	}
	return s.newGeneration(ctx)
}

// newGeneration makes every process forget what it remembers.
func (s usage) newGeneration(ctx context.Context) error {
	generation, err := s.tx.number(ctx, "change what is known of usage", "UPDATE usage_state SET generation = generation + 1 WHERE id = 1 RETURNING generation")
	if err == nil {
		s.tx.usage.begin(generation)
	}
	return err
}

// boundaries returns what days are kept apart by.
func (s usage) boundaries(ctx context.Context) (*usageBounds, error) {
	t := &s.tx.usage
	if t.bounds == nil {
		t.bounds = t.names.boundaries(t.generation)
	}
	if t.bounds != nil {
		return t.bounds, nil
	}
	var b usageBounds
	for query, list := range map[string]*[]int64{
		"SELECT at FROM price_instants ORDER BY at":                  &b.instants,
		"SELECT from_tokens FROM price_lengths ORDER BY from_tokens": &b.lengths,
	} {
		err := s.tx.each(ctx, func(rows *sql.Rows) error {
			var n int64
			err := rows.Scan(&n)
			*list = append(*list, n)
			return err
		}, query)
		if err != nil {
			return nil, read("boundaries of prices", err)
		}
	}
	t.bounds = &b
	return &b, nil
}

// below returns the last of the ascending list that is at most n, 0 when there is none.
func below(list []int64, n int64) int64 {
	i, found := slices.BinarySearch(list, n)
	switch {
	case found:
		return n
	case i == 0:
		return 0
	}
	return list[i-1]
}
