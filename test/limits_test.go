package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berthhq/berth/api"
)

// 200 calls at once that declare their largest output, on a limit that has room for some:
// not a token beyond the limit is used, and what fits is admitted.
func TestABurstOfDeclaredCallsNeverOvershoots(t *testing.T) {
	t.Parallel()
	const perMinute, calls = 2000, 200
	script := filepath.Join(t.TempDir(), "script.json")
	must(t, os.WriteFile(script, []byte(`{"prompt_tokens":{"per_call":30,"per_message":10,"per_word":2}}`), 0o600))
	b := inProcess(t, "models: {m: {path: "+script+", engine: fake, plans: [mu]}}\n")
	d := one("m")
	d.TPMLimit = ptr(int64(perMinute))
	name := b.running(t, d).DeployedModel

	var mu sync.Mutex
	var admitted, refused int
	var used int64
	var burst sync.WaitGroup
	for i := range calls {
		burst.Go(func() {
			most := 1 + i%40
			got := b.send(t, "POST", "/v1/chat/completions", fmt.Sprintf(
				`{"model":%q,"messages":[{"role":"user","content":"count to %d"}],"max_tokens":%d}`, name, 1+i%60, most))
			mu.Lock()
			defer mu.Unlock()
			switch got.status {
			case http.StatusOK:
				var answer struct {
					Usage struct {
						Total int64 `json:"total_tokens"`
					} `json:"usage"`
				}
				if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
					t.Error(err)
				}
				admitted, used = admitted+1, used+answer.Usage.Total
			case http.StatusTooManyRequests:
				refused++
				// conformance 107
				if wait, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 || !strings.Contains(got.body, "insufficient_quota") {
					t.Errorf("refused with Retry-After %q: %s", got.header.Get("Retry-After"), got.body)
				}
			default:
				t.Errorf("answered %d: %s", got.status, got.body)
			}
		})
	}
	burst.Wait()
	t.Logf("%d admitted, %d refused, %d of %d tokens used", admitted, refused, used, perMinute)
	if used > perMinute || admitted == 0 || refused == 0 || admitted+refused != calls {
		t.Errorf("%d admitted, %d refused, %d of %d tokens used", admitted, refused, used, perMinute)
	}
	// What is left is less than the smallest calls ask for: it was not refused for nothing.
	if left := perMinute - used; left > 150 {
		t.Errorf("%d tokens are left", left)
	}
	e, err := b.Explain(t.Context(), name)
	must(t, err)
	if len(e.Limits) != 1 || e.Limits[0].Dimension != "tokens" || e.Limits[0].Used != used {
		t.Errorf("explained as %+v, used are %d", e, used)
	}
}

// conformance 110
// A changed limit holds from the next call on, up and down, and only for its deployment.
func TestAChangedLimitHoldsFromTheNextCall(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "models: {m: {engine: fake, path: "+emptyScript(t)+", plans: [mu]}}\n")
	first, second := one("m"), one("m")
	first.Suffix, second.Suffix = "first", "second"
	name := b.running(t, first).DeployedModel
	other := b.running(t, second).DeployedModel
	call := func(name string, want int) answer {
		t.Helper()
		got := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+name+`","messages":[{"role":"user","content":"1+1"}],"max_tokens":4}`)
		if got.status != want {
			t.Fatalf("%s answers %d, want %d: %s", name, got.status, want, got.body)
		}
		return got
	}
	limit := func(rpm int64) {
		t.Helper()
		_, err := b.UpdateDeployment(t.Context(), name, api.ChangeDeployment{RPMLimit: &rpm})
		must(t, err)
	}
	call(name, http.StatusOK)
	limit(2)
	if got := call(name, http.StatusOK).header; got.Get("X-Ratelimit-Limit-Requests") != "2" {
		t.Errorf("headers %v", got)
	}
	call(name, http.StatusOK)
	call(name, http.StatusTooManyRequests)
	call(other, http.StatusOK)
	limit(4)
	if got := call(name, http.StatusOK).header; got.Get("X-Ratelimit-Remaining-Requests") != "1" {
		t.Errorf("headers %v", got)
	}
	limit(1)
	call(name, http.StatusTooManyRequests)
	limit(0)
	call(name, http.StatusOK)
}

func emptyScript(t *testing.T) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script.json")
	must(t, os.WriteFile(script, []byte(`{}`), 0o600))
	return script
}

// What explain says of a deployment that shares a pool, and of one that does not.
func TestExplainOfAPool(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "models: {m: {engine: fake, path: "+emptyScript(t)+", plans: [mu, ptu], calibration: {input_tpm: 600000, output_tpm: 60000}}}\n")
	reserved := b.running(t, api.CreateDeployment{
		ModelName: "m", Plan: api.PlanPTU, PTU: &api.PTUCapacity{InputTPM: 60_000, OutputTPM: 6000}, Suffix: "reserved",
	}).DeployedModel
	dedicated := b.running(t, one("m")).DeployedModel
	for range 2 { // before the first call, and after it
		e, err := b.Explain(t.Context(), reserved)
		must(t, err)
		q := e.Queue
		if q == nil || len(q.Lines) != 2 || len(q.Replicas) != 1 || len(e.Refusals) != 0 {
			t.Fatalf("explained as %+v", e)
		}
		if l := q.Lines[0]; l.Class != "guaranteed" || l.Waiting+l.Own+l.ExpectedWaitMS != 0 || l.Since != nil || q.Lines[1].Class != "best_effort" {
			t.Errorf("lines %+v", q.Lines)
		}
		if r := q.Replicas[0]; r.Lane != "mixed" || r.Slots < 2 || r.GuaranteedSlots < 1 || r.Busy != 0 || r.Group != nil || r.ID != e.Replicas[0].ID {
			t.Errorf("replica %+v, of %+v", r, e.Replicas)
		}
		b.send(t, "POST", "/v1/chat/completions", `{"model":"`+reserved+`","messages":[{"role":"user","content":"1+1"}],"max_tokens":4}`)
	}
	e, err := b.Explain(t.Context(), dedicated)
	must(t, err)
	if e.Queue != nil {
		t.Errorf("a deployment with replicas of its own: %+v", e.Queue)
	}
}
