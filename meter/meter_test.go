package meter_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
	"github.com/berthhq/berth/meter"
	"github.com/berthhq/berth/store"
	"github.com/berthhq/berth/store/sqlitetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// shop is a real store that fails when the test says so.
type shop struct {
	berth.Store
	mu     sync.Mutex
	broken error
	// lies makes the next transaction report the error although it was committed.
	lies error
	// after is called once, when the next transaction was committed.
	after func()
}

func (s *shop) Tx(ctx context.Context, fn func(berth.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	err := s.Store.Tx(ctx, fn)
	if err == nil && s.lies != nil {
		err, s.lies = s.lies, nil
	}
	if err == nil && s.after != nil {
		s.after()
		s.after = nil
	}
	return err
}

func (s *shop) set(broken, lies error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.lies = broken, lies
}

// house is a data directory through several lives.
type house struct {
	dir   string
	store *shop
	lives int
}

func newHouse(t testing.TB) *house {
	t.Helper()
	file := sqlitetest.File(t)
	s, err := store.Open(t.Context(), store.Config{Path: file})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return &house{dir: filepath.Dir(file), store: &shop{Store: s}}
}

// live opens the next life; its records' ids say which.
func (h *house) live(t testing.TB, o meter.Options) *meter.Meter {
	t.Helper()
	h.lives++
	var mu sync.Mutex
	n, life := 0, h.lives
	o.Store, o.Logger = h.store, slog.New(slog.DiscardHandler)
	o.NewID = func(prefix string) string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("%scrashed-%d-%d", prefix, life, n)
	}
	o.Journal.Dir = filepath.Join(h.dir, "journal")
	if o.Every == 0 {
		o.Every = time.Millisecond
	}
	m, err := meter.Open(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { must(t, m.Stop()) })
	return m
}

// die ends a life as kill -9 does: what is in the files stays as it is and comes back in
// the next life, and nothing is folded after this moment.
func (h *house) die(t testing.TB, m *meter.Meter) {
	t.Helper()
	from, to := filepath.Join(h.dir, "journal"), filepath.Join(h.dir, "kept")
	h.store.set(errors.New("dead"), nil) // and nothing more is cut
	until(t, "no file comes or goes while all are copied", func() bool {
		must(t, os.RemoveAll(to))
		return os.CopyFS(to, os.DirFS(from)) == nil
	})
	must(t, m.Stop())
	h.store.set(nil, nil)
	must(t, os.RemoveAll(from))
	must(t, os.Rename(to, from))
}

func (h *house) records(t testing.TB) (list []berth.UsageRecord) {
	t.Helper()
	must(t, h.store.View(t.Context(), func(tx berth.Tx) (err error) {
		list, _, err = tx.Usage().Records(t.Context(), berth.UsageFilter{}, "", 1_000_000)
		return err
	}))
	return list
}

var epoch = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// mark is one of a call that began n seconds after the epoch.
func mark(n int) *berth.UsageMark {
	return &berth.UsageMark{
		UsageRecord: berth.UsageRecord{
			CallID: fmt.Sprint("call-", n), WorkspaceID: "llm-1", KeyID: "key_1", DeploymentID: "dep_1", DeployedModel: "abacus-1",
			ModelName: "abacus", Plan: berth.PlanPTU, Class: berth.ClassReserved, ReplicaID: "rep_1", Nonce: "run_1",
			StartedAt: epoch.Add(time.Duration(n) * time.Second), InputTokens: 10,
		},
		Booked: berth.Booked{Requests: 1, Input: 100, Output: 50},
	}
}

// ended is the same when it has ended.
func ended(m *berth.UsageMark) *berth.UsageMark {
	m.ID = "use_" + m.CallID
	m.FirstTokenAt, m.EndedAt = m.StartedAt.Add(time.Second), m.StartedAt.Add(2*time.Second)
	m.InputTokens, m.CachedTokens, m.OutputTokens, m.ThinkingTokens = 11, 3, 7, 2
	m.Billable, m.End, m.HTTPStatus, m.Source = true, berth.EndStop, 200, berth.SourceEngine
	m.Booked = berth.Booked{Requests: 1, Input: 11, Output: 7, Thinking: 2}
	return m
}

func open(t testing.TB, m *meter.Meter, k *berth.UsageMark) *berth.UsageMark {
	t.Helper()
	must(t, m.Open(k))
	return k
}

