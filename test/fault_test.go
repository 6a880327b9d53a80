package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
)

// What goes wrong with engines and clients, on engines that follow a script.

// one is a purchase of one replica for a deployment alone.
func one(model string) api.CreateDeployment {
	return api.CreateDeployment{ModelName: model, Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))}
}

// engines returns the fake engines that serve a deployment.
func (b *berth) engines(t testing.TB, deployedModel string) []*fakeengine.Engine {
	t.Helper()
	replicas, err := b.Replicas(t.Context(), deployedModel)
	must(t, err)
	var engines []*fakeengine.Engine
	for _, r := range replicas {
		engines = append(engines, b.runner.Engine(r.ID))
	}
	return engines
}

// records returns all usage records of a deployment once there are n of them.
func (b *berth) records(t testing.TB, deployedModel string, n int) []api.UsageRecord {
	t.Helper()
	var records []api.UsageRecord
	until(t, "the calls are recorded", func() bool {
		page, err := b.UsageRecords(t.Context(), api.UsageFilter{DeployedModel: deployedModel}, "")
		must(t, err)
		records = page.Records
		return len(records) >= n
	})
	if len(records) != n {
		t.Errorf("%d usage records, want %d", len(records), n)
	}
	return records
}

// stream is an answer that is read event by event.
type stream struct {
	*http.Response
	lines *bufio.Scanner
	close context.CancelFunc // as a client that goes away
}

func (b *berth) stream(t testing.TB, path, body string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.BaseURL+path, strings.NewReader(body))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+b.Key)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.HTTP.Do(request)
	must(t, err)
	t.Cleanup(func() { cancel(); _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("no stream but %d %s", response.StatusCode, text)
	}
	return &stream{Response: response, lines: bufio.NewScanner(response.Body), close: cancel}
}

// until reads on until a line holds the text, and fails when the stream ends before.
func (s *stream) until(t testing.TB, text string) {
	t.Helper()
	for s.lines.Scan() {
		if strings.Contains(s.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("the stream ended before %q: %v", text, s.lines.Err())
}

func TestASlowStartIsWaitedForAndSaid(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"slow": `{"start_delay_ms": 1500}`}))
	d, err := b.CreateDeployment(t.Context(), one("slow"))
	must(t, err)

	refusals := 0
	seen := []api.Status{d.Status}
	end, err := b.WaitDeployment(t.Context(), d.DeployedModel, func(d api.Deployment) {
		if d.Status != seen[len(seen)-1] {
			seen = append(seen, d.Status)
		}
		if !d.Status.ComingUp() {
			return
		}
		if d.ReadyCapacity != 0 {
			t.Errorf("%s with a ready capacity of %d", d.Status, d.ReadyCapacity)
		}
		// conformance 85, 145: a call in the meantime is told to come again
		got := b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "37+85"))
		if got.status == http.StatusOK {
			return // it came up in between
		}
		refusals++
		if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "ModelUnavailable") {
			t.Errorf("while coming up: %d, Retry-After %q, %s", got.status, got.header.Get("Retry-After"), got.body)
		}
	})
	must(t, err)
	if end.Status != api.StatusRunning || end.ReadyCapacity != 1 || refusals == 0 {
		t.Errorf("came up as %+v after %d refusals", end, refusals)
	}
	// conformance 47
	order := []api.Status{api.StatusPending, api.StatusDeploying, api.StatusRunning}
	if !slices.IsSortedFunc(seen, func(a, b api.Status) int { return slices.Index(order, a) - slices.Index(order, b) }) {
		t.Errorf("the status went %v", seen)
	}
	if got := b.ask(t, d.DeployedModel, "37+85"); got.Text != "122" {
		t.Errorf("answers %q", got.Text)
	}
}

