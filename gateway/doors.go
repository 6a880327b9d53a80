package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const shutDownWait = 5 * time.Second

// doors count the calls inside and close for good.
type doors struct {
	most   int64
	inside atomic.Int64
	closed atomic.Bool
	once   sync.Once
	empty  chan struct{} // closed when the doors are and the last call has left
}

// enter lets a call in, unless the bound is reached or the doors are closed. The call
// counts first and looks afterwards, as shut does the other way round, so that one of
// them sees the other.
func (d *doors) enter() error {
	inside := d.inside.Add(1)
	switch {
	case d.closed.Load():
		d.leave()
		return fail(problemUnavailable).after(shutDownWait).say("The server is shutting down; try again later.")
	case inside > d.most:
		d.leave()
		return fail(problemBusy).after(time.Second)
	}
	return nil
}

func (d *doors) leave() {
	if d.inside.Add(-1) == 0 && d.closed.Load() {
		d.once.Do(func() { close(d.empty) })
	}
}

func (d *doors) shut() {
	d.closed.Store(true)
	if d.inside.Load() == 0 {
		d.once.Do(func() { close(d.empty) })
	}
}

// wait returns when the doors are closed and nobody is inside, or with ctx's cause.
func (d *doors) wait(ctx context.Context) error {
	select {
	case <-d.empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
