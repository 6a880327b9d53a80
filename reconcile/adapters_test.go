package reconcile

import (
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

// adapters are the names that the only replica's engine knows.
func (y *yard) adapters(p picture) string {
	return strings.ReplaceAll(strings.Join(y.runner.Engine(p.replicas[0].ID).Adapters(), " "), "berth-adapter-", "")
}

// until waits for what no write of the store announces.
func (y *yard) until(what string, ok func() bool) {
	y.Helper()
	over, tick := time.NewTimer(patience), time.NewTicker(time.Millisecond)
	defer over.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-over.C:
			y.Fatalf("never: %s", what)
		}
	}
}

func has(r berth.Replica, digests ...string) bool {
	for _, d := range digests {
		if r.HasAdapter("sha256:"+d) < 0 {
			return false
		}
	}
	return len(r.Adapters) == len(digests)
}

func TestAdaptersComeToAReplicaThatRuns(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	base := y.awaitStatus(y.buy(berth.Purchase{ModelName: "warm", Plan: "ptu"}), berth.StatusRunning)
	first := y.look().replicas[0]
	words := y.awaitStatus(y.lora("warm-words"), berth.StatusRunning)
	y.awaitStatus(y.lora("warm-shout"), berth.StatusRunning)
	p := y.look()
	if r := p.replicas[0]; len(p.replicas) != 1 || r.Nonce != first.Nonce || !has(r, "warm-words", "warm-shout") || len(p.holds) != 1 {
		t.Fatalf("the replica is %+v", p.replicas)
	}
	if got := y.adapters(p); got != "warm-shout warm-words" {
		t.Errorf("the engine has %s", got)
	}
	for _, e := range y.story(base)[3:] {
		t.Errorf("the sale was disturbed: %+v", e)
	}

	y.remove(words)
	p = y.await("the adapter is gone", func(p picture) bool { return has(p.replicas[0], "warm-shout") })
	y.until("the engine has forgotten it", func() bool { return y.adapters(p) == "warm-shout" })
	if p.replicas[0].Nonce != first.Nonce {
		t.Error("the engine was started again")
	}
	y.awaitStatus(y.lora("warm-words"), berth.StatusRunning)
}

func TestAdaptersAreLoadedAgainAfterACrash(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	words, shout := y.lora("warm-words"), y.lora("warm-shout")
	y.awaitStatus(words, berth.StatusRunning)
	y.awaitStatus(shout, berth.StatusRunning)
	before := y.look().replicas[0]
	y.runner.Engine(before.ID).Kill(1)
	p := y.await("it is back", func(p picture) bool {
		r := p.replicas[0]
		return r.Nonce != before.Nonce && r.State == berth.ReplicaReady && has(r, "warm-words", "warm-shout") &&
			p.deployments[words.ID].ReadyCapacity == 1 && p.deployments[shout.ID].ReadyCapacity == 1
	})
	if got := y.adapters(p); got != "warm-shout warm-words" {
		t.Errorf("the engine has %s", got)
	}
	told := 0
	for _, e := range y.story(words) {
		if strings.Contains(e.Reason, "failed") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the crash is told %d times", told)
	}
}

// A bad adapter fails its own deployments. Those that serve, and the engine, do not
// notice.
func TestABadAdapterDoesNotDisturbARunningReplica(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.engines(func(engine.Launch) fakeengine.Script { return fakeengine.Script{RefuseAdapters: []string{"bad"}} })
	bad, words := y.lora("warm-bad"), y.lora("warm-words") // on a cold pool
	bad = y.awaitStatus(bad, berth.StatusFailed)
	if !strings.HasPrefix(bad.Reason, "The adapter could not be loaded: ") || !strings.Contains(bad.Reason, "wrong tensor shapes") {
		t.Errorf("reason %q", bad.Reason)
	}
	y.awaitStatus(words, berth.StatusRunning)
	first := y.look().replicas[0]
	again := y.awaitStatus(y.buy(berth.Purchase{ModelName: "warm-bad", Plan: "lora", Suffix: "again"}), berth.StatusFailed)
	p := y.look()
	if r := p.replicas[0]; len(p.replicas) != 1 || r.Nonce != first.Nonce || len(r.Failures) > 0 || !has(r, "warm-words") {
		t.Errorf("the replica is %+v", p.replicas)
	}
	if d := p.deployments[words.ID]; d.Status != berth.StatusRunning || d.ReadyCapacity != 1 || again.ReadyCapacity != 0 {
		t.Errorf("the other one is %+v", d)
	}
}

// Changed files are found before the engine reads them.
func TestAChangedAdapterIsNotLoaded(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.mu.Lock()
	y.verify = func(f berth.ModelFile) error {
		if f.Path == "warm-bad" {
			return berth.Errorf(berth.CodeInvalid, "The folder warm-bad has changed.")
		}
		return nil
	}
	y.mu.Unlock()
	if d := y.awaitStatus(y.lora("warm-bad"), berth.StatusFailed); !strings.Contains(d.Reason, "has changed") {
		t.Errorf("reason %q", d.Reason)
	}
}
