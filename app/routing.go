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

	mu       sync.Mutex // one refresh at a time
	snapshot *berth.Snapshot
	version  atomic.Int64
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

// Refresh makes the gateway take the newest state. The address of an engine, which the
// store does not have, changes only together with a write of its replica.
func (r *routing) Refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refresh(ctx)
}

// refresh reads what changed since the last snapshot, or everything when there is none
// or the store does not remember.
func (r *routing) refresh(ctx context.Context) error {
	var state berth.Routing
	part := false
	err := r.store.View(ctx, func(tx berth.Tx) (err error) {
		if r.snapshot != nil {
			if state, part, err = berth.ReadRoutingSince(ctx, tx, r.snapshot.Version); part || err != nil {
				return err
			}
		}
		state, err = berth.ReadRouting(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	state.Address = r.address
	old := &berth.Snapshot{}
	if part {
		if old = r.snapshot; state.Version == old.Version {
			return nil
		}
	}
	r.snapshot = state.Update(old, r.now())
	r.swap(r.snapshot)
	r.version.Store(state.Version)
	r.watchers.look(state.Deployments, !part)
	return nil
}
