package reconcile

import (
	"fmt"
	"sync"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// grownPool is a pool whose lanes have so many ready replicas, and the members for them.
func grownPool(grownBase, grownLoRA, maximum int64, base, lora int) State {
	s := world()
	pool := berth.Pool{ID: "p", Engine: "llamacpp", Max: int(maximum), GrownBase: grownBase, GrownLoRA: grownLoRA, Spec: berth.ResolvedSpec{Slots: 4}}
	s.Pools = []berth.Pool{pool}
	add := func(lane berth.Lane, n int) {
		for i := range n {
			id := fmt.Sprint(lane, i)
			s.Replicas = append(s.Replicas, berth.Replica{ID: id, PoolID: "p", Lane: lane, Engine: "llamacpp", State: berth.ReplicaReady, Nonce: "run_" + id, CreatedAt: t0})
		}
	}
	add(berth.LaneBase, base)
	add(berth.LaneLoRA, lora)
	if base > 0 {
		s.Members = append(s.Members, berth.Member{PoolID: "p", DeploymentID: "sale", Plan: berth.PlanPTU, LoadPPM: 1})
	}
	if lora > 0 {
		s.Members = append(s.Members, berth.Member{PoolID: "p", DeploymentID: "adapter", Plan: berth.PlanLoRA})
		for i := base; i < len(s.Replicas); i++ {
			s.Replicas[i].Adapters = []berth.AdapterRef{{}}
		}
	}
	return s
}

func TestPoolsFollowTheirQueues(t *testing.T) {
	t.Parallel()
	waits := func(lane berth.Lane, ago time.Duration) func(*State) {
		return func(s *State) {
			s.Queues = append(s.Queues, berth.PoolDemand{PoolID: "p", Lane: lane, Since: t0.Add(-ago), Waiting: 1})
		}
	}
	spare := func(lane berth.Lane, ago time.Duration) func(*State) {
		return func(s *State) {
			s.Spare = func(_ string, l berth.Lane) time.Time {
				if l == lane {
					return t0.Add(-ago)
				}
				return time.Time{}
			}
		}
	}
	both := func(fns ...func(*State)) func(*State) {
		return func(s *State) {
			for _, fn := range fns {
				fn(s)
			}
		}
	}
	for name, c := range map[string]struct {
		state State
		also  func(*State)
		want  string
		next  time.Duration // 0: when something happens
	}{
		"nobody waits":                  {grownPool(0, 0, 4, 1, 1), nil, "", 0},
		"somebody waits, not long":      {grownPool(0, 0, 4, 1, 1), waits(berth.LaneLoRA, 10*time.Second), "", 20 * time.Second},
		"long enough":                   {grownPool(0, 0, 4, 1, 1), waits(berth.LaneLoRA, 30*time.Second), "lora of p from 1 to 2", 0},
		"for the base":                  {grownPool(0, 0, 4, 1, 1), waits(berth.LaneBase, time.Minute), "base of p from 1 to 2", 0},
		"again, after a pause":          {grownPool(0, 2, 4, 1, 2), both(waits(berth.LaneLoRA, time.Hour), func(s *State) { s.Pools[0].GrewAt = t0.Add(-GrowPause) }), "lora of p from 2 to 3", 0},
		"within the pause":              {grownPool(0, 2, 4, 1, 2), both(waits(berth.LaneLoRA, time.Hour), func(s *State) { s.Pools[0].GrewAt = t0.Add(-GrowPause / 2) }), "", GrowPause / 2},
		"the last one is not ready yet": {grownPool(0, 2, 4, 1, 2), both(waits(berth.LaneLoRA, time.Hour), func(s *State) { s.Replicas[2].State = berth.ReplicaStarting }), "", 0},
		"as large as it may be":         {grownPool(0, 3, 4, 1, 3), waits(berth.LaneLoRA, time.Hour), "", 0},
		"no bound":                      {grownPool(0, 3, 0, 1, 3), waits(berth.LaneLoRA, time.Hour), "lora of p from 3 to 4", 0},
		"another pool waits": {grownPool(0, 0, 4, 1, 1), func(s *State) {
			s.Queues = []berth.PoolDemand{{PoolID: "q", Lane: berth.LaneLoRA, Since: t0.Add(-time.Hour)}}
		}, "", 0},
		"grown and busy":                    {grownPool(0, 3, 4, 1, 3), nil, "", spareLook},
		"grown and idle, not long":          {grownPool(0, 3, 4, 1, 3), spare(berth.LaneLoRA, 4*time.Minute), "", spareLook},
		"one at a time is given back":       {grownPool(0, 3, 4, 1, 3), spare(berth.LaneLoRA, 5*time.Minute), "lora of p from 3 to 2", spareLook},
		"to what is needed":                 {grownPool(0, 2, 4, 1, 2), spare(berth.LaneLoRA, 5*time.Minute), "lora of p from 2 to 0", spareLook},
		"not below what was sold":           {grownPool(2, 0, 4, 2, 0), both(spare(berth.LaneBase, time.Hour), func(s *State) { s.Members[0].LoadPPM = 2 * berth.SoldShare }), "", 0},
		"nor below min":                     {grownPool(2, 0, 4, 2, 0), both(spare(berth.LaneBase, time.Hour), func(s *State) { s.Pools[0].Min = 2 }), "", 0},
		"a lane that nobody needs any more": {grownPool(2, 0, 4, 0, 1), nil, "base of p from 0 to 0", 0},
		"growth that found no room":         {grownPool(0, 3, 2, 1, 1), nil, "lora of p from 1 to 0", 0},
	} {
		if c.also != nil {
			c.also(&c.state)
		}
		actions, next := Plan(c.state)
		if got := sentence(actions); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if c.next > 0 && !next.Equal(t0.Add(c.next)) {
			t.Errorf("%s: looks again at %s, want after %s", name, next, c.next)
		}
	}
}

func TestALaneThatHasGrownKeepsWhatItUses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ready, slots, running int64
		want                  bool
	}{
		"one is never spared":          {1, 4, 0, false},
		"none is there":                {0, 4, 0, false},
		"idle":                         {2, 4, 0, true},
		"the rest fits with room":      {2, 4, 3, true},
		"the rest would fill it":       {2, 4, 4, false},
		"three quarters of two others": {3, 4, 6, true},
		"more than that":               {3, 4, 7, false},
	} {
		if got := berth.Spares(c.ready, c.slots, c.running); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// queue is what a gateway would say.
type waiting struct {
	mu    sync.Mutex
	waits []berth.PoolDemand
}

func (q *waiting) set(waits ...berth.PoolDemand) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waits = waits
}

