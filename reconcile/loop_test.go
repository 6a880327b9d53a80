package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

func always(s fakeengine.Script) func(engine.Launch) fakeengine.Script {
	return func(engine.Launch) fakeengine.Script { return s }
}

// neverReady is an engine that loads for ever.
var neverReady = always(fakeengine.Script{StartDelayMS: 3_600_000})

func TestADeploymentComesUp(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 3), berth.StatusRunning)
	// conformance 48
	if d.ReadyCapacity != 3 {
		t.Errorf("ready capacity %d", d.ReadyCapacity)
	}
	for _, r := range y.look().replicas {
		url, key, ok := y.loop.Load().Address(&r)
		if !ok || url != r.URL || key == "" || r.State != berth.ReplicaReady || r.ReadyAt.IsZero() || r.Nonce == "" {
			t.Errorf("replica %+v at %s", r, url)
		}
	}
	// conformance 47
	if got := statuses(y.story(d)); got != "PENDING DEPLOYING RUNNING" {
		t.Errorf("statuses: %s", got)
	}
	select {
	case <-y.loop.Load().Looked():
	default:
		t.Error("a deployment runs and the loop has not looked")
	}
}

func TestASlowEngineIsWaitedFor(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.engines(always(fakeengine.Script{StartDelayMS: 200}))
	d := y.own("base", 1)
	if d = y.awaitStatus(d, berth.StatusDeploying); d.ReadyCapacity != 0 {
		t.Errorf("ready capacity %d while it loads", d.ReadyCapacity)
	}
	y.awaitStatus(d, berth.StatusRunning)
	if f := y.look().replicas[0].Failures; len(f) != 0 {
		t.Errorf("slowness is counted as failure: %v", f)
	}
}

func TestWhatCannotComeUpFailsAndGivesItsHardwareBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tune     func(*Options)
		script   fakeengine.Script
		verify   error
		failures int
		reason   string
	}{
		"the engine refuses to start": {
			nil, fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "bad weights"}}, nil, 5, "exit status 3: bad weights",
		},
		"the engine never answers": {
			func(o *Options) { o.StartTimeout = 100 * time.Millisecond }, fakeengine.Script{StartDelayMS: 3_600_000}, nil, 5, "no answer from the engine",
		},
		"the launch makes no sense": {nil, fakeengine.Script{Slots: -1}, nil, 1, "slots"},
		"the file is away":          {nil, fakeengine.Script{}, errors.New("no such file"), 5, "no such file"},
		"the file is another one":   {nil, fakeengine.Script{}, berth.Errorf(berth.CodeInvalid, "the file has changed"), 1, "the file has changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, c.tune)
			y.engines(always(c.script))
			y.verify = func(berth.ModelFile) error { return c.verify }
			d := y.awaitStatus(y.own("base", 2), berth.StatusFailed)
			if !strings.Contains(d.Reason, c.reason) || d.ReadyCapacity != 0 {
				t.Errorf("reason %q, ready capacity %d", d.Reason, d.ReadyCapacity)
			}
			y.await("free hardware", func(p picture) bool { return len(p.holds) == 0 })
			if n := len(y.runner.Instances()); n != 0 {
				t.Errorf("%d engines are left", n)
			}
			failures := map[string]int{}
			for _, e := range y.story(d) {
				if word := strings.Fields(e.Reason); word[0] == "Replica" {
					failures[word[1]]++
				}
			}
			for id, n := range failures {
				if n != c.failures {
					t.Errorf("replica %s failed %d times, want %d", id, n, c.failures)
				}
			}
			if len(failures) != 2 {
				t.Errorf("the events tell of %d replicas", len(failures))
			}
		})
	}
}

// Hardware that an engine still has is not for sale: the hold goes when the engine is
// measured gone, not when it is given up.
func TestAHoldOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.StartTimeout = 20 * time.Millisecond })
	y.engines(neverReady)
	d := y.own("base", 1)
	y.await("no hold", func(p picture) bool {
		running := len(y.runner.Instances())
		if held := len(y.look().holds); running > held {
			t.Errorf("%d engines run on %d holds", running, held)
		}
		return len(p.holds) == 0
	})
	y.awaitStatus(d, berth.StatusFailed)
}