func TestACallBecomesARecordWithEveryField(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	k := open(t, m, mark(1))
	m.Close(ended(k))
	if v := reflect.ValueOf(k.UsageRecord); true {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the test leaves out %s", v.Type().Field(i).Name)
			}
		}
	}
	until(t, "it is recorded", func() bool { return len(h.records(t)) == 1 })
	if got := h.records(t)[0]; got != k.UsageRecord {
		t.Errorf("got %+v, want %+v", got, k.UsageRecord)
	}
	// A call that was refused has a record, too.
	refused := mark(2)
	refused.ID, refused.End = "use_refused", berth.EndRefused
	m.Close(refused)
	until(t, "that is recorded", func() bool { return len(h.records(t)) == 2 })
}

// After a crash: what was closed is a record as it was, what was open is one with what is
// known, and nothing is there twice however often it crashes.
func TestACrashLosesNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	m.Close(ended(open(t, m, mark(1))))
	until(t, "the first is recorded", func() bool { return len(h.records(t)) == 1 })
	h.store.set(errors.New("busy"), nil) // the rest is in the journal only
	closed := ended(open(t, m, mark(2)))
	m.Close(closed)
	open(t, m, mark(3)) // plain: nobody was told of anything
	stream := open(t, m, mark(4))
	stream.InputTokens, stream.OutputTokens, stream.ThinkingTokens, stream.Source, stream.Billable = 12, 5, 1, berth.SourceCounted, true
	m.Progress(stream)
	stream.OutputTokens = 6
	m.Progress(stream)
	whole := open(t, m, mark(5)) // had its answer, but not its end
	whole.OutputTokens, whole.Source, whole.Billable = 9, berth.SourceEngine, true
	m.Progress(whole)
	moved := open(t, m, mark(6))
	moved.ReplicaID, moved.Nonce = "rep_2", "run_2"
	must(t, m.Open(moved))
	h.die(t, m)

	var first []berth.UsageRecord
	for life := range 3 {
		m := h.live(t, meter.Options{})
		m.Start()
		until(t, "all are recorded", func() bool { return len(h.records(t)) >= 6 })
		m.Close(ended(open(t, m, mark(10+life))))
		until(t, "a new one is recorded", func() bool { return len(h.records(t)) == 7+life })
		h.die(t, m)
		if life == 0 {
			first = h.records(t)
		}
	}
	byCall := map[string]berth.UsageRecord{}
	for _, r := range h.records(t) {
		if _, twice := byCall[r.CallID]; twice {
			t.Errorf("%s is there twice", r.CallID)
		}
		byCall[r.CallID] = r
	}
	for _, r := range first {
		if byCall[r.CallID] != r {
			t.Errorf("%s was changed", r.CallID)
		}
	}
	if byCall["call-2"] != closed.UsageRecord {
		t.Errorf("closed: %+v", byCall["call-2"])
	}
	for call, want := range map[string]berth.UsageRecord{
		"call-3": {InputTokens: 10, Source: berth.SourceCounted},
		"call-4": {InputTokens: 12, OutputTokens: 6, ThinkingTokens: 1, Source: berth.SourceCounted, Billable: true, HTTPStatus: 200},
		"call-5": {InputTokens: 10, OutputTokens: 9, Source: berth.SourceEngine, Billable: true, HTTPStatus: 200},
		"call-6": {InputTokens: 10, Source: berth.SourceCounted},
	} {
		got := byCall[call]
		if got.InputTokens != want.InputTokens || got.OutputTokens != want.OutputTokens || got.ThinkingTokens != want.ThinkingTokens ||
			got.Source != want.Source || got.Billable != want.Billable || got.HTTPStatus != want.HTTPStatus ||
			got.End != berth.EndBerthCrashed || got.EndedAt.Before(got.StartedAt) || !strings.HasPrefix(got.ID, "use_crashed-") || got.DeployedModel != "abacus-1" {
			t.Errorf("%s: %+v", call, got)
		}
	}
	if r := byCall["call-6"]; r.ReplicaID != "rep_2" || r.Nonce != "run_2" {
		t.Errorf("the call was at %s %s", r.ReplicaID, r.Nonce)
	}
}

