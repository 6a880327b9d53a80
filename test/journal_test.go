package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
)

// survivor is an engine that lives on when Berth is killed, and a Berth in front of it.
type survivor struct {
	engine *fakeengine.Engine
	yaml   string
}

func newSurvivor(t testing.TB, script fakeengine.Script) *survivor {
	t.Helper()
	s := &survivor{engine: fakeengine.New(script, fakeengine.Options{})}
	server := httptest.NewServer(s.engine)
	t.Cleanup(func() {
		s.engine.Kill(0)
		server.Close()
	})
	s.yaml = "node: {threads: 2, memory: 1GiB}\nspecs: {MU1: {threads: 1, memory: 256MiB}}\nmodels:\n" +
		fmt.Sprintf("  far: {url: %q, remote_name: fake, plans: [mu], context: 32768}\n", server.URL+"/v1")
	return s
}

// told is what a caller knows of a call whose answer it has to the end.
type told struct{ input, output int64 }

// caller makes calls of all kinds until its context ends.
type caller struct {
	url, key, model string
	client          *http.Client
	random          *rand.Rand

	mu       sync.Mutex
	complete map[string]told
	made     map[string]bool
}

// call makes one; ok is false when it broke off or was given up.
func (c *caller) call(ctx context.Context, id, kind string, tokens int) (_ told, ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streamed := kind != "plain"
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"count to %d"}]}`, c.model, streamed, tokens)
	if streamed {
		body = strings.Replace(body, `"messages"`, `"stream_options":{"include_usage":true},"messages"`, 1)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return told{}, false
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-Id", id)
	response, err := c.client.Do(request)
	if err != nil {
		return told{}, false
	}
	defer response.Body.Close()
	if kind == "cancelled" {
		_, _ = io.ReadFull(response.Body, make([]byte, 400))
		return told{}, false
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return told{}, false
	}
	if streamed {
		before, _, whole := strings.Cut(string(text), "data: [DONE]")
		if !whole {
			return told{}, false
		}
		lines := strings.Split(strings.TrimSpace(before), "\n\n")
		text = []byte(strings.TrimPrefix(lines[len(lines)-1], "data: "))
	}
	var answer struct {
		Usage struct {
			Input  int64 `json:"prompt_tokens"`
			Output int64 `json:"completion_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Usage.Output == 0 {
		return told{}, false
	}
	return told{answer.Usage.Input, answer.Usage.Output}, true
}

func (c *caller) run(ctx context.Context, kinds []string) {
	for ctx.Err() == nil {
		id := uuid.NewString()
		c.mu.Lock()
		c.made[id] = true
		kind, tokens := kinds[c.random.IntN(len(kinds))], 5+c.random.IntN(40)
		c.mu.Unlock()
		got, ok := c.call(ctx, id, kind, tokens)
		if ok {
			c.mu.Lock()
			c.complete[id] = got
			c.mu.Unlock()
		}
	}
}

func (b *berth) allRecords(t testing.TB) (all []api.UsageRecord) {
	t.Helper()
	for cursor := ""; ; {
		page, err := b.UsageRecords(t.Context(), api.UsageFilter{}, cursor)
		must(t, err)
		all = append(all, page.Records...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// Killed at any moment, under calls of every kind: who had a whole answer has one record
// with the engine's figures, every call that an engine took has one, and what is missing
// of the engine's own count is in calls that were cut off, which say so.
func TestUsageSurvivesKillsAtRandomMoments(t *testing.T) {
	t.Parallel()
	kills := 10
	if testing.Short() {
		kills = 3
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random, moments := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	p := newProgram(t)
	e := newSurvivor(t, fakeengine.Script{TokensPerSecond: 300})
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	c := &caller{client: &http.Client{Transport: transport}, random: random, complete: map[string]told{}, made: map[string]bool{}}
	s := p.serve(t, e.yaml)
	d := s.berth.running(t, one("far"))
	c.model, c.key = d.DeployedModel, s.Key
	for range kills {
		c.url = s.BaseURL
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { c.run(ctx, []string{"plain", "plain", "streamed", "streamed", "cancelled"}) })
		}
		have := len(c.snapshot())
		until(t, "some calls were answered", func() bool { return len(c.snapshot()) > have+3 })
		time.Sleep(time.Duration(moments.IntN(300)) * time.Millisecond) // the moment is what varies
		s.signal(t, syscall.SIGKILL)
		cancel()
		all.Wait()
		transport.CloseIdleConnections()
		s = p.serve(t, e.yaml)
		s.berth.waitsFor(t, c.model)
	}
	// when nothing is under way any more
	until(t, "the engine has nothing to do", func() bool { return e.engine.Stats().InFlight == 0 })
	until(t, "the calls are recorded", func() bool { return recorded(s.allRecords(t), c.complete) })
	again := func() {
		t.Helper()
		if code := s.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s = p.serve(t, e.yaml)
	}
	again() // a clean stop has written the calls that were cut off, too
	list := s.allRecords(t)
	c.judge(t, list, e.engine.Stats())
	// and once more from the start: nothing comes twice
	again()
	if again := s.allRecords(t); len(again) != len(list) {
		t.Errorf("%d records, %d after one more start", len(list), len(again))
	}
}

func (c *caller) snapshot() map[string]told {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]told, len(c.complete))
	for id, got := range c.complete {
		all[id] = got
	}
	return all
}

