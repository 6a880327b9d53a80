package reconcile

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

// diary notes what each start loads, and lets those with the adapter "bad" fail.
type diary struct {
	mu     sync.Mutex
	loads  []string
	healed bool
}

func (d *diary) script(l engine.Launch) fakeengine.Script {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := make([]string, len(l.Adapters))
	for i, a := range l.Adapters {
		names[i] = a.Path
	}
	slices.Sort(names)
	d.loads = append(d.loads, strings.Join(names, "+"))
	if slices.Contains(names, "bad") && !d.healed {
		return fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 1, Message: "wrong tensor shapes"}}
	}
	return fakeengine.Script{}
}

func (d *diary) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.healed = true
}

// since returns the loads after the first n.
func (d *diary) since(n int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.loads[n:])
}

// withDiary is a yard whose model "base" runs on the engine.
func withDiary(t *testing.T, engineName string) (*yard, *diary) {
	t.Helper()
	y, d := newYard(t, nil), &diary{}
	y.engines(d.script)
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		m, err := tx.Models().Get(ctx, "base")
		m.Engine = engineName
		must(t, err)
		return tx.Models().Update(ctx, m)
	})
	return y, d
}

func (y *yard) lora(model string) berth.Deployment {
	y.Helper()
	return y.buy(berth.Purchase{ModelName: model, Plan: "lora"})
}

// A bad adapter is found out in a scratch run of its own. It never meets another in one
// engine, those that serve are not touched, and what was held for it is given back.
func TestABadAdapterStopsNobodyElse(t *testing.T) {
	t.Parallel()
	for _, engineName := range []string{"lanes", berth.EngineFake} {
		t.Run(engineName, func(t *testing.T) {
			t.Parallel()
			y, diary := withDiary(t, engineName)
			words := y.awaitStatus(y.lora("words"), berth.StatusRunning)
			before := len(y.look().holds)
			bad, shout := y.lora("bad"), y.lora("shout")
			y.awaitStatus(shout, berth.StatusRunning)
			bad = y.awaitStatus(bad, berth.StatusFailed)
			if !strings.Contains(bad.Reason, "wrong tensor shapes") {
				t.Errorf("reason %q", bad.Reason)
			}
			p := y.await("one replica", func(p picture) bool { return len(p.replicas) == 1 })
			if r := p.replicas[0]; len(r.Adapters) != 2 || r.State != berth.ReplicaReady || len(r.Failures) != 0 {
				t.Errorf("the lane is %+v", r)
			}
			if len(p.holds) != before {
				t.Errorf("%d holds, before %d", len(p.holds), before)
			}
			for _, e := range y.story(words)[3:] {
				if e.ReadyCapacity == 0 || e.Status != berth.StatusRunning || strings.Contains(e.Reason, "failed") {
					t.Errorf("the one that served was disturbed: %+v", e)
				}
			}
			tries := 0
			for _, load := range diary.since(0) {
				if strings.Contains(load, "bad") && load != "bad" {
					t.Errorf("an engine loaded %s", load)
				}
				if load == "bad" {
					tries++
				}
			}
			if tries < berth.ProofTries {
				t.Errorf("given up after %d tries: %v", tries, diary.since(0))
			}
		})
	}
}