func TestAnEngineThatRefusesToStartGivesItsCapacityBack(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{
		"broken": `{"refuse_start": {"exit_code": 3, "message": "cannot map the weights"}}`, "good": "",
	}))
	purchase := one("broken")
	purchase.Capacity = ptr(int64(8)) // the whole machine
	d := b.deploy(t, purchase)
	if d.Status != api.StatusFailed || d.ReadyCapacity != 0 {
		t.Fatalf("came up as %+v", d)
	}
	for _, part := range []string{"could not come up", "exit status 3", "cannot map the weights"} {
		if !strings.Contains(d.FailReason, part) {
			t.Errorf("the reason does not say %q: %s", part, d.FailReason)
		}
	}
	until(t, "the hardware is free", func() bool { return b.heldThreads(t) == 0 })
	other := one("good")
	other.Capacity = ptr(int64(8))
	b.running(t, other)

	// A name stays taken until its deployment is deleted.
	if _, err := b.CreateDeployment(t.Context(), purchase); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("the same again: %v", err)
	}
	_, err := b.DeleteDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	until(t, "it is gone", func() bool {
		return b.send(t, "GET", "/api/v1/deployments/"+d.DeployedModel, "").status == 404
	})
}

func TestACrashUnderLoad(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{
		"frail": `{"faults": [{"match": "die", "kind": "crash"}], "crash": {"after_calls": 1000000, "exit_code": 9}}`,
	}))
	purchase := one("frail")
	purchase.Capacity = ptr(int64(2))
	d := b.running(t, purchase)
	before := b.engines(t, d.DeployedModel)

	// given calls all the time
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "37+85"))
				// What the dead engine had taken is lost, and said so.
				lost := got.status == 500 && strings.Contains(got.body, "ModelServiceFailed")
				if !lost && (got.status != 200 || !strings.Contains(got.body, `"122"`)) {
					t.Errorf("under load: %d %s", got.status, got.body)
					return
				}
			}
		})
	}
	// when one of two engines dies
	if got := b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "die")); got.status != 500 || !strings.Contains(got.body, "ModelServiceFailed") {
		t.Errorf("the fatal call: %d %s", got.status, got.body)
	}
	dead := slices.IndexFunc(before, func(e *fakeengine.Engine) bool { return e.ExitCode() == 9 })
	if dead < 0 {
		t.Fatal("no engine died")
	}
	var said []api.Event
	until(t, "it is said and mended", func() bool {
		list, err := b.Events(t.Context(), d.DeployedModel, "")
		must(t, err)
		said = list.Events
		fell := slices.IndexFunc(said, func(e api.Event) bool { return e.Status == api.StatusRunning && e.ReadyCapacity == 1 })
		return fell >= 0 && newest(said).ReadyCapacity == 2
	})
	close(stop)
	callers.Wait()

	// then the deployment went on serving on the other, and both serve again
	story := ""
	for _, e := range said {
		story += string(e.Status) + " " + e.Reason + "\n"
	}
	for _, part := range []string{"exit status 9", "It is started again in", "RUNNING Serving on 1 of 2 replicas."} {
		if !strings.Contains(story, part) {
			t.Errorf("the events do not say %q:\n%s", part, story)
		}
	}
	for range 10 {
		if got := b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "37+85")); got.status != 200 {
			t.Errorf("afterwards: %d %s", got.status, got.body)
		}
	}
	after := b.engines(t, d.DeployedModel)
	for i, e := range after {
		if e.ExitCode() != -1 || e.Stats().Calls == 0 {
			t.Errorf("engine %d: exit code %d, %d calls", i, e.ExitCode(), e.Stats().Calls)
		}
	}
	got, err := b.GetDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	if got.Status != api.StatusRunning || got.ReadyCapacity != 2 || b.heldThreads(t) != 2 {
		t.Errorf("ended as %+v", got)
	}
}

