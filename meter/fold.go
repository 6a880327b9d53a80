package meter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

// fold makes records of marks, in order. It belongs to one goroutine.
type fold struct {
	meter  *Meter
	reader *journal.Reader
	decode decoder
	done   berth.Fold // as the store has it

	open    map[journal.Position]*openCall // by where they were opened
	batch   []berth.UsageRecord            // not yet in the store
	crossed bool                           // earlier lives were read to their end
	last    int64                          // latest moment that a mark of them spoke of, in nanoseconds
	passed  []passed                       // segments that were read to their end and are still there
	segment int64                          // that is read
	voids   []journal.Position             // calls that were carried after they had been closed

	accounts map[string]*account   // of engines, by nonce
	touched  map[*account]struct{} // that may have something to write
	unsure   bool                  // the last transaction failed, and may have been committed
}

// openCall is a call without a closing mark.
type openCall struct {
	life     int64
	segment  int64  // of its latest opening mark
	mark     []byte // that mark
	nonce    string // whose engine it is for
	progress []byte // the last one; nil: none
}

// passed is a segment and when everything in it had been read.
type passed struct {
	segment int64
	at      time.Time
}

// newFold begins with what is left of the journal: earlier marks are needed to know what
// is open, but only those from the fold's position on become records.
func newFold(m *Meter, done berth.Fold, accounts []berth.EngineAccount) fold {
	f := fold{meter: m, reader: m.journal.Read(0), done: done, open: map[journal.Position]*openCall{}, accounts: map[string]*account{}, touched: map[*account]struct{}{}}
	for _, a := range accounts {
		f.accounts[a.Nonce] = newAccount(a)
	}
	return f
}

// all folds everything there is. After an error it is called again.
func (f *fold) all(ctx context.Context) error {
	for {
		if len(f.batch) == 0 && !f.unsure {
			if err := f.fill(); err != nil {
				return err
			}
		}
		full := len(f.batch) >= f.meter.opt.Batch
		if err := f.write(ctx); err != nil {
			return err
		}
		if err := f.cut(); err != nil {
			return err
		}
		if !full {
			return nil
		}
	}
}

