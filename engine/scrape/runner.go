// Package scrape reads the counters of engines: each second, and once more before an engine
// is stopped, so that a clean end leaves nothing unread.
package scrape

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// Book keeps what is read. None of its methods waits; those that return false had no room,
// and what was read next shows as much.
type Book interface {
	// Began is told before an engine starts: false when nothing of it can be kept.
	Began(a berth.EngineAccount) bool
	// Here is a place in the order of all marks, for a reading that is about to be asked for.
	Here() int64
	// Settled reports whether a reading would tell nothing new.
	Settled(r berth.EngineReading) bool
	Read(r berth.EngineReading) bool
	// Ended is told when an engine has ended, or has been read for the last time.
	Ended(r berth.EngineReading) bool
}

// Options of a [Runner]; those without a default are required.
type Options struct {
	Runner  engine.Runner
	Drivers map[string]engine.Driver
	Book    Book
	Client  *http.Client
	Now     func() time.Time
	Logger  *slog.Logger
	Every   time.Duration // between two readings; default 1 s
	// Patience bounds one reading; default 1 s.
	Patience time.Duration
}

// Bounds of what is read at once: of more engines than mostAtOnce, each has its turn.
const (
	mostAtOnce   = 256 // engines in one round
	askedAtOnce  = 16
	lastPatience = 5 * time.Second // of all last readings together
)

// Runner is an [engine.Runner] that reads the counters of the engines that another one
// runs. Run reads until its context ends.
type Runner struct {
	engine.Runner
	opt   Options
	exits chan engine.Exit

	mu      sync.Mutex
	watched map[string]*watched // by nonce
	order   []*watched          // from the one whose turn is next
	over    bool                // no more is read
}

// watched is an engine that is read.
type watched struct {
	counters  engine.Counters
	replicaID string
	nonce     string

	mu       sync.Mutex // one reading at a time
	endpoint engine.Endpoint
	gone     bool
}

// New returns a Runner around another one, whose Exits it receives from now on.
func New(o Options) *Runner {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	r := &Runner{Runner: o.Runner, opt: o, exits: make(chan engine.Exit), watched: map[string]*watched{}}
	go r.pass(o.Runner.Exits())
	return r
}

// pass hands exits on.
func (r *Runner) pass(from <-chan engine.Exit) {
	defer close(r.exits)
	for e := range from {
		r.forget(e.Nonce, e.At)
		r.exits <- e
	}
}

// Exits implements [engine.Runner].
func (r *Runner) Exits() <-chan engine.Exit { return r.exits }

// Start implements [engine.Runner].
func (r *Runner) Start(ctx context.Context, l engine.Launch) (engine.Instance, error) {
	counted, ok := r.opt.Drivers[l.Engine].(engine.Counted)
	if !ok {
		return r.Runner.Start(ctx, l)
	}
	w := &watched{counters: counted.Counters(), replicaID: l.ReplicaID, nonce: l.Nonce}
	began := berth.EngineAccount{ReplicaID: l.ReplicaID, Nonce: l.Nonce, ModelName: l.Model.Name, Lags: w.counters.Lag, BeganAt: r.opt.Now()}
	if !r.opt.Book.Began(began) {
		r.opt.Logger.Warn("an engine's tokens are not compared with usage records: the journal has no room", "replica", l.ReplicaID)
		return r.Runner.Start(ctx, l)
	}
	w.mu.Lock() // until it is known how it is reached
	defer w.mu.Unlock()
	r.watch(w)
	i, err := r.Runner.Start(ctx, l)
	if err != nil {
		w.gone = true
		r.unwatch(w)
		r.opt.Book.Ended(w.reading(r.opt.Now()))
		return i, err
	}
	w.endpoint = i.Endpoint
	return i, nil
}

func (r *Runner) watch(w *watched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched[w.nonce] = w
	r.order = append(r.order, w)
}

func (r *Runner) unwatch(w *watched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watched, w.nonce)
	for i := range r.order {
		if r.order[i] == w {
			r.order = append(r.order[:i:i], r.order[i+1:]...)
			return
		}
	}
}

// forget ends the reading of an engine that has ended.
func (r *Runner) forget(nonce string, at time.Time) {
	r.mu.Lock()
	w := r.watched[nonce]
	over := r.over
	r.mu.Unlock()
	if w == nil {
		return
	}
	r.unwatch(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	if !over {
		r.opt.Book.Ended(w.reading(at))
	}
}

// Stop implements [engine.Runner]: the engine is read once more before.
func (r *Runner) Stop(ctx context.Context, replicaID, nonce string, grace time.Duration) error {
	r.mu.Lock()
	w := r.watched[nonce]
	r.mu.Unlock()
	if w != nil {
		last, cancel := context.WithTimeout(ctx, lastPatience)
		r.last(last, w)
		cancel()
	}
	return r.Runner.Stop(ctx, replicaID, nonce, grace)
}

// last reads an engine that will be asked nothing more; one that lags is waited for.
func (r *Runner) last(ctx context.Context, w *watched) {
	if !r.readNow(ctx, w, true) || !w.counters.Lag {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(r.opt.Every):
		r.readNow(ctx, w, true)
	}
}

// Run reads all engines each second until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	tick := time.NewTicker(r.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.round(r.next(), func(w *watched) { r.readNow(ctx, w, false) })
		}
	}
}

// Rest reads all engines for the last time. Nothing is read or kept afterwards; the engines
// run on.
func (r *Runner) Rest(ctx context.Context) {
	r.mu.Lock()
	all := r.order
	r.over, r.order = true, nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lastPatience)
	defer cancel()
	r.round(all, func(w *watched) {
		r.last(ctx, w)
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.gone {
			w.gone = true
			r.opt.Book.Ended(w.reading(r.opt.Now()))
		}
	})
}

// next returns the engines whose turn it is.
func (r *Runner) next() []*watched {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.order), mostAtOnce)
	turn := r.order[:n:n]
	r.order = append(r.order[n:len(r.order):len(r.order)], turn...)
	return turn
}

// round does something with engines, some at once.
func (r *Runner) round(all []*watched, do func(*watched)) {
	room := make(chan struct{}, askedAtOnce)
	var work sync.WaitGroup
	for _, w := range all {
		room <- struct{}{}
		work.Go(func() {
			defer func() { <-room }()
			do(w)
		})
	}
	work.Wait()
}

// readNow reads an engine, and reports whether it answered. One that is loading does not yet.
// What tells nothing new is kept only if always.
func (r *Runner) readNow(ctx context.Context, w *watched, always bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Patience)
	defer cancel()
	from := r.opt.Book.Here()
	t, err := engine.ReadCounters(ctx, r.opt.Client, w.endpoint, w.counters)
	if err != nil {
		r.opt.Logger.Debug("counters not read", "replica", w.replicaID, "error", err)
		return false
	}
	reading := w.reading(r.opt.Now())
	reading.Tokens, reading.Calls, reading.From = berth.Tokens{Input: t.Input, Output: t.Output}, t.Calls, from
	if always || !r.opt.Book.Settled(reading) {
		r.opt.Book.Read(reading)
	}
	return true
}

func (w *watched) reading(at time.Time) berth.EngineReading {
	return berth.EngineReading{ReplicaID: w.replicaID, Nonce: w.nonce, At: at}
}
