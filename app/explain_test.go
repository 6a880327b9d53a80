package app

import (
	"net/http"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// TestExplainSaysHowCallsWait: one slot is taken by a call that says nothing, and three
// calls of one deployment and one of another wait for it.
func TestExplainSaysHowCallsWait(t *testing.T) {
	t.Parallel()
	script := fakeengine.Script{Slots: 1, Faults: []fakeengine.Fault{{Call: 1, Kind: fakeengine.FaultHangBeforeHeaders}}}
	c := gather(t, script, 0, "flood", "small")
	before := c.Explain("small").Queue
	if before == nil || len(before.Replicas) != 1 || before.Replicas[0].Slots != 1 || before.Lines[1].Own.Expected != 0 {
		t.Fatalf("before the first call: %+v", before)
	}
	ended := make(chan struct{})
	call := func(model string) {
		go func() {
			defer func() { ended <- struct{}{} }()
			if response, err := c.send(t.Context(), model); err == nil {
				response.Body.Close()
			}
		}()
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	began := time.Now()
	call("flood")
	until("the first call has no slot", func() bool { return c.InFlight("flood", "rep_1") == 1 })
	for range 3 {
		call("flood")
	}
	c.waitingFor(t, "flood", 3)
	call("small")
	c.waitingFor(t, "small", 1)

	q := c.Explain("small").Queue
	r, line := q.Replicas[0], q.Lines[1]
	if r.Lane != berth.LaneMixed || r.Slots != 1 || r.Busy != 1 || r.BestEffort != 1 {
		t.Errorf("replica %+v", r)
	}
	if line.Guaranteed || line.All.Waiting != 4 || line.All.Tenants != 2 || line.Own.Waiting != 1 ||
		line.All.Since.Before(began) || line.All.Since.After(time.Now()) || line.Own.Expected <= 0 {
		t.Errorf("best effort %+v", line)
	}
	if g := q.Lines[0]; !g.Guaranteed || g.All.Waiting != 0 || g.Own.Waiting != 0 {
		t.Errorf("guaranteed %+v", g)
	}
	c.Cut("")
	for range 5 {
		<-ended
	}
	until("slots are still taken", func() bool { return c.Explain("small").Queue.Replicas[0].Busy == 0 })
	if q := c.Explain("small").Queue; q.Lines[1].All.Waiting != 0 || q.Lines[1].Own.Expected != 0 {
		t.Errorf("afterwards %+v", q)
	}
	if _, status := c.call(t.Context(), "small"); status != http.StatusOK {
		t.Errorf("a call afterwards: %d", status)
	}
}
