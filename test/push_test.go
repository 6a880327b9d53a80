package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
)

const pushSecret = "whsec_bm90IGEgcmVhbCBzZWNyZXQsIG9ubHkgMzIh"

// meterServer receives pushed events. It can go away and come back on its port.
type meterServer struct {
	t       testing.TB
	address string
	server  *http.Server
	hook    *webhooks.Webhook

	mu    sync.Mutex
	fail  func(n int) int // status of the n-th message, 0: it hangs
	n     int
	taken [][]string // ids of the messages that were taken
	kinds map[string]string
	hung  int
}

func newMeterServer(t testing.TB) *meterServer {
	t.Helper()
	hook, err := webhooks.NewWebhook(pushSecret)
	must(t, err)
	m := &meterServer{t: t, address: "127.0.0.1:0", hook: hook, kinds: map[string]string{}, fail: func(int) int { return http.StatusOK }}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *meterServer) start() {
	l, err := net.Listen("tcp", m.address)
	must(m.t, err)
	m.address = l.Addr().String()
	m.server = &http.Server{Handler: m}
	go func(s *http.Server) { _ = s.Serve(l) }(m.server) // it ends with stop
}

func (m *meterServer) stop() { _ = m.server.Close() } // an error means that it is closed

func (m *meterServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // Berth was killed
	}
	var events []struct {
		ID, Type, Subject string
		Data              map[string]any
	}
	if err := json.Unmarshal(body, &events); err != nil {
		m.t.Errorf("%s: %v", body, err)
	}
	if err := m.hook.Verify(body, r.Header); err != nil {
		m.t.Errorf("the signature: %v", err)
	}
	if strings.Contains(string(body), "count to") {
		m.t.Errorf("a prompt was pushed: %s", body)
	}
	m.mu.Lock()
	m.n++
	status := m.fail(m.n)
	if status == http.StatusOK {
		var ids []string
		for _, e := range events {
			ids = append(ids, e.ID)
			m.kinds[e.ID] = e.Type
		}
		m.taken = append(m.taken, ids)
	}
	if status == 0 {
		m.hung++
	}
	m.mu.Unlock()
	if status == 0 {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(status)
}

func (m *meterServer) failing(fail func(n int) int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.n = fail, 0
}

// has returns the type of each event that was taken.
func (m *meterServer) has() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]string, len(m.kinds))
	for id, kind := range m.kinds {
		all[id] = kind
	}
	return all
}

// judge holds what was taken against the rule: a message either goes on, or begins with one
// that was taken and not noted before Berth ended.
func (m *meterServer) judge(t testing.TB) (repeats int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var order []string
	at := map[string]int{}
	for _, ids := range m.taken {
		var old []int
		for _, id := range ids {
			if n, seen := at[id]; seen {
				old = append(old, n)
				continue
			}
			at[id] = len(order)
			order = append(order, id)
		}
		if !slices.IsSorted(old) {
			t.Errorf("events came again in another order: %v", ids)
		}
		repeats += len(old)
	}
	return repeats
}

