package sched

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// load is what one deployment asks of a pool: calls at random moments.
type load struct {
	class     berth.Class
	adapter   string
	perSecond float64 // calls
	tokens    int64   // of an answer, on the average; what a call is expected to use
	slots     int64
	declares  int64 // times what it uses; 0: as much
	atOnce    int   // instead of random moments: so many at once, each followed by another
	alike     bool  // every call uses just so many tokens
}

// result is what became of it.
type result struct {
	asked, got int64 // tokens of calls that came long enough before the end
	served     int64 // of all
	refused    int
	waits      []time.Duration
	said       []float64 // how long calls were expected to wait, of how long they did
}

func (r *result) wait(share float64) time.Duration {
	slices.Sort(r.waits)
	return r.waits[int(float64(len(r.waits)-1)*share)]
}

// event is the arrival or the end of a call.
type event struct {
	at   time.Time
	call *berth.Turn
	used int64
	ends bool
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// simulate runs a pool whose slots each make tokensPerSecond. watch: every call is told
// what it would wait.
func simulate(view []berth.PoolReplica, tokensPerSecond float64, loads map[string]load, span time.Duration, watch bool) map[string]*result {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1_800_000_000, 0)
	now := start
	p := NewPool(Bounds{})
	p.SetReplicas(view, start)
	var queue events
	said := map[*berth.Turn]time.Duration{}
	expired, counted := start, span-time.Minute // what comes later may not be done at the end
	results, used := map[string]*result{}, map[*berth.Turn]int64{}
	come := func(name string, at time.Time) {
		l := loads[name]
		tokens := 1 + int64(random.Float64()*2*float64(l.tokens))
		if l.alike {
			tokens = l.tokens
		}
		call := &berth.Turn{
			DeploymentID: name, Class: l.class, Adapter: l.adapter, Slots: cmp.Or(l.slots, 1),
			Tokens: tokens * cmp.Or(l.declares, 1), Wait: time.Minute,
		}
		heap.Push(&queue, event{at: at, call: call, used: tokens})
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range loads {
			if !yield(name) {
				return
			}
		}
	}) {
		l := loads[name]
		results[name] = &result{}
		for range l.atOnce {
			come(name, start)
		}
		for at := start; l.atOnce == 0 && at.Sub(start) < span; {
			at = at.Add(time.Duration(random.ExpFloat64() / l.perSecond * 1e9))
			come(name, at)
		}
	}
	for {
		if at := p.Look(now); !at.IsZero() && (len(queue) == 0 || at.Before(queue[0].at)) {
			heap.Push(&queue, event{at: at})
		}
		if len(queue) == 0 {
			break
		}
		next := heap.Pop(&queue).(event)
		now = next.at
		if now.Sub(start) > span {
			break
		}
		var changed []*berth.Turn
		switch {
		case next.call == nil:
			changed = slices.Clone(p.Expire(now))
		case next.ends:
			if next.call.ArrivedAt.Sub(start) < counted {
				results[next.call.DeploymentID].got += next.used
			}
			results[next.call.DeploymentID].served += next.used
			changed = slices.Clone(p.Done(next.call, next.used, now))
			if loads[next.call.DeploymentID].atOnce > 0 {
				come(next.call.DeploymentID, now.Add(time.Millisecond))
			}
		default:
			used[next.call] = next.used
			if now.Sub(start) < counted {
				results[next.call.DeploymentID].asked += next.used
			}
			if watch && now.Sub(start) > 30*time.Second {
				said[next.call] = p.Line(next.call.DeploymentID, next.call.Adapter, next.call.Class.Guaranteed(), now).Expected
			}
			changed = slices.Clone(p.Enqueue(next.call, now))
			if now.Sub(expired) > time.Second {
				expired = now
				changed = append(changed, p.Expire(now)...)
			}
		}
		for _, call := range changed {
			r := results[call.DeploymentID]
			r.waits = append(r.waits, now.Sub(call.ArrivedAt))
			if call.State != berth.TurnRunning {
				r.refused++
				continue
			}
			if wait := now.Sub(call.ArrivedAt); wait > 0 && said[call] > 0 {
				r.said = append(r.said, said[call].Seconds()/wait.Seconds())
			}
			lasts := time.Duration(float64(used[call]) / tokensPerSecond / float64(call.Slots) * 1e9)
			heap.Push(&queue, event{at: now.Add(lasts), call: call, used: used[call], ends: true})
		}
	}
	return results
}

