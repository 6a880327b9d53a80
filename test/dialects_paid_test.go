package test

import (
	"context"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthhq/berth/api"
)

// tokenPrices are what the tokens of an adapter cost, by its base, in a ratio that leaves
// something to round.
var tokenPrices = map[string]int64{"input": 700, "cached": 100, "output": 5_000, "thinking": 11_000}

const pricedTokens = 3 // that they are for

// One call of each kind in each dialect, at llama.cpp: each has one record with the figures
// that its caller was told, and the month's statement comes to what these records cost when
// they are added up by hand, to the billionth. What was refused, and the plain call whose
// caller left, cost nothing.
// conformance 120, 122
func TestEveryDialectIsPaidForAlike(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	d := b.running(t, api.CreateDeployment{ModelName: "abacus-words", Plan: "lora"}).DeployedModel
	var book []api.SetPrice
	from := time.Now().Add(12 * time.Second).Truncate(time.Second)
	for dimension, nano := range tokenPrices {
		book = append(book, api.SetPrice{Plan: "lora", Model: "abacus", Dimension: dimension, PriceNano: ptr(nano), Per: pricedTokens, From: from.UTC().Format(time.RFC3339)})
	}
	_, err := b.SetPrices(t.Context(), book)
	must(t, err)
	until(t, "the prices hold", func() bool { return time.Now().After(from) })

	told := map[string]speech{} // by call
	for name, in := range tongues {
		for _, stream := range []bool{false, true} {
			for _, thinking := range []bool{false, true} {
				if in.mute && thinking {
					continue
				}
				id := uuid.NewString()
				told[id] = b.converseAs(t, id, in, d, "37+85", stream, thinking)
				if s := told[id]; s.output == 0 || s.input == 0 {
					t.Errorf("%s, stream %t: the caller was told %+v", name, stream, s)
				}
			}
		}
	}
	for _, more := range []string{`"max_tokens":1`, `"n":2`, `"stop":["answer"]`, `"logprobs":true`, `"stream":true,"n":2,"stream_options":{"include_usage":true}`, `"stream":true`} {
		id := uuid.NewString()
		got := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+d+`","temperature":0,"messages":[{"role":"user","content":"37+85"}],`+more+`}`, "X-Request-Id", id)
		var s speech
		for line := range strings.SplitSeq(strings.ReplaceAll(got.body, "data: [DONE]", ""), "\n") {
			if line = strings.TrimPrefix(line, "data: "); line != "" {
				hearOpenAI(t, line, &s)
			}
		}
		if got.status != http.StatusOK {
			t.Errorf("%s: %d %s", more, got.status, got.body)
		}
		told[id] = s
	}
	refused, left := uuid.NewString(), uuid.NewString()
	b.send(t, "POST", "/v1/chat/completions", `{"model":"`+d+`","messages":[{"role":"user","content":"x"}],"max_tokens":0}`, "X-Request-Id", refused)
	b.leavesAStream(t, left, d)

	records := map[string]api.UsageRecord{}
	for _, r := range b.records(t, d, len(told)+2) {
		records[r.CallID] = r
	}
	use := map[string]int64{}
	for id, s := range told {
		r := records[id]
		if !r.Billable || r.Source != "engine" || s.output > 0 && (r.InputTokens != s.input || r.OutputTokens != s.output) || r.OutputTokens == 0 {
			t.Errorf("the caller was told %+v, the record is %+v", s, r)
		}
		use["input"] += r.InputTokens - r.CachedTokens
		use["cached"] += r.CachedTokens
		use["output"] += r.OutputTokens - r.ThinkingTokens
		use["thinking"] += r.ThinkingTokens
	}
	if r := records[refused]; r.Billable || r.End != "refused" || r.InputTokens+r.OutputTokens != 0 {
		t.Errorf("refused: %+v", r)
	}
	if r := records[left]; !r.Billable || r.End == "refused" || r.OutputTokens == 0 { // the engine may have been faster
		t.Errorf("left: %+v", r)
	} else {
		use["input"] += r.InputTokens - r.CachedTokens
		use["cached"] += r.CachedTokens
		use["output"] += r.OutputTokens
	}
	b.costs(t, d, use)
}

