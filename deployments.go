package berth

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Deployments sells models: it creates, reads and deletes deployments. Each write is
// one store transaction, done whole or refused whole; the reconciler does the work
// afterwards. The caller comes from the context ([WithCaller]).
type Deployments struct {
	Writer
	Specs   []Spec                  // as configured, in order
	Engines map[string]EngineTraits // by driver name
	// MaxPerWorkspace bounds the deployments of a workspace whose quota does not say;
	// 0: no bound.
	MaxPerWorkspace int64
	// RefuseUnpriced refuses to sell what has no price; otherwise that is free.
	RefuseUnpriced bool
	Reservations
	Zone *time.Location // in which the days of pre-paid terms begin; nil: UTC
	// Wake tells the reconciler that there is something to do; it never blocks.
	Wake func()

	book    atomic.Pointer[keptBook]
	arrears sync.Map // account id -> *arrearsTurn
}

// Create buys a deployment (api.md 4.4 to 4.6). Needs [RoleAdmin]. It answers at once
// with status PENDING; [CodeNotFound], [CodeForbidden], [CodeInvalid], [CodeConflict],
// [CodeThrottled] and [CodeNoCapacity] refuse it with nothing changed.
func (s *Deployments) Create(ctx context.Context, p Purchase) (Deployment, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Deployment{}, accessDenied()
	}
	return s.buy(ctx, caller, p, nil)
}

// buy writes a purchase and, in the same transaction, the receipt if it has one.
func (s *Deployments) buy(ctx context.Context, caller Caller, p Purchase, r *Receipt) (Deployment, error) {
	var d Deployment
	err := s.write(ctx, "deployment.create", func(tx Tx) (_ string, err error) {
		if r != nil {
			if err := s.made(ctx, tx, *r); err != nil {
				return "", err
			}
		}
		if d, err = s.create(ctx, tx, caller, p); err != nil || r == nil {
			return d.DeployedModel, err
		}
		return d.DeployedModel, s.remember(ctx, tx, *r, d, keyedFor)
	})
	s.Wake()
	return d, err
}

// Delete takes a deployment out of service. Needs [RoleAdmin]. New calls are refused
// from the moment it returns, running ones have 30 s; billing ends now. A repeat
// while it is under way answers the same; an unknown name is [CodeNotFound].
func (s *Deployments) Delete(ctx context.Context, deployedModel string) (Deployment, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return Deployment{}, accessDenied()
	}
	var d Deployment
	err := s.write(ctx, "deployment.delete", func(tx Tx) (_ string, err error) {
		d, err = s.named(ctx, tx, caller, deployedModel)
		if err != nil || d.Status == StatusDeleting {
			return deployedModel, err
		}
		if err := s.mayDelete(ctx, tx, &d); err != nil {
			return "", err
		}
		if err := tx.Pools().Leave(ctx, d.ID); err != nil {
			return "", err
		}
		d.Modifier = caller.AccountID
		return deployedModel, s.transition(ctx, tx, &d, CauseDelete, "Deletion was accepted; running calls have 30 s.")
	})
	s.Wake()
	return d, err
}

// Get returns a deployment of the caller's workspace (api.md 4.7). Needs
// [RoleInference]. One that was deleted is [CodeNotFound] with the sentence
// "Not found."; another workspace's is as unknown as one that never was.
func (s *Deployments) Get(ctx context.Context, deployedModel string) (Deployment, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return Deployment{}, accessDenied()
	}
	var d Deployment
	err := s.read(ctx, func(tx Tx) (err error) {
		d, err = s.find(ctx, tx, caller, deployedModel)
		return err
	})
	return d, err
}

// find is named, but says of a deployment that was deleted that it was there.
func (s *Deployments) find(ctx context.Context, tx Tx, caller Caller, deployedModel string) (Deployment, error) {
	d, err := s.named(ctx, tx, caller, deployedModel)
	if CodeOf(err) != CodeNotFound {
		return d, err
	}
	gone, terr := tx.Deployments().Tombstone(ctx, caller.WorkspaceID, deployedModel)
	if terr != nil {
		return d, terr
	}
	if gone {
		return d, Errorf(CodeNotFound, "Not found.")
	}
	return d, err
}

// Page is one page of a list; numbers count from 1.
type Page struct {
	Number, Size int64
	// UpTo, unless zero, leaves out what was created later, so that the pages of one walk
	// through a list do not shift while things are created.
	UpTo time.Time
}

func (p Page) offset() int64 { return (p.Number - 1) * p.Size }

