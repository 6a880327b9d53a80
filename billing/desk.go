package billing

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
)

// Options of a [Desk]; Store, Now, NewID and Logger are required.
type Options struct {
	Store  berth.Store
	Now    func() time.Time
	NewID  func(prefix string) string // post_ for postings
	Logger *slog.Logger
	// Folded returns a moment by which every call that had ended is in the store: no month
	// is closed before. nil: all of them are, always.
	Folded func() time.Time
	// After is called behind each pass of Run, whether it did all or not: what was spent may
	// have changed.
	After func(ctx context.Context)
	// Tick is the time between two passes of Run over the usage that came; default 1 s. Each
	// RunTick, default 1 min, a pass looks at the runs that go on, too.
	Tick, RunTick time.Duration
	// Together is how much growth of a line is posted together when nobody asks; default
	// 1 h. A posting for each second of a busy deployment would fill the database with them.
	Together time.Duration
}

// Desk keeps lines and postings up to date. Its methods are for many callers at once, and
// several desks may work on one store: every step is a transaction that begins with what is
// there.
type Desk struct {
	opt  Options
	turn chan struct{} // one pass at a time
	book atomic.Pointer[kept]

	closing time.Time // before it no month is due; belongs to the turn
}

// New makes a desk. It works in [Desk.Run] and when it is asked.
func New(opt Options) *Desk {
	def := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	def(&opt.Tick, time.Second)
	def(&opt.RunTick, time.Minute)
	def(&opt.Together, time.Hour)
	if opt.Folded == nil {
		opt.Folded = opt.Now
	}
	return &Desk{opt: opt, turn: make(chan struct{}, 1)}
}

// Rate brings the lines of all that was used up to now, and the postings with them:
// afterwards balances are exact. What it did before an error stays done; another call goes
// on.
func (d *Desk) Rate(ctx context.Context) error {
	return d.pass(ctx, func() error { return d.all(ctx, forever) })
}

// RateFor is [Desk.Rate] for whoever asks about one account ("": about all), before its
// statements and balances are answered: what is wrong with another one's charges is no
// error.
func (d *Desk) RateFor(ctx context.Context, accountID string) error {
	if accountID == "" {
		return d.Rate(ctx)
	}
	return d.pass(ctx, func() error {
		t := newTrouble()
		if err := d.steps(ctx, forever, t); err != nil {
			return err
		}
		return t.of(accountID)
	})
}

// forever is later than any posting.
var forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// all rates everything, posts lines that were last posted before a moment, and closes the
// months that are due. An error may be of some of it only, and all else is done.
func (d *Desk) all(ctx context.Context, posted time.Time) error {
	t := newTrouble()
	return cmp.Or(d.steps(ctx, posted, t), t.err())
}

func (d *Desk) steps(ctx context.Context, posted time.Time, t *trouble) error {
	began := d.opt.Now()
	for _, step := range []func() error{
		func() error { return d.rateUsage(ctx, t) },
		func() error { return d.rateOrders(ctx, t) },
		func() error { return d.rateRuns(ctx, t) },
		func() error { return d.postAll(ctx, posted, t) },
		func() error { return d.closeMonths(ctx, began, t) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// pass runs fn when it is its turn.
func (d *Desk) pass(ctx context.Context, fn func() error) error {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.turn }()
	return fn()
}

// Run rates again and again until ctx ends. Postings wait until there are [Options.Together]
// of them or somebody asks with [Desk.Rate].
func (d *Desk) Run(ctx context.Context) {
	tick := time.NewTicker(d.opt.Tick)
	defer tick.Stop()
	var failing bool
	var last time.Time
	for {
		err := d.pass(ctx, func() error {
			now := d.opt.Now()
			if now.Sub(last) < d.opt.RunTick && !now.Before(last) {
				t := newTrouble()
				return cmp.Or(d.rateUsage(ctx, t), t.err())
			}
			last = now
			return d.all(ctx, now.Add(-d.opt.Together))
		})
		if ctx.Err() != nil {
			return
		}
		if d.opt.After != nil {
			d.opt.After(ctx)
		}
		if (err != nil) != failing {
			failing = err != nil
			d.say(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *Desk) say(err error) {
	if err != nil {
		d.opt.Logger.Error("charges are not up to date; this is tried again", "error", err)
	} else {
		d.opt.Logger.Info("charges are up to date again")
	}
}
