package reconcile

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// asks is an engine whose readiness and adapters cost tokens.
type asks struct {
	engine.Driver
	ready engine.Spent
}

func (a asks) Ready(ctx context.Context, client *http.Client, e engine.Endpoint, l engine.Launch) (engine.Spent, error) {
	_, err := a.Driver.Ready(ctx, client, e, l)
	return a.ready, err
}

func (a asks) LoadAdapter(ctx context.Context, client *http.Client, e engine.Endpoint, r berth.AdapterRef) (engine.Spent, error) {
	_, err := a.Driver.(engine.AdapterLoader).LoadAdapter(ctx, client, e, r)
	return engine.Spent{Calls: 1, Input: 7, Output: 1}, err
}

func (a asks) UnloadAdapter(ctx context.Context, client *http.Client, e engine.Endpoint, r berth.AdapterRef) error {
	return a.Driver.(engine.AdapterLoader).UnloadAdapter(ctx, client, e, r)
}

// probes is a meter that remembers what it was told.
type probes struct {
	mu      sync.Mutex
	refuses bool
	opened  int
	dropped int
	closed  []berth.UsageRecord
}

func (p *probes) Open(m *berth.UsageMark) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses {
		return errors.New("no room")
	}
	p.opened++
	m.Ref = int64(p.opened)
	return nil
}

func (p *probes) Close(m *berth.UsageMark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = append(p.closed, m.UsageRecord)
}

func (p *probes) Drop(*berth.UsageMark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped++
}

func (p *probes) records() []berth.UsageRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.closed)
}

// What an engine is asked before it serves, and with each adapter, has a record of class
// probe under its replica and start; an engine that is asked nothing has none.
func TestWhatIsAskedOfEnginesIsRecorded(t *testing.T) {
	t.Parallel()
	p := &probes{}
	y := newYard(t, func(o *Options) {
		o.Probes = p
		o.Drivers["loads"] = asks{o.Drivers["loads"], engine.Spent{Calls: 1, Input: 5, Cached: 2, Output: 1}}
	})
	y.awaitRunning(y.own("base", 1)) // its engine is asked nothing
	own := y.own("warm", 1)
	lora := y.buy(berth.Purchase{ModelName: "warm-words", Plan: "lora", Capacity: new(int64(1))})
	now := y.awaitRunning(lora, own)
	p.mu.Lock()
	if p.dropped == 0 || p.opened != p.dropped+len(p.closed) || len(p.closed) != 3 {
		t.Errorf("%d marks, %d taken back, %d recorded", p.opened, p.dropped, len(p.closed))
	}
	p.mu.Unlock()
	for _, r := range p.records() {
		i := slices.IndexFunc(now.replicas, func(x berth.Replica) bool { return x.ID == r.ReplicaID })
		if i < 0 || now.replicas[i].Nonce != r.Nonce || r.Class != berth.ClassProbe || r.Billable || r.Source != berth.SourceEngine ||
			r.End != berth.EndStop || r.ID == "" || r.OutputTokens != 1 || r.InputTokens != 5 && r.InputTokens != 7 || r.EndedAt.Before(r.StartedAt) || r.WorkspaceID != "" {
			t.Errorf("recorded %+v", r)
		}
	}
}

func (y *yard) awaitRunning(all ...berth.Deployment) picture {
	y.Helper()
	return y.await("all run", func(p picture) bool {
		return !slices.ContainsFunc(all, func(d berth.Deployment) bool { return p.deployments[d.ID].Status != berth.StatusRunning })
	})
}

// A journal without room keeps no engine from starting.
func TestEnginesStartWithoutARecordOfProbes(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.Probes = &probes{refuses: true} })
	y.awaitRunning(y.own("base", 1))
}