// A record that was deleted later does not come back out of the journal, and a
// transaction that was committed but reported an error is repeated without harm.
func TestARecordComesOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{Retry: time.Millisecond})
	h.store.set(nil, errors.New("the connection was lost"))
	m.Start()
	for n := range 5 {
		m.Close(ended(open(t, m, mark(n))))
	}
	until(t, "all are recorded", func() bool { return len(h.records(t)) == 5 })
	must(t, m.Stop())
	db, err := sql.Open("sqlite", filepath.Join(h.dir, "berth.db"))
	must(t, err)
	_, err = db.ExecContext(t.Context(), "DELETE FROM usage")
	must(t, errors.Join(err, db.Close()))
	m = h.live(t, meter.Options{})
	m.Start()
	m.Close(ended(open(t, m, mark(9))))
	until(t, "a new one is recorded", func() bool { return len(h.records(t)) > 0 })
	if got := h.records(t); len(got) != 1 || got[0].CallID != "call-9" {
		t.Errorf("got %+v", got)
	}
}

// A store that is away costs nothing: the journal keeps what it did not take, calls go on,
// and the bound is said.
func TestAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	options := meter.Options{Retry: time.Millisecond, Journal: journal.Options{SegmentBytes: 32 << 10, Segments: 4, Retry: time.Millisecond}}
	m := h.live(t, options)
	m.Start()
	h.store.set(errors.New("gone"), nil)
	n := 0
	var err error
	until(t, "new calls are refused", func() bool {
		k := mark(n)
		if err = m.Open(k); err == nil {
			m.Close(ended(k))
			n++
			return false
		}
		return strings.Contains(err.Error(), "too many records wait for the database")
	})
	var refusal *berth.Error
	if !errors.As(err, &refusal) || refusal.Code != berth.CodeUnavailable || refusal.RetryAfter < time.Second || n < 100 {
		t.Errorf("after %d calls: %v", n, err)
	}
	h.store.set(nil, nil)
	until(t, "calls are taken again", func() bool { return m.Open(mark(n)) == nil })
	until(t, "all are recorded", func() bool { return len(h.records(t)) == n })
}

// Calls that are refused leave room for the records of those that are not, for as long as
// the store takes none.
func TestRefusedCallsTakeNoRoomFromOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{Retry: time.Millisecond, Journal: journal.Options{SegmentBytes: 32 << 10, Segments: 8, Retry: time.Millisecond}})
	m.Start()
	h.store.set(errors.New("gone"), nil)
	refused := mark(1)
	refused.End = berth.EndRefused
	for n := range 10_000 { // each fills a part of a segment; all together fill many
		refused.ID = fmt.Sprint("use_", n)
		m.Close(refused)
		if n%10 == 0 {
			time.Sleep(time.Millisecond) // as callers come one after the other
		}
	}
	if u := m.Usage(); u.Segments >= u.Most {
		t.Errorf("%+v", u)
	}
	k := open(t, m, mark(2))
	m.Close(ended(k))
	h.store.set(nil, nil)
	until(t, "the call is recorded", func() bool {
		return slices.ContainsFunc(h.records(t), func(r berth.UsageRecord) bool { return r.ID == k.ID })
	})
}

func TestAFullDiskRefusesNewCallsOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	disk := journal.RealDisk
	var mu sync.Mutex
	full := false
	disk.Allocate = func(path string, begin []byte, size int64) error {
		mu.Lock()
		defer mu.Unlock()
		if full {
			return syscall.ENOSPC
		}
		return journal.RealDisk.Allocate(path, begin, size)
	}
	fill := func(is bool) {
		mu.Lock()
		defer mu.Unlock()
		full = is
	}
	m := h.live(t, meter.Options{Journal: journal.Options{SegmentBytes: 32 << 10, Disk: disk, Retry: time.Millisecond}})
	m.Start()
	fill(true)
	var running []*berth.UsageMark
	until(t, "new calls are refused", func() bool {
		k := mark(len(running))
		err := m.Open(k)
		if err == nil {
			running = append(running, k)
			return false
		}
		return strings.Contains(err.Error(), "(the disk is full)")
	})
	for _, k := range running { // every one of them can still end
		m.Progress(k)
		m.Close(ended(k))
	}
	until(t, "all are recorded", func() bool { return len(h.records(t)) == len(running) })
	fill(false)
	until(t, "calls are taken again", func() bool { return m.Open(mark(999)) == nil })
}

