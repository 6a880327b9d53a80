package gateway

import (
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// Who is overdue, and who has spent a budget, is told so in the words of every dialect.
func TestAccountsThatCannotPay(t *testing.T) {
	t.Parallel()
	calls := map[string]string{
		nativePath: generation("37+85"), multimodalPath: generation("37+85"), chatPath: chat("37+85"), messagesPath: message("37+85"),
		"/v1/completions": `{"model":"` + deployed + `","prompt":"x"}`, "/v1/responses": `{"model":"` + deployed + `","input":"x"}`,
		"/v1/embeddings": `{"model":"` + deployed + `","input":"x"}`,
	}
	down := open(t, plan{route: status(berth.StatusArrearsDown)})
	broke := open(t, plan{})
	s := snapshotOf(broke.route)
	s.Stopped = map[string]time.Time{workspace: time.Now().Add(time.Hour)}
	broke.Swap(s)
	for path, body := range calls {
		says := []string{`"Arrearage"`, "make sure your account is in good standing"}
		if path == messagesPath {
			says[0] = `"type":"invalid_request_error"`
		}
		check(t, down.post(t, path, body), path, 400, says)
		says = []string{`"insufficient_quota"`, "The budget of workspace " + workspace + " for this month is spent."}
		switch path {
		case nativePath, multimodalPath:
			says[0] = `"Throttling.AllocationQuota"`
		case messagesPath:
			says[0] = `"type":"rate_limit_error"`
		}
		check(t, broke.post(t, path, body), path, 429, says)
	}
}

func check(t *testing.T, r result, path string, status int, says []string) {
	t.Helper()
	if r.status != status || r.header.Get("X-Should-Retry") != "false" || r.header.Get("Retry-After") != "" {
		t.Errorf("%s: %d %v", path, r.status, r.header)
	}
	for _, text := range says {
		if !strings.Contains(r.body, text) {
			t.Errorf("%s: no %q in %s", path, text, r.body)
		}
	}
}

// A budget holds until its month is over, for its own workspace, and stops no ptu call.
func TestBudgetsEndWithTheirMonth(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 31, 16, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		plan    berth.Plan
		at      time.Time
		other   bool
		refused bool
	}{
		"before the end of the month": {berth.PlanMU, now.Add(-1), false, true},
		"lora":                        {berth.PlanLoRA, now.Add(-1), false, true},
		"ptu":                         {berth.PlanPTU, now.Add(-1), false, false},
		"the next month":              {berth.PlanMU, now, false, false},
		"another workspace":           {berth.PlanMU, now.Add(-1), true, false},
	} {
		s := &berth.Snapshot{Stopped: map[string]time.Time{workspace: now}}
		route := &berth.Route{WorkspaceID: workspace, Plan: c.plan}
		if c.other {
			route.WorkspaceID = "llm-bbbbbbbb"
		}
		if err := withinBudget(s, route, c.at); (err != nil) != c.refused {
			t.Errorf("%s: %v", what, err)
		}
	}
}
