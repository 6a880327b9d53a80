package gateway

import (
	"fmt"
	"net/http"
	"testing"

	berth "github.com/berthhq/berth"
)

// Before an engine works for a call, everything is written down that its record needs if
// the server ends now; then the figures, each beat and before the caller has the end.
func TestACallIsWrittenDownWhileItRuns(t *testing.T) {
	t.Parallel()
	meter := &memoryMeter{}
	var atStart []berth.UsageMark
	engine := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		meter.mu.Lock()
		atStart = append(atStart, meter.opened...)
		meter.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 4 {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%d\"}}]}\n\n", n)
			_ = http.NewResponseController(w).Flush()
			meter.waitFor(t, n+2) // the first when the header had come
		}
		fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n"+
			`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}`+"\n\ndata: [DONE]\n\n")
	})
	limits := &fixedLimiter{}
	h := open(t, plan{engine: engine, meter: meter, limiter: limits, route: func(r *berth.Route) {
		r.Limits, r.Targets[0].Nonce = berth.Limits{Requests: 5}, "run_1"
	}})
	// Each look at the beat is another one: every event is marked.
	meter.beats = true
	got := h.post(t, chatPath, chat("hello", `"stream":true`, `"max_tokens":70`))
	if got.status != 200 {
		t.Fatal(got.body)
	}
	record := meter.wait(t, 1)[0]
	if len(atStart) != 1 {
		t.Fatalf("%d calls were marked when the engine began", len(atStart))
	}
	open := atStart[0]
	open.StartedAt = record.StartedAt
	if want := (berth.UsageRecord{
		CallID: record.CallID, WorkspaceID: workspace, KeyID: "key_1", DeploymentID: "dep_1", DeployedModel: deployed, ModelName: "abacus",
		Plan: berth.PlanMU, Class: berth.ClassDedicated, ReplicaID: "rep_0", Nonce: "run_1", StartedAt: record.StartedAt, InputTokens: open.InputTokens,
	}); open.UsageRecord != want || open.InputTokens == 0 {
		t.Errorf("opened with %+v, want %+v", open.UsageRecord, want)
	}
	if open.Booked != bookedOf(limits.asked[0]) || open.Booked.Output != 70 {
		t.Errorf("reserved %+v, marked %+v", limits.asked[0], open.Booked)
	}
	if open.Most.Output != 70 || open.Most.Input < 9 || open.Most.Input > 2000 {
		t.Errorf("it can use %+v at most", open.Most)
	}
	meter.mu.Lock()
	defer meter.mu.Unlock()
	for i, p := range meter.progress[:5] {
		if p.OutputTokens != int64(i) || p.Source != berth.SourceCounted || p.Billable != (i > 0) {
			t.Errorf("progress %d: %+v", i, p)
		}
	}
	if last := meter.progress[len(meter.progress)-1]; last.OutputTokens != 4 || last.InputTokens != 9 || last.Source != berth.SourceEngine {
		t.Errorf("before the end: %+v", last)
	}
	if booked := meter.closed[0].Booked; booked != (berth.Booked{Requests: 1, Input: 9, Output: 4}) || booked != bookedOf(limits.settled[0]) {
		t.Errorf("settled %+v, marked %+v", limits.settled[0], booked)
	}
	if record.OutputTokens != 4 || record.Source != berth.SourceEngine || record.Nonce != "run_1" {
		t.Errorf("recorded %+v", record)
	}
}

func TestAPlainAnswerIsWrittenDownBeforeItIsGiven(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	if got := h.post(t, chatPath, chat("37+85")); got.status != 200 {
		t.Fatal(got.body)
	}
	record := h.meter.wait(t, 1)[0]
	if p := h.meter.progress; len(p) != 1 || p[0].Source != berth.SourceEngine || p[0].OutputTokens != record.OutputTokens || p[0].Billable {
		t.Errorf("marked %+v, recorded %+v", p, record)
	}
}

func bookedOf(t Tokens) berth.Booked {
	return berth.Booked{Requests: t.Requests, Input: t.Input, Output: t.Output, Thinking: t.Thinking}
}
