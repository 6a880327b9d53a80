package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
)

// callsVariable says how many calls the proof makes; 10,000 are what `make proof` makes.
const callsVariable = "BERTH_CALLS"

// crowd makes calls of all kinds to several deployments until so many were made.
type crowd struct {
	key    string
	models []string // deployed
	client *http.Client
	url    atomic.Pointer[string]
	left   atomic.Int64

	mu       sync.Mutex
	made     map[string]string // kind by id
	complete map[string]told
}

func (c *crowd) run(random *rand.Rand) {
	kinds := []string{"plain", "plain", "streamed", "streamed", "stream left", "plain left"}
	for c.left.Add(-1) >= 0 {
		id, kind := uuid.NewString(), kinds[random.IntN(len(kinds))]
		got, reached, ok := c.call(id, kind, c.models[random.IntN(len(c.models))], 3+random.IntN(40), random)
		if !reached { // nobody was there: it was no call
			c.left.Add(1)
			time.Sleep(5 * time.Millisecond)
			continue
		}
		c.mu.Lock()
		c.made[id] = kind
		if ok {
			c.complete[id] = got
		}
		c.mu.Unlock()
	}
}

// call makes one. reached is false when no server took the connection or it was not
// serving; ok when the whole answer came.
func (c *crowd) call(id, kind, model string, tokens int, random *rand.Rand) (_ told, reached, ok bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	streamed := strings.HasPrefix(kind, "stream")
	body := fmt.Sprintf(`{"model":%q,"max_tokens":60,"stream":%t,"messages":[{"role":"system","content":%q},{"role":"user","content":"count to %d"}]}`, model, streamed, id, tokens)
	if streamed {
		body = strings.Replace(body, `"messages"`, `"stream_options":{"include_usage":true},"messages"`, 1)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, *c.url.Load()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return told{}, false, false
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-Id", id)
	if kind == "plain left" {
		defer time.AfterFunc(time.Duration(random.IntN(120))*time.Millisecond, cancel).Stop()
	}
	response, err := c.client.Do(request)
	if err != nil {
		return told{}, ctx.Err() != nil || !strings.Contains(err.Error(), "refused"), false
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusNotFound {
		return told{}, false, false
	}
	if kind == "stream left" {
		_, _ = io.ReadFull(response.Body, make([]byte, 200+random.IntN(2000)))
		return told{}, true, false
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return told{}, true, false
	}
	got, whole := toldBy(string(text), streamed)
	return got, true, whole
}

// recordedCalls returns the records by the ids of their calls; one that is there twice is
// an error.
func (b *berth) recordedCalls(t testing.TB) map[string]api.UsageRecord {
	t.Helper()
	byCall := map[string]api.UsageRecord{}
	for _, r := range b.allRecords(t) {
		if _, twice := byCall[r.CallID]; twice {
			t.Errorf("call %s has two records", r.CallID)
		}
		byCall[r.CallID] = r
	}
	return byCall
}

// Mixed calls to fake engines and to llama.cpp: plain, streamed, left by their callers,
// engines killed and Berth killed with -9 while they run. Then every token that an engine
// says it made is in a record or explained: to the token, call by call, by the fake engines'
// own diaries, which survive their death, and by the counters of all of them; nothing is
// recorded twice, nothing that nobody was told of is billed, and nothing is unexplained.
func TestEveryTokenIsAccountedFor(t *testing.T) {
	t.Parallel()
	calls, berthKills := 500, 2
	if n, err := strconv.Atoi(os.Getenv(callsVariable)); err == nil {
		calls, berthKills = n, 10
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	began := time.Now()
	p := newProgram(t)
	diaries, script := t.TempDir(), filepath.Join(t.TempDir(), "fast.json")
	must(t, os.WriteFile(script, fmt.Appendf(nil, `{"tokens_per_second": 400, "cached_tokens": 2, "diary": %q}`, diaries), 0o600))
	files, err := abacus.Extract(t.TempDir())
	must(t, err)
	yaml := "node: {threads: 8, memory: 4GiB}\nspecs: {MU1: {threads: 1, memory: 256MiB, slots: 8, context: 2048}}\nmodels:\n" +
		fmt.Sprintf("  fast: {engine: fake, path: %s, plans: [mu]}\n", script) +
		fmt.Sprintf("  abacus: {path: %s, plans: [mu], specs: {MU1: {units: 1}}}\n", files.Base)
	s := p.serve(t, yaml)
	fast := s.berth.running(t, api.CreateDeployment{ModelName: "fast", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(4))})
	real := s.berth.running(t, api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	c := &crowd{
		key: s.Key, models: []string{fast.DeployedModel, fast.DeployedModel, real.DeployedModel},
		client: &http.Client{Transport: transport}, made: map[string]string{}, complete: map[string]told{},
	}
	c.url.Store(&s.BaseURL)
	c.left.Store(int64(calls))
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() { c.run(rand.New(rand.NewPCG(seed, uint64(n)))) })
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	t.Cleanup(func() { // a test that gave up leaves nobody calling
		c.left.Store(0)
		<-over
	})

	// kills at moments that are spread over the calls
	moments := rand.New(rand.NewPCG(seed, 1000))
	engineKills := 0
	for kill := range berthKills {
		for _, model := range []string{fast.DeployedModel, real.DeployedModel} { // of each replica less than make it give up
			until(t, "the calls have come so far", func() bool {
				return c.left.Load() <= int64(calls-calls*(2*kill+1)/(2*berthKills+1)) || c.left.Load() <= 0
			})
			if model == real.DeployedModel && kill%5 != 1 {
				continue
			}
			if s.killEngine(t, model, kill) {
				engineKills++
			}
		}
		until(t, "the calls have come so far", func() bool {
			return c.left.Load() <= int64(calls-calls*(2*kill+2)/(2*berthKills+1)) || c.left.Load() <= 0
		})
		time.Sleep(time.Duration(moments.IntN(200)) * time.Millisecond) // the moment is what varies
		s.signal(t, syscall.SIGKILL)
		s = p.serve(t, yaml)
		c.url.Store(&s.BaseURL)
		s.berth.waitsFor(t, fast.DeployedModel)
		s.berth.waitsFor(t, real.DeployedModel)
	}
	<-over
	took := time.Since(began)

	// when a clean stop has read and written what is left
	if code := s.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s = p.serve(t, yaml)
	rows, byCall := s.reconciled(t), s.recordedCalls(t)
	truth, err := fakeengine.Diaries(diaries)
	must(t, err)
	c.account(t, byCall, rows, truth, fast.DeployedModel, berthKills+engineKills)
	t.Logf("%d calls in %s, %d times Berth killed, %d engines", calls, took.Round(time.Second), berthKills, engineKills)
}

// killEngine kills one replica's engine, if it runs.
func (b *berth) killEngine(t testing.TB, deployedModel string, n int) bool {
	t.Helper()
	replicas, err := b.Replicas(t.Context(), deployedModel)
	must(t, err)
	r := replicas[n%len(replicas)]
	return r.PID > 0 && syscall.Kill(int(r.PID), syscall.SIGKILL) == nil
}

// account holds records and rows against what engines and callers say.
func (c *crowd) account(t testing.TB, byCall map[string]api.UsageRecord, rows []api.ReconciliationRow, truth []fakeengine.Entry, fast string, kills int) {
	t.Helper()
	kinds, ends := map[string]int{}, map[string]int{}
	for _, kind := range c.made {
		kinds[kind]++
	}
	var recorded, billed, unbilled struct{ input, output int64 }
	for _, r := range byCall {
		ends[r.End+" "+r.Source]++
		recorded.input, recorded.output = recorded.input+r.InputTokens, recorded.output+r.OutputTokens
		to := &unbilled
		if r.Billable {
			to = &billed
		}
		to.input, to.output = to.input+r.InputTokens, to.output+r.OutputTokens
		if r.Billable && r.Source == "unknown" {
			t.Errorf("billed although nobody was told: %+v", r)
		}
		if r.Source == "unknown" && r.InputTokens+r.OutputTokens > 0 {
			t.Errorf("figures that nobody knows: %+v", r)
		}
	}
	for id, got := range c.complete {
		if r := byCall[id]; r.Source != "engine" || r.InputTokens != got.input || r.OutputTokens != got.output || !r.Billable {
			t.Errorf("the caller was told %+v, recorded is %+v", got, r)
		}
	}
	// call by call, with what the fake engines wrote down
	var made struct{ input, output int64 }
	seen, repeated := map[string]fakeengine.Entry{}, 0
	for _, e := range truth {
		made.input, made.output = made.input+e.Input, made.output+e.Output
		// A call that met an engine's death within its first moment was repeated on another one.
		if other, twice := seen[e.Says]; twice {
			if repeated++; other.Output > e.Output {
				continue
			}
		}
		seen[e.Says] = e
	}
	if most := 16 * kills; repeated > most {
		t.Errorf("%d calls were repeated", repeated)
	}
	for id, e := range seen {
		r, ok := byCall[id]
		switch {
		case !ok:
			t.Errorf("an engine made %+v, and there is no record", e)
		case r.Source == "engine" && (r.InputTokens != e.Input || r.OutputTokens != e.Output):
			t.Errorf("an engine made %+v, recorded is %+v", e, r)
		case r.OutputTokens > e.Output:
			t.Errorf("an engine made %+v, more is recorded: %+v", e, r)
		}
	}
	var fastRecorded struct{ input, output int64 }
	for id, r := range byCall {
		if r.DeployedModel != fast {
			continue
		}
		fastRecorded.input, fastRecorded.output = fastRecorded.input+r.InputTokens, fastRecorded.output+r.OutputTokens
		if _, ok := seen[id]; !ok && r.OutputTokens > 0 {
			t.Errorf("no engine made %+v", r)
		}
	}
	// engine by engine, with their counters
	for _, r := range rows {
		if r.Unexplained != 0 {
			t.Errorf("unexplained: %+v", r)
		}
		for _, balance := range []int64{
			r.EngineInputTokens + r.UnreadInputTokens - r.RecordedInputTokens - r.ExplainedInputTokens - r.UnderWayInputTokens - r.UnexplainedInputTokens,
			r.EngineOutputTokens + r.UnreadOutputTokens - r.RecordedOutputTokens - r.ExplainedOutputTokens - r.UnderWayOutputTokens - r.UnexplainedOutputTokens,
		} {
			if balance != 0 {
				t.Errorf("a row does not add up: %+v", r)
			}
		}
	}
	sum := addUp(rows)
	if sum.UnderWayInputTokens != 0 || sum.UnderWayOutputTokens != 0 {
		t.Errorf("still under way: %+v", sum)
	}
	if in, out := sum.RecordedInputTokens-sum.ProbeInputTokens, sum.RecordedOutputTokens-sum.ProbeOutputTokens; in != recorded.input || out != recorded.output {
		t.Errorf("the rows have %d+%d tokens of records, the records %d+%d", in, out, recorded.input, recorded.output)
	}
	// what the fake engines made and nobody was told is what is explained of them, and what
	// died with them unread
	var fastRows []api.ReconciliationRow
	for _, r := range rows {
		if r.ModelName == "fast" {
			fastRows = append(fastRows, r)
		}
	}
	f := addUp(fastRows)
	if f.EngineInputTokens > made.input || f.EngineOutputTokens > made.output {
		t.Errorf("counters show %d+%d, made were %d+%d", f.EngineInputTokens, f.EngineOutputTokens, made.input, made.output)
	}
	if made.input-fastRecorded.input != f.ExplainedInputTokens+(made.input-f.EngineInputTokens)-f.UnreadInputTokens ||
		made.output-fastRecorded.output != f.ExplainedOutputTokens+(made.output-f.EngineOutputTokens)-f.UnreadOutputTokens {
		t.Errorf("made %+v, recorded %+v, compared %+v", made, fastRecorded, f)
	}
	if len(c.made) < 1 || ends["berth_crashed counted"]+ends["berth_crashed engine"] == 0 || ends["client_gone unknown"] == 0 || ends["client_gone counted"] == 0 {
		t.Errorf("the kills and leaves missed: %v", ends)
	}
	t.Logf("calls made: %v, of them %d answered whole; records: %v", kinds, len(c.complete), ends)
	t.Logf("fake engines say they made %d input and %d output tokens (%d calls, %d of them met an engine's death and were repeated); their counters, as far as read, %d and %d", made.input, made.output, len(truth), repeated, f.EngineInputTokens, f.EngineOutputTokens)
	t.Logf("all engines' counters: %d input, %d output; recorded %d and %d (probes %d and %d); explained beyond records, unbilled: %d and %d for %d calls; unread %d and %d; unexplained %d",
		sum.EngineInputTokens, sum.EngineOutputTokens, sum.RecordedInputTokens, sum.RecordedOutputTokens, sum.ProbeInputTokens, sum.ProbeOutputTokens,
		sum.ExplainedInputTokens, sum.ExplainedOutputTokens, sum.InexactCalls, sum.UnreadInputTokens, sum.UnreadOutputTokens, sum.Unexplained)
	t.Logf("of the records %d and %d are billed, %d and %d not", billed.input, billed.output, unbilled.input, unbilled.output)
}

// toldBy reads the figures of a whole answer.
func toldBy(text string, streamed bool) (_ told, ok bool) {
	if streamed {
		before, _, whole := strings.Cut(text, "data: [DONE]")
		if !whole {
			return told{}, false
		}
		lines := strings.Split(strings.TrimSpace(before), "\n\n")
		text = strings.TrimPrefix(lines[len(lines)-1], "data: ")
	}
	var answer struct {
		Usage struct {
			Input  int64 `json:"prompt_tokens"`
			Output int64 `json:"completion_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal([]byte(text), &answer) != nil || answer.Usage.Output == 0 {
		return told{}, false
	}
	return told{answer.Usage.Input, answer.Usage.Output}, true
}