// A client that leaves costs no more engine time, and what it was told is recorded.
func TestAClientThatGoesAwayCancelsTheEngine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path    string
		body    func(model string) string
		headers []string
	}{
		"OpenAI": {"/v1/chat/completions", streamed, nil},
		"native": {"/api/v1/services/aigc/text-generation/generation", native, []string{"X-DashScope-SSE", "enable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inProcess(t, fakeYAML(t, map[string]string{"slow": `{"tokens_per_second": 20}`}))
			d := b.running(t, one("slow"))
			engine := b.engines(t, d.DeployedModel)[0]

			s := b.stream(t, c.path, c.body(d.DeployedModel), c.headers...)
			s.until(t, `" 2"`)
			s.close()

			must(t, engine.WaitCancelled(bounded(t), 1))
			record := b.records(t, d.DeployedModel, 1)[0]
			if record.End != "client_gone" || !record.Billable || record.OutputTokens < 1 || record.OutputTokens > engine.Stats().OutputTokens || record.InputTokens != 7 {
				t.Errorf("recorded %+v; the engine counts %d", record, engine.Stats().OutputTokens)
			}
		})
	}
	t.Run("nobody was told of an answer that is not streamed", func(t *testing.T) {
		t.Parallel()
		b := inProcess(t, fakeYAML(t, map[string]string{"slow": `{"tokens_per_second": 20}`}))
		d := b.running(t, one("slow"))
		engine := b.engines(t, d.DeployedModel)[0]
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.BaseURL+"/v1/chat/completions", strings.NewReader(chat(d.DeployedModel, "count to 1000")))
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+b.Key)
		left := make(chan error, 1)
		go func() {
			response, err := b.HTTP.Do(request)
			if err == nil {
				_ = response.Body.Close()
			}
			left <- err
		}()
		must(t, engine.WaitInFlight(bounded(t), 1))
		leave()
		if err := <-left; err == nil {
			t.Error("the call was answered")
		}
		must(t, engine.WaitCancelled(bounded(t), 1))
		if record := b.records(t, d.DeployedModel, 1)[0]; record.End != "client_gone" || record.Billable || record.Source != "unknown" {
			t.Errorf("recorded %+v", record)
		}
	})
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// chat is an OpenAI body.
func chat(model, text string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"` + text + `"}]}`
}

func streamed(model string) string {
	return `{"model":"` + model + `","stream":true,"messages":[{"role":"user","content":"count to 1000"}]}`
}

func native(model string) string {
	return `{"model":"` + model + `","input":{"messages":[{"role":"user","content":"count to 1000"}]},"parameters":{"result_format":"message","incremental_output":true}}`
}

// Whatever an engine does, its caller gets the documented error in its own dialect, and
// the call is recorded without being billed.
func TestFaultsOfEnginesAreDocumentedErrors(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"faulty": `{"faults": [
		{"match": "say 500", "kind": "error_500"},
		{"match": "say garbage", "kind": "garbage"},
		{"match": "hang up", "kind": "refuse"},
		{"match": "break off", "kind": "cut_stream"},
		{"match": "late 500", "kind": "error_500", "after_events": 3},
		{"match": "late garbage", "kind": "garbage", "after_events": 3},
		{"match": "late break", "kind": "cut_stream", "after_events": 3}
	]}`}))
	d := b.running(t, one("faulty"))
	calls := 0
	for _, fault := range []string{"say 500", "say garbage", "hang up", "break off", "late 500", "late garbage", "late break"} {
		late := strings.HasPrefix(fault, "late")
		for name, c := range map[string]struct {
			path, body, inStream string
			headers              []string
			streams              bool
			check                func(t *testing.T, body string)
		}{
			"OpenAI": {
				path: "/v1/chat/completions", body: `{"model":"%","messages":[{"role":"user","content":"^"}]}`, check: openAIError,
			},
			"OpenAI stream": {
				path: "/v1/chat/completions", body: `{"model":"%","stream":true,"messages":[{"role":"user","content":"^"}]}`, check: openAIError,
				streams: true, inStream: "data: {\"error\":{", // conformance 155
			},
			"native": {
				path: "/api/v1/services/aigc/text-generation/generation", body: `{"model":"%","input":{"prompt":"^"}}`, check: nativeError,
			},
			"native stream": {
				path: "/api/v1/services/aigc/text-generation/generation", body: `{"model":"%","input":{"prompt":"^"}}`, check: nativeError,
				headers: []string{"X-DashScope-SSE", "enable"},
				streams: true, inStream: "event:error\n", // conformance 94
			},
		} {
			calls++
			t.Run(fault+", "+name, func(t *testing.T) {
				body := strings.NewReplacer("%", d.DeployedModel, "^", "count to 5 ("+fault+")").Replace(c.body)
				got := b.send(t, "POST", c.path, strings.ReplaceAll(body, "count to 5 ", ""), c.headers...)
				record := newest(b.records(t, d.DeployedModel, calls))
				if record.End != "engine_failed" || record.Billable || record.DeployedModel != d.DeployedModel {
					t.Errorf("recorded %+v", record)
				}
				if !c.streams || !late && got.status != http.StatusOK {
					if got.status != http.StatusInternalServerError {
						t.Fatalf("%d %s", got.status, got.body)
					}
					c.check(t, got.body)
					return
				}
				if got.status != http.StatusOK || !strings.Contains(got.body, c.inStream) || strings.Contains(got.body, "[DONE]") {
					t.Fatalf("%d %s", got.status, got.body)
				}
				_, after, _ := strings.Cut(got.body, strings.TrimSuffix(c.inStream, "{\"error\":{"))
				lines := strings.Split(strings.TrimSpace(after), "\n")
				c.check(t, strings.TrimPrefix(lines[len(lines)-1], "data:"))
			})
		}
	}
	// and the deployment is none the worse
	if got := b.ask(t, d.DeployedModel, "37+85"); got.Text != "122" {
		t.Errorf("answers %q", got.Text)
	}
}

func newest[T any](all []T) T { return all[len(all)-1] }

func openAIError(t *testing.T, body string) {
	t.Helper()
	var got struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error.Code != "ModelServiceFailed" || got.Error.Message != "Failed to request model service." {
		t.Errorf("%v in %s", err, body)
	}
}

func nativeError(t *testing.T, body string) {
	t.Helper()
	var got struct {
		RequestID     string `json:"request_id"`
		Code, Message string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Code != "ModelServiceFailed" || got.Message != "Failed to request model service." || got.RequestID == "" {
		t.Errorf("%v in %s", err, body)
	}
}

// Somebody else's server, reached by its URL and key.
func TestAnEndpointModelAnswers(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(fakeengine.Script{Model: "big-70b"}, fakeengine.Options{Key: "sk-far"})
	far := httptest.NewServer(engine)
	t.Cleanup(far.Close)
	b := inProcess(t, "node: {threads: 1, memory: 1GiB}\n")
	for name, key := range map[string]string{"big": "sk-far", "locked": "sk-wrong"} {
		added, err := b.AddModel(t.Context(), api.AddModel{Name: name, URL: far.URL + "/v1", Key: key, RemoteName: "big-70b"})
		must(t, err)
		if added.URL != far.URL+"/v1" {
			t.Errorf("added %+v", added)
		}
	}
	d := b.running(t, one("big"))
	if got := b.ask(t, d.DeployedModel, "37+85"); got.Text != "122" || got.Usage.PromptTokens != 5 {
		t.Errorf("answers %+v", got)
	}
	stats := engine.Stats()
	if stats.LastHeader.Get("Authorization") != "Bearer sk-far" || !bytes.Contains(stats.LastBody, []byte(`"model":"big-70b"`)) {
		t.Errorf("it was asked %s", stats.LastBody)
	}
	if held := b.heldThreads(t); held != 0 {
		t.Errorf("%d threads are held for it", held)
	}
	record := b.records(t, d.DeployedModel, 1)[0]
	if record.Source != "engine" || record.InputTokens != 5 || record.End != "stop" {
		t.Errorf("recorded %+v", record)
	}

	// a wrong key does not become right by waiting
	locked := b.deploy(t, one("locked"))
	if locked.Status != api.StatusFailed || !strings.Contains(locked.FailReason, "401") || strings.Contains(locked.FailReason, "sk-wrong") {
		t.Errorf("with a wrong key it came up as %+v", locked)
	}
}

// A key that is revoked is refused on the very next call, however many are under way.
func TestARevokedKeyIsRefusedOnTheNextCall(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"good": ""}))
	d := b.running(t, one("good"))
	for range 20 {
		key, err := b.CreateKey(t.Context(), api.CreateKey{Role: api.RoleInference})
		must(t, err)
		call := func() answer {
			return b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "37+85"), "Authorization", "Bearer "+key.Text)
		}
		if got := call(); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		must(t, b.RevokeKey(t.Context(), key.ID))
		if got := call(); got.status != 401 {
			t.Fatalf("after it was revoked: %d %s", got.status, got.body)
		}
	}
}

func TestDeleteLetsRunningStreamsEnd(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"slow": `{"tokens_per_second": 40}`}))
	d := b.running(t, one("slow"))
	engine := b.engines(t, d.DeployedModel)[0]
	s := b.stream(t, "/v1/chat/completions", `{"model":"`+d.DeployedModel+`","stream":true,"messages":[{"role":"user","content":"count to 40"}]}`)
	s.until(t, `"1"`)

	gone, err := b.DeleteDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	if gone.Status != api.StatusDeleting { // conformance 75
		t.Errorf("delete answers %s", gone.Status)
	}
	// conformance 77: no new call, at once
	refused := b.send(t, "POST", "/v1/chat/completions", chat(d.DeployedModel, "37+85"))
	if refused.status != 404 || !strings.Contains(refused.body, "model_not_found") {
		t.Errorf("a new call: %d %s", refused.status, refused.body)
	}
	if n := engine.Stats().Calls; n != 1 {
		t.Errorf("the engine got %d calls", n)
	}
	// the running one ends in its own time
	s.until(t, ` 40"`)
	s.until(t, "[DONE]")
	until(t, "the deployment is gone", func() bool {
		return b.send(t, "GET", "/api/v1/deployments/"+d.DeployedModel, "").status == 404
	})
	if held := b.heldThreads(t); held != 0 {
		t.Errorf("%d threads are still held", held)
	}
	if record := b.records(t, d.DeployedModel, 1)[0]; record.End != "stop" || record.OutputTokens != 40 || !record.Billable {
		t.Errorf("recorded %+v", record)
	}
}