// fill reads marks until a batch is full or there are none.
func (f *fold) fill() error {
	for len(f.batch) < f.meter.opt.Batch {
		e, err := f.reader.Next()
		f.pass()
		if !f.crossed && f.reader.Position() >= journal.At(f.meter.journal.Life()) {
			f.cross()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		f.take(e)
	}
	return nil
}

// pass notes which segments have been read.
func (f *fold) pass() {
	now := f.reader.Position().Segment()
	if f.segment > 0 && now > f.segment {
		f.passed = append(f.passed, passed{now - 1, f.meter.opt.Now()})
	}
	f.segment = now
}

// take takes one mark.
func (f *fold) take(e journal.Entry) {
	kind, ref, err := check(e.Payload, e.At)
	if err == nil && !f.crossed {
		f.last = max(f.last, latest(e.Payload))
	}
	call := f.open[ref]
	switch {
	case err != nil:
	case kind == kindCarried && call == nil && e.Life == f.meter.journal.Life():
		f.voids = append(f.voids, ref) // it was closed between being read and being carried
	case kind == kindBegan, kind == kindRead, kind == kindEnded:
		if int64(e.At) >= f.done.Position {
			err = f.engine(kind, e.Payload)
		}
	case kind == kindVoid:
		if call != nil {
			f.leaves(call, ref)
		}
		delete(f.open, ref)
	case kind == kindOpened, kind == kindCarried:
		if call == nil {
			call = &openCall{life: e.Life}
			f.open[ref] = call
		}
		call.segment, call.mark = e.At.Segment(), append(call.mark[:0], e.Payload...)
		f.opens(call, ref, e.Payload)
	case kind == kindProgress && call != nil && (call.progress == nil || latest(e.Payload) >= latest(call.progress)):
		// One that was carried may be older than one that came meanwhile.
		call.progress = append(call.progress[:0], e.Payload...)
	case kind == kindClosed:
		delete(f.open, ref)
		err = f.close(call, ref, e)
	}
	if err != nil {
		f.meter.opt.Logger.Error("a mark of the journal cannot be understood", "at", int64(e.At), "error", err)
	}
}

// close takes a closing mark.
func (f *fold) close(call *openCall, ref journal.Position, e journal.Entry) error {
	if int64(e.At) < f.done.Position { // it is a record already
		if call != nil {
			f.leaves(call, ref)
		}
		return nil
	}
	r, err := f.decode.record(e.Payload)
	if err != nil {
		return err
	}
	f.recorded(call, ref, e.At, &r, mostOf(e.Payload))
	f.batch = append(f.batch, r)
	return nil
}

// cross ends the earlier lives: what they left open becomes records, once.
func (f *fold) cross() {
	f.crossed = true
	life := f.meter.journal.Life()
	crashed := 0
	for ref, call := range f.open {
		if call.life >= life {
			continue
		}
		delete(f.open, ref)
		if call.life < f.done.Life {
			f.leaves(call, ref)
			continue // a record since the life after it
		}
		r, err := f.decode.crashed(call, f.meter.opt.NewID("use_"), time.Unix(0, f.last).UTC())
		if err != nil {
			f.meter.opt.Logger.Error("a call that a crash cut off cannot be recorded", "at", int64(ref), "error", err)
			continue
		}
		f.recorded(call, ref, f.reader.Position(), &r, mostOf(call.mark))
		f.batch = append(f.batch, r)
		crashed++
	}
	f.endAll()
	if crashed > 0 {
		f.meter.opt.Logger.Warn("the server did not end by itself the last time", "calls_cut_off", crashed)
	}
	if lost := f.reader.Lost(); lost > 0 {
		f.meter.opt.Logger.Error("a part of the journal cannot be read, and calls whose ends were in it have no usage record, or one of what was marked before", "journal_bytes_lost", lost)
	}
}

// write brings the batch and the position into the store. The position alone is written
// when a segment has been read: so that it can go.
func (f *fold) write(ctx context.Context) error {
	done := berth.Fold{Instance: f.done.Instance, Position: max(f.done.Position, int64(f.reader.Position())), Life: f.done.Life}
	if f.crossed {
		done.Life = f.meter.journal.Life()
	}
	moved := journal.Position(done.Position).Segment() > journal.Position(f.done.Position).Segment() || done.Life > f.done.Life
	if changed := f.changed(); len(f.batch) == 0 && !moved && !changed {
		return nil
	}
	var found []berth.Reconciliation
	err := f.meter.opt.Store.Tx(ctx, func(tx berth.Tx) (err error) {
		found = nil
		if f.unsure {
			if kept, err := tx.Usage().Fold(ctx, done.Instance); err != nil || kept == done && done != f.done {
				return err // it was committed, although it was said to have failed
			}
		}
		if err := tx.Usage().Insert(ctx, f.batch); err != nil {
			return err
		}
		if found, err = f.writeAccounts(ctx, tx); err != nil {
			return err
		}
		return tx.Usage().PutFold(ctx, done)
	})
	if f.unsure = err != nil; f.unsure {
		return err
	}
	f.done = done
	f.meter.figures.add(f.batch)
	f.accountsWritten(found)
	clear(f.batch)
	f.batch = f.batch[:0]
	return nil
}

// cut lets segments go as the package's comment says.
func (f *fold) cut() error {
	f.revoke()
	if len(f.passed) == 0 {
		return nil
	}
	u := f.meter.journal.Usage()
	most := int64(0)
	for len(f.passed) > 0 {
		first := f.passed[0]
		if first.segment >= journal.Position(f.done.Position).Segment() {
			break
		}
		if u.Segments <= u.Most/2 && f.meter.opt.Now().Sub(first.at) < f.meter.opt.Keep {
			break
		}
		if !f.carry(first.segment) {
			break // no room; later
		}
		u.Segments -= max(1, first.segment-max(u.Oldest-1, most))
		most = first.segment
		f.passed = f.passed[1:]
	}
	if most == 0 {
		return nil
	}
	if err := f.meter.journal.Sync(); err != nil { // what was carried
		return err
	}
	return f.meter.journal.Cut(most + 1)
}

// carry marks again what is open in segments up to the given one; false when there is no
// room.
func (f *fold) carry(segment int64) bool {
	for ref, call := range f.open {
		if call.segment > segment {
			continue
		}
		mark := bytes.Clone(call.mark)
		carried(mark, ref)
		at, ok := f.append(mark)
		if !ok {
			return false
		}
		if call.progress != nil {
			if _, ok := f.append(call.progress); !ok {
				return false
			}
		}
		call.segment = at.Segment()
	}
	return true
}

// revoke marks that calls are not open which a later life would find carried behind their
// end, and take for cut off. Without room it is done later.
func (f *fold) revoke() {
	for len(f.voids) > 0 {
		if _, ok := f.append(void(f.voids[0])); !ok {
			return
		}
		f.voids = f.voids[1:]
	}
}

// append writes a mark that is complete.
func (f *fold) append(mark []byte) (journal.Position, bool) {
	j := f.meter.journal
	need := j.Space(len(mark))
	if !j.Reserve(need) {
		return 0, false
	}
	place, ok := j.Begin(len(mark))
	if !ok {
		j.Release(need)
		return 0, false
	}
	copy(place.Bytes, mark)
	place.Commit()
	return place.Position(), true
}
