package app

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
)

// routing carries what the store says to the gateway, as one snapshot.
type routing struct {
	store   berth.Store
	now     func() time.Time
	swap    func(*berth.Snapshot)
	address func(r *berth.Replica) (url, key string, ok bool)

	watchers watchers

	mu      sync.Mutex // one refresh at a time
	version atomic.Int64
}

// publishTimeout bounds a refresh: what was committed is to be taken even when the
// client that asked for it has gone.
const publishTimeout = 10 * time.Second

// Publish returns when the gateway has taken the given routing version. Writes that
// wait together are served by one refresh.
func (r *routing) Publish(ctx context.Context, version int64) error {
	if r.version.Load() >= version {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version.Load() >= version {
		return nil
	}
	return r.refresh(ctx)
}

// Refresh makes the gateway take the newest state, such as an engine's address that
// the store does not have.
func (r *routing) Refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refresh(ctx)
}

func (r *routing) refresh(ctx context.Context) error {
	state := berth.Routing{Address: r.address}
	err := r.store.View(ctx, func(tx berth.Tx) (err error) {
		if state.Version, err = tx.RoutingVersion(ctx); err != nil {
			return err
		}
		if state.Keys, err = tx.Keys().List(ctx, ""); err != nil {
			return err
		}
		if state.Workspaces, err = tx.Accounts().Workspaces(ctx); err != nil {
			return err
		}
		if state.Models, err = tx.Models().List(ctx); err != nil {
			return err
		}
		if state.Deployments, _, err = tx.Deployments().List(ctx, berth.DeploymentFilter{}); err != nil {
			return err
		}
		if state.Members, err = tx.Pools().Members(ctx, ""); err != nil {
			return err
		}
		state.Replicas, err = tx.Replicas().List(ctx)
		return err
	})
	if err != nil {
		return err
	}
	r.swap(state.Snapshot(r.now()))
	r.version.Store(state.Version)
	r.watchers.look(state.Deployments)
	return nil
}