func TestACrashedEngineIsStartedAgain(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.Backoff = 20 * time.Millisecond })
	d := y.awaitStatus(y.own("base", 2), berth.StatusRunning)
	victim := y.look().replicas[0]
	y.runner.Engine(victim.ID).Kill(139)
	y.await("down", func(p picture) bool { return p.deployments[d.ID].ReadyCapacity == 1 })
	y.await("up again", func(p picture) bool { return p.deployments[d.ID].ReadyCapacity == 2 })
	story := y.story(d)
	tail := story[len(story)-3:]
	if !strings.HasPrefix(tail[0].Reason, "Replica "+victim.ID+" failed: the engine ended with exit status 139.") ||
		tail[1].ReadyCapacity != 1 || tail[1].Reason != "Serving on 1 of 2 replicas." || tail[2].ReadyCapacity != 2 {
		t.Errorf("the events tell %+v", tail)
	}
	// It served all the while.
	if got := statuses(story); got != "PENDING DEPLOYING RUNNING" {
		t.Errorf("statuses: %s", got)
	}
	for _, r := range y.look().replicas {
		if r.ID == victim.ID && (len(r.Failures) != 1 || r.Nonce == victim.Nonce) {
			t.Errorf("the replica after its restart: %+v", r)
		}
	}
}

// Engines that die together are told one after the other. While the first exit is
// booked, the others are not in the Runner any more although nobody told why: that must
// not pass for an engine that was lost without a fault.
func TestEveryCrashCounts(t *testing.T) {
	t.Parallel()
	const n = 8
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", n), berth.StatusRunning)
	before := y.look().replicas
	for _, r := range before {
		y.runner.Engine(r.ID).Kill(1)
	}
	p := y.await("all up again", func(p picture) bool {
		return p.deployments[d.ID].ReadyCapacity == n && !slices.ContainsFunc(p.replicas, func(r berth.Replica) bool {
			return slices.ContainsFunc(before, func(b berth.Replica) bool { return b.Nonce == r.Nonce })
		})
	})
	for _, r := range p.replicas {
		if len(r.Failures) != 1 {
			t.Errorf("replica %s crashed once and has %d failures", r.ID, len(r.Failures))
		}
	}
}

func TestDeleteWhileStarting(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.engines(neverReady)
	d := y.awaitStatus(y.own("base", 2), berth.StatusDeploying)
	y.remove(d)
	p := y.awaitGone(d)
	if len(p.holds) != 0 || len(p.replicas) != 0 || len(y.runner.Instances()) != 0 {
		t.Errorf("something is left: %+v", p)
	}
	for _, e := range y.story(d) {
		if strings.Contains(e.Reason, "failed") {
			t.Errorf("what was not wanted is told as a failure: %s", e.Reason)
		}
	}
	if got := statuses(y.story(d)); got != "PENDING DEPLOYING DELETING DELETED" {
		t.Errorf("statuses: %s", got)
	}
}

func TestDrainWaitsForCalls(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.Grace = time.Hour })
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	y.traffic.set(1)
	y.remove(d)
	p := y.await("draining", func(p picture) bool { return p.replicas[0].State == berth.ReplicaDraining })
	y.traffic.awaitLooks(t, p.replicas[0].ID, 3)
	if p = y.look(); p.replicas[0].State != berth.ReplicaDraining || len(y.runner.Instances()) != 1 {
		t.Fatalf("a call runs and its engine is %s", p.replicas[0].State)
	}
	y.traffic.set(0)
	y.awaitGone(d)
	if len(y.traffic.cut) != 0 {
		t.Errorf("calls were cut: %v", y.traffic.cut)
	}
}

func TestCallsThatDoNotEndAreCut(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.Grace = time.Hour })
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	y.traffic.set(1)
	y.remove(d)
	p := y.await("draining", func(p picture) bool { return p.replicas[0].State == berth.ReplicaDraining })
	y.traffic.awaitLooks(t, p.replicas[0].ID, 1)
	y.skip(time.Hour)
	y.awaitGone(d)
	if !slices.Contains(y.traffic.cut, d.ID) {
		t.Errorf("cut: %v", y.traffic.cut)
	}
}

