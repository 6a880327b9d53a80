package gateway

import (
	"net/http"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// scenario is a request and what must happen.
type scenario struct {
	plan    plan
	method  string // "": POST
	path    string
	body    string
	headers []string

	status  int
	header  map[string]string // "": must be absent
	want    map[string]any    // JSON values by path, as "output.choices.0.message.content"
	holds   []string          // pieces of the body
	lacks   []string
	engine  []string // pieces of the body that the engine got
	unasked bool     // the engine got no call

	record func(*testing.T, berth.UsageRecord) // nil: there must be none
}

// ended returns a check of a record.
func ended(end berth.End, status int, more ...func(*testing.T, berth.UsageRecord)) func(*testing.T, berth.UsageRecord) {
	return func(t *testing.T, r berth.UsageRecord) {
		t.Helper()
		if r.End != end || r.HTTPStatus != status {
			t.Errorf("record ends %s with %d, want %s with %d", r.End, r.HTTPStatus, end, status)
		}
		for _, check := range more {
			check(t, r)
		}
	}
}

func tokens(input, output, thinking int64) func(*testing.T, berth.UsageRecord) {
	return func(t *testing.T, r berth.UsageRecord) {
		t.Helper()
		if r.InputTokens != input || r.OutputTokens != output || r.ThinkingTokens != thinking {
			t.Errorf("tokens in/out/thinking are %d/%d/%d, want %d/%d/%d",
				r.InputTokens, r.OutputTokens, r.ThinkingTokens, input, output, thinking)
		}
	}
}

func source(source berth.Source, billable bool) func(*testing.T, berth.UsageRecord) {
	return func(t *testing.T, r berth.UsageRecord) {
		t.Helper()
		if r.Source != source || r.Billable != billable {
			t.Errorf("figures are from %s, billable %v; want %s, %v", r.Source, r.Billable, source, billable)
		}
	}
}

func class(c berth.Class) func(*testing.T, berth.UsageRecord) {
	return func(t *testing.T, r berth.UsageRecord) {
		t.Helper()
		if r.Class != c {
			t.Errorf("class is %s, want %s", r.Class, c)
		}
	}
}

func (s scenario) run(t *testing.T) {
	h := open(t, s.plan)
	method := s.method
	if method == "" {
		method = http.MethodPost
	}
	got := h.do(t, method, s.path, s.body, s.headers...)
	if got.status != s.status {
		t.Fatalf("status %d, want %d: %s", got.status, s.status, got.body)
	}
	s.checkAnswer(t, got)
	s.checkEngine(t, h)
	h.Close() // every call has settled
	if opened, closed := h.meter.counts(); opened != closed {
		t.Errorf("%d calls were opened and %d of them closed", opened, closed)
	}
	switch {
	case s.record == nil && len(h.meter.records) > 0:
		t.Errorf("unexpected record %+v", h.meter.records[0])
	case s.record != nil && len(h.meter.records) != 1:
		t.Errorf("%d records", len(h.meter.records))
	case s.record != nil:
		s.record(t, h.meter.records[0])
	}
	if n := h.InFlight("", ""); n != 0 {
		t.Errorf("%d calls still count as in flight", n)
	}
	if log := h.log.String(); strings.Contains(log, "count to") || strings.Contains(log, keyText) {
		t.Errorf("the log has content: %s", log)
	}
}

func (s scenario) checkAnswer(t *testing.T, got result) {
	t.Helper()
	id := got.header.Get("X-Request-Id")
	if id == "" {
		t.Error("no x-request-id")
	}
	for name, want := range s.header {
		if v := got.header.Get(name); v != want {
			t.Errorf("header %s is %q, want %q", name, v, want)
		}
	}
	for _, piece := range s.holds {
		if !strings.Contains(got.body, piece) {
			t.Errorf("%q is missing in %s", piece, got.body)
		}
	}
	for _, piece := range s.lacks {
		if strings.Contains(got.body, piece) {
			t.Errorf("%q must not be in %s", piece, got.body)
		}
	}
	if !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
		return
	}
	body := got.json(t)
	for path, want := range s.want {
		if v := lookUpPath(body, path); v != want {
			t.Errorf("%s is %v, want %v in %s", path, v, want, got.body)
		}
	}
	if inBody, ok := body["request_id"]; ok && inBody != id { // conformance 142
		t.Errorf("request_id is %v, the header says %s", inBody, id)
	}
}

func (s scenario) checkEngine(t *testing.T, h *house) {
	t.Helper()
	calls, last := 0, ""
	for _, e := range h.engines {
		stats := e.Stats()
		calls += stats.Calls
		last += string(stats.LastBody)
	}
	if s.unasked && calls > 0 {
		t.Errorf("the engine got %s", last)
	}
	for _, piece := range s.engine {
		if !strings.Contains(last, piece) {
			t.Errorf("%q is missing in what the engine got: %s", piece, last)
		}
	}
}
