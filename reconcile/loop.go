package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// Traffic is what the loop must know of running calls and may do to them.
type Traffic interface {
	// InFlight returns the running calls of a deployment on a replica; "" means any.
	InFlight(deploymentID, replicaID string) int
	// Cut ends the running calls of a deployment.
	Cut(deploymentID string)
}

// Probes keeps usage records of what engines are made to do on nobody's behalf. The methods
// are those of the gateway's meter, and Drop takes an opened mark back that nothing came of.
type Probes interface {
	Open(m *berth.UsageMark) error
	Close(m *berth.UsageMark)
	Drop(m *berth.UsageMark)
}

// Reservations keeps the books of capacity instances and of what is charged.
type Reservations interface {
	// Settle books what the status that d has moved to and what it has now mean for them, in
	// the transaction that writes d.
	Settle(ctx context.Context, tx berth.Tx, d *berth.Deployment) error
	// Due does what the passing of time asks for; next is when it must be called again.
	// What fails is tried again with the next pass.
	Due(ctx context.Context) (did bool, next time.Time, err error)
}

// Options of a [Loop]; all but the durations are required.
type Options struct {
	Store   berth.Store
	Runner  engine.Runner
	Drivers map[string]engine.Driver
	Traffic Traffic
	// Reservations are those of the domain.
	Reservations Reservations
	// Demand returns the lanes of pools that best effort waits for; nil: nobody says it.
	Demand func() []berth.PoolDemand
	// Publish makes the gateway take the newest routing.
	Publish func(ctx context.Context) error
	// Verify compares a model's file with what was added, before each start, and returns
	// it as it is now. A [berth.CodeInvalid] means that it is another file.
	Verify func(ctx context.Context, f berth.ModelFile) (berth.ModelFile, error)
	// Alive reports whether a process that an earlier Berth started still exists.
	Alive func(pid, startTime int64) bool
	// Used returns the processor time that an engine has used, false when nobody can tell;
	// nil: engines that freeze are not noticed.
	Used   func(i engine.Instance) (time.Duration, bool)
	Prober Prober
	// Probes keeps records of what the loop makes engines do; nil: nobody does.
	Probes   Probes
	Now      func() time.Time
	NewID    func(prefix string) string
	NewNonce func() string
	Logger   *slog.Logger

	Backoff      time.Duration // first wait after a failure; default 1 s
	StartTimeout time.Duration // from start to the first answer; default 5 min
	Grace        time.Duration // of calls of a deployment that is deleted; default 30 s
	Drain        time.Duration // of calls on a replica that another replaces; default 30 min
	StopGrace    time.Duration // between asking an engine to end and forcing it; default 5 s
	Poll         time.Duration // between two looks for what other processes wrote; default 2 s
	Pulse        time.Duration // between two questions whether an engine is there, and the longest wait for the answer; default 5 s
	Sweep        time.Duration // within which everything is compared, whether it changed or not; default 10 min

	// ParallelStarts is how many engines may load at the same time; the others wait in the
	// order in which they were found. Somebody else's engines do not count. Default 4 for
	// each CPU.
	ParallelStarts int
}

// Loop is the only writer of replicas. One goroutine decides and writes; starts, probes
// and stops, which take time, run beside it and report back.
type Loop struct {
	opt     Options
	wake    chan struct{}
	reports chan report
	ctx     context.Context //nolint:containedctx // of Run, for the goroutines that it owns
	running sync.WaitGroup
	tasks   map[string]task    // by replica: a start or stop under way
	noted   []report           // not booked yet
	agenda  *agenda            // of owners
	backlog []berth.Ref        // owners of a round over everything that were not looked at yet
	round   int                // how many there were
	pooled  *pooled            // as of seen
	spares  spares             // lanes that have grown
	waits   []berth.PoolDemand // as of this pass
	line    line               // owners with a replica that waits until fewer engines load
	room    int                // how many more may begin to load in this pass
	seen    int64              // routing version up to which the store was read; −1: nothing yet
	dirty   bool               // something was written that the gateway must know
	looked  chan struct{}      // closed after the first round
	first   bool               // that is done

	mu        sync.RWMutex
	endpoints map[string]engine.Endpoint // by nonce; read by the routing

	answered sync.Map // nonce -> replica of engines that came up; the watch forgets those that are gone
}

// report is what a task beside the loop found out.
type report struct {
	replicaID, nonce string
	owner            berth.Ref // of the replica, when a task found it out
	kind             reportKind
	instance         engine.Instance
	err              error
	done             bool             // the task is over
	gone             bool             // the engine was stopped because of what is reported
	weights          bool             // what failed are the weights, whatever was to be proved
	adapter          berth.AdapterRef // of a load
}

type reportKind int

const (
	reportStarted reportKind = iota
	reportReady
	reportProved // the answer of a scratch run
	reportLoaded // what became of an adapter
	reportIdle   // a task that changes nothing is over
	reportFailed
	reportFrozen
	reportStopped
	reportExit
)

// New returns a loop that Run starts.
func New(opt Options) *Loop {
	defaultTo(&opt.Backoff, time.Second)
	defaultTo(&opt.StartTimeout, 5*time.Minute)
	defaultTo(&opt.Grace, 30*time.Second)
	defaultTo(&opt.Drain, 30*time.Minute)
	defaultTo(&opt.StopGrace, 5*time.Second)
	defaultTo(&opt.Poll, 2*time.Second)
	defaultTo(&opt.Pulse, 5*time.Second)
	defaultTo(&opt.Sweep, 10*time.Minute)
	defaultTo(&opt.ParallelStarts, 4*runtime.NumCPU())
	return &Loop{
		opt: opt, wake: make(chan struct{}, 1), reports: make(chan report),
		agenda: newAgenda(), pooled: newPooled(), seen: -1, spares: spares{}, tasks: map[string]task{}, looked: make(chan struct{}), endpoints: map[string]engine.Endpoint{},
	}
}