// TestTheExpectedWaitIsTrue: what explain says of calls that come now, in a crowd, is
// what they wait.
func TestTheExpectedWaitIsTrue(t *testing.T) {
	t.Parallel()
	const rate, slots = 100.0, 8
	mixed := []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneMixed, Slots: slots, Guaranteed: 3, Adapters: adaptersOf("a", "b", "c")}}
	split := []berth.PoolReplica{
		{ID: "rep_1", Lane: berth.LaneBase, Slots: 4, Guaranteed: 2},
		{ID: "rep_2", Lane: berth.LaneLoRA, Slots: slots, Adapters: adaptersOf("a", "b", "c")},
	}
	for name, view := range map[string][]berth.PoolReplica{"mixed": mixed, "adapter by adapter": split} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results := simulate(view, rate, map[string]load{
				"ptu":   {berth.ClassReserved, "", 1.5, 100, 1, 1, 0, false},
				"flood": {berth.ClassShared, "a", 10, 100, 1, 1, 0, false},
				"swarm": {berth.ClassShared, "b", 4, 100, 1, 1, 0, false},
				"small": {berth.ClassShared, "c", 1, 100, 1, 1, 0, false},
			}, 3*time.Minute, true)
			for _, of := range []string{"flood", "swarm", "small"} {
				r := results[of]
				if len(r.said) < 20 {
					t.Errorf("%s: %d calls waited", of, len(r.said))
					continue
				}
				slices.Sort(r.said)
				middle := r.said[len(r.said)/2]
				t.Logf("%s: %d waits, p50 %s; expected of waited: %.2f (%.2f..%.2f)", of, len(r.said), r.wait(0.5), middle, r.said[len(r.said)/10], r.said[len(r.said)*9/10])
				if middle < 0.5 || middle > 2 {
					t.Errorf("%s: calls are expected to wait %.2f of what they do", of, middle)
				}
			}
		})
	}
}

// TestTheSmallestGetsItsShare: tenants that ask for ten times their share, of different
// shapes, beside one that asks for a little more or less than it.
func TestTheSmallestGetsItsShare(t *testing.T) {
	t.Parallel()
	mixed := []berth.PoolReplica{
		{ID: "rep_1", Lane: berth.LaneMixed, Slots: 4, Adapters: adaptersOf("a", "b", "c", "d")},
		{ID: "rep_2", Lane: berth.LaneMixed, Slots: 4, Adapters: adaptersOf("a", "b", "c", "d")},
	}
	lane := []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 8, Adapters: adaptersOf("a", "b", "c", "d")}}
	const rate, slots = 100.0, 8
	for name, c := range map[string]struct {
		view   []berth.PoolReplica
		demand float64 // of the smallest, in shares
		least  float64 // what all together do, of what the slots can
		span   time.Duration
	}{
		"mixed, twice its share":          {mixed, 2, 0.98, 4 * time.Minute},
		"mixed, just its share":           {mixed, 1, 0.98, 4 * time.Minute},
		"mixed, half its share":           {mixed, 0.5, 0.98, 4 * time.Minute},
		"adapter by adapter, twice":       {lane, 2, 0.5, 10 * time.Minute},
		"adapter by adapter, half of it":  {lane, 0.5, 0.5, 10 * time.Minute},
		"adapter by adapter, all of it":   {lane, 1, 0.5, 10 * time.Minute},
		"adapter by adapter, a tenth":     {lane, 0.1, 0.5, 10 * time.Minute},
		"mixed, a tenth of what it could": {mixed, 0.1, 0.98, 4 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			share := rate * slots / 4 // tokens per second
			if c.least < 0.9 {
				share *= 0.6 // lanes are not full while a group ends
			}
			results := simulate(c.view, rate, map[string]load{
				"short":    {berth.ClassShared, "a", 10 * share / 20, 20, 1, 1, 0, false},
				"long":     {berth.ClassShared, "b", 10 * share / 500, 500, 1, 1, 0, false},
				"declares": {berth.ClassShared, "c", 10 * share / 100, 100, 1, 8, 0, false},
				"smallest": {berth.ClassShared, "d", c.demand * share / 100, 100, 1, 1, 0, false},
			}, c.span, false)
			total := int64(0)
			for _, r := range results {
				total += r.served
			}
			all := rate * slots * c.span.Seconds()
			small := results["smallest"]
			got := float64(small.served) / (float64(total) / 4)
			if c.demand <= 1 {
				got = max(got, float64(small.got)/float64(small.asked))
			}
			t.Logf("%.2f of the slots; smallest: %.2f of its share, p95 of waits %s; short %d long %d declares %d small %d of %d", float64(total)/all,
				got, small.wait(0.95), results["short"].served, results["long"].served, results["declares"].served, small.served, small.asked)
			if got < 0.9 || got > 1.1 {
				t.Errorf("the smallest got %.3f of its share", got)
			}
			// All that flood have the same, whatever they declare; the smallest has more to get
			// where it asks for less than its share.
			flood := float64(total-small.served) / 3
			for name, r := range results {
				if got := float64(r.served) / flood; name != "smallest" && (got < 0.9 || got > 1.1) {
					t.Errorf("%s got %.3f of what each of the flood did", name, got)
				}
			}
			if got := float64(total) / all; got < c.least {
				t.Errorf("%.3f of the slots were used", got)
			}
		})
	}
}

