package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	free, full := candidate{slots: 4}, candidate{slots: 4, load: 4}
	ejected, tried := candidate{slots: 4, ejected: true}, candidate{slots: 4, tried: true}
	for name, c := range map[string]struct {
		all  []candidate
		want int
	}{
		"nobody":                            {nil, -1},
		"all tried":                         {[]candidate{tried, tried}, -1},
		"a free slot before the key's":      {[]candidate{full, free, full}, 1},
		"one that works before an ejected":  {[]candidate{ejected, full}, 1},
		"the last one is never ejected":     {[]candidate{tried, ejected}, 1},
		"the last one that is full, anyway": {[]candidate{tried, full}, 1},
	} {
		for key := range uint64(20) {
			for i := range c.all {
				c.all[i].hash = uint64(i)
			}
			if got := choose(c.all, key, uint32(key)); got != c.want {
				t.Errorf("%s, key %d: %d, want %d", name, key, got, c.want)
			}
		}
	}
}

// draw makes replicas, at least one of which can be chosen.
func drawCandidates(t *rapid.T) []candidate {
	all := make([]candidate, rapid.IntRange(1, 9).Draw(t, "replicas"))
	for i := range all {
		all[i] = candidate{
			hash: hashOfText(hashStart, fmt.Sprint("rep_", i)), slots: rapid.Int64Range(1, 16).Draw(t, "slots"), load: rapid.Int64Range(0, 40).Draw(t, "load"),
			ejected: rapid.IntRange(0, 3).Draw(t, "ejected") == 0, tried: rapid.IntRange(0, 3).Draw(t, "tried") == 0,
		}
	}
	return all
}

// Whatever the loads are, a call finds a replica that is below its bound.
func TestAffinityIsWithinTheLoadBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := drawCandidates(t)
		key := rapid.Uint64Min(1).Draw(t, "key")
		at := choose(all, key, 0)
		best, calls, slots := 0, int64(0), int64(0)
		for i := range all {
			best = max(best, all[i].rank())
		}
		if best == 0 {
			if at != -1 {
				t.Fatalf("chose %d of nothing", at)
			}
			return
		}
		for i := range all {
			if all[i].rank() == best {
				calls, slots = calls+all[i].load, slots+all[i].slots
			}
		}
		if at < 0 || all[at].rank() != best {
			t.Fatalf("chose %d of rank %d, the best is %d", at, all[max(at, 0)].rank(), best)
		}
		// load + 1 ≤ ⌈c (m+1) s/S⌉, by hand
		bound := float64(shareMost) / sharePart * float64(calls+1) * float64(all[at].slots) / float64(slots)
		if float64(all[at].load) >= bound {
			t.Fatalf("a replica with %d calls gets one more; its bound is %.2f", all[at].load, bound)
		}
	})
}

// Calls that come one after the other and stay, all with one key, are never spread worse
// than the bound allows.
func TestOneKeyDoesNotFillOneReplica(t *testing.T) {
	t.Parallel()
	all := make([]candidate, 5)
	for i := range all {
		all[i] = candidate{hash: hashOfText(hashStart, fmt.Sprint(i)), slots: 1000}
	}
	for m := range int64(1000) {
		at := choose(all, 7, 0)
		all[at].load++
		if most := loadBound(m+1, 1, 5); all[at].load > most {
			t.Fatalf("after %d calls one replica has %d, more than %d", m+1, all[at].load, most)
		}
	}
}

// Keys stay where they are when another replica goes, and move only to one that comes.
func TestKeysMoveOnlyWhereTheyMust(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := make([]candidate, rapid.IntRange(2, 9).Draw(t, "replicas"))
		for i := range all {
			all[i] = candidate{hash: rapid.Uint64().Draw(t, "hash"), slots: 4}
		}
		key := rapid.Uint64Min(1).Draw(t, "key")
		without := all[:len(all)-1]
		before, after := choose(without, key, 0), choose(all, key, 0)
		if after != before && after != len(all)-1 {
			t.Fatalf("the key moved from %d to %d when %d came", before, after, len(all)-1)
		}
	})
	all := make([]candidate, 5)
	for i := range all {
		all[i] = candidate{hash: hashOfText(hashStart, fmt.Sprint("rep_", i)), slots: 4}
	}
	seen := make([]int, len(all))
	for i := range 10_000 {
		seen[choose(all, hashOfText(hashStart, fmt.Sprint("conversation ", i))|1, 0)]++
	}
	for i, n := range seen {
		if n < 1700 || n > 2300 {
			t.Errorf("replica %d is first for %d of 10,000 keys", i, n)
		}
	}
}

func TestOpening(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*openingBytes)
	for messages, want := range map[string]string{
		`[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]`:         `[{"role":"user","content":"a"}`,
		`[{"role":"system","content":"s"}, {"role":"user","content":"a"},{}]`:        `[{"role":"system","content":"s"}, {"role":"user","content":"a"}`,
		`[{"role":"user","content":"` + long + `"}]`:                                 `[{"role":"user","content":"` + long[:openingBytes-27],
		`[{"role":"system","content":"` + long + `"},{"role":"user","content":"a"}]`: `[{"role":"system","content":"` + long[:openingBytes-29],
		`"a text"`: `"a text"`,
	} {
		if got := string(opening(value(messages))); got != want {
			t.Errorf("%.60s: %.80s", messages, got)
		}
	}
}

