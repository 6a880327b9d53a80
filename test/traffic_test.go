package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// While a deployment is scaled up, changed, loses an engine and is scaled down, clients of
// every dialect go on calling it, plainly and streamed, and no call fails; only what the
// lost engine was working on may.
// conformance 69
func TestNoCallFailsWhileADeploymentChanges(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, fakeYAML(t, map[string]string{"busy": `{"tokens_per_second": 300}`}))
	d := b.running(t, one("busy"))
	traffic := startTraffic(t, b, d.DeployedModel)
	scale := func(capacity int64) {
		t.Helper()
		_, err := b.ScaleDeployment(t.Context(), d.DeployedModel, api.ChangeDeployment{Capacity: &capacity})
		must(t, err)
		if got := b.settled(t, d.DeployedModel); got.Status != api.StatusRunning || got.ReadyCapacity != capacity {
			t.Fatalf("scaled to %d it is %+v", capacity, got)
		}
		traffic.goesOn(t)
	}
	traffic.goesOn(t)
	scale(3)
	_, err := b.UpdateDeployment(t.Context(), d.DeployedModel, api.ChangeDeployment{RPMLimit: ptr(int64(1_000_000))})
	must(t, err)
	traffic.goesOn(t)
	traffic.crash(t, 3)
	scale(1)
	traffic.stop(t)
}

// traffic is what clients do all the time.
type traffic struct {
	b     *berth
	model string
	http  *http.Client
	ends  sync.WaitGroup
	over  chan struct{}

	mu     sync.Mutex
	calls  int
	failed []failedCall
	lost   []time.Time // when an engine was killed
}

type failedCall struct {
	began, ended time.Time
	what         string
}

// question takes 9 tokens to answer.
const question = "count to 9"

// clientsAtOnce is how many ways to call there are below.
const clientsAtOnce = 6

// startTraffic starts a client of each way to call.
func startTraffic(t *testing.T, b *berth, model string) *traffic {
	t.Helper()
	tr := &traffic{b: b, model: model, over: make(chan struct{}), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	openAI := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]`, model, question)
	native := fmt.Sprintf(`{"model":%q,"input":{"prompt":%q},"parameters":{"incremental_output":true}}`, model, question)
	for _, way := range []struct{ path, body, header, ends string }{
		{"/v1/chat/completions", openAI + `}`, "", `"finish_reason":"stop"`},
		{"/v1/chat/completions", openAI + `,"stream":true}`, "", "data: [DONE]\n\n"},
		{"/v1/messages", openAI + `,"max_tokens":99}`, "", `"stop_reason":"end_turn"`},
		{"/v1/messages", openAI + `,"max_tokens":99,"stream":true}`, "", `{"type":"message_stop"}`},
		{"/api/v1/services/aigc/text-generation/generation", native, "", `"finish_reason":"stop"`},
		{"/api/v1/services/aigc/text-generation/generation", native, "enable", `"finish_reason":"stop"`},
	} {
		tr.ends.Go(func() {
			for {
				select {
				case <-tr.over:
					return
				default:
					tr.call(way.path, way.body, way.header, way.ends)
				}
			}
		})
	}
	t.Cleanup(func() { tr.end() })
	return tr
}

func (tr *traffic) call(path, body, sse, ends string) {
	began, failure := time.Now(), ""
	request, err := http.NewRequest(http.MethodPost, tr.b.BaseURL+path, strings.NewReader(body))
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+tr.b.Key)
		request.Header.Set("X-DashScope-SSE", sse)
		var response *http.Response
		if response, err = tr.http.Do(request); err == nil {
			text, readErr := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err = readErr; err == nil && (response.StatusCode != http.StatusOK || !strings.Contains(string(text), ends)) {
				failure = fmt.Sprintf("%d %s", response.StatusCode, text)
			}
		}
	}
	if err != nil {
		failure = err.Error()
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.calls++
	if failure != "" {
		tr.failed = append(tr.failed, failedCall{began, time.Now(), path + ": " + failure})
	}
}

// goesOn waits for some calls that begin from now on.
func (tr *traffic) goesOn(t *testing.T) {
	t.Helper()
	ran := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.calls
	}
	until(t, "calls are answered", func() func() bool {
		enough := ran() + 30
		return func() bool { return ran() >= enough }
	}())
}

// crash kills one engine without a word and waits until there are as many as before.
func (tr *traffic) crash(t *testing.T, capacity int) {
	t.Helper()
	replicas, err := tr.b.Replicas(t.Context(), tr.model)
	must(t, err)
	pid := replicas[0].PID
	must(t, syscall.Kill(int(pid), syscall.SIGKILL))
	tr.mu.Lock()
	tr.lost = append(tr.lost, time.Now())
	tr.mu.Unlock()
	tr.goesOn(t)
	until(t, "the engine is replaced", func() bool {
		replicas, err := tr.b.Replicas(t.Context(), tr.model)
		must(t, err)
		ready := 0
		for _, r := range replicas {
			if r.State == "ready" && r.PID != pid {
				ready++
			}
		}
		return ready == capacity
	})
	tr.goesOn(t)
}

func (tr *traffic) end() {
	select {
	case <-tr.over:
	default:
		close(tr.over)
	}
	tr.ends.Wait()
	tr.http.CloseIdleConnections()
}

// stop ends the traffic and complains of every call that failed without having been at an
// engine that was lost.
func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	tr.end()
	cut := 0
	for _, f := range tr.failed {
		atLost := false
		for _, at := range tr.lost {
			atLost = atLost || f.began.Before(at) && f.ended.After(at.Add(-time.Second))
		}
		if !atLost {
			t.Errorf("%s failed after %s: %s", f.began.Format(time.StampMilli), f.ended.Sub(f.began), f.what)
			continue
		}
		cut++
	}
	t.Logf("%d calls, of which %d were cut by %d crashes", tr.calls, cut, len(tr.lost))
	if most := clientsAtOnce * len(tr.lost); cut > most {
		t.Errorf("%d crashes of engines cut %d calls; %d can have been there", len(tr.lost), cut, most)
	}
}