// TestFewCallsAtOnceGetTheirShare: a deployment whose callers keep just the slots of a lane
// busy has no line to fill its turns from, beside others with long ones.
func TestFewCallsAtOnceGetTheirShare(t *testing.T) {
	t.Parallel()
	lane := []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 8, Adapters: adaptersOf("a", "b", "c")}}
	const span = 5 * time.Minute
	results := simulate(lane, 100, map[string]load{
		"flood": {berth.ClassShared, "a", 0, 100, 1, 1, 80, false},
		"swarm": {berth.ClassShared, "b", 0, 100, 1, 4, 40, false},
		"few":   {berth.ClassShared, "c", 0, 100, 1, 1, 8, false},
	}, span, false)
	total := int64(0)
	for _, r := range results {
		total += r.served
	}
	for name, r := range results {
		if got := float64(r.served) / (float64(total) / 3); got < 0.9 || got > 1.1 {
			t.Errorf("%s got %.3f of its share", name, got)
		}
	}
	if used := float64(total) / (100 * 8 * span.Seconds()); used < 0.8 {
		t.Errorf("%.3f of the slots were used", used)
	}
}

// TestTwoCallsAtATimeHoldUpNobody: a deployment that cannot keep a lane busy gets its turns,
// and leaves most of the lane's time to others.
func TestTwoCallsAtATimeHoldUpNobody(t *testing.T) {
	t.Parallel()
	lane := []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 8, Adapters: adaptersOf("a", "b")}}
	const span = 5 * time.Minute
	results := simulate(lane, 100, map[string]load{
		"flood": {berth.ClassShared, "a", 0, 100, 1, 1, 80, false},
		"two":   {berth.ClassShared, "b", 0, 100, 1, 1, 2, false},
	}, span, false)
	all := 100 * 8 * span.Seconds()
	flood, two := float64(results["flood"].served)/all, float64(results["two"].served)/all
	t.Logf("flood %.3f, two %.3f of the slots; two wait %s", flood, two, results["two"].wait(0.95))
	if flood < 0.5 || two < 0.03 {
		t.Errorf("the flood had %.3f of the slots, the other %.3f", flood, two)
	}
}

// TestCallsThatEndTogetherKeepTheirTurn: an engine that ends all calls of a caller in the
// same moment leaves it no time to ask again before the lane is free. Who keeps half of the
// slots or more busy has a turn as long as that of others with long lines, of which it uses
// what it asks for; who keeps fewer busy holds nobody up, and has a call or two in each round.
func TestCallsThatEndTogetherKeepTheirTurn(t *testing.T) {
	t.Parallel()
	lane := []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 8, Adapters: adaptersOf("a", "b")}}
	const span = 5 * time.Minute
	all := 100 * 8 * span.Seconds()
	for atOnce, c := range map[int]struct{ few, flood float64 }{ // of all slots, at least
		1: {0.015, 0.7},
		2: {0.03, 0.7},
		4: {0.8 * 4 / 16, 0.8 * 8 / 16},
		6: {0.8 * 6 / 16, 0.8 * 8 / 16},
		8: {0.8 * 8 / 16, 0.8 * 8 / 16},
	} {
		results := simulate(lane, 100, map[string]load{
			"flood": {berth.ClassShared, "a", 0, 100, 1, 1, 80, true},
			"few":   {berth.ClassShared, "b", 0, 100, 1, 1, atOnce, true},
		}, span, false)
		few, flood := float64(results["few"].served)/all, float64(results["flood"].served)/all
		t.Logf("%d at once: %.3f of the slots, the flood %.3f", atOnce, few, flood)
		if few < c.few || flood < c.flood || few > 0.5 {
			t.Errorf("%d at once had %.3f of the slots, the flood %.3f; want %.3f and %.3f at least", atOnce, few, flood, c.few, c.flood)
		}
	}
}

