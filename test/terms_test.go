package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berthhq/berth/api"
)

const termsYAML = `models:
  m:
    engine: fake
    path: %s
    plans: [ptu]
    calibration: {input_tpm: 600000, output_tpm: 60000}
    ptu: {cache_factor: 0.25, max_input: 60, long_input: {40: {input: 1.5, output: 2}}}
`

// reserved deploys what serves within its reservation only, with 20 tokens of each prompt in
// the cache and a token of prompt for each word.
func reserved(t *testing.T, yaml string, input, output int64) (*berth, string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script.json")
	must(t, os.WriteFile(script, []byte(`{"prompt_tokens":{"per_call":10,"per_word":1},"cached_tokens":20,"reply":"a b c"}`), 0o600))
	b := inProcess(t, fmt.Sprintf(yaml, script))
	d := b.running(t, api.CreateDeployment{ModelName: "m", Plan: api.PlanPTU, PTU: &api.PTUCapacity{InputTPM: input, OutputTPM: output}})
	_, err := b.SetOverflow(t.Context(), d.DeployedModel, "disable")
	must(t, err)
	return b, d.DeployedModel
}

func (b *berth) words(t *testing.T, name string, n int) answer {
	t.Helper()
	return b.send(t, "POST", "/v1/chat/completions", fmt.Sprintf(
		`{"model":%q,"messages":[{"role":"user","content":%q}],"max_tokens":3}`, name, strings.Repeat("a ", n)))
}

// conformance 113
// conformance 115
// Tokens count against a reservation by the terms of the model's entry, records have them as
// they were, and an input that is too long is overflow though overflow is not wanted.
func TestReservedTokensCountByTheTermsOfTheModel(t *testing.T) {
	t.Parallel()
	b, name := reserved(t, termsYAML, 1000, 100)
	provisioned := func(got answer) (in, out int64) {
		t.Helper()
		var a struct {
			Usage struct {
				In struct {
					Provisioned int64 `json:"provisioned_tokens"`
				} `json:"prompt_tokens_details"`
				Out struct {
					Provisioned int64 `json:"provisioned_tokens"`
				} `json:"completion_tokens_details"`
			} `json:"usage"`
		}
		must(t, json.Unmarshal([]byte(got.body), &a))
		return a.Usage.In.Provisioned, a.Usage.Out.Provisioned
	}
	used := func() (in, out int64) {
		t.Helper()
		e, err := b.Explain(t.Context(), name)
		must(t, err)
		if len(e.Limits) != 2 || e.PTU == nil || e.PTU.MaxInput != 60 || e.PTU.CacheFactor != 0.25 || e.PTU.LongInput[0] != (api.LongInput{Above: 40, Input: 1.5, Output: 2}) {
			t.Fatalf("explained as %+v", e)
		}
		return e.Limits[0].Used, e.Limits[1].Used
	}
	var sumIn, sumOut int64
	for _, c := range []struct{ words, in, out int64 }{
		{20, 5 + 10, 3},      // 20 cached × 0.25, 10 not
		{50, 5 + 20 + 30, 6}, // and 20 beyond 40 × 1.5
	} {
		got := b.words(t, name, int(c.words))
		in, out := provisioned(got)
		if got.status != http.StatusOK || in != c.in || out != c.out || !strings.Contains(got.body, "ptu-standard") {
			t.Errorf("%d words: %d, %s; want %d and %d tokens", c.words, got.status, got.body, c.in, c.out)
		}
		sumIn, sumOut = sumIn+in, sumOut+out
		if in, out := used(); in != sumIn || out != sumOut {
			t.Errorf("%d words: used are %d and %d, want %d and %d", c.words, in, out, sumIn, sumOut)
		}
	}
	if got := b.words(t, name, 51); got.status != http.StatusOK || got.header.Get("X-Dashscope-Ptu-Overflow") != "true" || strings.Contains(got.body, "ptu-standard") {
		t.Errorf("too long: %d %v %s", got.status, got.header, got.body)
	}
	if in, out := used(); in != sumIn || out != sumOut {
		t.Errorf("too long: used are %d and %d", in, out)
	}
	records := b.records(t, name, 3)
	for i, want := range []api.UsageRecord{
		{InputTokens: 30, CachedTokens: 20, OutputTokens: 3, Class: "reserved"}, {InputTokens: 60, CachedTokens: 20, OutputTokens: 3, Class: "reserved"},
		{InputTokens: 61, CachedTokens: 20, OutputTokens: 3, Class: "overflow"},
	} {
		if r := records[i]; r.InputTokens != want.InputTokens || r.CachedTokens != want.CachedTokens || r.OutputTokens != want.OutputTokens || r.Class != want.Class {
			t.Errorf("record %d is %+v", i, r)
		}
	}
	m, err := b.GetModel(t.Context(), "m")
	must(t, err)
	if m.PTU == nil || m.PTU.MaxInput != 60 || len(m.PTU.LongInput) != 1 {
		t.Errorf("the model is shown with %+v", m.PTU)
	}
}

// conformance 113
// Calls at once on a small reservation never use more of it than there is, by the factors.
func TestABurstOnAReservationNeverOvershootsByItsFactors(t *testing.T) {
	t.Parallel()
	const input, output = 600, 60
	b, name := reserved(t, termsYAML, input, output)
	var mu sync.Mutex
	var admitted, refused int
	var burst sync.WaitGroup
	for i := range 100 {
		burst.Go(func() {
			got := b.words(t, name, 20+i%30)
			mu.Lock()
			defer mu.Unlock()
			switch got.status {
			case http.StatusOK:
				admitted++
			case http.StatusTooManyRequests:
				refused++
			default:
				t.Errorf("answered %d: %s", got.status, got.body)
			}
		})
	}
	burst.Wait()
	e, err := b.Explain(t.Context(), name)
	must(t, err)
	if len(e.Limits) != 2 || e.Limits[0].Used > input || e.Limits[1].Used > output || admitted == 0 || refused == 0 || admitted+refused != 100 {
		t.Errorf("%d admitted, %d refused: %+v", admitted, refused, e.Limits)
	}
}

// The terms of a model follow its entry at each start, and so do its deployments.
func TestTermsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	b, name := reserved(t, termsYAML, 1000, 100)
	b.yaml = strings.Replace(b.yaml, "cache_factor: 0.25, max_input: 60", "max_input: 30", 1)
	again := b.restart(t)
	e, err := again.Explain(t.Context(), name)
	must(t, err)
	if e.PTU == nil || e.PTU.MaxInput != 30 || e.PTU.CacheFactor != 0 {
		t.Errorf("explained as %+v", e.PTU)
	}
}