// Several adapters that wait for their first engine: the weights show first that they are
// not to blame, then each adapter is on its own.
func TestAdaptersOfANewLaneAreProvedOneByOne(t *testing.T) {
	t.Parallel()
	y, diary := withDiary(t, "lanes")
	y.halt()
	bad, words, shout := y.lora("bad"), y.lora("words"), y.lora("shout")
	y.tx(func(ctx context.Context, tx berth.Tx) error { // only the one that has all
		replicas, err := tx.Replicas().List(ctx)
		must(t, err)
		for _, r := range replicas[:2] {
			must(t, tx.Nodes().Release(ctx, r.ID))
			must(t, tx.Replicas().Delete(ctx, r.ID))
		}
		return nil
	})
	y.start()
	y.awaitStatus(words, berth.StatusRunning)
	y.awaitStatus(shout, berth.StatusRunning)
	y.awaitStatus(bad, berth.StatusFailed)
	if got := strings.Join(diary.since(0), ", "); got != ", bad, shout, words, bad, bad, shout+words" {
		t.Errorf("loaded: %s", got)
	}
	if f := y.look().replicas[0].Failures; len(f) != 0 {
		t.Errorf("the replica is blamed: %v", f)
	}
	// Bought again it is tried again, and what is proved is not proved again.
	diary.heal()
	n := len(diary.since(0))
	y.remove(bad)
	y.awaitGone(bad)
	y.awaitStatus(y.lora("bad"), berth.StatusRunning)
	if got := strings.Join(diary.since(n), ", "); got != "bad, bad+shout+words" {
		t.Errorf("loaded: %s", got)
	}
}

// Weights that do not come up are no adapter's fault.
func TestBadWeightsBlameNoAdapter(t *testing.T) {
	t.Parallel()
	y, _ := withDiary(t, "lanes")
	y.halt()
	words, shout := y.lora("words"), y.lora("shout")
	y.engines(always(fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 1, Message: "bad weights"}}))
	y.start()
	for _, d := range []berth.Deployment{words, shout} {
		if d = y.awaitStatus(d, berth.StatusFailed); !strings.HasPrefix(d.Reason, "The engine could not come up") {
			t.Errorf("reason %q", d.Reason)
		}
	}
}

// What was proved once may be true no more, such as after an upgrade of the engine. A
// lane that does not come up doubts all of it and goes on without the culprit.
func TestALaneDoubtsItsProofs(t *testing.T) {
	t.Parallel()
	y, diary := withDiary(t, "lanes")
	diary.heal()
	words, bad := y.lora("words"), y.lora("bad")
	y.awaitStatus(words, berth.StatusRunning)
	y.awaitStatus(bad, berth.StatusRunning)
	p := y.await("one replica", func(p picture) bool { return len(p.replicas) == 1 && p.replicas[0].State == berth.ReplicaReady })
	diary.mu.Lock()
	diary.healed = false
	diary.mu.Unlock()
	y.runner.Engine(p.replicas[0].ID).Kill(1)
	y.awaitStatus(bad, berth.StatusFailed)
	y.await("the other one serves", func(p picture) bool {
		return p.deployments[words.ID].ReadyCapacity == 1 && len(p.replicas) == 1 && len(p.replicas[0].Adapters) == 1
	})
	if got := statuses(y.story(words)); got != "PENDING DEPLOYING RUNNING" {
		t.Errorf("statuses: %s", got)
	}
}

// Berth may end between any two steps of a proof.
func TestProofsSurviveRestarts(t *testing.T) {
	t.Parallel()
	y, _ := withDiary(t, "lanes")
	words := y.awaitStatus(y.lora("words"), berth.StatusRunning)
	shout, bad := y.lora("shout"), y.lora("bad")
	settled := func(p picture) bool {
		return p.deployments[words.ID].ReadyCapacity == 1 && p.deployments[shout.ID].ReadyCapacity == 1 &&
			p.deployments[bad.ID].Status == berth.StatusFailed && len(p.replicas) == 1 && len(p.holds) == 1
	}
	for range 40 {
		changed := y.signal()
		if settled(y.look()) {
			break
		}
		<-changed // the next step is done
		y.halt()
		y.start()
	}
	p := y.await("settled", settled)
	if r := p.replicas[0]; len(r.Adapters) != 2 || len(r.Failures) != 0 {
		t.Errorf("the lane is %+v", r)
	}
	if got := statuses(y.story(words)); got != "PENDING DEPLOYING RUNNING" {
		t.Errorf("statuses: %s", got)
	}
}
