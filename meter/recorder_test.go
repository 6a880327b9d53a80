package meter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/meter"
	"github.com/berthhq/berth/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a store that takes usage records, and fails when the test says so.
type shop struct {
	berth.Store // nothing else is called
	mu          sync.Mutex
	broken      error
	batches     []int // sizes
	seen        map[string]int
}

func (s *shop) Tx(_ context.Context, fn func(berth.Tx) error) error { return fn(counter{shop: s}) }

type counter struct {
	berth.Tx
	berth.UsageStore
	shop *shop
}

func (c counter) Usage() berth.UsageStore { return c }

func (c counter) Insert(_ context.Context, records []berth.UsageRecord) error {
	c.shop.mu.Lock()
	defer c.shop.mu.Unlock()
	if c.shop.broken != nil {
		return c.shop.broken
	}
	c.shop.batches = append(c.shop.batches, len(records))
	if c.shop.seen == nil {
		c.shop.seen = map[string]int{}
	}
	for _, r := range records {
		c.shop.seen[r.ID]++
	}
	return nil
}

func (s *shop) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// written returns how many records the store has, and the sizes of the batches.
func (s *shop) written() (int, []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen), s.batches
}

// recorder runs a recorder in the bubble of the test; it is stopped by the test.
func recorder(s berth.Store, o meter.Options) *meter.Recorder {
	o.Store, o.Logger = s, slog.New(slog.DiscardHandler)
	r := meter.New(o)
	go r.Run()
	return r
}

func use(t *testing.T, r *meter.Recorder, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := r.Open(); err != nil {
			t.Fatal(err)
		}
		r.Close(berth.UsageRecord{ID: fmt.Sprint("use_", i)})
	}
}

func TestARecordIsWrittenWithinEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{}
		r := recorder(s, meter.Options{})
		use(t, r, 0, 3)
		synctest.Wait()
		if n, _ := s.written(); n != 0 || r.Pending() != 3 {
			t.Errorf("at once: %d written, %d pending", n, r.Pending())
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n, batches := s.written(); n != 3 || len(batches) != 1 || r.Pending() != 0 {
			t.Errorf("after 100 ms: %d written in %v, %d pending", n, batches, r.Pending())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, batches := s.written(); len(batches) != 1 {
			t.Errorf("nothing was written %d times", len(batches)-1)
		}
		r.Stop()
	})
}

func TestAFullBatchIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{}
		r := recorder(s, meter.Options{Batch: 4, Every: time.Hour})
		use(t, r, 0, 10)
		synctest.Wait()
		if n, batches := s.written(); n != 8 || len(batches) != 2 {
			t.Errorf("%d written in %v", n, batches)
		}
		r.Stop()
		if n, _ := s.written(); n != 10 || r.Pending() != 0 {
			t.Errorf("after Stop: %d written, %d pending", n, r.Pending())
		}
	})
}

func TestACallWhoseUseWouldBeLostIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{}
		r := recorder(s, meter.Options{Backlog: 3, Every: time.Second})
		use(t, r, 0, 2)
		must(t, r.Open()) // a call that still runs counts, too
		err := r.Open()
		var refusal *berth.Error
		if !errors.As(err, &refusal) || refusal.Code != berth.CodeUnavailable || refusal.RetryAfter < time.Second {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		must(t, r.Open())
		must(t, r.Open())
		if err := r.Open(); berth.CodeOf(err) != berth.CodeUnavailable {
			t.Errorf("room for two, a third: %v", err)
		}
		for i := range 3 {
			r.Close(berth.UsageRecord{ID: fmt.Sprint("late_", i)})
		}
		r.Stop()
		if n, _ := s.written(); n != 5 || r.Pending() != 0 {
			t.Errorf("%d written, %d pending", n, r.Pending())
		}
	})
}

func TestAStoreThatFailsAndRecoversLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{broken: errors.New("disk full")}
		r := recorder(s, meter.Options{Batch: 2})
		use(t, r, 0, 5)
		time.Sleep(3 * time.Second)
		use(t, r, 5, 7) // calls go on
		time.Sleep(time.Second)
		synctest.Wait()
		if n, _ := s.written(); n != 0 || r.Pending() != 7 {
			t.Errorf("while it fails: %d written, %d pending", n, r.Pending())
		}
		s.fail(nil)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if n, _ := s.written(); n != 7 || r.Pending() != 0 {
			t.Errorf("after it: %d written, %d pending", n, r.Pending())
		}
		r.Stop()
		for id, n := range s.seen {
			if n != 1 {
				t.Errorf("%s was written %d times", id, n)
			}
		}
	})
}

// A store that is back by the time of Stop gets everything, although the recorder was
// waiting for its next try.
func TestStopTriesOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{broken: errors.New("disk full")}
		r := recorder(s, meter.Options{Retry: time.Hour})
		use(t, r, 0, 3)
		time.Sleep(time.Second)
		synctest.Wait() // it waits for an hour now
		s.fail(nil)
		use(t, r, 3, 5)
		r.Stop()
		if n, _ := s.written(); n != 5 {
			t.Errorf("%d written", n)
		}
	})
}

func TestStopEndsAlthoughTheStoreIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := recorder(&shop{broken: errors.New("gone")}, meter.Options{Retry: time.Hour, Batch: 2})
		use(t, r, 0, 5)
		began := time.Now()
		r.Stop()
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("it took %s", waited)
		}
	})
}

// Many calls at once on the real store: every record once, none lost.
func TestManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	const callers, each = 16, 100
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "berth.db")})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Tx(t.Context(), func(tx berth.Tx) error {
		if err := tx.Accounts().InsertAccount(t.Context(), berth.Account{ID: "1"}); err != nil {
			return err
		}
		return tx.Accounts().InsertWorkspace(t.Context(), berth.Workspace{ID: "llm", AccountID: "1"})
	}))
	r := recorder(s, meter.Options{Every: time.Millisecond, Batch: 64, Backlog: callers * each})
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range each {
				if err := r.Open(); err != nil {
					t.Error(err)
					return
				}
				r.Close(berth.UsageRecord{ID: fmt.Sprintf("use_%02d_%03d", caller, i), WorkspaceID: "llm", InputTokens: 2})
			}
		})
	}
	all.Wait()
	r.Stop()
	must(t, s.View(t.Context(), func(tx berth.Tx) error {
		totals, err := tx.Usage().Totals(t.Context(), berth.UsageFilter{}, nil, time.UTC)
		if err == nil && (len(totals) != 1 || totals[0].Calls != callers*each || totals[0].InputTokens != 2*callers*each) {
			t.Errorf("got %+v", totals)
		}
		return err
	}))
	if n := r.Pending(); n != 0 {
		t.Errorf("%d pending", n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
