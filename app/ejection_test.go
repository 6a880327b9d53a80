package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// beside adds a replica to the crowd's pool that handler stands for, and returns how many
// calls came to it. alone: the first one goes.
func (c *crowd) beside(t *testing.T, handler http.HandlerFunc, alone bool) *atomic.Int64 {
	t.Helper()
	var calls atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		handler(w, r)
	}))
	t.Cleanup(backend.Close)
	s := c.without(false, false)
	pool := *s.Pools["pool_1"]
	second := pool.Replicas[0]
	second.ID = "rep_2"
	pool.Replicas = append([]berth.PoolReplica{second}, pool.Replicas...)
	if alone {
		pool.Replicas = pool.Replicas[:1]
	}
	s.Pools = map[string]*berth.PoolRoute{"pool_1": &pool}
	for _, route := range s.Routes {
		target := route.Targets[0]
		target.ReplicaID, target.URL = "rep_2", backend.URL
		route.Targets = append([]berth.Target{target}, route.Targets...)
		if alone {
			route.Targets = route.Targets[:1]
		}
	}
	c.Swap(s)
	return &calls
}

// TestAPoolAvoidsWhatFails: of two replicas of a pool one fails. It gets no calls after
// three failures but for trials, and all calls when it works again. The last one always
// gets them.
func TestAPoolAvoidsWhatFails(t *testing.T) {
	t.Parallel()
	const event = `data: {"choices":[{"index":0,"delta":{"content":"word"}}]}` + "\n\n"
	for name, c := range map[string]struct {
		fails http.HandlerFunc
		most  int64 // calls until it is left alone
		calls int   // of the callers that fail because of it
	}{
		"it answers 500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, 3, 3},
		"it answers 503": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 1, 0},
		"it breaks off its answers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, event)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := gather(t, fakeengine.Script{Slots: 4, Reply: "word"}, 0, "small")
			asked := crowd.beside(t, c.fails, false)
			failed, begun := 0, time.Now()
			for range 20 {
				if _, status := crowd.call(t.Context(), "small"); status != http.StatusOK {
					failed++
				}
			}
			// On a machine so busy that this takes a second, trials come in between.
			trials := int64(time.Since(begun) / time.Second)
			if n := asked.Load(); n < c.most || n > c.most+trials || failed > c.calls+int(trials) {
				t.Errorf("%d calls came to it, and %d failed; want %d and %d", n, failed, c.most, c.calls)
			}
			q := crowd.Explain("small").Queue
			for _, r := range q.Replicas {
				if (r.Trust != berth.Trusted) != (r.ReplicaID == "rep_2") {
					t.Errorf("%s has trust %d", r.ReplicaID, r.Trust)
				}
			}
		})
	}
	t.Run("the last one", func(t *testing.T) {
		t.Parallel()
		crowd := gather(t, fakeengine.Script{Slots: 4}, 0, "small")
		asked := crowd.beside(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, true)
		for range 8 {
			if _, status := crowd.call(t.Context(), "small"); status != http.StatusInternalServerError {
				t.Errorf("answered %d", status)
			}
		}
		if n := asked.Load(); n != 8 {
			t.Errorf("it got %d of 8 calls", n)
		}
	})
	t.Run("it works again", func(t *testing.T) {
		t.Parallel()
		var mended atomic.Bool
		crowd := gather(t, fakeengine.Script{Slots: 4, Reply: "word"}, 0, "small")
		works := fakeengine.New(fakeengine.Script{Slots: 4, Reply: "word"}, fakeengine.Options{Key: "engine"})
		t.Cleanup(func() { works.Kill(0) })
		asked := crowd.beside(t, func(w http.ResponseWriter, r *http.Request) {
			if mended.Load() {
				works.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}, false)
		crowd.call(t.Context(), "small")
		if asked.Load() != 1 {
			t.Fatal("it was not asked")
		}
		mended.Store(true)
		// After a second it is tried; it answers, and has its part of the calls from then on.
		for deadline := time.Now().Add(20 * time.Second); asked.Load() < 2; time.Sleep(20 * time.Millisecond) {
			if crowd.call(t.Context(), "small"); time.Now().After(deadline) {
				t.Fatal("it is never tried again")
			}
		}
		for range 4 {
			crowd.call(t.Context(), "small")
		}
		if n := asked.Load(); n < 4 {
			t.Errorf("it works again and got %d of 5 calls", n-1)
		}
	})
}

// TestAPoolAvoidsWhatIsSilent: of two replicas of a pool one never begins an answer. Callers
// who wait for it in vain, while the other one answers, make it get no more calls, unless it
// is always one prompt that nothing comes of.
func TestAPoolAvoidsWhatIsSilent(t *testing.T) {
	t.Parallel()
	crowd := gather(t, fakeengine.Script{Slots: 4, Reply: "word"}, 0, "small")
	hung := fakeengine.New(fakeengine.Script{Slots: 4, Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangBeforeHeaders}}}, fakeengine.Options{Key: "engine"})
	t.Cleanup(func() { hung.Kill(0) })
	asked := crowd.beside(t, hung.ServeHTTP, false)
	trust := func() berth.Trust {
		for _, r := range crowd.Explain("small").Queue.Replicas {
			if r.ReplicaID == "rep_2" {
				return r.Trust
			}
		}
		t.Fatal("the pool has no such replica")
		return 0
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	// inVain has a caller wait three minutes for it while others are answered.
	inVain := func(prompt string) {
		t.Helper()
		for before := asked.Load(); asked.Load() == before; {
			ctx, leave := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if response, err := crowd.ask(ctx, "small", prompt); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
			}()
			answered := func() bool {
				select {
				case <-ended:
					return true
				default:
					return false
				}
			}
			wait("nobody got the call", func() bool { return answered() || asked.Load() > before })
			if asked.Load() > before {
				crowd.ahead.Add(int64(2 * time.Minute))
				if _, status := crowd.call(t.Context(), "small"); status != http.StatusOK {
					t.Errorf("the other replica answered %d", status)
				}
				crowd.ahead.Add(int64(time.Minute))
			}
			leave()
			<-ended
			wait("the call does not end", func() bool { return crowd.InFlight("", "rep_2") == 0 })
		}
	}
	for range 4 {
		inVain("the same")
	}
	inVain("another")
	if got := trust(); got != berth.Trusted {
		t.Fatalf("two prompts that nothing comes of make its trust %d", got)
	}
	inVain("one more")
	if got := trust(); got != berth.Ejected {
		t.Fatalf("it has trust %d after three prompts that nothing came of", got)
	}
	before := asked.Load()
	crowd.ahead.Add(-int64(time.Hour)) // so that no trial is due, however busy the machine is
	for range 8 {
		if _, status := crowd.call(t.Context(), "small"); status != http.StatusOK {
			t.Errorf("a call got %d", status)
		}
	}
	if n := asked.Load() - before; n > 0 {
		t.Errorf("%d calls more went to it", n)
	}
}