// Hardware is sold once, and a name too, however many ask at the same moment.
func TestManyBuyersAtOnce(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"good": "", "other": ""}))
	buy := func(n int, purchase func(i int) api.CreateDeployment) (bought int, codes map[string]int) {
		results := make(chan error, n)
		for i := range n {
			go func() {
				_, err := b.CreateDeployment(t.Context(), purchase(i))
				results <- err
			}()
		}
		codes = map[string]int{}
		for range n {
			var refused *api.Error
			switch err := <-results; {
			case err == nil:
				bought++
			case errors.As(err, &refused):
				codes[refused.Code]++
			default:
				t.Error(err)
			}
		}
		return bought, codes
	}
	if bought, codes := buy(10, func(int) api.CreateDeployment { return one("other") }); bought != 1 || codes["Conflict"] != 9 {
		t.Errorf("of one name %d were sold, %v", bought, codes)
	}
	suffixed := func(i int) api.CreateDeployment {
		d := one("good")
		d.Suffix = strconv.Itoa(i)
		return d
	}
	if bought, codes := buy(20, suffixed); bought != 7 || codes["InsufficientCapacity"] != 13 {
		t.Errorf("of 7 free threads %d were sold, %v", bought, codes)
	}
	if held := b.heldThreads(t); held != 8 {
		t.Errorf("%d threads are held", held)
	}
}
