package berth

import (
	"context"
	"errors"
	"time"
)

// ReadRouting reads everything that a snapshot is made of.
func ReadRouting(ctx context.Context, tx Tx) (r Routing, err error) {
	if r.Version, err = tx.RoutingVersion(ctx); err != nil {
		return r, err
	}
	if r.Keys, err = tx.Keys().List(ctx, ""); err != nil {
		return r, err
	}
	if r.Workspaces, err = tx.Accounts().Workspaces(ctx); err != nil {
		return r, err
	}
	if r.Models, err = tx.Models().List(ctx); err != nil {
		return r, err
	}
	if r.Deployments, _, err = tx.Deployments().List(ctx, DeploymentFilter{}); err != nil {
		return r, err
	}
	if r.Members, err = tx.Pools().Members(ctx, ""); err != nil {
		return r, err
	}
	r.Replicas, err = tx.Replicas().List(ctx)
	return r, err
}

// ReadRoutingSince reads what was written after a routing version, with everything that
// the routes and keys concerned are made of, for [Routing.Update]. known is false when
// the store cannot say what that is.
func ReadRoutingSince(ctx context.Context, tx Tx, version int64) (r Routing, known bool, err error) {
	f := follower{ctx: ctx, tx: tx, have: map[Ref]bool{}}
	f.SoldPPM = map[string]int64{}
	if f.Version, err = tx.RoutingVersion(ctx); err != nil {
		return r, false, err
	}
	changes, known, err := tx.Changes(ctx, version)
	if err != nil || !known {
		return r, known, err
	}
	for _, c := range changes {
		if err := f.read(c); err != nil {
			return r, true, err
		}
	}
	return f.Routing, true, f.complete()
}

// follower collects routing state around what changed.
type follower struct {
	Routing
	ctx  context.Context //nolint:containedctx // lives for one call of ReadRoutingSince
	tx   Tx
	have map[Ref]bool
}

// first reports whether a thing is asked for the first time.
func (f *follower) first(noun Noun, id string) bool {
	ref := Ref{noun, id}
	asked := f.have[ref]
	f.have[ref] = true
	return !asked && id != ""
}

func (f *follower) read(c Ref) error {
	switch c.Noun {
	case NounDeployment:
		d, err := f.tx.Deployments().Get(f.ctx, c.ID)
		f.take(d)
		return err
	case NounEngines:
		return f.pool(c.ID)
	case NounModel:
		all, err := f.tx.Deployments().OfModel(f.ctx, c.ID)
		f.take(all...)
		return err
	case NounKey:
		return f.key(c.ID)
	case NounWorkspace:
		keys, err := f.tx.Keys().List(f.ctx, c.ID)
		f.Keys = append(f.Keys, keys...)
		return errors.Join(err, f.workspace(c.ID))
	}
	return nil
}

// pool reads all routes of a pool, whose replicas changed. One that joins or leaves
// changes no other's.
func (f *follower) pool(id string) error {
	f.first("members of", id)
	all, err := f.tx.Deployments().OfPool(f.ctx, id)
	if err != nil {
		return err
	}
	f.take(all...)
	members, err := f.tx.Pools().Members(f.ctx, id)
	f.Members = append(f.Members, members...)
	return errors.Join(err, f.engines(id))
}

// engines reads the replicas of a pool and what of them is sold.
func (f *follower) engines(poolID string) error {
	if !f.first("replicas of", poolID) {
		return nil
	}
	replicas, err := f.tx.Replicas().OfPool(f.ctx, poolID)
	if err != nil {
		return err
	}
	f.Replicas = append(f.Replicas, replicas...)
	f.SoldPPM[poolID], err = f.tx.Pools().SoldPPM(f.ctx, poolID)
	return err
}

// key reads a key, and what lives and dies together: its tokens, its parent.
func (f *follower) key(id string) error {
	k, err := f.tx.Keys().Get(f.ctx, id)
	if CodeOf(err) == CodeNotFound {
		return nil // a token that has ended was swept
	}
	if err != nil {
		return err
	}
	f.Keys = append(f.Keys, k)
	if k.ParentID != "" {
		parent, err := f.tx.Keys().Get(f.ctx, k.ParentID)
		f.Keys = append(f.Keys, parent)
		return err
	}
	tokens, err := f.tx.Keys().Tokens(f.ctx, id, time.Time{})
	f.Keys = append(f.Keys, tokens...)
	return err
}

func (f *follower) workspace(id string) error {
	if !f.first("workspace of", id) {
		return nil
	}
	w, err := f.tx.Accounts().Workspace(f.ctx, id)
	f.Workspaces = append(f.Workspaces, w)
	return err
}

// take adds deployments that are not there yet.
func (f *follower) take(list ...Deployment) {
	for _, d := range list {
		if f.first("route", d.ID) {
			f.Deployments = append(f.Deployments, d)
		}
	}
}

// complete reads what routes and keys are made of.
func (f *follower) complete() error {
	for i := range f.Keys {
		if err := f.workspace(f.Keys[i].WorkspaceID); err != nil {
			return err
		}
	}
	for i := range f.Deployments {
		if err := f.surround(&f.Deployments[i]); err != nil {
			return err
		}
	}
	for i := range f.Replicas {
		if err := f.model(f.Replicas[i].ModelName); err != nil {
			return err
		}
	}
	return nil
}

// surround reads the models and replicas of a deployment, and its pool.
func (f *follower) surround(d *Deployment) error {
	if err := f.engines(d.PoolID); err != nil || !d.DeletedAt.IsZero() {
		return err
	}
	for _, name := range []string{d.ModelName, d.BaseModel} {
		if err := f.model(name); err != nil {
			return err
		}
	}
	if d.PoolID == "" {
		replicas, err := f.tx.Replicas().OfDeployment(f.ctx, d.ID)
		f.Replicas = append(f.Replicas, replicas...)
		return err
	}
	if !f.have[Ref{"members of", d.PoolID}] {
		m, err := f.tx.Pools().Member(f.ctx, d.ID)
		if err == nil {
			f.Members = append(f.Members, m)
		} else if CodeOf(err) != CodeNotFound { // it may have left
			return err
		}
	}
	return nil
}

func (f *follower) model(name string) error {
	if !f.first("model of", name) {
		return nil
	}
	m, err := f.tx.Models().Get(f.ctx, name)
	if CodeOf(err) == CodeNotFound {
		return nil // it may go while what was bought of it is ending
	}
	f.Models = append(f.Models, m)
	return err
}
