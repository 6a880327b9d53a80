package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/enginetest"
	"github.com/berthhq/berth/fakeengine"
	"github.com/berthhq/berth/store/sqlitetest"
	"github.com/berthhq/berth/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; reaching it is a failure.
const patience = 60 * time.Second

const home = "llm-home"

// yard is a loop on a store of its own, with engines in this process.
type yard struct {
	testing.TB
	store       berth.Store
	deployments *berth.Deployments
	drivers     map[string]engine.Driver
	traffic     *traffic
	tune        func(*Options) // nil: a loop that hardly waits
	runner      *enginetest.Runner
	loop        atomic.Pointer[Loop]
	halt        func()
	ids         atomic.Int64
	ahead       atomic.Int64 // how far the clock was put forward
	still       atomic.Pointer[time.Time]

	mu      sync.Mutex
	script  func(engine.Launch) fakeengine.Script
	verify  func(berth.ModelFile) error
	changed chan struct{} // closed and replaced with each change
}

// newYard starts a loop. There is a node of 16 threads, a model "base" with the
// adapters "words", "shout" and "bad", and "remote", whose URL the test sets.
func newYard(t testing.TB, tune func(*Options)) *yard {
	t.Helper()
	s := sqlitetest.Open(t)
	y := &yard{
		TB: t, tune: tune, traffic: newTraffic(), changed: make(chan struct{}),
		script: func(engine.Launch) fakeengine.Script { return fakeengine.Script{} },
		verify: func(berth.ModelFile) error { return nil },
		drivers: map[string]engine.Driver{
			berth.EngineFake:     rolls{engine.NewFake(engine.FakeConfig{})},
			"loads":              loads{engine.NewFake(engine.FakeConfig{})},
			berth.EngineEndpoint: engine.NewEndpoint(engine.EndpointConfig{}),
			"lanes":              lanes{rolls{engine.NewFake(engine.FakeConfig{})}},
		},
	}
	y.store = &noted{Store: storetest.Twice(s), yard: y}
	engines := map[string]berth.EngineTraits{}
	for name, d := range y.drivers {
		engines[name] = d.Traits()
	}
	y.deployments = &berth.Deployments{
		Writer: berth.Writer{Store: y.store, Now: y.now, NewID: y.newID, Publish: func(context.Context, int64) error {
			y.announce()
			return nil
		}},
		Specs:   []berth.Spec{{Name: "MU1", Unit: berth.Resources{Threads: 1, MemoryBytes: 64 << 20}, Slots: 4, ContextLength: 100, UnitsPerReplica: 1}},
		Engines: engines,
		Wake:    func() { y.loop.Load().Wake() },
	}
	y.furnish()
	y.start()
	t.Cleanup(func() { y.halt() })
	return y
}

// rolls is an engine that must be started with its adapters.
type rolls struct{ engine.Driver }

func (r rolls) Traits() berth.EngineTraits {
	t := r.Driver.Traits()
	t.LoadsAdapters = false
	return t
}

// loads is an engine that takes adapters while it runs.
type loads struct{ engine.Driver }

func (l loads) Traits() berth.EngineTraits {
	t := l.Driver.Traits()
	t.Name = "loads"
	return t
}

func (l loads) LoadAdapter(ctx context.Context, client *http.Client, e engine.Endpoint, a berth.AdapterRef) (engine.Spent, error) {
	return l.Driver.(engine.AdapterLoader).LoadAdapter(ctx, client, e, a)
}

func (l loads) UnloadAdapter(ctx context.Context, client *http.Client, e engine.Endpoint, a berth.AdapterRef) error {
	return l.Driver.(engine.AdapterLoader).UnloadAdapter(ctx, client, e, a)
}

// lanes is an engine that cannot mix adapters.
type lanes struct{ engine.Driver }

func (l lanes) Traits() berth.EngineTraits {
	t := l.Driver.Traits()
	t.Name, t.MixedAdapters = "lanes", false
	return t
}

