package gateway

import (
	"net/http"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// clumsy panics when it is asked how to say a call.
type clumsy struct{ llama }

func (clumsy) Fields(berth.EngineCall) []berth.Field { panic("of a programmer") }

func (clumsy) Traits() berth.EngineTraits { return berth.EngineTraits{} }

func (clumsy) Count(berth.EngineCall) (berth.EngineCount, bool) { panic("of a programmer") }

// conformance 142
func TestAPanicIsAnsweredSettledAndLogged(t *testing.T) {
	t.Parallel()
	h := open(t, plan{dialect: clumsy{}})
	for path, body := range map[string]string{chatPath: chat("x"), nativePath: generation("x")} {
		got := h.post(t, path, body, "X-Request-Id: mine")
		v := got.json(t)
		if got.status != http.StatusInternalServerError || v["request_id"] != "mine" || got.header.Get("X-Request-Id") != "mine" || strings.Contains(got.body, "programmer") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if n := h.InFlight("", ""); n != 0 {
		t.Errorf("%d calls are still inside", n)
	}
	if records := h.meter.records; len(records) != 2 || records[0].End != berth.EndEngineFailed || records[0].Billable {
		t.Errorf("records: %+v", records)
	}
	if log := h.log.String(); !strings.Contains(log, "of a programmer") || !strings.Contains(log, "panic_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
}

// conformance 144, 145: no 429 and no 503 leaves a client without advice.
func TestEveryRefusalThatWaitingMayCureSaysWhen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		f            *failure
		after, never string
	}{
		"passes":                  {fail(problemBusy).after(1), "1", ""},
		"passes late":             {fail(problemUnavailable).after(1 << 62), "60", ""},
		"nobody knows when":       {fail(problemBusy), "", "false"},
		"nothing comes up":        {fail(problemUnavailable), "", "false"},
		"of the domain":           {failureOf(berth.Errorf(berth.CodeThrottled, "x")), "", "false"},
		"a mistake":               {invalid("x"), "", ""},
		"a failure of the engine": {fail(problemEngine), "", ""},
	} {
		h := http.Header{}
		c.f.header(h)
		if h.Get("Retry-After") != c.after || h.Get("X-Should-Retry") != c.never {
			t.Errorf("%s: %v", name, h)
		}
	}
}
