package sched

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// history drives a pool with random events and holds what it says against what was asked.
type history struct {
	pool    *Pool
	mixed   bool
	now     time.Time
	view    []berth.PoolReplica
	waiting []*berth.Turn
	running []*berth.Turn
}

var testBounds = Bounds{Calls: 10, Tenant: 4, Share: 20, Group: 3, Turn: 3 * time.Second}

func newHistory(t *rapid.T) *history {
	h := &history{pool: NewPool(testBounds), mixed: rapid.Bool().Draw(t, "mixed"), now: time.Unix(1_800_000_000, 0)}
	h.replicas(t)
	return h
}

// replicas changes which replicas there are.
func (h *history) replicas(t *rapid.T) {
	var view []berth.PoolReplica // a draw may be given up
	for id := range 4 {
		if rapid.IntRange(0, 2).Draw(t, "is there") == 0 {
			continue
		}
		slots := rapid.Int64Range(1, 4).Draw(t, "slots")
		r := berth.PoolReplica{ID: fmt.Sprintf("rep_%d", id), Slots: slots, Lane: berth.LaneMixed}
		if !h.mixed {
			r.Lane = []berth.Lane{berth.LaneBase, berth.LaneLoRA}[id%2]
		}
		if r.Lane != berth.LaneLoRA {
			r.Guaranteed = rapid.Int64Range(0, slots-1).Draw(t, "guaranteed")
		}
		if r.Lane != berth.LaneBase {
			for _, a := range []string{"a", "b", "c"} {
				if rapid.IntRange(0, 4).Draw(t, "has it") > 0 {
					r.Adapters = append(r.Adapters, berth.AdapterRef{Digest: a})
				}
			}
		}
		r.Trust = rapid.SampledFrom([]berth.Trust{berth.Trusted, berth.Trusted, berth.OnTrial, berth.Ejected}).Draw(t, "trust")
		view = append(view, r)
	}
	h.view = view
	h.learn(t, h.pool.SetReplicas(h.view, h.now))
	for _, w := range h.waiting {
		if !slices.ContainsFunc(h.view, func(r berth.PoolReplica) bool { return r.Serves(w.Adapter) && !slices.Contains(w.Tried, r.ID) }) {
			t.Fatalf("%+v waits, and nobody serves it", w)
		}
	}
}

// flood is what makes lines: more calls at once than there are slots.
func (h *history) flood(t *rapid.T) {
	for range rapid.IntRange(4, 16).Draw(t, "calls") {
		h.enqueue(t)
		h.check(t)
	}
}

// pass lets time go by, and the pool look when it wants to.
func (h *history) pass(t *rapid.T, by time.Duration) {
	at := h.pool.Look(h.now)
	if h.now = h.now.Add(by); !at.IsZero() && !h.now.Before(at) {
		h.learn(t, h.pool.Expire(h.now))
	}
}

func (h *history) enqueue(t *rapid.T) {
	h.pass(t, time.Millisecond)
	call := &berth.Turn{
		DeploymentID: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "tenant"),
		Class:        rapid.SampledFrom([]berth.Class{berth.ClassReserved, berth.ClassOverflow, berth.ClassShared}).Draw(t, "class"),
		Slots:        rapid.SampledFrom([]int64{1, 1, 1, 2, 4}).Draw(t, "n"),
		Tokens:       rapid.Int64Range(0, 100).Draw(t, "tokens"),
		Wait:         time.Duration(rapid.IntRange(0, 60).Draw(t, "wait")) * time.Second,
	}
	if call.Class == berth.ClassShared {
		call.Adapter = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "adapter")
		call.DeploymentID += "-" + call.Adapter
	}
	if len(h.view) > 0 && rapid.IntRange(0, 5).Draw(t, "retry") == 0 {
		call.Tried = []string{h.view[0].ID}
	}
	h.waiting = append(h.waiting, call)
	h.learn(t, h.pool.Enqueue(call, h.now))
}