func TestARestartOfBerthBringsEverythingBack(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	mu := y.awaitStatus(y.own("base", 2), berth.StatusRunning)
	ptu := y.awaitStatus(y.buy(berth.Purchase{ModelName: "base", Plan: "ptu", Suffix: "p"}), berth.StatusRunning)
	before := y.look().replicas
	y.halt()
	y.start()
	<-y.loop.Load().Looked()
	for _, d := range []berth.Deployment{mu, ptu} {
		p := y.await(d.DeployedModel+" back", func(p picture) bool { return p.deployments[d.ID].ReadyCapacity == d.Capacity })
		if p.deployments[d.ID].Status != berth.StatusRunning {
			t.Errorf("%s is %s", d.DeployedModel, p.deployments[d.ID].Status)
		}
	}
	after := y.look().replicas
	if len(after) != len(before) || len(y.runner.Instances()) != len(before) {
		t.Fatalf("%d replicas and %d engines, before %d", len(after), len(y.runner.Instances()), len(before))
	}
	for i, r := range after {
		if r.ID != before[i].ID || r.Nonce == before[i].Nonce || len(r.Failures) != 0 {
			t.Errorf("replica %+v", r)
		}
	}
}

// What the last life left half done is finished in the next.
func TestARestartOfBerthFinishesADeletion(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.Grace = time.Hour })
	d := y.awaitStatus(y.own("base", 2), berth.StatusRunning)
	y.traffic.set(1)
	y.remove(d)
	y.await("draining", func(p picture) bool { return p.replicas[0].State == berth.ReplicaDraining })
	y.halt()
	y.traffic.set(0)
	y.start()
	if p := y.awaitGone(d); len(p.holds) != 0 || len(p.replicas) != 0 {
		t.Errorf("something is left: %+v", p)
	}
}

func TestALaneIsRolled(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	words := y.awaitStatus(y.buy(berth.Purchase{ModelName: "words", Plan: "lora"}), berth.StatusRunning)
	old := y.look().replicas[0]
	shout := y.awaitStatus(y.buy(berth.Purchase{ModelName: "shout", Plan: "lora"}), berth.StatusRunning)
	p := y.await("one replica", func(p picture) bool { return len(p.replicas) == 1 })
	if r := p.replicas[0]; r.ID == old.ID || len(r.Adapters) != 2 || len(p.holds) != 1 {
		t.Errorf("the lane is %+v", r)
	}
	for _, e := range y.story(words)[3:] {
		if e.ReadyCapacity == 0 {
			t.Errorf("the first deployment was interrupted: %+v", e)
		}
	}
	y.remove(words)
	y.remove(shout)
	y.awaitGone(shout)
	p = y.await("an idle pool", func(p picture) bool { return len(p.pools) == 1 && !p.pools[0].IdleSince.IsZero() })
	if len(p.replicas) != 1 {
		t.Errorf("a pool lingers without its engine")
	}
	y.skip(berth.PoolLinger)
	p = y.await("no pool", func(p picture) bool { return len(p.pools) == 0 })
	if len(p.holds) != 0 || len(p.replicas) != 0 || len(y.runner.Instances()) != 0 {
		t.Errorf("something is left: %+v", p)
	}
}

// A purchase may come between the plan that lets a lane go and the act.
func TestALaneThatGoesIsBoughtAgain(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.awaitStatus(y.buy(berth.Purchase{ModelName: "laned", Plan: "ptu"}), berth.StatusRunning)
	for i := range 30 {
		d := y.buy(berth.Purchase{ModelName: "tuned", Plan: "lora", Suffix: fmt.Sprint("n", i)})
		if i%3 > 0 { // sometimes while its engine starts
			y.awaitStatus(d, berth.StatusRunning)
		}
		y.remove(d)
	}
	last := y.awaitStatus(y.buy(berth.Purchase{ModelName: "tuned", Plan: "lora"}), berth.StatusRunning)
	y.await("one replica of each lane", func(p picture) bool { return len(p.replicas) == 2 && len(p.holds) == 2 })
	if got := y.awaitStatus(last, berth.StatusRunning); got.ReadyCapacity != 1 {
		t.Errorf("got %+v", got)
	}
}