// List returns a page of the caller's workspace, newest first, and the number of all
// (api.md 4.8). Needs [RoleInference]. plan "" means every plan.
func (s *Deployments) List(ctx context.Context, page Page, plan Plan) ([]Deployment, int64, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return nil, 0, accessDenied()
	}
	var list []Deployment
	var total int64
	err := s.read(ctx, func(tx Tx) (err error) {
		list, total, err = tx.Deployments().List(ctx, DeploymentFilter{
			WorkspaceID: caller.WorkspaceID, Plan: plan, Offset: page.offset(), Limit: page.Size, UpTo: page.UpTo,
		})
		return err
	})
	return list, total, err
}

// Callable returns the deployments of the caller's workspace that take calls, newest
// first. Needs [RoleInference].
func (s *Deployments) Callable(ctx context.Context) ([]Deployment, error) {
	all, _, err := s.List(ctx, Page{Number: 1}, "")
	return slices.DeleteFunc(all, func(d Deployment) bool { return !d.Status.Callable() }), err
}

// Events returns what happened to a deployment, oldest first, at most limit after the
// given event id. Needs [RoleAdmin].
func (s *Deployments) Events(ctx context.Context, deployedModel, after string, limit int64) ([]Event, error) {
	var events []Event
	err := s.inspect(ctx, deployedModel, func(tx Tx, d Deployment) (err error) {
		events, err = tx.Events().List(ctx, d.ID, after, limit)
		return err
	})
	return events, err
}

// Replicas returns the engines that serve a deployment: its own, or those of its pool's
// lane. Needs [RoleAdmin].
func (s *Deployments) Replicas(ctx context.Context, deployedModel string) ([]Replica, error) {
	var replicas []Replica
	err := s.inspect(ctx, deployedModel, func(tx Tx, d Deployment) (err error) {
		if d.PoolID == "" {
			replicas, err = tx.Replicas().OfDeployment(ctx, d.ID)
			return err
		}
		member, err := tx.Pools().Member(ctx, d.ID)
		if CodeOf(err) == CodeNotFound {
			return nil // it has left the pool
		}
		if err != nil {
			return err
		}
		replicas, err = tx.Replicas().OfPool(ctx, d.PoolID)
		replicas = slices.DeleteFunc(replicas, func(r Replica) bool { return !r.Serves(member) })
		return err
	})
	return replicas, err
}

func (s *Deployments) inspect(ctx context.Context, deployedModel string, fn func(Tx, Deployment) error) error {
	caller := CallerFrom(ctx)
	if !caller.May(RoleAdmin) {
		return accessDenied()
	}
	return s.read(ctx, func(tx Tx) error {
		d, err := s.named(ctx, tx, caller, deployedModel)
		if err != nil {
			return err
		}
		return fn(tx, d)
	})
}

// read runs fn on one state and returns when the gateway has that state too: whoever
// reads RUNNING can call.
func (s *Deployments) read(ctx context.Context, fn func(Tx) error) error {
	var version int64
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		if version, err = tx.RoutingVersion(ctx); err != nil {
			return err
		}
		return fn(tx)
	})
	if err != nil {
		return err
	}
	return s.Publish(ctx, version)
}

// named finds a live deployment of the caller's workspace.
func (s *Deployments) named(ctx context.Context, tx Tx, caller Caller, deployedModel string) (Deployment, error) {
	d, err := tx.Deployments().ByName(ctx, deployedModel)
	if CodeOf(err) == CodeNotFound || err == nil && d.WorkspaceID != caller.WorkspaceID {
		return Deployment{}, modelNotFound(deployedModel)
	}
	return d, err
}

// transition moves d along the table of lifecycle.go and says so in an event.
func (s *Deployments) transition(ctx context.Context, tx Tx, d *Deployment, cause Cause, reason string) error {
	to, ok := d.Status.Next(cause)
	if !ok {
		return Errorf(CodeUnsupported, "The operation is unsupported on the referee object.")
	}
	d.Status, d.ModifiedAt = to, s.Now()
	if err := s.Settle(ctx, tx, d); err != nil {
		return err
	}
	if err := tx.Deployments().Update(ctx, *d); err != nil {
		return err
	}
	return tx.Events().Append(ctx, d.Event(s.NewID("evt_"), d.ModifiedAt, reason))
}

func accessDenied() error { return Errorf(CodeForbidden, "Access denied.") }

func modelNotFound(name string) error {
	return Errorf(CodeNotFound, "Model: %s not found!", name)
}
