package meter_test

import (
	"context"
	"errors"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/meter"
)

var run1 = berth.EngineAccount{ReplicaID: "rep_1", Nonce: "run_1", ModelName: "abacus", BeganAt: epoch}

// reading is one of run1 after n seconds that nothing comes in between of.
func reading(m *meter.Meter, n int, input, output, calls int64) berth.EngineReading {
	return berth.EngineReading{
		ReplicaID: "rep_1", Nonce: "run_1", At: epoch.Add(time.Duration(n) * time.Second),
		Tokens: berth.Tokens{Input: input, Output: output}, Calls: calls, From: m.Here(),
	}
}

// at is a mark of a call to run1.
func at(n int) *berth.UsageMark {
	k := mark(n)
	k.ReplicaID, k.Nonce, k.Most = "rep_1", "run_1", berth.Tokens{Input: 100, Output: 50}
	return k
}

// used ends a call with the engine's figures.
func used(k *berth.UsageMark, input, output int64) *berth.UsageMark {
	k = ended(k)
	k.InputTokens, k.OutputTokens, k.Source = input, output, berth.SourceEngine
	return k
}

func (h *house) rows(t testing.TB) (rows []berth.Reconciliation, accounts []berth.EngineAccount) {
	t.Helper()
	must(t, h.store.View(context.Background(), func(tx berth.Tx) (err error) {
		if rows, err = tx.Reconciliations().Rows(context.Background(), berth.ReconciliationFilter{}, nil, 0); err == nil {
			accounts, err = tx.Reconciliations().Accounts(context.Background())
		}
		return err
	}))
	return rows, accounts
}

// sum adds all rows up.
func (h *house) sum(t testing.TB) (sum berth.Reconciliation, open int) {
	t.Helper()
	rows, accounts := h.rows(t)
	for i := range rows {
		sum.Add(&rows[i])
	}
	return sum, len(accounts)
}

func both(input, output int64) berth.Tokens { return berth.Tokens{Input: input, Output: output} }

// The counters of an engine meet the records of its calls in the journal's order: calls to
// others, refused ones and those that went elsewhere have no part in it.
func TestCountersMeetRecords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	if !m.Began(run1) {
		t.Fatal("no room")
	}
	probe := at(1)
	probe.Class = berth.ClassProbe
	m.Close(used(open(t, m, probe), 7, 1))
	other := mark(3)
	other.ReplicaID, other.Nonce = "rep_3", "run_3"
	one, elsewhere, moved := open(t, m, at(2)), open(t, m, other), open(t, m, at(4))
	m.Close(ended(mark(5))) // refused
	m.Read(reading(m, 1, 27, 4, 1))
	moved.ReplicaID, moved.Nonce = "rep_2", "run_2"
	must(t, m.Open(moved))
	m.Close(used(one, 20, 9))
	m.Close(ended(elsewhere))
	m.Close(used(moved, 5, 5))
	left := ended(open(t, m, at(6)))
	left.Source, left.InputTokens, left.OutputTokens, left.Billable = berth.SourceUnknown, 0, 0, false
	m.Close(left)
	m.Read(reading(m, 2, 30, 12, 0))
	until(t, "they agree", func() bool { return m.Settled(berth.EngineReading{Nonce: "run_1", Tokens: both(30, 12)}) })
	if m.Settled(berth.EngineReading{Nonce: "run_1", Tokens: both(30, 13)}) || m.Settled(berth.EngineReading{Nonce: "run_1", Tokens: both(30, 12), Calls: 1}) {
		t.Error("a reading that tells something new is taken for settled")
	}
	until(t, "it is kept", func() bool { sum, _ := h.sum(t); return sum.Engine == both(30, 12) })
	rows, accounts := h.rows(t)
	r := rows[0]
	if len(rows) != 1 || r.Recorded != both(27, 10) || r.Probes != both(7, 1) || r.Unbilled != both(0, 0) || r.Explained != both(3, 2) || r.Inexact != 1 ||
		r.Differs() != 0 || r.UnderWay() != both(0, 0) || len(r.DeployedModels) != 1 || r.ModelName != "abacus" || !r.Hour.Equal(epoch.Truncate(time.Hour)) {
		t.Errorf("%+v", rows)
	}
	if len(accounts) != 1 || accounts[0].Read != both(30, 12) {
		t.Errorf("%+v", accounts)
	}
	open(t, m, at(7))
	until(t, "a call makes the next reading tell something", func() bool {
		return !m.Settled(berth.EngineReading{Nonce: "run_1", Tokens: both(30, 12)})
	})
	m.Ended(reading(m, 3, 0, 0, 0))
	h.die(t, m) // the call is still open
	m = h.live(t, meter.Options{})
	m.Start()
	until(t, "the account is closed", func() bool { _, open := h.sum(t); return open == 0 })
	if sum, _ := h.sum(t); sum.Differs() != 0 || sum.UnderWay() != both(0, 0) || sum.Unread != both(10, 0) || sum.Inexact != 2 {
		t.Errorf("%+v", sum)
	}
}

// After kill -9 the engines are gone: what was recorded since they were read is unread, and
// a record that was lost before shows all the same.
func TestCountersAfterACrash(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	m.Began(run1)
	m.Close(used(open(t, m, at(1)), 10, 5))
	m.Read(reading(m, 1, 10, 5, 0))
	m.Close(used(open(t, m, at(2)), 10, 5))
	m.Drop(open(t, m, at(3)))       // its record is lost
	m.Read(reading(m, 2, 24, 8, 0)) // 4 and 3 of it
	m.Close(used(open(t, m, at(4)), 6, 6))
	h.die(t, m)
	m = h.live(t, meter.Options{})
	m.Start()
	until(t, "the account is closed", func() bool { sum, open := h.sum(t); return open == 0 && sum.Recorded == both(26, 16) })
	if sum, _ := h.sum(t); sum.Unexplained != both(4, -2) || sum.Unread != both(6, 6) || sum.UnderWay() != both(0, 0) {
		t.Errorf("%+v", sum)
	}
}

// What a transaction wrote that reported an error is not added a second time.
func TestRowsAreAddedToOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{Retry: time.Millisecond})
	m.Start()
	m.Began(run1)
	for n := range 20 {
		h.store.set(nil, errors.New("the connection was lost"))
		m.Close(used(open(t, m, at(n)), 10, 5))
		total := both(int64(10*(n+1)), int64(5*(n+1)))
		m.Read(reading(m, n, total.Input, total.Output, 0))
		until(t, "it is kept", func() bool {
			sum, _ := h.sum(t)
			return sum.Engine.Input >= total.Input && sum.Recorded.Input >= total.Input
		})
		if sum, _ := h.sum(t); sum.Engine != total || sum.Recorded != total || sum.Differs() != 0 {
			t.Fatalf("%+v, want %+v", sum, total)
		}
	}
}