func (q *waiting) demand() []berth.PoolDemand {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waits
}

// From the queue to the replica and back, with the clock put forward.
func TestAPoolGrowsWithItsQueueAndShrinks(t *testing.T) {
	t.Parallel()
	var q waiting
	y := newYard(t, func(o *Options) { o.Demand, o.Poll = q.demand, 5*time.Millisecond })
	d := y.buy(berth.Purchase{ModelName: "tuned", Plan: "lora"})
	y.awaitStatus(d, berth.StatusRunning)
	pool := y.look().pools[0]
	serves := func(n int) func(picture) bool {
		return func(p picture) bool {
			ready := 0
			for _, r := range p.replicas {
				if r.Lane == berth.LaneLoRA && r.State == berth.ReplicaReady {
					ready++
				}
			}
			return ready == n && len(p.replicas) == n
		}
	}
	q.set(berth.PoolDemand{PoolID: pool.ID, Lane: berth.LaneLoRA, Since: y.now(), Waiting: 5})
	y.skip(berth.GrowAfter)
	grown := y.await("two replicas", serves(2))
	if p := grown.pools[0]; p.GrownLoRA != 2 || len(grown.holds) != 2 {
		t.Errorf("grown to %+v, %d holds", p, len(grown.holds))
	}
	// Still too little: another one, after a pause. A pool may have four.
	y.skip(GrowPause)
	y.await("three replicas", serves(3))
	y.skip(GrowPause)
	y.await("four replicas", serves(4))
	y.skip(GrowPause)

	// What the members need is what they see.
	if got := y.look().deployments[d.ID]; got.Status != berth.StatusRunning || got.ReadyCapacity != got.Capacity {
		t.Errorf("the deployment is %+v", got)
	}
	q.set()
	y.awaitLater("one replica", berth.ShrinkAfter, serves(1))
	if p := y.look(); p.pools[0].GrownLoRA != 0 || len(p.holds) != 1 {
		t.Errorf("in the end %+v, %d holds", p.pools[0], len(p.holds))
	}
}

// awaitLater puts the clock forward, step by step, until ok holds.
func (y *yard) awaitLater(what string, step time.Duration, ok func(picture) bool) picture {
	y.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		changed := y.signal()
		y.skip(step)
		p := y.look()
		if ok(p) {
			return p
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // nothing came of that step
		case <-over.C:
			y.Fatalf("never %s: %+v", what, p)
		}
	}
}