// Whatever happens to the receiver and to Berth, every record and every event arrives, in
// the order in which they were written, and a caller notices nothing.
func TestPushSurvivesReceiversAndKills(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	e := newSurvivor(t, fakeengine.Script{TokensPerSecond: 300})
	m := newMeterServer(t)
	yaml := e.yaml + fmt.Sprintf("push: {url: 'http://%s/events', secret: %s, batch: 7, timeout: 1s}\n", m.address, pushSecret)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	c := &caller{client: &http.Client{Transport: transport}, random: rand.New(rand.NewPCG(5, 6)), complete: map[string]told{}, made: map[string]bool{}}
	s := p.serve(t, yaml)
	c.model, c.key = s.berth.running(t, one("far")).DeployedModel, s.Key
	load := func(what string, enough func() bool) {
		t.Helper()
		c.url = s.BaseURL
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { c.run(ctx, []string{"plain", "streamed", "cancelled"}) })
		}
		have := len(c.snapshot())
		until(t, what, func() bool { return len(c.snapshot()) > have+5 && enough() })
		cancel()
		all.Wait()
	}
	load("it takes events", func() bool { return len(m.has()) > 5 })
	m.failing(func(n int) int { return []int{500, 0, 503, 200}[min(n-1, 3)] })
	load("it took events after failures", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.n > 4 && m.hung > 0 })
	m.stop()
	load("it is away", func() bool { state, err := s.Push(t.Context()); return err == nil && state.State == api.PushFailing })
	state, err := s.Push(t.Context())
	if err != nil || state.WaitingRecords == 0 || state.Reason == "" || state.NextAt == nil {
		t.Errorf("%+v, %v", state, err)
	}
	figures := s.send(t, http.MethodGet, "/metrics", "").body
	for _, want := range []string{"berth_push_failing 1\n", `berth_push_messages_total{outcome="unanswered"} `, `berth_push_messages_total{outcome="put_off"} `, "berth_push_lost_events_total 0\n"} {
		if !strings.Contains(figures, want) {
			t.Errorf("/metrics does not have %s: %s", want, figures)
		}
	}
	for _, zero := range []string{`berth_push_waiting_events{kind="record"} 0` + "\n", "berth_push_behind_seconds 0\n", `{outcome="unanswered"} 0` + "\n", `{outcome="taken"} 0` + "\n"} {
		if strings.Contains(figures, zero) {
			t.Errorf("/metrics has %s: %s", zero, figures)
		}
	}
	if got := p.run(t, "", "push", "--data", s.data); got.code != 0 || !strings.Contains(got.out, "failing") {
		t.Errorf("berth push: %d %s%s", got.code, got.out, got.err)
	}
	if got := p.run(t, "", "doctor", "--config", p.dir+"/berth.yaml", "--data", s.data); !strings.Contains(got.out, "push") || !strings.Contains(got.out, "cannot be reached") {
		t.Errorf("berth doctor: %s%s", got.out, got.err)
	}
	for range 3 { // killed while it is away, and while it takes
		s.signal(t, syscall.SIGKILL)
		transport.CloseIdleConnections()
		s = p.serve(t, yaml)
		s.berth.waitsFor(t, c.model)
		if m.server != nil {
			m.stop()
		}
		m.failing(func(int) int { return http.StatusOK })
		m.start()
		load("it takes events again", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.n > 1 })
	}
	var list []api.UsageRecord
	until(t, "every record has arrived", func() bool {
		if list = s.allRecords(t); !recorded(list, c.snapshot()) {
			return false
		}
		has := m.has()
		return !slices.ContainsFunc(list, func(r api.UsageRecord) bool { return has[r.ID] == "" })
	})
	has := m.has()
	kinds := map[string]int{}
	for _, r := range list {
		want := "berth.usage.unbilled"
		if r.Billable {
			want = "berth.usage.record"
		}
		if has[r.ID] != want {
			t.Errorf("record %s arrived as %s, want %s", r.ID, has[r.ID], want)
		}
	}
	for _, kind := range has {
		kinds[kind]++
	}
	if kinds["berth.usage.record"]+kinds["berth.usage.unbilled"] != len(list) || kinds["berth.deployment.status"] < 2 {
		t.Errorf("%d records, arrived %v", len(list), kinds)
	}
	events, err := s.Events(t.Context(), c.model, "")
	must(t, err)
	for _, e := range events.Events {
		if has[e.ID] != "berth.deployment.status" {
			t.Errorf("event %s (%s) arrived as %q", e.ID, e.Reason, has[e.ID])
		}
	}
	t.Logf("%d records and %v arrived, %d came twice", len(list), kinds, m.judge(t))
	until(t, "nothing waits", func() bool {
		state, err := s.Push(t.Context())
		return err == nil && state.State == api.PushDelivering && state.WaitingEvents == 0
	})
}