func (h *history) done(t *rapid.T) {
	if len(h.running) == 0 {
		t.Skip("nothing runs")
	}
	call := rapid.SampledFrom(h.running).Draw(t, "call")
	used := rapid.Int64Range(0, 150).Draw(t, "used")
	h.running = slices.DeleteFunc(h.running, func(o *berth.Turn) bool { return o == call })
	h.learn(t, h.pool.Done(call, used, h.now))
	if call.State != berth.TurnDone {
		t.Fatalf("state %d after its end", call.State)
	}
	h.learn(t, h.pool.Done(call, used, h.now)) // once
}

func (h *history) cancel(t *rapid.T) {
	if len(h.waiting) == 0 {
		t.Skip("nobody waits")
	}
	call := rapid.SampledFrom(h.waiting).Draw(t, "call")
	h.learn(t, h.pool.Cancel(call, h.now))
	if call.State != berth.TurnLeft {
		t.Fatalf("state %d after leaving", call.State)
	}
}

func (h *history) wait(t *rapid.T) {
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
	h.learn(t, h.pool.Expire(h.now))
	for _, w := range h.waiting {
		if !h.now.Before(w.ArrivedAt.Add(w.Wait)) {
			t.Fatalf("a call waits for %s that may for %s", h.now.Sub(w.ArrivedAt), w.Wait)
		}
	}
}

// learn takes in what the pool says happened. What it does not say did not happen.
func (h *history) learn(t *rapid.T, changed []*berth.Turn) {
	for _, call := range changed {
		i := slices.Index(h.waiting, call)
		if i < 0 {
			t.Fatalf("%+v changed, which does not wait", call)
		}
		h.waiting = slices.Delete(h.waiting, i, i+1)
		switch call.State {
		case berth.TurnRunning:
			h.running = append(h.running, call)
			h.granted(t, call)
		case berth.TurnFull, berth.TurnTooLate, berth.TurnNoReplica, berth.TurnLeft:
			if call.After < time.Second || call.After > time.Minute {
				t.Fatalf("come again after %s", call.After)
			}
		default:
			t.Fatalf("changed to %d", call.State)
		}
	}
	for _, call := range h.waiting {
		if call.State != berth.TurnWaiting {
			t.Fatalf("nobody was told of state %d", call.State)
		}
	}
}

// granted: a call runs where it may, and the bounds of the replica hold.
func (h *history) granted(t *rapid.T, call *berth.Turn) {
	i := slices.IndexFunc(h.view, func(r berth.PoolReplica) bool { return r.ID == call.ReplicaID })
	if i < 0 || !h.view[i].Serves(call.Adapter) || slices.Contains(call.Tried, call.ReplicaID) {
		t.Fatalf("%+v runs at %s", call, call.ReplicaID)
	}
	r := h.pool.replica(call.ReplicaID)
	if r.busy > r.Slots || !call.Class.Guaranteed() && r.best > r.Slots-r.Guaranteed {
		t.Fatalf("%d busy, %d of them best effort, of %d slots with %d guaranteed", r.busy, r.best, r.Slots, r.Guaranteed)
	}
	others := slices.ContainsFunc(h.view, func(o berth.PoolReplica) bool {
		return o.Trust == berth.Trusted && o.Serves(call.Adapter) && !slices.Contains(call.Tried, o.ID)
	})
	if others && (r.Trust == berth.Ejected || r.Trust == berth.OnTrial && r.trial != h.pool.entries[call]) {
		t.Fatalf("%+v runs at %s, which failed, and others serve it", call, r.ID)
	}
	late := h.now.Sub(r.began) >= testBounds.Turn
	if r.grouped() && call.ArrivedAt.After(r.began) && late && h.pool.othersWait(r) {
		t.Fatalf("a call joins a closed group of %s", r.ID)
	}
}

// check holds what is true at every moment.
func (h *history) check(t *rapid.T) {
	busy, best := map[string]int64{}, map[string]int64{}
	adapters := map[string]string{}
	for _, call := range h.running {
		e := h.pool.entries[call]
		busy[call.ReplicaID] += e.slots
		if !call.Class.Guaranteed() {
			best[call.ReplicaID] += e.slots
		}
		if other, ok := adapters[call.ReplicaID]; ok && e.replica.grouped() && other != call.Adapter {
			t.Fatalf("adapters %s and %s side by side", other, call.Adapter)
		}
		adapters[call.ReplicaID] = call.Adapter
	}
	for _, r := range h.pool.replicas {
		if r.busy != busy[r.ID] || r.best != best[r.ID] {
			t.Fatalf("%s counts %d and %d slots, %d and %d are taken", r.ID, r.busy, r.best, busy[r.ID], best[r.ID])
		}
		if r.retired && r.busy == 0 {
			t.Fatalf("%s is gone and not forgotten", r.ID)
		}
	}
	h.bounds(t)
	for _, call := range h.waiting {
		h.whyWaits(t, h.pool.entries[call])
	}
}