// Segments go when all in them is in the store; a call that runs for long is carried on
// and survives a crash although the segment that it was opened in is gone.
func TestSegmentsGoAndLongCallsAreCarried(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	options := meter.Options{Keep: time.Nanosecond, Journal: journal.Options{SegmentBytes: 32 << 10}}
	m := h.live(t, options)
	m.Start()
	long := open(t, m, mark(0))
	long.OutputTokens, long.Billable, long.Source = 3, true, berth.SourceCounted
	m.Progress(long)
	lucky := open(t, m, mark(1)) // closes before the crash
	first := m.Usage().Oldest
	n := 0
	churn := func() {
		until(t, "the old segments have gone", func() bool {
			if k := mark(100 + n); m.Open(k) == nil {
				m.Close(ended(k))
				n++
			}
			return m.Usage().Oldest > first+3
		})
		first = m.Usage().Oldest
	}
	churn()
	long.OutputTokens = 4
	m.Progress(long)
	churn()
	m.Close(ended(lucky))
	if u := m.Usage(); u.Segments > 8 {
		t.Errorf("%+v", u)
	}
	h.die(t, m)
	m = h.live(t, options)
	m.Start()
	until(t, "all are recorded", func() bool { return len(h.records(t)) >= n+2 })
	var crashed []berth.UsageRecord
	for _, r := range h.records(t) {
		if r.End == berth.EndBerthCrashed {
			crashed = append(crashed, r)
		}
	}
	if len(crashed) != 1 || crashed[0].CallID != "call-0" || crashed[0].OutputTokens != 4 || !crashed[0].Billable {
		t.Errorf("cut off: %+v", crashed)
	}
}

// A call that ends after the fold has looked, and before what is open is carried out of a
// segment that goes, is carried behind its own end. It has one record all the same.
func TestACallThatEndsWhileItIsCarriedIsRecordedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	options := meter.Options{Keep: time.Nanosecond, Journal: journal.Options{SegmentBytes: 32 << 10}}
	m := h.live(t, options)
	long := open(t, m, mark(0))
	m.Progress(long)
	first := m.Usage().Oldest
	n := 0
	for ; n < 200; n++ { // several segments
		k := mark(1 + n)
		until(t, "there is room", func() bool { return m.Open(k) == nil })
		m.Close(ended(k))
	}
	h.store.after = func() { m.Close(ended(long)) }
	m.Start()
	until(t, "all are recorded", func() bool { return len(h.records(t)) == n+1 })
	until(t, "its segment has gone", func() bool { return m.Usage().Oldest > first })
	must(t, m.Stop())

	m = h.live(t, options)
	m.Start()
	k := open(t, m, mark(1+n))
	m.Close(ended(k))
	until(t, "a later call is recorded", func() bool {
		return slices.ContainsFunc(h.records(t), func(r berth.UsageRecord) bool { return r.ID == k.ID })
	})
	for _, r := range h.records(t) {
		if r.End == berth.EndBerthCrashed {
			t.Errorf("recorded as cut off: %+v", r)
		}
	}
}

// Texts are cut to what their length has room for.
func TestLongTextsAreCut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	k := mark(1)
	k.ModelName, k.DeploymentID = strings.Repeat("m", 300), strings.Repeat("d", 255)
	m.Close(ended(open(t, m, k)))
	until(t, "it is recorded", func() bool { return len(h.records(t)) == 1 })
	if r := h.records(t)[0]; r.ModelName != k.ModelName[:255] || r.DeploymentID != k.DeploymentID || r.CallID != k.CallID {
		t.Errorf("got %+v", r)
	}
}