func recorded(list []api.UsageRecord, want map[string]told) bool {
	have := map[string]bool{}
	for _, r := range list {
		have[r.CallID] = true
	}
	for id := range want {
		if !have[id] {
			return false
		}
	}
	return true
}

func (c *caller) judge(t testing.TB, list []api.UsageRecord, truth fakeengine.Stats) {
	t.Helper()
	byCall, ids := map[string]api.UsageRecord{}, map[string]bool{}
	ends := map[string]int{}
	var output, inexact, asked int64
	for _, r := range list {
		if _, twice := byCall[r.CallID]; twice || ids[r.ID] {
			t.Errorf("call %s has two records", r.CallID)
		}
		byCall[r.CallID], ids[r.ID] = r, true
		ends[r.End+" "+r.Source]++
		output += r.OutputTokens
		if r.Source != "engine" {
			inexact++
		}
		if r.End == "refused" {
			continue
		}
		asked++
		if r.End == "berth_crashed" && r.Billable && r.OutputTokens == 0 {
			t.Errorf("nothing is billable in %+v", r)
		}
	}
	for id, got := range c.complete {
		r := byCall[id]
		if r.InputTokens != got.input || r.OutputTokens != got.output || r.Source != "engine" || r.End != "stop" && r.End != "berth_crashed" {
			t.Errorf("the caller was told %+v, recorded is %+v", got, r)
		}
	}
	t.Logf("%d calls made, %d answered to the end, %d records %v; the engine took %d calls and made %d tokens, %d are recorded",
		len(c.made), len(c.complete), len(list), ends, truth.Calls, truth.OutputTokens, output)
	if ends["berth_crashed counted"] == 0 {
		t.Error("no call was cut off: the kills missed")
	}
	if asked < int64(truth.Calls) {
		t.Errorf("the engine took %d calls, %d are recorded", truth.Calls, asked)
	}
	if missing := truth.OutputTokens - output; missing < 0 || missing > inexact*50 {
		t.Errorf("%d tokens are missing in %d calls that were cut off or left", missing, inexact)
	}
}

// waitsFor waits until the gateway knows a deployment's replica again.
func (b *berth) waitsFor(t testing.TB, deployedModel string) {
	t.Helper()
	until(t, deployedModel+" serves again", func() bool {
		d, err := b.GetDeployment(t.Context(), deployedModel)
		must(t, err)
		return d.Status == api.StatusRunning && d.ReadyCapacity == d.Capacity
	})
}

// What the last minute used of a limit is known after a kill: the third of two calls a
// minute is refused, until the first is a minute old.
func TestLimitsRememberTheLastMinuteAfterAKill(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	e := newSurvivor(t, fakeengine.Script{})
	s := p.serve(t, e.yaml)
	limited := one("far")
	limited.RPMLimit = ptr(int64(2))
	d := s.berth.running(t, limited)
	began := time.Now()
	if got := s.ask(t, d.DeployedModel, "37+85"); got.Text != "122" {
		t.Fatalf("answers %q", got.Text)
	}
	latest := time.Now()
	s.ask(t, d.DeployedModel, "1+1")
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		s.signal(t, how)
		s = p.serve(t, e.yaml)
		s.berth.waitsFor(t, d.DeployedModel)
		asked := time.Now()
		got := s.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "2+2"))
		if time.Since(began) >= time.Minute {
			t.Skip("this machine is too slow to see it")
		}
		wait, err := strconv.Atoi(got.header.Get("Retry-After"))
		least, most := time.Until(began.Add(time.Minute)), latest.Add(time.Minute).Sub(asked)
		if got.status != 429 || err != nil || time.Duration(wait)*time.Second < least || time.Duration(wait)*time.Second > most+time.Second {
			t.Errorf("after %s: %d, Retry-After %q, want %s to %s: %s", how, got.status, got.header.Get("Retry-After"), least, most, got.body)
		}
	}
	if files, err := filepath.Glob(filepath.Join(s.data, "journal", "local-*")); err != nil || len(files) == 0 {
		t.Errorf("the journal has %v, %v", files, err)
	}
}
