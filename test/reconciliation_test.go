package test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// reconciled returns all rows of a server.
func (b *berth) reconciled(t testing.TB) (all []api.ReconciliationRow) {
	t.Helper()
	for cursor := ""; ; {
		page, err := b.Reconciliation(t.Context(), api.ReconciliationFilter{}, cursor)
		must(t, err)
		all = append(all, page.Rows...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// addUp adds rows up.
func addUp(rows []api.ReconciliationRow) (sum api.ReconciliationRow) {
	for _, r := range rows {
		sum.EngineInputTokens += r.EngineInputTokens
		sum.EngineOutputTokens += r.EngineOutputTokens
		sum.RecordedInputTokens += r.RecordedInputTokens
		sum.RecordedOutputTokens += r.RecordedOutputTokens
		sum.ProbeInputTokens += r.ProbeInputTokens
		sum.ProbeOutputTokens += r.ProbeOutputTokens
		sum.UnbilledInputTokens += r.UnbilledInputTokens
		sum.UnbilledOutputTokens += r.UnbilledOutputTokens
		sum.ExplainedInputTokens += r.ExplainedInputTokens
		sum.ExplainedOutputTokens += r.ExplainedOutputTokens
		sum.UnderWayInputTokens += r.UnderWayInputTokens
		sum.UnderWayOutputTokens += r.UnderWayOutputTokens
		sum.UnreadInputTokens += r.UnreadInputTokens
		sum.UnreadOutputTokens += r.UnreadOutputTokens
		sum.UnexplainedInputTokens += r.UnexplainedInputTokens
		sum.UnexplainedOutputTokens += r.UnexplainedOutputTokens
		sum.InexactCalls += r.InexactCalls
		sum.Unexplained += r.Unexplained
	}
	return sum
}

// agrees reports whether engines and records agree, with nothing under way.
func agrees(sum api.ReconciliationRow) bool {
	return sum.Unexplained == 0 && sum.UnderWayInputTokens == 0 && sum.UnderWayOutputTokens == 0
}

// Real engines count every token of every kind of call as it is recorded, what Berth asked
// them itself among them; of a caller that left, what they went on to make is explained.
func TestCountersOfARealEngineMeetTheRecords(t *testing.T) {
	t.Parallel()
	countersMeetRecords(t, withProcesses(t, abacusYAML(t)))
}

func TestCountersOfVLLMMeetTheRecords(t *testing.T) {
	countersMeetRecords(t, withProcesses(t, vllmYAML(t)))
}

func countersMeetRecords(t *testing.T, b *berth) {
	mu := b.running(t, api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	lora := b.running(t, api.CreateDeployment{ModelName: "abacus-words", Plan: "lora", Capacity: ptr(int64(1))})
	var want api.ReconciliationRow
	until(t, "what was asked at the start is recorded", func() bool {
		want = addUp(b.reconciled(t))
		return want.ProbeOutputTokens >= 2 && agrees(want) && want.EngineOutputTokens == want.ProbeOutputTokens
	})
	calls := 0
	for _, name := range []string{mu.DeployedModel, lora.DeployedModel} {
		for _, body := range []string{
			`"messages":[{"role":"user","content":"37+85"}]`,
			`"messages":[{"role":"user","content":"37+85"}],"stream":true`,
			`"messages":[{"role":"user","content":"count to 9"}],"max_tokens":5`,
			`"messages":[{"role":"user","content":"12+13"}],"n":2,"temperature":1,"stream":true`,
			`"messages":[{"role":"user","content":"12+13"}],"n":2,"temperature":1`,
		} {
			if got := b.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"`+name+`",`+body+`}`); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			calls++
		}
	}
	check := func(what string) api.ReconciliationRow {
		t.Helper()
		var sum api.ReconciliationRow
		until(t, what, func() bool {
			var input, output int64
			records := b.allRecords(t)
			for _, r := range records {
				input, output = input+r.InputTokens, output+r.OutputTokens
			}
			sum = addUp(b.reconciled(t))
			return len(records) >= calls && sum.RecordedInputTokens == input+sum.ProbeInputTokens && sum.RecordedOutputTokens == output+sum.ProbeOutputTokens &&
				sum.EngineInputTokens == sum.RecordedInputTokens+sum.ExplainedInputTokens &&
				sum.EngineOutputTokens == sum.RecordedOutputTokens+sum.ExplainedOutputTokens && sum.UnderWayOutputTokens == 0
		})
		if sum.Unexplained != 0 {
			t.Errorf("%s: unexplained: %+v", what, b.reconciled(t))
		}
		return sum
	}
	if sum := check("whole answers agree"); sum.ExplainedOutputTokens != 0 || sum.ExplainedInputTokens != 0 || sum.InexactCalls != 0 || sum.EngineOutputTokens <= want.EngineOutputTokens {
		t.Errorf("something had to be explained: %+v", sum)
	}

	// given callers that leave plain calls in the middle, until the engine had begun with one
	patience := 0 * time.Millisecond
	until(t, "what a caller left is explained", func() bool {
		if patience += 5 * time.Millisecond; patience > 200*time.Millisecond {
			patience = 5 * time.Millisecond
		}
		b.leaves(t, `{"model":"`+mu.DeployedModel+`","messages":[{"role":"user","content":"count to 60"}],"max_tokens":400}`, patience)
		return check("what it made is explained").ExplainedOutputTokens > 0
	})
	for _, r := range b.allRecords(t) {
		gone, known := r.End == "client_gone", r.Source == "engine" // one may leave behind the engine's last token
		if gone == r.Billable || !known && (!gone || r.Source != "unknown" || r.OutputTokens != 0) {
			t.Errorf("%+v", r)
		}
	}
}

// leaves makes a call and goes away if it is not answered in time.
func (b *berth) leaves(t testing.TB, body string, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.BaseURL+"/v1/chat/completions", strings.NewReader(body))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+b.Key)
	response, err := b.HTTP.Do(request)
	if err != nil {
		return
	}
	if text, err := io.ReadAll(response.Body); err == nil && response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", response.StatusCode, text)
	}
	_ = response.Body.Close()
}

// What is unexplained is an alarm everywhere: a row, a metric, a warning and an error in the
// log, once. Here an engine reports other figures than it counts.
func TestWhatIsUnexplainedIsSaid(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "scrape.key")
	must(t, os.WriteFile(key, []byte("a-key-to-scrape-with\n"), 0o600))
	b := inProcess(t, fakeYAML(t, map[string]string{"liar": `{"faults":[{"kind":"wrong_usage","match":"lie"}]}`})+"metrics: {key_file: "+key+"}\n")
	d := b.running(t, one("liar"))
	scrape := func() string {
		got := b.send(t, http.MethodGet, "/metrics", "", "Authorization", "Bearer a-key-to-scrape-with")
		if got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return got.body
	}
	b.ask(t, d.DeployedModel, "37+85")
	until(t, "the call is compared", func() bool { sum := addUp(b.reconciled(t)); return sum.EngineOutputTokens == 1 && agrees(sum) })
	if text := scrape(); !strings.Contains(text, "\nberth_unexplained_tokens 0\n") || !strings.Contains(text, `berth_calls_total{class="dedicated",end="stop"} 1`) ||
		!strings.Contains(text, `berth_replicas{state="ready"} 1`) {
		t.Error(text)
	}
	if got := b.send(t, http.MethodGet, "/readyz", ""); strings.Contains(got.body, "warnings") {
		t.Error(got.body)
	}
	b.ask(t, d.DeployedModel, "lie") // 1,000 tokens too many, in and out
	until(t, "it shows", func() bool { return addUp(b.reconciled(t)).Unexplained == 2000 })
	page, err := b.Reconciliation(t.Context(), api.ReconciliationFilter{Unexplained: true}, "")
	must(t, err)
	if len(page.Rows) != 1 || page.Rows[0].UnexplainedInputTokens != -1000 || page.Rows[0].UnexplainedOutputTokens != -1000 || page.Rows[0].DeployedModels[0] != d.DeployedModel {
		t.Errorf("%+v", page.Rows)
	}
	until(t, "it is a metric and a warning", func() bool {
		return strings.Contains(scrape(), "\nberth_unexplained_tokens 2000\n") && strings.Contains(b.send(t, http.MethodGet, "/readyz", "").body, "differ by 2000 tokens")
	})
	b.ask(t, d.DeployedModel, "lie again")
	until(t, "it shows again", func() bool { return addUp(b.reconciled(t)).Unexplained == 4000 })
	if n := strings.Count(b.log.String(), "nothing explains it; see berth reconciliation"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if got := b.send(t, http.MethodGet, "/berth/v1/usage", "", "Authorization", "Bearer a-key-to-scrape-with"); got.status != http.StatusUnauthorized {
		t.Errorf("the scrape key does more: %d", got.status)
	}
}