// converseAs is converse with an id of the caller's own.
func (b *berth) converseAs(t testing.TB, id string, in tongue, model, question string, stream, thinking bool) (s speech) {
	t.Helper()
	headers := []string{"X-Request-Id", id}
	if stream {
		headers = append(headers, in.headers...)
	}
	got := b.send(t, "POST", in.path, in.body(model, question, stream, thinking), headers...)
	if got.status != http.StatusOK {
		t.Fatalf("%s: %d %s", in.path, got.status, got.body)
	}
	if !stream {
		in.hear(t, got.body, &s)
		return s
	}
	for line := range strings.SplitSeq(got.body, "\n") {
		if data, ok := strings.CutPrefix(line, "data:"); ok && strings.TrimSpace(data) != "[DONE]" {
			in.overhear(t, data, &s)
		}
	}
	return s
}

// leavesAStream begins a stream and goes in its middle.
func (b *berth) leavesAStream(t testing.TB, id, model string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := `{"model":"` + model + `","temperature":0,"stream":true,"max_tokens":400,"n":4,"messages":[{"role":"user","content":"count to 99"}]}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.BaseURL+"/v1/chat/completions", strings.NewReader(body))
	must(t, err)
	for name, v := range map[string]string{"Authorization": "Bearer " + b.Key, "Content-Type": "application/json", "X-Request-Id": id} {
		request.Header.Set(name, v)
	}
	response, err := b.transport.RoundTrip(request)
	must(t, err)
	defer response.Body.Close()
	if text := make([]byte, 1000); response.StatusCode == http.StatusOK {
		_, err = io.ReadFull(response.Body, text)
		must(t, err)
	}
}

// costs holds the lines of a deployment to tokens by dimension, and their sum, the ledger
// and what they open to with them.
func (b *berth) costs(t testing.TB, deployedModel string, use map[string]int64) {
	t.Helper()
	var st api.Statement
	quantities := func() map[string]int64 {
		var err error
		st, err = b.Statement(t.Context(), api.StatementQuery{})
		must(t, err)
		sums := map[string]int64{}
		for _, l := range st.Lines {
			if l.DeployedModel == deployedModel {
				sums[l.Dimension] += l.Quantity
			}
		}
		return sums
	}
	sums := quantities()
	for dimension, n := range use {
		if sums[dimension] != n {
			t.Errorf("%s: the statement says %d tokens, the records %d", dimension, sums[dimension], n)
		}
	}
	var total int64
	for _, l := range st.Lines {
		// price × quantity / per, half up
		n := new(big.Int).Mul(big.NewInt(tokenPrices[l.Dimension]), big.NewInt(l.Quantity))
		n.Mul(n, big.NewInt(2)).Add(n, big.NewInt(pricedTokens)).Div(n, big.NewInt(2*pricedTokens))
		if l.AmountNano != n.Int64() || l.PriceNano != tokenPrices[l.Dimension] || l.Per != pricedTokens {
			t.Errorf("%s should come to %v: %+v", l.Dimension, n, l)
		}
		total += l.AmountNano
		opened, err := b.StatementRecords(t.Context(), api.StatementQuery{}, l.ID, "")
		must(t, err)
		var sum int64
		for _, r := range opened.Records {
			sum += r.Quantity
		}
		if sum != l.Quantity {
			t.Errorf("%s of %d tokens opens to %d", l.Dimension, l.Quantity, sum)
		}
	}
	if posted, _ := sides(t, b.Client); total == 0 || st.TotalNano != total || posted["revenue"] != total || posted["customer"] != -total {
		t.Errorf("lines come to %d, the statement to %d, the ledger to %v", total, st.TotalNano, posted)
	}
	text, err := json.Marshal(use)
	must(t, err)
	t.Logf("%s cost %d", text, total)
}
