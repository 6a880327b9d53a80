// Package meter takes the usage records of finished calls and writes each into the
// store once. The call never waits for the store; after a clean stop no record is
// missing. (The journal of design 8, which also survives kill -9, comes in front of
// it later: the interface to the gateway stays.)
package meter

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
)

// Options of a [Recorder]; Store and Logger are required.
type Options struct {
	Store  berth.Store
	Logger *slog.Logger
	// Backlog is how many calls may be open or unwritten at once; default 131,072.
	Backlog int
	// Batch is how many records one transaction takes; default 512.
	Batch int
	// Every is the longest wait before a record is written; default 100 ms.
	Every time.Duration
	// Retry is the wait after the store failed; default 1 s.
	Retry time.Duration
}

// Recorder is the gateway's meter.
type Recorder struct {
	opt     Options
	pending atomic.Int64            // opened and not yet written
	records chan *berth.UsageRecord // pointers: an empty backlog takes little memory
	stop    chan struct{}
	done    chan struct{}
}

// New returns a recorder that Run drives.
func New(opt Options) *Recorder {
	if opt.Backlog == 0 {
		opt.Backlog = 131_072
	}
	if opt.Batch == 0 {
		opt.Batch = 512
	}
	if opt.Every == 0 {
		opt.Every = 100 * time.Millisecond
	}
	if opt.Retry == 0 {
		opt.Retry = time.Second
	}
	return &Recorder{
		opt: opt, records: make(chan *berth.UsageRecord, opt.Backlog), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// Open reserves room for the record of a call that begins. [berth.CodeUnavailable]
// when usage cannot be written fast enough: a call whose use would be lost is refused.
func (r *Recorder) Open() error {
	if r.pending.Add(1) > int64(r.opt.Backlog) {
		r.pending.Add(-1)
		e := berth.Errorf(berth.CodeUnavailable, "Usage cannot be recorded at the moment, so no new calls are taken; try again shortly.")
		e.RetryAfter = time.Second
		return e
	}
	return nil
}

// Close hands over the record of a call that ended. It never blocks after an Open
// that succeeded.
func (r *Recorder) Close(record berth.UsageRecord) { r.records <- &record }

// Run writes records until Stop, and then those that are left.
func (r *Recorder) Run() {
	defer close(r.done)
	batch := make([]berth.UsageRecord, 0, r.opt.Batch)
	ticker := time.NewTicker(r.opt.Every)
	defer ticker.Stop()
	for {
		select {
		case record := <-r.records:
			if batch = append(batch, *record); len(batch) == cap(batch) {
				batch = r.write(batch)
			}
		case <-ticker.C:
			batch = r.write(batch)
		case <-r.stop:
			r.drain(batch)
			return
		}
	}
}

// drain writes everything that was handed over before Stop.
func (r *Recorder) drain(batch []berth.UsageRecord) {
	for {
		select {
		case record := <-r.records:
			if batch = append(batch, *record); len(batch) == cap(batch) {
				batch = r.write(batch)
			}
		default:
			r.write(batch)
			return
		}
	}
}

// write inserts the batch, again and again until the store takes it: records are
// inserted by id, so a repeat changes nothing. It returns the emptied batch.
func (r *Recorder) write(batch []berth.UsageRecord) []berth.UsageRecord {
	for stopping := false; len(batch) > 0; {
		err := r.opt.Store.Tx(context.Background(), func(tx berth.Tx) error {
			return tx.Usage().Insert(context.Background(), batch)
		})
		if err == nil {
			r.pending.Add(-int64(len(batch)))
			return batch[:0]
		}
		if stopping {
			r.opt.Logger.Error("usage records lost: the store did not take them before the end", "records", len(batch), "error", err)
			return batch[:0]
		}
		r.opt.Logger.Error("usage records not written; trying again", "records", len(batch), "error", err)
		select {
		case <-time.After(r.opt.Retry):
		case <-r.stop:
			stopping = true
		}
	}
	return batch
}

// Pending returns the number of calls whose record is not written yet.
func (r *Recorder) Pending() int64 { return r.pending.Load() }

// Stop makes Run write what is left and returns when it has. Every Close must have
// returned before. Idempotent is not needed: the owner calls it once.
func (r *Recorder) Stop() {
	close(r.stop)
	<-r.done
}
