package meter

import (
	"encoding/binary"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

// The marks of engines stand in the journal among those of calls, whose order makes them
// comparable (account). They are encoded as marks of calls are.

// Began marks that an engine is about to start, before it can have a call. Without room it
// returns false: then nothing of this start is reconciled.
func (m *Meter) Began(a berth.EngineAccount) bool {
	mark := berth.UsageMark{UsageRecord: berth.UsageRecord{
		ReplicaID: a.ReplicaID, Nonce: a.Nonce, ModelName: a.ModelName, StartedAt: a.BeganAt, Billable: a.Lags,
	}}
	return m.mark(kindBegan, &mark)
}

// Here is where the journal ends now, for a reading that is about to be asked for.
func (m *Meter) Here() int64 { return int64(m.journal.End()) }

// Read marks what an engine's counters showed. Without room it returns false: the next
// reading shows as much.
func (m *Meter) Read(r berth.EngineReading) bool {
	mark := berth.UsageMark{UsageRecord: berth.UsageRecord{
		ReplicaID: r.ReplicaID, Nonce: r.Nonce, EndedAt: r.At, InputTokens: r.Tokens.Input, OutputTokens: r.Tokens.Output,
	}, Booked: berth.Booked{Requests: r.Calls}, Ref: r.From}
	return m.mark(kindRead, &mark)
}

// Settled reports whether a reading would tell nothing new: counters and records of the
// engine agree, no call has come since, and this is what it showed then.
func (m *Meter) Settled(r berth.EngineReading) bool {
	t, ok := m.settled.Load(r.Nonce)
	return ok && r.Calls == 0 && t == r.Tokens
}

// Ended marks that an engine has ended. Without room it returns false: its account is
// closed at the next start of Berth.
func (m *Meter) Ended(r berth.EngineReading) bool {
	mark := berth.UsageMark{UsageRecord: berth.UsageRecord{ReplicaID: r.ReplicaID, Nonce: r.Nonce, EndedAt: r.At}}
	return m.mark(kindEnded, &mark)
}

func (m *Meter) mark(kind byte, mark *berth.UsageMark) bool {
	n := size(&mark.UsageRecord)
	need := m.journal.Space(n)
	if !m.journal.Reserve(need) {
		return false
	}
	place, ok := m.journal.Begin(n)
	if !ok {
		m.journal.Release(need)
		return false
	}
	encode(place.Bytes, kind, mark)
	place.Commit()
	return true
}

// most is what stands at the end of opening and closing marks; nothing in those of the
// first version.
func mostOf(b []byte) berth.Tokens {
	rest := b[fixedBytes:]
	for range texts {
		var ok bool
		if _, rest, ok = cutText(rest); !ok {
			return berth.Tokens{}
		}
	}
	if len(rest) < mostBytes {
		return berth.Tokens{}
	}
	return berth.Tokens{Input: int64(binary.LittleEndian.Uint64(rest)), Output: int64(binary.LittleEndian.Uint64(rest[8:]))}
}

// nonce returns which start of an engine an opening mark is for.
func (d *decoder) nonce(b []byte) string {
	rest := b[fixedBytes:]
	var text []byte
	for range nonceText + 1 {
		var ok bool
		if text, rest, ok = cutText(rest); !ok {
			return ""
		}
	}
	return d.intern(text)
}

// account returns the one of a start of an engine, nil when there is none, to be looked at
// when records are written next.
func (f *fold) account(nonce string) *account {
	a := f.accounts[nonce]
	if a != nil {
		f.touched[a] = struct{}{}
	}
	return a
}

// engine takes a mark of an engine.
func (f *fold) engine(kind byte, b []byte) error {
	u, err := f.decode.record(b)
	if err != nil {
		return err
	}
	a := f.account(u.Nonce)
	switch {
	case kind == kindBegan && a == nil:
		a = newAccount(berth.EngineAccount{
			ReplicaID: u.ReplicaID, Nonce: u.Nonce, ModelName: u.ModelName, Lags: u.Billable, BeganAt: u.StartedAt, TurnedAt: u.StartedAt,
		})
		a.checked, a.fresh = u.StartedAt, true
		f.accounts[u.Nonce], f.touched[a] = a, struct{}{}
	case a == nil:
	case kind == kindRead:
		r := berth.EngineReading{
			At: u.EndedAt, Tokens: berth.Tokens{Input: u.InputTokens, Output: u.OutputTokens},
			Calls: booked(b).Requests, From: int64(binary.LittleEndian.Uint64(b[atRef:])),
		}
		if a.read(r) {
			f.meter.settled.Store(u.Nonce, r.Tokens)
		}
	case kind == kindEnded:
		a.end(u.EndedAt)
	}
	return nil
}

// opens tells the accounts that an engine may get a call.
func (f *fold) opens(call *openCall, ref journal.Position, mark []byte) {
	nonce := f.decode.nonce(mark)
	if nonce == call.nonce {
		return
	}
	if a := f.account(call.nonce); a != nil {
		a.moved(ref, mostOf(mark))
	}
	call.nonce = nonce
	if a := f.account(nonce); a != nil {
		f.meter.settled.Delete(nonce)
		a.opened(ref)
	}
}

// leaves tells the account of the engine that a call was for that it does not have it.
func (f *fold) leaves(call *openCall, ref journal.Position) {
	if a := f.account(call.nonce); a != nil {
		a.left(ref)
	}
}

// recorded tells the accounts of a record that is about to be kept.
func (f *fold) recorded(call *openCall, ref, at journal.Position, u *berth.UsageRecord, most berth.Tokens) {
	if call == nil { // it never was at an engine
		return
	}
	if call.nonce != u.Nonce {
		f.leaves(call, ref)
	}
	if a := f.account(u.Nonce); a != nil {
		f.meter.settled.Delete(u.Nonce)
		a.record(ref, at, u, most)
	}
}

// endAll ends the accounts of earlier lives: engines do not outlive the Berth that started
// them.
func (f *fold) endAll() {
	for nonce := range f.accounts {
		a := f.account(nonce)
		at := a.ReadAt
		if at.IsZero() {
			at = a.BeganAt
		}
		if last := instant(f.last); last.After(at) {
			at = last
		}
		a.end(at)
	}
}
