package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

func hanging(afterEvents int) fakeengine.Script {
	return fakeengine.Script{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangMidStream, AfterEvents: afterEvents, Match: "hang"}}}
}

// startHanging begins a streamed call that never ends by itself and returns its answer.
func (h *house) startHanging(t *testing.T) *http.Response {
	t.Helper()
	response, err := h.client.Do(h.request(t.Context(), t, http.MethodPost, chatPath, chat("hang", `"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestCut(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{{Kind: fakeengine.FaultHangMidStream, AfterEvents: 3}}}}})
	response, err := h.client.Do(h.request(t.Context(), t, http.MethodPost, chatPath, chat("count to 5", `"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	readUntil(t, response.Body, ` 2"`)
	if h.InFlight("dep_1", "") != 1 || h.InFlight("", "rep_0") != 1 || h.InFlight("dep_1", "rep_0") != 1 || h.InFlight("dep_2", "") != 0 || h.InFlight("dep_1", "rep_9") != 0 {
		t.Error("the call is not counted where it runs")
	}
	h.Cut("dep_2")
	if h.InFlight("", "") != 1 {
		t.Fatal("the wrong call was cut")
	}
	h.Cut("dep_1")
	readUntil(t, response.Body, `"code":"ModelUnavailable"`)
	must(t, h.engines[0].WaitCancelled(waiting(t), 1))
	// Else who deletes a deployment in time never pays for its streams.
	if r := h.meter.wait(t, 1)[0]; r.End != berth.EndStopped || !r.Billable || r.Source != berth.SourceCounted || r.OutputTokens != 2 {
		t.Errorf("record %+v", r)
	}
}

// A whole answer that a stop has kept from its caller is not paid for.
func TestCutBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{hanging(1)}})
	answered := make(chan result)
	go func() { answered <- h.post(t, chatPath, chat("hang")) }()
	must(t, h.engines[0].WaitInFlight(waiting(t), 1))
	h.Cut("")
	if got := <-answered; got.status != http.StatusServiceUnavailable {
		t.Errorf("got %d: %s", got.status, got.body)
	}
	if r := h.meter.wait(t, 1)[0]; r.End != berth.EndStopped || r.Billable || r.Source != berth.SourceUnknown {
		t.Errorf("record %+v", r)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{hanging(1)}})
	h.startHanging(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Drain(ctx); err == nil {
		t.Error("Drain returned while a call ran")
	}
	got := h.post(t, nativePath, generation("x"))
	if got.status != 503 || got.header.Get("Retry-After") != "5" || !strings.Contains(got.body, "shutting down") {
		t.Errorf("a new call got %d: %s", got.status, got.body)
	}
	drained := make(chan error)
	go func() { drained <- h.Drain(context.Background()) }()
	h.Cut("")
	if err := <-drained; err != nil {
		t.Error(err)
	}
	h.Close()
	h.Close()
}

func TestTooManyCalls(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{hanging(1)}, bounds: Bounds{Calls: 1}})
	h.startHanging(t)
	if got := h.post(t, chatPath, chat("x")); got.status != 429 || got.header.Get("Retry-After") != "1" {
		t.Errorf("got %d: %s", got.status, got.body)
	}
}

// After Swap new calls see the new routes, and running ones go on and are counted.
func TestSwap(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{hanging(1), {}}, route: func(r *berth.Route) { r.Targets = r.Targets[:1] }})
	h.startHanging(t)
	h.Swap(&berth.Snapshot{Version: 2, Keys: h.Snapshot().Keys})
	if got := h.post(t, chatPath, chat("x")); got.status != 404 {
		t.Errorf("a call to a route that is gone got %d", got.status)
	}
	if h.InFlight("dep_1", "rep_0") != 1 {
		t.Error("the running call is not counted any more")
	}
	h.Cut("dep_1")
	h.meter.wait(t, 1)
	must(t, h.Drain(waiting(t)))
	h.Swap(&berth.Snapshot{Version: 3})
	h.table.deployments.Range(func(id, _ any) bool { t.Errorf("%v is kept", id); return true })
	h.table.replicas.Range(func(id, _ any) bool { t.Errorf("%v is kept", id); return true })
}

// A call that chose its engine from a snapshot that is swapped in the same moment
// starts over from the new one: the dialect is asked for the first target's fields only
// if the call may still go there.
func TestSwapWhileACallIsOnItsWay(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{}, {}}})
	second := *h.route
	second.Targets = h.route.Targets[1:]
	c := &call{model: deployed, route: h.route, live: h.table.live("dep_1")}
	c.key, _ = h.Authenticate(keyText, "")
	h.Swap(snapshotOf(&second))
	must(t, h.enter(c, nil, func() {}))
	if c.target.ReplicaID != "rep_1" {
		t.Errorf("the call goes to %s", c.target.ReplicaID)
	}
	c.lease.leave()

	other := second
	other.DeploymentID = "dep_2"
	h.Swap(snapshotOf(&other))
	if err := h.enter(c, nil, func() {}); failureOf(err).problem != problemUnavailable {
		t.Errorf("a name that was used again: %v", err)
	}
}

func TestLeastLoaded(t *testing.T) {
	t.Parallel()
	var live live
	var tab table
	targets := []berth.Target{{ReplicaID: "a", Slots: 4}, {ReplicaID: "b", Slots: 2}, {ReplicaID: "c", Slots: 2}}
	load := func(a, b, c int64) {
		tab.replica("a").inFlight.Store(a)
		tab.replica("b").inFlight.Store(b)
		tab.replica("c").inFlight.Store(c)
	}
	seen := map[string]int{}
	for range 30 {
		best, _ := tab.pick(&live, targets, nil, 0, time.Now)
		seen[best.ReplicaID]++
	}
	if seen["a"] != 10 || seen["b"] != 10 || seen["c"] != 10 {
		t.Errorf("equals do not take turns: %v", seen)
	}
	for _, tc := range []struct {
		a, b, c int64
		tried   []string
		want    string
	}{
		{1, 1, 1, nil, "a"}, {3, 1, 2, nil, "b"}, {3, 2, 1, nil, "c"}, {0, 1, 1, []string{"a", "b"}, "c"}, {0, 0, 0, []string{"a", "b", "c"}, ""},
	} {
		load(tc.a, tc.b, tc.c)
		if best, ok := tab.pick(&live, targets, tc.tried, 0, time.Now); best.ReplicaID != tc.want || ok == (tc.want == "") {
			t.Errorf("%+v: picked %q", tc, best.ReplicaID)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Hash: hashKey, Now: time.Now})
		if _, err := g.Authenticate(keyText, ""); berth.CodeOf(err) != berth.CodeUnauthenticated {
			t.Errorf("before the first snapshot: %v", err)
		}
		s := snapshotOf()
		s.Keys[hashKey(keyText)].ExpiresAt = time.Now().Add(time.Minute)
		s.Keys[hashKey("sk-mixed-up")] = s.Keys[hashKey(keyText)]
		g.Swap(s)
		entry, err := g.Authenticate(keyText, "")
		if err != nil || entry.Caller.KeyID != "key_1" {
			t.Errorf("a good key: %v", err)
		}
		for token, want := range map[string]string{"": "No API-key provided.", "sk-x": "Invalid API-key provided.", "sk-mixed-up": "Invalid API-key provided."} {
			if _, err := g.Authenticate(token, ""); err == nil || err.Error() != want || berth.CodeOf(err) != berth.CodeUnauthenticated {
				t.Errorf("%q: %v", token, err)
			}
		}
		time.Sleep(time.Minute) // in the bubble
		if _, err := g.Authenticate(keyText, ""); err == nil {
			t.Error("an expired key passes")
		}
		g.Close()
	})
}

func TestKeysBoundToDeployments(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for list, want := range map[string]int{"dep_1": 200, "dep_2": 403} {
		s := snapshotOf(h.route)
		s.Keys[hashKey(keyText)].Deployments = []string{list}
		h.Swap(s)
		if got := h.post(t, chatPath, chat("x")); got.status != want {
			t.Errorf("a key for %s got %d", list, got.status)
		}
		if got := h.do(t, http.MethodGet, "/v1/models", ""); strings.Contains(got.body, deployed) != (want == 200) {
			t.Errorf("a key for %s sees %s", list, got.body)
		}
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	stopped, foreign, slash := *h.route, *h.route, *h.route
	stopped.DeployedModel, stopped.Status = "stopped", berth.StatusStopped
	foreign.DeployedModel, foreign.WorkspaceID = "foreign", "llm-bbbbbbbb"
	slash.DeployedModel = "a/b"
	h.Swap(snapshotOf(h.route, &stopped, &foreign, &slash))

	entry := func(id string) string {
		return `{"id":"` + id + `","object":"model","created":1790000000,"owned_by":"` + workspace + `","model":"` + id + `"}`
	}
	for path, want := range map[string]string{
		"/v1/models":                                   `{"object":"list","data":[` + entry("a/b") + `,` + entry(deployed) + `]}`,
		"/compatible-mode/v1/models/":                  `{"object":"list","data":[` + entry("a/b") + `,` + entry(deployed) + `]}`,
		"/v1/models/" + deployed:                       entry(deployed),
		"/compatible-mode/v1/models/" + deployed + "/": entry(deployed),
		"/v1/models/a%2Fb":                             entry("a/b"),
	} {
		if got := h.do(t, http.MethodGet, path, ""); got.status != 200 || got.body != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for _, name := range []string{"stopped", "foreign", "nothing"} {
		got := h.do(t, http.MethodGet, "/v1/models/"+name, "")
		if got.status != 404 || at(got.json(t), "error", "code") != "model_not_found" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := h.do(t, http.MethodGet, "/v1/models", "", "Authorization: Bearer sk-nobody"); got.status != 401 {
		t.Errorf("without a good key: %d", got.status)
	}
	if got := h.do(t, http.MethodDelete, "/v1/models/"+deployed, ""); got.status != 400 {
		t.Errorf("DELETE: %d", got.status)
	}
	if got := h.do(t, http.MethodGet, "/v1/models", "", "Authorization: Bearer "+otherKey); !strings.Contains(got.body, "foreign") || strings.Contains(got.body, deployed) {
		t.Errorf("the other workspace sees %s", got.body)
	}
}

func TestChatURL(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"http://127.0.0.1:9001":              "http://127.0.0.1:9001/v1/chat/completions",
		"http://127.0.0.1:9001/":             "http://127.0.0.1:9001/v1/chat/completions",
		"https://example.com/api/v3":         "https://example.com/api/v3/chat/completions",
		"https://example.com/compatible/v1/": "https://example.com/compatible/v1/chat/completions",
	} {
		if got := chatting.url(base); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
}