func (y *yard) furnish() {
	y.Helper()
	model := func(name, engineName string, plans ...berth.Plan) berth.Model {
		return berth.Model{
			Name: name, Kind: berth.ModelKindBase, Engine: engineName, Plans: plans, Thinking: berth.ThinkingNone,
			File:        berth.ModelFile{Path: name, Digest: "sha256:" + name},
			Calibration: berth.Calibration{InputTPM: 600_000, OutputTPM: 60_000}, Pool: berth.PoolPolicy{Max: 4},
		}
	}
	adapter := func(name, base string) berth.Model {
		m := model(name, "", berth.PlanLoRA, berth.PlanMU)
		m.Kind, m.Base = berth.ModelKindAdapter, base
		return m
	}
	remote := model("remote", berth.EngineEndpoint, berth.PlanMU)
	remote.Kind, remote.File = berth.ModelKindEndpoint, berth.ModelFile{}
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		must(y, tx.Accounts().InsertAccount(ctx, berth.Account{ID: "1", Currency: "CNY", TimeZone: "UTC"}))
		must(y, tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: home, AccountID: "1"}))
		must(y, tx.Nodes().Put(ctx, berth.Node{ID: "local", Online: true, Total: berth.Resources{Threads: 16, MemoryBytes: 64 << 30}}))
		for _, m := range []berth.Model{
			model("base", berth.EngineFake, berth.PlanMU, berth.PlanPTU), model("laned", "lanes", berth.PlanMU, berth.PlanPTU),
			adapter("words", "base"), adapter("shout", "base"), adapter("bad", "base"), adapter("tuned", "laned"), remote,
			model("warm", "loads", berth.PlanMU, berth.PlanPTU), adapter("warm-words", "warm"), adapter("warm-shout", "warm"), adapter("warm-bad", "warm"),
		} {
			must(y, tx.Models().Insert(ctx, m))
		}
		return nil
	})
}

// start runs a new loop with a new Runner, as a start of Berth does.
func (y *yard) start() {
	y.runner = enginetest.NewRunner(enginetest.Config{Script: func(l engine.Launch) (fakeengine.Script, error) {
		y.mu.Lock()
		defer y.mu.Unlock()
		return y.script(l), nil
	}})
	transport := &http.Transport{}
	o := Options{
		Store: y.store, Runner: y.runner, Drivers: y.drivers, Traffic: y.traffic, Reservations: y.deployments,
		Publish: func(context.Context) error {
			y.announce()
			return nil
		},
		Verify: func(_ context.Context, f berth.ModelFile) (berth.ModelFile, error) {
			y.mu.Lock()
			defer y.mu.Unlock()
			return f, y.verify(f)
		},
		Alive:  func(int64, int64) bool { return false },
		Prober: Prober{Client: &http.Client{Transport: transport}, Pause: time.Millisecond},
		Now:    y.now, NewID: y.newID, NewNonce: func() string { return y.newID("run_") },
		Logger: slog.New(slog.DiscardHandler), Backoff: time.Millisecond,
	}
	if y.tune != nil {
		y.tune(&o)
	}
	loop, runner := New(o), y.runner
	y.loop.Store(loop)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	y.halt = sync.OnceFunc(func() {
		cancel()
		must(y, <-done)
		emptied := make(chan struct{})
		go func() {
			defer close(emptied)
			for range runner.Exits() {
				continue
			}
		}()
		must(y, runner.Close(context.Background()))
		<-emptied
		transport.CloseIdleConnections()
	})
}

// now is the time, which stands still while somebody has stopped it.
func (y *yard) now() time.Time {
	if at := y.still.Load(); at != nil {
		return *at
	}
	return time.Now().Add(time.Duration(y.ahead.Load()))
}

// skip puts the clock forward.
func (y *yard) skip(d time.Duration) {
	y.ahead.Add(int64(d))
	y.loop.Load().Wake()
}

func (y *yard) newID(prefix string) string { return fmt.Sprintf("%s%08d", prefix, y.ids.Add(1)) }

func (y *yard) announce() {
	y.mu.Lock()
	defer y.mu.Unlock()
	close(y.changed)
	y.changed = make(chan struct{})
}

func (y *yard) signal() <-chan struct{} {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.changed
}

// engines makes all later engines follow what fn says.
func (y *yard) engines(fn func(engine.Launch) fakeengine.Script) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.script = fn
}