func (h *history) bounds(t *rapid.T) {
	waiting := map[*queue]int{}
	demand := int64(0)
	for _, call := range h.waiting {
		e := h.pool.entries[call]
		waiting[e.queue]++
		if !e.queue.guaranteed {
			demand++
		}
	}
	for _, q := range []*queue{&h.pool.guaranteed, &h.pool.bestEffort} {
		if q.waiting != waiting[q] || q.waiting > testBounds.Calls {
			t.Fatalf("%d in line, want %d, at most %d", q.waiting, waiting[q], testBounds.Calls)
		}
		for _, tenant := range q.tenants {
			if tenant.line.Len() > testBounds.Tenant+testBounds.Group {
				t.Fatalf("%d calls of one deployment in line", tenant.line.Len())
			}
		}
	}
	for _, row := range h.pool.Demand(nil) {
		demand -= row.Waiting
	}
	if demand != 0 {
		t.Fatalf("the demand is %d calls off", demand)
	}
}

// whyWaits: no call waits without a reason.
func (h *history) whyWaits(t *rapid.T, e *entry) {
	if e.line.Front() != e.waiting {
		return // behind another of its deployment, or group
	}
	for _, r := range h.pool.replicas {
		if !h.pool.takes(r, e) || r.room(e.queue) < r.need(e) {
			continue
		}
		switch {
		case r.claim != nil && r.claim != e:
			if e.queue.guaranteed && !r.claim.queue.guaranteed {
				t.Fatalf("a guaranteed call stands back for best effort at %s", r.ID)
			}
		case !r.grouped():
			t.Fatalf("%+v waits and fits at %s", e.turn, r.ID)
		case h.pool.kept(r, h.now): // until Look
		case r.busy == 0, e.line == r.group:
			t.Fatalf("%+v waits and the lane %s is free", e.turn, r.ID)
		case r.group.Len() == 0 && r.adapter == e.turn.Adapter && !h.pool.othersWait(r) && len(h.pool.bestEffort.tenants) == 1:
			t.Fatalf("%+v waits, the lane %s is at its adapter and nobody else waits", e.turn, r.ID)
		}
	}
}

// finish ends calls until none is left: everything that waits gets its turn.
func (h *history) finish(t *rapid.T) {
	for steps := 0; len(h.running)+len(h.waiting) > 0; steps++ {
		if at := h.pool.Look(h.now); !at.IsZero() {
			h.now = at
			h.learn(t, h.pool.Expire(at))
			h.check(t)
			continue
		}
		if len(h.running) == 0 || steps > 10_000 {
			t.Fatalf("%d calls wait, %d run after %d steps", len(h.waiting), len(h.running), steps)
		}
		call := h.running[0]
		h.running = h.running[1:]
		h.learn(t, h.pool.Done(call, call.Tokens, h.now))
		h.check(t)
	}
	if n := len(h.pool.entries); n != 0 {
		t.Fatalf("%d turns are left", n)
	}
	if len(h.pool.bestEffort.tenants)+h.pool.bestEffort.ring.Len()+len(h.pool.guaranteed.tenants) != 0 {
		t.Fatal("deployments are remembered when nobody waits")
	}
}

func TestAnyHistoryKeepsTheRulesOfAPool(t *testing.T) {
	t.Parallel()
	const rounds = 10 // of a hundred histories, which take 30 ms
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			h := newHistory(t)
			t.Repeat(map[string]func(*rapid.T){
				"enqueue":  h.enqueue,
				"flood":    h.flood,
				"another":  h.done,
				"done":     h.done,
				"cancel":   h.cancel,
				"wait":     h.wait,
				"replicas": h.replicas,
				"":         h.check,
			})
			h.finish(t)
		})
	}
}
