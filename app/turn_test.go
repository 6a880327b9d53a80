package app

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// waitingFor returns when a deployment has so many calls in line.
func (c *crowd) waitingFor(t *testing.T, deployment string, calls int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if c.Line("pool_1", deployment, deployment, false).Waiting == calls {
			return
		}
	}
	t.Fatalf("%+v waits, want %d calls", c.Line("pool_1", deployment, deployment, false), calls)
}

// without returns the present snapshot, changed.
func (c *crowd) without(route, replicas bool) *berth.Snapshot {
	s := *c.Snapshot()
	s.Version++
	s.Routes = map[string]*berth.Route{}
	for name, r := range c.Snapshot().Routes {
		next := *r
		if replicas {
			next.Targets = nil
		}
		if name != "small" || !route {
			s.Routes[name] = &next
		}
	}
	if replicas {
		s.Pools = nil
	}
	return &s
}

// TestHowAWaitEnds: one slot, taken by a call that says nothing for a long time. Another
// one waits.
func TestHowAWaitEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wait   string // header
		meet   func(*crowd)
		leaves bool
		status int
		code   string
		retry  string // Retry-After: "n" some seconds
	}{
		"it would not wait":             {wait: "0", status: 429, code: "Throttling", retry: "n"},
		"it waited as long as it would": {wait: "0.2", status: 503, code: "ModelUnavailable", retry: "n"},
		"a header that says nothing":    {wait: "soon", status: 400, code: "invalid_parameter_error"},
		"its deployment is cut":         {meet: func(c *crowd) { c.Cut("small") }, status: 503, code: "ModelUnavailable"},
		"its deployment is deleted":     {meet: func(c *crowd) { c.Swap(c.without(true, false)) }, status: 404, code: "model_not_found"},
		"all replicas go":               {meet: func(c *crowd) { c.Swap(c.without(false, true)) }, status: 503, code: "ModelUnavailable", retry: "n"},
		"the slot becomes free":         {meet: func(c *crowd) { c.Cut("flood") }, status: 200},
		"the client leaves":             {leaves: true},
		"the gateway closes":            {meet: func(c *crowd) { go c.Close() }, status: 503, code: "ModelUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := fakeengine.Script{Slots: 1, Faults: []fakeengine.Fault{{Call: 1, Kind: fakeengine.FaultHangBeforeHeaders}}}
			crowd := gather(t, script, 0, "flood", "small")
			held := make(chan struct{})
			go func() {
				defer close(held)
				if response, err := crowd.send(t.Context(), "flood"); err == nil {
					response.Body.Close()
				}
			}()
			for deadline := time.Now().Add(10 * time.Second); crowd.InFlight("flood", "rep_1") == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}

			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var header []string
			if c.wait != "" {
				header = []string{"X-DashScope-Wait-Timeout", c.wait}
			}
			answered := make(chan *http.Response, 1)
			go func() {
				response, _ := crowd.send(ctx, "small", header...)
				answered <- response
			}()
			if c.meet != nil || c.leaves {
				crowd.waitingFor(t, "small", 1)
				if d := crowd.Demand(); len(d) != 1 || d[0].PoolID != "pool_1" || d[0].Lane != berth.LaneMixed || d[0].Waiting != 1 || d[0].Since.IsZero() {
					t.Errorf("demand %+v", d)
				}
			}
			if c.leaves {
				leave()
			} else if c.meet != nil {
				c.meet(crowd)
			}
			response := <-answered
			if response != nil {
				text, _ := io.ReadAll(response.Body)
				response.Body.Close()
				retry := response.Header.Get("Retry-After")
				if response.StatusCode != c.status || !strings.Contains(string(text), c.code) || (retry != "") != (c.retry != "") {
					t.Errorf("%d, Retry-After %q: %s", response.StatusCode, retry, text)
				}
			} else if !c.leaves {
				t.Error("no answer")
			}
			crowd.waitingFor(t, "small", 0)
			crowd.Cut("")
			<-held
			for deadline := time.Now().Add(10 * time.Second); crowd.InFlight("", "") > 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if s, _ := crowd.PoolState("pool_1"); len(s.Replicas) > 0 && s.Replicas[0].Busy != 0 {
				t.Errorf("slots are still taken: %+v", s)
			}
		})
	}
}