// TestALaneIsKeptForAMoment: a lane waits for callers who come back, and not for long.
func TestALaneIsKeptForAMoment(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]bool{"they come back": true, "they do not": false} {
		now := time.Unix(1_800_000_000, 0)
		p := NewPool(Bounds{})
		p.SetReplicas([]berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 1, Adapters: adaptersOf("a", "b")}}, now)
		call := func(of string) *berth.Turn {
			c := &berth.Turn{DeploymentID: of, Class: berth.ClassShared, Adapter: of, Slots: 1, Tokens: 10, Wait: time.Minute}
			p.Enqueue(c, now)
			return c
		}
		alone := call("b") // which has no turn
		mine, other := call("a"), call("b")
		p.Done(alone, 10, now) // a's turn begins
		now = now.Add(time.Second)
		p.Done(mine, 10, now)
		at := p.Look(now)
		if other.State != berth.TurnWaiting || !at.Equal(now.Add(20*time.Millisecond)) {
			t.Fatalf("%s: the lane is not kept; the other's state is %d, look at %s", name, other.State, at)
		}
		now = now.Add(5 * time.Millisecond)
		if back {
			if again := call("a"); again.State != berth.TurnRunning {
				t.Errorf("who comes back has state %d", again.State)
			}
			continue
		}
		if p.Expire(at.Add(-1)); other.State != berth.TurnWaiting {
			t.Error("the other one runs too early")
		}
		if p.Expire(at); other.State != berth.TurnRunning || !p.Look(at).IsZero() {
			t.Errorf("after its time the other one has state %d", other.State)
		}
	}
}

func adaptersOf(digests ...string) (all []berth.AdapterRef) {
	for _, d := range digests {
		all = append(all, berth.AdapterRef{Digest: d})
	}
	return all
}

// TestReservedCallsFindASlot: calls of sold throughput that come at random, while best
// effort floods, wait in less than one of ten cases and are never refused.
func TestReservedCallsFindASlot(t *testing.T) {
	t.Parallel()
	const rate, slots = 100.0, 8
	for _, sold := range []int64{100_000, 250_000, 400_000} {
		t.Run(fmt.Sprintf("%d %% sold", sold/10_000), func(t *testing.T) {
			t.Parallel()
			guaranteed := berth.GuaranteedSlots(slots, sold, 1)
			view := []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneMixed, Slots: slots, Guaranteed: guaranteed}}
			results := simulate(view, rate, map[string]load{
				"ptu":   {berth.ClassReserved, "", rate * slots * float64(sold) / 1e6 / 100, 100, 1, 1, 0, false},
				"flood": {berth.ClassOverflow, "", 10 * rate * slots / 100, 100, 1, 1, 0, false},
				"more":  {berth.ClassOverflow, "", 10 * rate * slots / 400, 400, 1, 1, 0, false},
			}, 5*time.Minute, false)
			ptu := results["ptu"]
			t.Logf("%d of %d slots guaranteed; p95 of waits %s, best of %s", guaranteed, slots, ptu.wait(0.95), ptu.wait(0.5))
			if ptu.refused > 0 {
				t.Errorf("%d reserved calls were refused", ptu.refused)
			}
			if ptu.wait(0.94) > 0 {
				t.Errorf("19 of 20 reserved calls wait up to %s", ptu.wait(0.94))
			}
			if float64(ptu.got) < 0.99*float64(ptu.asked) {
				t.Errorf("%d of %d reserved tokens", ptu.served, ptu.asked)
			}
		})
	}
}
