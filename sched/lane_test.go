package sched

import (
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// TestALaneTakesAdaptersInClosedGroups plays a lane of two slots, in which a turn is three
// calls: letters are calls of an adapter, "-x" ends the oldest running call of one, "+3s" lets time pass. What runs
// after each step stands beside it.
func TestALaneTakesAdaptersInClosedGroups(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string]string{
		"alone, an adapter goes on":               "a:a a:aa a:aa -a:aa a:aa -a:aa -a:a",
		"who was alone has no turn":               "a:a a:aa a:aa b:aa a:aa -a:a -a:b a:b -b:aa",
		"who comes later joins as far as it goes": "c:c a:c b:c -c:a a:aa a:aa a:aa -a:aa -a:a -a:b -b:a",
		"and while it is young":                   "c:c a:c b:c -c:a +4s:a a:a -a:b -b:a",
		"what waited when it began is in it":      "a:a b:a b:a b:a -a:bb a:bb b:bb -b:bb -b:b -b:a -a:b",
		"a slot stays free for who waits":         "a:a b:a a:a a:a -a:b -b:aa",
		"three in turns":                          "a:a b:a c:a a:a b:a c:a -a:bb -b:b -b:cc -c:c -c:a",
		"a long group is put back":                "a:a b:a b:a b:a b:a -a:bb c:bb +4s:bb -b:b -b:c -c:bb",
		"time does not matter if nobody waits":    "b:b b:bb b:bb +4s:bb -b:bb",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Unix(1_800_000_000, 0)
			p := NewPool(Bounds{Share: 15, Turn: 3 * time.Second, Back: 1})
			p.SetReplicas([]berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 2, Adapters: adaptersOf("a", "b", "c")}}, now)
			var calls []*berth.Turn
			running := func() (all string, first map[string]*berth.Turn) {
				first = map[string]*berth.Turn{}
				for _, c := range calls {
					if c.State == berth.TurnRunning {
						all += c.Adapter
						if first[c.Adapter] == nil {
							first[c.Adapter] = c
						}
					}
				}
				return all, first
			}
			for step := range strings.FieldsSeq(steps) {
				do, want, _ := strings.Cut(step, ":")
				now = now.Add(time.Millisecond)
				switch {
				case strings.HasPrefix(do, "+"):
					d, _ := time.ParseDuration(do[1:])
					now = now.Add(d)
				case strings.HasPrefix(do, "-"):
					_, first := running()
					p.Done(first[do[1:]], 10, now)
				default:
					c := &berth.Turn{DeploymentID: do, Class: berth.ClassShared, Adapter: do, Slots: 1, Tokens: 10, Wait: time.Minute}
					calls = append(calls, c)
					p.Enqueue(c, now)
				}
				if at := p.Look(now); !at.IsZero() { // nobody comes back at once
					p.Expire(at)
				}
				if got, _ := running(); got != want {
					t.Fatalf("after %s run %q", step, got)
				}
			}
		})
	}
}

func TestAFloodKeepsNobodyOutOfTheLine(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	p := NewPool(Bounds{Calls: 6, Tenant: 4})
	p.SetReplicas([]berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneBase, Slots: 1}}, now)
	come := func(id string) *berth.Turn {
		c := &berth.Turn{DeploymentID: id, Class: berth.ClassOverflow, Slots: 1, Tokens: 100, Wait: time.Minute}
		p.Enqueue(c, now)
		return c
	}
	come("first") // runs
	var flood []*berth.Turn
	for range 4 {
		flood = append(flood, come("flood"))
	}
	if c := come("flood"); c.State != berth.TurnFull || c.After < time.Second {
		t.Errorf("one more than the deployment's bound: %+v", c)
	}
	come("other")
	come("other")
	if c := come("small"); c.State != berth.TurnWaiting || flood[3].State != berth.TurnFull {
		t.Errorf("the line is full: the small one %d, the last of the flood %d", c.State, flood[3].State)
	}
	if got := p.State(now); got.BestEffort.Waiting != 6 || got.BestEffort.Tenants != 3 || got.Full != 2 || got.Replicas[0].Busy != 1 {
		t.Errorf("state %+v", got)
	}
	if got := p.Line("other", "", false, now); got.Waiting != 2 || got.Tokens != 200 {
		t.Errorf("line %+v", got)
	}
	if d := p.Demand(nil); len(d) != 1 || d[0].Waiting != 6 || d[0].Lane != berth.LaneBase || !d[0].Since.Equal(now) {
		t.Errorf("demand %+v", d)
	}
}

func TestWhatACallerIsToldToWait(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	p := NewPool(Bounds{})
	p.SetReplicas([]berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneBase, Slots: 1}}, start)
	call := func(tokens int64, wait time.Duration, now time.Time) *berth.Turn {
		c := &berth.Turn{DeploymentID: "d", Class: berth.ClassOverflow, Slots: 1, Tokens: tokens, Wait: wait}
		p.Enqueue(c, now)
		return c
	}
	now := start
	for range 40 { // 50 tokens per second
		c := call(50, 0, now)
		now = now.Add(time.Second)
		p.Done(c, 50, now)
	}
	call(50, 0, now)
	if c := call(50, 0, now); c.State != berth.TurnFull || c.After != time.Second {
		t.Errorf("would not wait, nobody does: %d, come again after %s", c.State, c.After)
	}
	call(500, time.Minute, now)
	if c := call(50, 0, now); c.After < 8*time.Second || c.After > 13*time.Second {
		t.Errorf("500 tokens wait at 50 per second: come again after %s", c.After)
	}
	late := call(50, 5*time.Second, now)
	p.Expire(now.Add(5*time.Second - 1))
	if late.State != berth.TurnWaiting {
		t.Errorf("before its time: %d", late.State)
	}
	p.Expire(now.Add(5 * time.Second))
	if late.State != berth.TurnTooLate {
		t.Errorf("after its time: %d", late.State)
	}
}
