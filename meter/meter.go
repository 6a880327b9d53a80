package meter

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

// Options of a [Meter]; Store, NewID, Logger and Journal.Dir are required.
type Options struct {
	Store  berth.Store
	NewID  func(prefix string) string
	Now    func() time.Time // default time.Now
	Logger *slog.Logger
	// Journal says where the journal is; Instance, default "local", is whose. After and
	// Logger are set here.
	Journal journal.Options
	// Batch is how many records one transaction takes; default 2048.
	Batch int
	// Every is the longest wait before a record is written; default 100 ms.
	Every time.Duration
	// Retry is the wait after the store failed; default 1 s.
	Retry time.Duration
	// Keep is how long the marks of calls that have ended are kept; default 61 s.
	Keep time.Duration
}

// Meter is the gateway's meter. Open, Progress, Close and Beat are for many calls at once.
type Meter struct {
	opt      Options
	journal  *journal.Journal
	fold     fold
	beat     atomic.Uint32
	work     sync.WaitGroup
	stop     chan struct{}
	stopping sync.Once
	unkept   atomic.Int64 // records that found no room
	crowded  atomic.Bool  // more than half of the journal waits
	settled  sync.Map     // nonces of engines whose counters agree with records, as they showed
	folded   atomic.Int64 // when the last fold of all there was began, in nanoseconds
	figures  tally
}

// Open opens the journal and finds out how far it was folded. Start folds, Stop closes.
func Open(ctx context.Context, opt Options) (*Meter, error) {
	opt.defaults()
	m := &Meter{opt: opt, stop: make(chan struct{})}
	var done berth.Fold
	var accounts []berth.EngineAccount
	err := opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		if done, err = tx.Usage().Fold(ctx, opt.Journal.Instance); err == nil {
			accounts, err = tx.Reconciliations().Accounts(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	opt.Journal.After = journal.Position(done.Position)
	if m.journal, err = journal.Open(opt.Journal); err != nil {
		return nil, err
	}
	m.fold = newFold(m, done, accounts)
	return m, nil
}

func (o *Options) defaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Batch == 0 {
		o.Batch = 2048
	}
	if o.Every == 0 {
		o.Every = 100 * time.Millisecond
	}
	if o.Retry == 0 {
		o.Retry = time.Second
	}
	if o.Keep == 0 {
		o.Keep = 61 * time.Second
	}
	if o.Journal.Instance == "" {
		o.Journal.Instance = "local"
	}
	o.Journal.Logger = o.Logger
}

// Open marks that a call is about to go to an engine, or to another one than before. The
// first time it makes sure that its end can be marked, too; else [berth.CodeUnavailable]:
// a call whose use would be lost is refused.
func (m *Meter) Open(mark *berth.UsageMark) error {
	n := size(&mark.UsageRecord)
	need := m.journal.Space(n)
	promise := m.journal.Space(n + closeBytes)
	if mark.Ref != 0 {
		promise = 0
	}
	if !m.journal.Reserve(need + promise) {
		return m.refuse()
	}
	place, ok := m.journal.Begin(n)
	if !ok {
		m.journal.Release(need + promise)
		return m.refuse()
	}
	encode(place.Bytes, kindOpened, mark)
	place.Commit()
	if mark.Ref == 0 {
		mark.Ref, mark.Room = int64(place.Position()), promise
	}
	return nil
}

func (m *Meter) refuse() error {
	why := m.journal.Trouble()
	if why == "" {
		why = "too many calls began at once"
	}
	e := berth.Errorf(berth.CodeUnavailable, "Usage cannot be recorded at the moment (%s), so no new calls are taken; try again shortly.", why)
	e.RetryAfter = time.Second
	return e
}

// Progress marks the figures of an open call so far: times, tokens, whether they are
// billable as far as they go, and whether they are the engine's and final. Without room
// it does nothing.
func (m *Meter) Progress(mark *berth.UsageMark) {
	need := m.journal.Space(progressBytes)
	if mark.Ref == 0 || !m.journal.Reserve(need) {
		return
	}
	place, ok := m.journal.Begin(progressBytes)
	if !ok {
		m.journal.Release(need)
		return
	}
	mark.EndedAt = m.opt.Now() // of what is known
	encode(place.Bytes, kindProgress, mark)
	place.Commit()
}

// Close marks the record of a call that ended. It finds room if the call was opened; of
// others, which used nothing, a record is left out when more than half of the journal
// waits: who is refused all the time must not keep out those who are not.
func (m *Meter) Close(mark *berth.UsageMark) {
	n := size(&mark.UsageRecord)
	need := m.journal.Space(n)
	if mark.Ref == 0 {
		if m.crowded.Load() || !m.journal.Reserve(need) {
			m.unkept.Add(1)
			return
		}
	} else {
		m.journal.Release(mark.Room - need)
	}
	place, ok := m.journal.Begin(n)
	if !ok { // cannot be: it was promised
		m.unkept.Add(1)
		m.opt.Logger.Error("a usage record found no room in the journal", "record", mark.ID, "request_id", mark.CallID)
		return
	}
	encode(place.Bytes, kindClosed, mark)
	place.Commit()
}

// Drop takes an opened mark back: nothing came of the call, and there is no record of it.
func (m *Meter) Drop(mark *berth.UsageMark) {
	if mark.Ref == 0 {
		return
	}
	need := m.journal.Space(fixedBytes)
	m.journal.Release(mark.Room - need)
	place, ok := m.journal.Begin(fixedBytes)
	if !ok { // cannot be: it was promised
		m.opt.Logger.Error("the end of a call without a record found no room in the journal")
		return
	}
	copy(place.Bytes, void(journal.Position(mark.Ref)))
	place.Commit()
}

// Beat is a number that changes each second: when streams mark their progress.
func (m *Meter) Beat() uint32 { return m.beat.Load() }

// Start begins to fold, and returns.
func (m *Meter) Start() {
	m.work.Go(m.folding)
	m.work.Go(m.beating)
}

func (m *Meter) beating() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
			m.beat.Add(1)
			if n := m.unkept.Swap(0); n > 0 {
				m.figures.drop(n)
				m.opt.Logger.Warn("calls that were refused have no record: the journal had little room", "calls", n)
			}
		}
	}
}