// The last minute for the limits: what was left booked, what was reserved by what was cut
// off, oldest first, nothing older, and a clock that was set back forgets nothing.
func TestTheLastMinuteComesBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	for _, n := range []int{1, 30, 20, 50} { // seconds
		m.Close(ended(open(t, m, mark(n))))
	}
	open(t, m, mark(40))
	other := mark(45)
	other.DeploymentID = "dep_2"
	m.Close(ended(open(t, m, other)))
	erased := ended(open(t, m, mark(46))) // refused by its engine
	erased.Booked = berth.Booked{}
	m.Close(erased)
	h.die(t, m)

	m = h.live(t, meter.Options{})
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	used, reserved := berth.Booked{Requests: 1, Input: 11, Output: 7, Thinking: 2}, berth.Booked{Requests: 1, Input: 100, Output: 50}
	for now, want := range map[int][]berth.Booking{
		// at 61 s the first call is a minute old
		61: {{At: at(20), Booked: used}, {At: at(30), Booked: used}, {At: at(40), Booked: reserved}, {At: at(50), Booked: used}},
		90: {{At: at(40), Booked: reserved}, {At: at(50), Booked: used}},
		// the clock was set back to second 35
		35: {{At: at(1), Booked: used}, {At: at(20), Booked: used}, {At: at(30), Booked: used}, {At: at(35), Booked: used}, {At: at(35), Booked: reserved}},
	} {
		got, err := m.LastMinute(at(now))
		must(t, err)
		list := slices.Clone(got["dep_1"])
		slices.SortStableFunc(list, func(a, b berth.Booking) int {
			if c := a.At.Compare(b.At); c != 0 {
				return c
			}
			return int(a.Input - b.Input)
		})
		if !slices.Equal(list, want) || !slices.IsSortedFunc(got["dep_1"], func(a, b berth.Booking) int { return a.At.Compare(b.At) }) {
			t.Errorf("at %d s: %v, want %v", now, got["dep_1"], want)
		}
	}
	if got, err := m.LastMinute(at(61)); err != nil || len(got["dep_2"]) != 1 || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

// Many calls at once: each becomes one record.
func TestManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	const callers, each = 8, 200
	h := newHouse(t)
	m := h.live(t, meter.Options{Journal: journal.Options{SegmentBytes: 256 << 10}})
	m.Start()
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range each {
				k := mark(caller*each + i)
				for m.Open(k) != nil {
					time.Sleep(time.Millisecond)
				}
				m.Progress(k)
				m.Close(ended(k))
			}
		})
	}
	all.Wait()
	must(t, m.Stop())
	if n := len(h.records(t)); n != callers*each {
		t.Errorf("%d records", n)
	}
}

func TestTheBeatChangesEachSecond(t *testing.T) {
	t.Parallel()
	m := newHouse(t).live(t, meter.Options{})
	m.Start()
	before := m.Beat()
	until(t, "it changes", func() bool { return m.Beat() != before })
}

func TestAMarkAllocatesNothing(t *testing.T) {
	m := newHouse(t).live(t, meter.Options{})
	k := mark(1)
	if n := testing.AllocsPerRun(500, func() {
		k.Ref, k.Room = 0, 0
		must(t, m.Open(k))
		m.Progress(k)
		m.Close(k)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCall is what a plain call pays: opened, marked before its answer, closed.
func BenchmarkCall(b *testing.B) {
	const calls = 3000 // fit into a segment
	k := mark(1)
	var spent time.Duration
	for b.Loop() {
		m := newHouse(b).live(b, meter.Options{})
		began := time.Now()
		for range calls {
			k.Ref, k.Room = 0, 0
			must(b, m.Open(k))
			m.Progress(k)
			m.Close(k)
		}
		spent += time.Since(began)
		must(b, m.Stop())
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*calls), "ns/call")
}

// BenchmarkFold folds calls into SQLite.
func BenchmarkFold(b *testing.B) {
	const calls = 50_000
	for b.Loop() {
		b.StopTimer()
		h := newHouse(b)
		m := h.live(b, meter.Options{})
		for n := range calls {
			k := mark(n)
			for m.Open(k) != nil {
				time.Sleep(time.Millisecond)
			}
			k.ID = fmt.Sprintf("use_%08d", n)
			m.Progress(k)
			m.Close(k)
		}
		b.StartTimer()
		m.Start()
		must(b, m.Stop())
		b.StopTimer()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*calls)/b.Elapsed().Seconds(), "records/s")
}

// A mark that nothing came of is taken back: no record, not even after a crash.
func TestADroppedCallHasNoRecord(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := h.live(t, meter.Options{})
	m.Start()
	m.Drop(open(t, m, mark(1)))
	m.Drop(mark(2)) // never opened
	open(t, m, mark(3))
	h.die(t, m)
	m = h.live(t, meter.Options{})
	m.Start()
	m.Close(ended(open(t, m, mark(4))))
	until(t, "the others are recorded", func() bool { return len(h.records(t)) == 2 })
	for _, r := range h.records(t) {
		if r.CallID != "call-3" && r.CallID != "call-4" {
			t.Errorf("recorded: %+v", r)
		}
	}
}