// What one conversation says again goes to the replica that has read it, others elsewhere.
func TestConversationsStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: make([]fakeengine.Script, 4)})
	calls := func() (list [4]int64) {
		for i, e := range h.engines {
			list[i] = int64(e.Stats().Calls)
		}
		return list
	}
	used := map[int]bool{}
	for i := range 20 {
		first := fmt.Sprintf(`{"role":"system","content":"Be brief."},{"role":"user","content":"question %d"}`, i)
		before := calls()
		for _, more := range []string{"", `,{"role":"assistant","content":"a"},{"role":"user","content":"and?"}`, `,{"role":"assistant","content":"b"},{"role":"user","content":"so?"}`} {
			if got := h.post(t, chatPath, fmt.Sprintf(`{"model":%q,"messages":[%s]}`, deployed, first+more)); got.status != 200 {
				t.Fatal(got.body)
			}
		}
		after, grown := calls(), 0
		for at := range after {
			if after[at] != before[at] {
				grown++
				used[at] = true
			}
		}
		if grown != 1 {
			t.Errorf("conversation %d was spread: %v, %v", i, before, after)
		}
	}
	if len(used) != 4 {
		t.Errorf("20 conversations used %d of 4 replicas", len(used))
	}
	// Where workspaces share engines nothing is kept, and the least loaded one is taken.
	c := &call{route: &berth.Route{Plan: berth.PlanLoRA}, request: request{operation: chatting}}
	if affinity(c) != 0 {
		t.Error("a pool's calls have an affinity")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r replica
		ejected := func(engine string) (bool, bool) {
			h := r.health.Load()
			if h == nil {
				return false, false
			}
			return r.ejected(h, engine, time.Now())
		}
		expect := func(when, engine string, out, trial bool) {
			t.Helper()
			if o, tr := ejected(engine); o != out || tr != trial {
				t.Errorf("%s: ejected %v, trial %v; want %v, %v", when, o, tr, out, trial)
			}
		}
		fail := func(weight int, want time.Duration) {
			t.Helper()
			if got, _ := r.failed("k", fault{weight: weight}, time.Now()); got != want {
				t.Errorf("ejected for %s, want %s", got, want)
			}
		}
		fail(1, 0)
		fail(1, 0)
		expect("two failures", "k", false, false)
		r.worked(false)
		fail(1, 0)
		fail(1, 0)
		fail(1, time.Second)
		expect("three in a row", "k", true, false)
		expect("the engine that was started after it", "k2", false, false)
		fail(1, 0) // of a call that began before
		wait := time.Second
		for range 8 {
			time.Sleep(wait)
			expect("its time is over", "k", true, true)
			expect("for one call only", "k", true, false)
			wait = min(2*wait, ejectMost)
			fail(1, wait)
		}
		time.Sleep(wait)
		expect("a trial that is never heard of", "k", true, true)
		time.Sleep(trialMost)
		expect("is followed by another", "k", true, true)
		r.worked(false)
		expect("an answer", "k", false, false)
		fail(ejectAfter, time.Second) // nobody listens
		if got, _ := r.failed("k2", fault{weight: 1}, time.Now()); got != 0 {
			t.Errorf("the first failure of another engine ejects it for %s", got)
		}
	})
}

// A replica that fails gets no calls after three of them, until it works again.
func TestEjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked, works atomic.Int64
		l := new(live)
		var tab table
		targets := []berth.Target{{ReplicaID: "good", Slots: 4}, {ReplicaID: "bad", Slots: 4}}
		g := &Gateway{now: time.Now, logger: quiet()}
		call1 := func() {
			target, ok := tab.pick(l, targets, nil, 0, time.Now)
			if !ok {
				t.Fatal("no replica")
			}
			c := &call{route: &berth.Route{Targets: targets}, target: target, lease: &lease{replica: tab.replica(target.ReplicaID)}}
			var err error
			if target.ReplicaID == "bad" {
				asked.Add(1)
				if works.Load() == 0 {
					err = fail(problemEngine)
				}
			}
			g.judge(c, err, false)
		}
		for range 100 {
			call1()
		}
		if n := asked.Load(); n != 3 {
			t.Errorf("the bad one got %d calls of 100", n)
		}
		time.Sleep(time.Second)
		for range 100 {
			call1()
		}
		if n := asked.Load(); n != 4 {
			t.Errorf("%d calls tried it after its time", n-3)
		}
		works.Store(1)
		time.Sleep(2 * time.Second)
		asked.Store(0)
		for range 100 {
			call1()
		}
		if n := asked.Load(); n < 45 {
			t.Errorf("it works again and gets %d calls of 100", n)
		}
	})
}

// Another engine gets what one has certainly not begun with, and nothing else.
func TestRetries(t *testing.T) {
	t.Parallel()
	for status, retried := range map[int]bool{503: true, 500: false, 429: false, 502: false} {
		var asked atomic.Int64
		bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":{"message":"no"}}`)
		}))
		h := open(t, plan{targets: []berth.Target{{ReplicaID: "rep_9", URL: bad.URL, Slots: 4, Adapter: -1}}})
		failed := int64(0)
		for i := range 12 {
			if got := h.post(t, chatPath, chat(fmt.Sprint("x", i))); got.status != 200 {
				failed++
			}
		}
		h.Close()
		bad.Close()
		switch n := asked.Load(); {
		case n == 0:
			t.Errorf("%d: the replica was never asked", status)
		case retried && (failed > 0 || n != 1):
			t.Errorf("%d: %d of 12 calls failed, and %d were sent there", status, failed, n)
		case !retried && failed != n:
			t.Errorf("%d: %d calls failed of %d sent there", status, failed, n)
		case status == 500 && n != ejectAfter:
			t.Errorf("%d: it was ejected after %d failures", status, n)
		}
	}
}