func (y *yard) tx(fn func(context.Context, berth.Tx) error) {
	y.Helper()
	must(y, y.store.Tx(context.Background(), func(tx berth.Tx) error { return fn(context.Background(), tx) }))
}

func (y *yard) admin() context.Context {
	return berth.WithCaller(context.Background(), berth.Caller{WorkspaceID: home, AccountID: "1", Role: berth.RoleAdmin})
}

func (y *yard) buy(p berth.Purchase) berth.Deployment {
	y.Helper()
	d, err := y.deployments.Create(y.admin(), p)
	must(y, err)
	return d
}

// own buys replicas of one's own.
func (y *yard) own(model string, n int64) berth.Deployment {
	y.Helper()
	return y.buy(berth.Purchase{ModelName: model, Plan: "mu", Spec: "MU1", Capacity: &n})
}

func (y *yard) remove(d berth.Deployment) {
	y.Helper()
	_, err := y.deployments.Delete(y.admin(), d.DeployedModel)
	must(y, err)
}

// picture is what the store shows at one moment.
type picture struct {
	deployments map[string]berth.Deployment // by id
	replicas    []berth.Replica
	holds       []berth.Hold
	pools       []berth.Pool
}

func (y *yard) look() picture {
	y.Helper()
	ctx := context.Background()
	p := picture{deployments: map[string]berth.Deployment{}}
	must(y, y.store.View(ctx, func(tx berth.Tx) error {
		list, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(y, err)
		for _, d := range list {
			p.deployments[d.ID] = d
		}
		p.replicas, err = tx.Replicas().List(ctx)
		must(y, err)
		p.holds, err = tx.Nodes().Holds(ctx)
		must(y, err)
		p.pools, err = tx.Pools().List(ctx)
		return err
	}))
	return p
}

// await returns the first picture for which ok holds, looking after each change.
func (y *yard) await(what string, ok func(picture) bool) picture {
	y.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		changed := y.signal()
		p := y.look()
		if ok(p) {
			return p
		}
		select {
		case <-changed:
		case <-over.C:
			y.Fatalf("never %s: %+v", what, p)
		}
	}
}

// awaitStatus returns the deployment once it has the status.
func (y *yard) awaitStatus(d berth.Deployment, s berth.Status) berth.Deployment {
	y.Helper()
	return y.await(fmt.Sprint(d.DeployedModel, " ", s), func(p picture) bool { return p.deployments[d.ID].Status == s }).deployments[d.ID]
}

func (y *yard) awaitGone(d berth.Deployment) picture {
	y.Helper()
	return y.await(d.DeployedModel+" gone", func(p picture) bool { _, there := p.deployments[d.ID]; return !there })
}

// story is what the events of a deployment tell, oldest first.
func (y *yard) story(d berth.Deployment) []berth.Event {
	y.Helper()
	ctx := context.Background()
	var events []berth.Event
	must(y, y.store.View(ctx, func(tx berth.Tx) (err error) {
		events, err = tx.Events().List(ctx, d.ID, "", 1000)
		return err
	}))
	return events
}

// statuses are the different statuses of a story, in order.
func statuses(events []berth.Event) string {
	var words []string
	for _, e := range events {
		words = append(words, string(e.Status))
	}
	return strings.Join(slices.Compact(words), " ")
}

// traffic is the gateway as the loop sees it.
type traffic struct {
	mu    sync.Mutex
	calls int
	asked map[string]int // how often somebody looked, by replica
	cut   []string
	look  chan struct{} // signalled with every look at a replica
}

func newTraffic() *traffic { return &traffic{asked: map[string]int{}, look: make(chan struct{}, 1)} }

func (f *traffic) InFlight(_, replicaID string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[replicaID]++
	select {
	case f.look <- struct{}{}:
	default:
	}
	return f.calls
}

func (f *traffic) Cut(deploymentID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut, f.calls = append(f.cut, deploymentID), 0
}

func (f *traffic) set(calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = calls
}

// awaitLooks returns when the loop has looked n more times at the replica's calls.
func (f *traffic) awaitLooks(t testing.TB, replicaID string, n int) {
	t.Helper()
	count := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.asked[replicaID]
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for want := count() + n; count() < want; {
		select {
		case <-f.look:
		case <-over.C:
			t.Fatal("the loop does not look at the calls any more")
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