// Engines that run nothing but calls with adapters stand back where processors are short.
// Engines that reserved calls share with them, and those that are somebody's own, do not.
func TestOnlyEnginesOfAdapterLanesAreBestEffort(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	started := map[string]bool{}
	y.engines(func(l engine.Launch) fakeengine.Script {
		name := l.Model.Name
		if len(l.Adapters) > 0 {
			name += " with adapters"
		}
		started[name] = l.BestEffort
		return fakeengine.Script{}
	})
	y.awaitStatus(y.buy(berth.Purchase{ModelName: "laned", Plan: "ptu"}), berth.StatusRunning)
	for _, name := range []string{"tuned", "words"} {
		y.awaitStatus(y.buy(berth.Purchase{ModelName: name, Plan: "lora"}), berth.StatusRunning)
	}
	y.awaitStatus(y.buy(berth.Purchase{ModelName: "base", Plan: "mu", Spec: "MU1", Capacity: new(int64(1))}), berth.StatusRunning)
	y.mu.Lock()
	defer y.mu.Unlock()
	want := map[string]bool{"laned": false, "laned with adapters": true, "base with adapters": false, "base": false}
	if !maps.Equal(started, want) {
		t.Errorf("started, and whether as best effort: %v, want %v", started, want)
	}
}

func TestABadAdapterFailsItsOwnDeploymentOnly(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.engines(func(l engine.Launch) fakeengine.Script {
		if slices.ContainsFunc(l.Adapters, func(a berth.AdapterRef) bool { return a.Path == "bad" }) {
			return fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 1, Message: "bad adapter"}}
		}
		return fakeengine.Script{}
	})
	words := y.awaitStatus(y.buy(berth.Purchase{ModelName: "words", Plan: "lora"}), berth.StatusRunning)
	bad := y.awaitStatus(y.buy(berth.Purchase{ModelName: "bad", Plan: "lora"}), berth.StatusFailed)
	if !strings.Contains(bad.Reason, "bad adapter") {
		t.Errorf("reason %q", bad.Reason)
	}
	p := y.await("only the good lane", func(p picture) bool { return len(p.replicas) == 1 })
	if d := p.deployments[words.ID]; d.Status != berth.StatusRunning || d.ReadyCapacity != 1 || len(p.holds) != 1 {
		t.Errorf("the other one: %+v, %d holds", d, len(p.holds))
	}
}

func TestAPoolWithLanesGrowsForASale(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	first := y.awaitStatus(y.buy(berth.Purchase{ModelName: "laned", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 540_000, OutputTPM: 1}}), berth.StatusRunning)
	second := y.awaitStatus(y.buy(berth.Purchase{ModelName: "laned", Plan: "ptu", Suffix: "2", PTU: &berth.PTUCapacity{InputTPM: 540_000, OutputTPM: 1}}), berth.StatusRunning)
	if n := len(y.runner.Instances()); n != 2 || first.ReadyCapacity != 1 || second.ReadyCapacity != 1 {
		t.Errorf("%d engines; ready %d and %d", n, first.ReadyCapacity, second.ReadyCapacity)
	}
}

// What was sold is made up for when a replica was given up, after a pause.
func TestAPoolGrowsBack(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.buy(berth.Purchase{ModelName: "laned", Plan: "ptu", PTU: &berth.PTUCapacity{InputTPM: 600_000, OutputTPM: 1}}), berth.StatusRunning)
	p := y.await("two engines", func(p picture) bool { return len(y.runner.Instances()) == 2 && p.deployments[d.ID].ReadyCapacity == 1 })
	victim := p.replicas[0].ID
	y.engines(func(l engine.Launch) fakeengine.Script {
		if l.ReplicaID == victim {
			return fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 1}}
		}
		return fakeengine.Script{}
	})
	y.runner.Engine(victim).Kill(1)
	p = y.await("given up", func(p picture) bool { return p.replicas[0].State == berth.ReplicaFailed })
	if p.deployments[d.ID].Status != berth.StatusRunning || len(p.holds) != 1 {
		t.Errorf("the other one serves on: %+v, %d holds", p.deployments[d.ID], len(p.holds))
	}
	y.skip(GrowPause)
	p = y.await("whole again", func(p picture) bool {
		return p.deployments[d.ID].ReadyCapacity == 1 && len(p.replicas) == 2 && !slices.ContainsFunc(p.replicas, func(r berth.Replica) bool {
			return r.ID == victim || r.State != berth.ReplicaReady
		})
	})
	if len(p.holds) != 2 {
		t.Errorf("%d holds", len(p.holds))
	}
}