func defaultTo[T comparable](d *T, v T) {
	var none T
	if *d == none {
		*d = v
	}
}

// Wake makes the loop look again soon. It never blocks.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Looked is closed once the store has been compared with what runs and the gateway has
// the result: from then on ready capacities are true.
func (l *Loop) Looked() <-chan struct{} { return l.looked }

// Address returns how the running engine of a replica is reached.
func (l *Loop) Address(r *berth.Replica) (url, key string, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	e, ok := l.endpoints[r.Nonce]
	return e.URL, e.Key, ok
}

// Run reconciles until ctx ends, then waits for its tasks. Engines keep running: the
// owner of the Runner stops them.
func (l *Loop) Run(ctx context.Context) error {
	l.ctx = ctx
	defer l.running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	exits := l.opt.Runner.Exits()
	if l.opt.Used != nil {
		l.running.Go(func() { l.watch(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-l.wake:
		case r := <-l.reports:
			l.take(r)
		case e, ok := <-exits:
			if !ok {
				exits = nil
				continue
			}
			l.take(report{replicaID: e.ReplicaID, nonce: e.Nonce, kind: reportExit, err: exitError(e)})
		}
		l.takeWaiting(exits)
		next, err := l.pass(ctx)
		if err != nil && ctx.Err() == nil {
			l.opt.Logger.Error("reconcile pass failed; trying again in 1 s", "error", err)
			next = l.opt.Now().Add(time.Second)
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(0, next.Sub(l.opt.Now())))
		}
	}
}

// takeWaiting takes what else has been reported, so that many engines that start at
// once cost few passes.
func (l *Loop) takeWaiting(exits <-chan engine.Exit) {
	for {
		select {
		case r := <-l.reports:
			l.take(r)
		case e, ok := <-exits:
			if !ok {
				return
			}
			l.take(report{replicaID: e.ReplicaID, nonce: e.Nonce, kind: reportExit, err: exitError(e)})
		default:
			return
		}
	}
}

func exitError(e engine.Exit) error {
	if e.Asked {
		return nil
	}
	return errors.New(e.Reason)
}

// pass plans for owners that are due, a bounded number of them, and acts.
func (l *Loop) pass(ctx context.Context) (time.Time, error) {
	begin := l.opt.Now()
	if err := l.bookAll(ctx); err != nil {
		return time.Time{}, err
	}
	did, due, err := l.opt.Reservations.Due(ctx)
	if err != nil { // which is no reason to leave engines alone
		l.opt.Logger.Error("capacity instances not brought up to date; trying again", "error", err)
	}
	l.dirty = l.dirty || did
	l.room = l.opt.ParallelStarts - l.loading()
	l.waits = l.queues()
	parts, err := l.look(ctx)
	if err != nil {
		return time.Time{}, err
	}
	steps := l.planAll(parts)
	if err := l.takeAll(ctx, steps); err != nil {
		return time.Time{}, err
	}
	looked := l.first || len(l.backlog) == 0
	if looked && (l.dirty || !l.first) { // before, nobody is served
		if err := l.opt.Publish(ctx); err != nil {
			return time.Time{}, err
		}
		l.dirty = false
	}
	if looked && !l.first {
		l.first = true
		close(l.looked)
	}
	l.opt.Logger.Debug("reconciled", "owners", len(parts), "steps", len(steps), "left", len(l.backlog), "took", l.opt.Now().Sub(begin))
	if len(steps) > 0 || did || len(l.backlog) > 0 || l.room > 0 && l.line.len() > 0 {
		return l.opt.Now(), nil // there is more to do, or they may allow the next at once
	}
	next := l.opt.Now().Add(l.opt.Poll)
	for _, at := range []time.Time{l.agenda.next(), due} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next, nil
}

// planAll returns the steps of the parts, and puts each owner back on the agenda.
func (l *Loop) planAll(parts []part) []step {
	var steps []step
	sweep := l.opt.Sweep
	if !l.first { // spread from the first
		sweep = sweep * time.Duration(l.round-len(l.backlog)) / time.Duration(max(l.round, 1))
	}
	for i := range parts {
		p := &parts[i]
		if p.empty() {
			continue
		}
		actions, next := Plan(p.State)
		l.agenda.set(p.owner, l.again(next, sweep))
		for _, a := range actions {
			if act := l.act(p, a); act != nil {
				steps = append(steps, step{p.owner, act})
			}
		}
	}
	return steps
}

// task is a start or stop under way; a start can be cancelled.
type task struct {
	owner  berth.Ref
	cancel context.CancelFunc
	loads  time.Time // since when an engine loads for it; zero: none does
}

// begin runs fn beside the loop; until it reports that it is done, the replica is left
// alone.
func (l *Loop) begin(replicaID string, t task, fn func()) {
	l.tasks[replicaID] = t
	l.running.Go(fn)
}

// report hands a finding to the loop.
func (l *Loop) report(r report) {
	select {
	case l.reports <- r:
	case <-l.ctx.Done():
	}
}
