package gateway

import (
	"testing"

	berth "github.com/berthhq/berth"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	h := open(t, plan{limiter: &fixedLimiter{}, route: requestsPerMinute})
	got := h.Explain(deployed)
	if len(got.Limits) != 1 || got.Limits[0].Remaining != 0 || got.ExpectedOutput != expectedAtFirst || len(got.Replicas) != 1 || got.Replicas[0].Slots != 4 {
		t.Errorf("got %+v", got)
	}
	if len(got.Refusals) != 1 || got.Refusals[0] != "All 10 requests of the minute are used or reserved; calls are refused until some of it is free. All is free in 1s if nothing else comes." {
		t.Errorf("refusals %q", got.Refusals)
	}
	stopped := *h.route
	stopped.Status, stopped.Targets, stopped.Limits = berth.StatusStopped, nil, berth.Limits{}
	h.Swap(snapshotOf(&stopped))
	if got := h.Explain(deployed); len(got.Refusals) != 1 || got.Refusals[0] != "The deployment is STOPPED." || got.Limits != nil {
		t.Errorf("stopped: %+v", got)
	}
	if got := h.Explain("nobody"); len(got.Refusals) != 1 {
		t.Errorf("unknown: %+v", got)
	}
}
