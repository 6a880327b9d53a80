package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrClosed is the answer to a start after Close.
var ErrClosed = errors.New("the runner is closed")

// Running is one engine as a [Roster] sees it.
type Running interface {
	// Stop ends the engine, politely for grace and then by force, and returns when it is
	// gone; also when it was before, and to several callers at once.
	Stop(ctx context.Context, grace time.Duration) error
	// Wait returns when the engine is measured gone, and says how it ended.
	Wait() (reason string, at time.Time)
}

// Roster is the part of a [Runner] that does not depend on where engines run: one
// instance per replica, exits told once, nothing left after Close. A Runner embeds it
// and adds Start, which calls [Roster.Run].
type Roster struct {
	closeGrace time.Duration
	exits      chan Exit

	mu     sync.Mutex
	closed bool
	duties map[string]*duty // by replica

	// open counts duties whose exit was not delivered yet.
	open      sync.WaitGroup
	closeOnce sync.Once
	done      chan struct{} // closed when exits is
}

// duty is one replica's entry, from the beginning of its start until it is gone.
type duty struct {
	nonce string
	asked bool          // under the roster's mutex
	begun chan struct{} // closed when the start has ended, well or not
	gone  chan struct{}

	// Set before begun is closed; running is nil when the start failed.
	instance Instance
	running  Running
}

// NewRoster returns an empty roster whose Close gives engines closeGrace to end.
func NewRoster(closeGrace time.Duration) *Roster {
	return &Roster{
		closeGrace: closeGrace,
		exits:      make(chan Exit),
		duties:     map[string]*duty{},
		done:       make(chan struct{}),
	}
}

// Run enters the launch's replica and calls start; when that fails the entry goes
// again. It refuses a replica that has an instance and, with [ErrClosed], everything
// after Close.
func (r *Roster) Run(l Launch, start func() (Instance, Running, error)) (Instance, error) {
	d, err := r.enter(l)
	if err != nil {
		return Instance{}, err
	}
	instance, running, err := start()
	if err == nil {
		d.instance, d.running = instance, running
	}
	close(d.begun)
	if err != nil {
		r.leave(l.ReplicaID)
		close(d.gone)
		r.open.Done()
		return Instance{}, err
	}
	go r.watch(d)
	return d.instance, nil
}

func (r *Roster) enter(l Launch) (*duty, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if _, taken := r.duties[l.ReplicaID]; taken {
		return nil, fmt.Errorf("replica %s has an engine already", l.ReplicaID)
	}
	d := &duty{nonce: l.Nonce, begun: make(chan struct{}), gone: make(chan struct{})}
	r.duties[l.ReplicaID] = d
	r.open.Add(1)
	return d, nil
}

func (r *Roster) leave(replicaID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.duties, replicaID)
}

// watch follows an engine to its end. By the time it tells the exit, the replica may
// have been started anew.
func (r *Roster) watch(d *duty) {
	defer r.open.Done()
	reason, at := d.running.Wait()
	r.leave(d.instance.ReplicaID)
	// Nobody can ask for an end any more: asked is written under the mutex and only
	// while the duty is entered.
	close(d.gone)
	r.exits <- Exit{ReplicaID: d.instance.ReplicaID, Nonce: d.nonce, Reason: reason, Asked: d.asked, At: at}
}

// Stop implements [Runner].
func (r *Roster) Stop(ctx context.Context, replicaID, nonce string, grace time.Duration) error {
	r.mu.Lock()
	d := r.duties[replicaID]
	r.mu.Unlock()
	if d == nil || d.nonce != nonce {
		return nil
	}
	return r.end(ctx, d, replicaID, grace)
}

// end asks a duty to end and waits until it is gone.
func (r *Roster) end(ctx context.Context, d *duty, replicaID string, grace time.Duration) error {
	select {
	case <-d.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if d.running == nil || !r.ask(d, replicaID) {
		return nil
	}
	if err := d.running.Stop(ctx, grace); err != nil {
		return err
	}
	select {
	case <-d.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask notes that the end is wanted; false when the engine is gone already.
func (r *Roster) ask(d *duty, replicaID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.duties[replicaID] != d {
		return false
	}
	d.asked = true
	return true
}

// Instances implements [Runner].
func (r *Roster) Instances() []Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	instances := make([]Instance, 0, len(r.duties))
	for _, d := range r.duties {
		select {
		case <-d.begun:
			if d.running != nil {
				instances = append(instances, d.instance)
			}
		default:
		}
	}
	slices.SortFunc(instances, func(a, b Instance) int { return a.StartedAt.Compare(b.StartedAt) })
	return instances
}

// Runs implements [Runner].
func (r *Roster) Runs(replicaID, nonce string) bool {
	r.mu.Lock()
	d := r.duties[replicaID]
	r.mu.Unlock()
	if d == nil || d.nonce != nonce {
		return false
	}
	select {
	case <-d.begun:
		return d.running != nil
	default:
		return false
	}
}

// Exits implements [Runner].
func (r *Roster) Exits() <-chan Exit { return r.exits }

// Close implements [Runner].
func (r *Roster) Close(ctx context.Context) error {
	var all sync.WaitGroup
	for replicaID, d := range r.shut() {
		all.Go(func() { _ = r.end(ctx, d, replicaID, r.closeGrace) }) // only ctx makes it fail, seen below
	}
	all.Wait()
	r.closeOnce.Do(func() {
		go func() {
			r.open.Wait()
			close(r.exits)
			close(r.done)
		}()
	})
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close runner: %w", context.Cause(ctx))
	}
}

// shut refuses further starts and returns the duties there are.
func (r *Roster) shut() map[string]*duty {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	duties := make(map[string]*duty, len(r.duties))
	for replicaID, d := range r.duties {
		duties[replicaID] = d
	}
	return duties
}