// A remote engine is nobody's process: it comes up and goes away without the Runner.
func TestAnEndpoint(t *testing.T) {
	t.Parallel()
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"object":"list","data":[]}`))
	}))
	t.Cleanup(there.Close)
	y := newYard(t, nil)
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		m, err := tx.Models().Get(ctx, "remote")
		must(t, err)
		m.URL = there.URL
		return tx.Models().Update(ctx, m)
	})
	d := y.awaitStatus(y.own("remote", 1), berth.StatusRunning)
	r := y.look().replicas[0]
	if url, _, ok := y.loop.Load().Address(&r); !ok || url != there.URL || len(y.runner.Instances()) != 0 {
		t.Errorf("it is reached at %q", url)
	}
	y.halt()
	y.start()
	y.await("back", func(p picture) bool { return p.deployments[d.ID].ReadyCapacity == 1 && p.replicas[0].Nonce != r.Nonce })
	y.remove(d)
	if p := y.awaitGone(d); len(p.replicas) != 0 {
		t.Errorf("left: %+v", p.replicas)
	}
}

// A model may go while its pool lingers; the loop must not stumble over it for ever.
func TestAModelThatWent(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	y.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Models().Delete(ctx, "base") })
	y.runner.Engine(y.look().replicas[0].ID).Kill(1)
	if d = y.awaitStatus(d, berth.StatusFailed); !strings.Contains(d.Reason, "not in the catalogue any more") {
		t.Errorf("reason %q", d.Reason)
	}
}

func TestRunEndsWithItsContextAndLeavesEngines(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	loop := New(y.loop.Load().opt)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	must(t, loop.Run(ctx))
	if n := len(y.runner.Instances()); n != 1 {
		t.Errorf("%d engines", n)
	}
}

// What another process writes is found without being told.
func TestWritesOfOthersAreFound(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.Poll = 10 * time.Millisecond })
	elsewhere := &berth.Deployments{Writer: y.deployments.Writer, Specs: y.deployments.Specs, Engines: y.deployments.Engines, Wake: func() {}}
	one := int64(1)
	d, err := elsewhere.Create(y.admin(), berth.Purchase{ModelName: "base", Plan: "mu", Spec: "MU1", Capacity: &one})
	must(t, err)
	y.awaitStatus(d, berth.StatusRunning)
}

// A step that cannot be taken keeps no other from being taken, whoever shares its
// transaction.
func TestAStepThatFailsStandsAlone(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.halt()
	loop := New(y.loop.Load().opt)
	taken := map[int]bool{}
	var steps []step
	for i := range 3 * writesAtOnce {
		steps = append(steps, step{berth.Ref{ID: fmt.Sprint(i)}, func(context.Context, berth.Tx) (func(), error) {
			if i%50 == 7 {
				return nil, errors.New("cannot")
			}
			return func() { taken[i] = true }, nil
		}})
	}
	must(t, loop.takeAll(context.Background(), steps))
	for i := range steps {
		if taken[i] != (i%50 != 7) {
			t.Errorf("step %d: taken is %v", i, taken[i])
		}
		if _, again := loop.agenda.at[steps[i].owner]; again == taken[i] {
			t.Errorf("step %d is tried again: %v", i, again)
		}
	}
}

// Who was away for too long reads everything again.
func TestWhatTheStoreForgotIsReadAgain(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	y.halt()
	opt := y.loop.Load().opt
	for name, c := range map[string]struct {
		store berth.Store
		then  int
	}{"remembered": {opt.Store, 0}, "forgotten": {forgetful{opt.Store}, 1}} {
		opt.Store = c.store
		loop := New(opt)
		for i, want := range []int{1, c.then} {
			parts, err := loop.look(context.Background())
			if err != nil || len(parts) != want {
				t.Errorf("%s: look %d finds %d owners (%v), want %d", name, i, len(parts), err, want)
			}
		}
	}
}

// forgetful is a store that never knows what has changed.
type forgetful struct{ berth.Store }

func (f forgetful) View(ctx context.Context, fn func(berth.Tx) error) error {
	return f.Store.View(ctx, func(tx berth.Tx) error { return fn(forgetfulTx{tx}) })
}

type forgetfulTx struct{ berth.Tx }

func (forgetfulTx) Changes(context.Context, int64) ([]berth.Ref, bool, error) { return nil, false, nil }

func TestAFailureIsOneSentence(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"the engine ended with exit status 1", "The file has changed; put the old one back."} {
		want := "Replica r failed: " + strings.TrimSuffix(reason, ".") + "."
		if got := failure(berth.Replica{ID: "r", Reason: reason}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := failure(berth.Replica{ID: "r", PoolID: "p", Reason: "secret path"}); strings.Contains(got, "secret") {
		t.Errorf("members of a pool are told %q", got)
	}
}