// folding folds what there is, again and again. A store that fails is tried again; what
// it did not take waits in the journal.
func (m *Meter) folding() {
	tick := time.NewTicker(m.opt.Every)
	defer tick.Stop()
	ctx := context.Background()
	for failing := false; ; {
		u := m.journal.Usage()
		m.crowded.Store(u.Segments > u.Most/2)
		began := m.opt.Now()
		err := m.fold.all(ctx)
		if err == nil {
			m.folded.Store(began.UnixNano())
		}
		if (err != nil) != failing {
			failing = err != nil
			m.say(err)
		}
		var retry <-chan time.Time
		next := tick.C
		if failing {
			next, retry = nil, time.After(m.opt.Retry)
		}
		select {
		case <-next:
		case <-retry:
		case <-m.stop:
			if err := m.fold.all(ctx); err != nil {
				m.opt.Logger.Error("the last usage records wait in the journal for the next start", "error", err)
			}
			return
		}
	}
}

func (m *Meter) say(err error) {
	if err != nil {
		m.opt.Logger.Error("usage records are not written; they wait in the journal", "error", err)
	} else {
		m.opt.Logger.Info("usage records are written again")
	}
}

// Stop folds what is left, if Start was called, and closes the journal. Every Close must
// have returned before. It may be called again.
func (m *Meter) Stop() error {
	m.stopping.Do(func() { close(m.stop) })
	m.work.Wait()
	if err := m.journal.Close(); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// Folded returns a moment: every call that had ended by then is in the store.
func (m *Meter) Folded() time.Time { return time.Unix(0, m.folded.Load()) }

// Usage returns what the journal holds.
func (m *Meter) Usage() journal.Usage { return m.journal.Usage() }

// Trouble says why new calls are refused, "" when they are not.
func (m *Meter) Trouble() string { return m.journal.Trouble() }
