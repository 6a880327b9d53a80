package reconcile

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

func TestWhenAnEngineIsFrozen(t *testing.T) {
	t.Parallel()
	type question struct {
		answered bool
		used     time.Duration
	}
	const a, m = true, false
	for name, c := range map[string]struct {
		questions []question
		frozen    bool
	}{
		"it answers":                     {[]question{{a, 0}, {a, 0}, {a, 0}, {a, 0}, {a, 0}}, false},
		"it is silent":                   {[]question{{a, 0}, {m, 0}, {m, 0}, {m, 0}, {m, 0}}, true},
		"it is silent for a while":       {[]question{{a, 0}, {m, 0}, {m, 0}, {m, 0}, {a, 0}, {m, 0}}, false},
		"it loads":                       {[]question{{m, 0}, {m, 0}, {m, 0}, {m, 0}, {m, 0}, {m, 0}}, false},
		"it is busy, all its threads":    {[]question{{a, 0}, {m, 5e9}, {m, 10e9}, {m, 15e9}, {m, 20e9}, {m, 25e9}}, false},
		"it is busy, but hardly":         {[]question{{a, 0}, {m, 60e6}, {m, 120e6}, {m, 180e6}, {m, 240e6}, {m, 300e6}}, false},
		"it is busy, and then no more":   {[]question{{a, 0}, {m, 5e9}, {m, 5e9}, {m, 5e9}, {m, 5e9}, {m, 5e9}}, true},
		"it counts as busy when it just": {[]question{{a, 1e9}, {m, 1.01e9}, {m, 1.02e9}, {m, 1.03e9}, {m, 1.04e9}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p pulse
			for _, q := range c.questions {
				p = p.after(q.answered, q.used)
			}
			if p.frozen() != c.frozen {
				t.Errorf("frozen: %t after %+v", p.frozen(), p)
			}
		})
	}
}

// freezer is a transport that hears nothing of one address.
type freezer struct {
	http.RoundTripper
	frozen atomic.Pointer[string]
}

func (f *freezer) RoundTrip(r *http.Request) (*http.Response, error) {
	if at := f.frozen.Load(); at != nil && strings.HasSuffix(*at, r.URL.Host) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return f.RoundTripper.RoundTrip(r)
}

// An engine that is there and does nothing is replaced as one that crashed; one beside it
// is not.
func TestAFrozenEngineIsStartedAgain(t *testing.T) {
	t.Parallel()
	var ice *freezer
	y := newYard(t, func(o *Options) {
		ice = &freezer{RoundTripper: o.Prober.Client.Transport}
		o.Prober.Client = &http.Client{Transport: ice}
		o.Pulse, o.Used = 50*time.Millisecond, func(engine.Instance) (time.Duration, bool) { return 0, true }
	})
	d := y.awaitStatus(y.own("base", 2), berth.StatusRunning)
	before := y.look().replicas
	ice.frozen.Store(&before[0].URL)
	y.await("started again", func(p picture) bool { return p.replicas[0].Nonce != before[0].Nonce })
	ice.frozen.Store(nil) // the next engine may get the same address
	after := y.await("up again", func(p picture) bool { return p.deployments[d.ID].ReadyCapacity == 2 }).replicas
	for i, r := range after {
		if again := r.Nonce != before[i].Nonce; again != (i == 0) || len(r.Failures) != 1-i {
			t.Errorf("replica %d: started again: %t, failures %v", i, again, r.Failures)
		}
	}
	var told bool
	for _, e := range y.story(d) {
		told = told || strings.Contains(e.Reason, before[0].ID+" failed: the engine was frozen: no answer and hardly any processor time for 200ms. It is started again in ")
	}
	if !told {
		t.Errorf("nobody is told: %+v", y.story(d))
	}
}

// What an engine does on its processors cannot be told everywhere; there it is left alone.
func TestAnEngineThatCannotBeJudgedIsLeftAlone(t *testing.T) {
	t.Parallel()
	var ice *freezer
	asked := make(chan struct{}, 1)
	y := newYard(t, func(o *Options) {
		ice = &freezer{RoundTripper: o.Prober.Client.Transport}
		o.Prober.Client = &http.Client{Transport: ice}
		o.Pulse, o.Used = 5*time.Millisecond, func(engine.Instance) (time.Duration, bool) {
			select {
			case asked <- struct{}{}:
			default:
			}
			return 0, false
		}
	})
	d := y.awaitStatus(y.own("base", 1), berth.StatusRunning)
	ice.frozen.Store(&y.look().replicas[0].URL)
	for range 3 * pulseMisses {
		<-asked
	}
	if r := y.look().replicas[0]; r.State != berth.ReplicaReady || len(r.Failures) > 0 {
		t.Errorf("%+v after %d questions to %s", r, 3*pulseMisses, d.DeployedModel)
	}
}
