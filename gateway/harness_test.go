package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deployed  = "abacus-1a2b3c4d"
	workspace = "llm-aaaaaaaa"
	keyText   = "sk-good"
	otherKey  = "sk-other"
	engineKey = "engine-secret"

	chatPath       = "/v1/chat/completions"
	nativePath     = "/api/v1/services/aigc/text-generation/generation"
	multimodalPath = "/api/v1/services/aigc/multimodal-generation/generation"
)

// patience bounds every wait of a test; a test that needs it has failed.
const patience = 10 * time.Second

// house is a gateway in front of engines, with everything it did kept for looking at.
type house struct {
	*Gateway
	url     string
	engines []*fakeengine.Engine
	route   *berth.Route
	meter   *memoryMeter
	limits  *fixedLimiter
	log     *syncBuffer
	client  *http.Client
}

// plan says what is different from the usual house.
type plan struct {
	scripts []fakeengine.Script // one engine each; none: one that answers as Abacus
	engine  http.Handler        // instead of fake engines
	targets []berth.Target      // further targets
	route   func(*berth.Route)
	limiter *fixedLimiter
	limits  Limiter // instead of limiter
	bounds  Bounds
	meter   *memoryMeter
	dialect Dialect
}

func open(t testing.TB, p plan) *house {
	t.Helper()
	h := &house{meter: p.meter, limits: p.limiter, log: &syncBuffer{}}
	if h.meter == nil {
		h.meter = &memoryMeter{}
	}
	h.meter.changed = make(chan struct{})
	targets := append(h.startEngines(t, p), p.targets...)
	h.route = &berth.Route{
		DeploymentID: "dep_1", DeployedModel: deployed, WorkspaceID: workspace, ModelName: "abacus",
		Plan: berth.PlanMU, Status: berth.StatusRunning, Thinking: berth.ThinkingOptional,
		CreatedAt: time.Unix(1_790_000_000, 0), Targets: targets,
	}
	if p.route != nil {
		p.route(h.route)
	}
	var dialect Dialect = llama{}
	if p.dialect != nil {
		dialect = p.dialect
	}
	options := Options{
		Hash:   hashKey,
		Engine: func(string) Dialect { return dialect },
		Meter:  h.meter, Now: time.Now, Bounds: p.bounds,
		NewID:  func(prefix string) string { return prefix + uuid.NewString() },
		Logger: slog.New(slog.NewJSONHandler(h.log, nil)),
	}
	if p.limiter != nil {
		options.Limits = func(string) Limiter { return p.limiter }
	}
	if p.limits != nil {
		options.Limits = func(string) Limiter { return p.limits }
	}
	h.Gateway = New(options)
	h.Swap(snapshotOf(h.route))
	mux := http.NewServeMux()
	h.Register(mux)
	server := httptest.NewServer(mux)
	h.url, h.client = server.URL, server.Client()
	t.Cleanup(func() {
		h.Close()
		server.Close()
	})
	return h
}

// startEngines returns one target for each engine of the plan.
func (h *house) startEngines(t testing.TB, p plan) (targets []berth.Target) {
	if p.engine != nil {
		return []berth.Target{serveEngine(t, p.engine, 0)}
	}
	if p.scripts == nil {
		p.scripts = []fakeengine.Script{{}}
	}
	for i, script := range p.scripts {
		engine := fakeengine.New(script, fakeengine.Options{Key: engineKey})
		h.engines = append(h.engines, engine)
		targets = append(targets, serveEngine(t, engine, i))
		t.Cleanup(func() { engine.Kill(0) })
	}
	return targets
}

func serveEngine(t testing.TB, engine http.Handler, i int) berth.Target {
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	return berth.Target{
		ReplicaID: fmt.Sprintf("rep_%d", i), Engine: "fake", URL: server.URL, Key: engineKey,
		Model: "abacus", Adapter: -1, Slots: 4,
	}
}

func snapshotOf(routes ...*berth.Route) *berth.Snapshot {
	s := &berth.Snapshot{Version: 1, Keys: map[berth.KeyHash]*berth.KeyEntry{}, Routes: map[string]*berth.Route{}}
	for text, caller := range map[string]berth.Caller{
		keyText:  {KeyID: "key_1", WorkspaceID: workspace, Role: berth.RoleInference},
		otherKey: {KeyID: "key_2", WorkspaceID: "llm-bbbbbbbb", Role: berth.RoleInference},
	} {
		hash := hashKey(text)
		s.Keys[hash] = &berth.KeyEntry{Hash: hash, Caller: caller}
	}
	for _, r := range routes {
		s.Routes[r.DeployedModel] = r
	}
	return s
}

func hashKey(text string) berth.KeyHash { return sha256.Sum256([]byte(text)) }

// result is a whole answer.
type result struct {
	status int
	header http.Header
	body   string
}

// post makes a call; headers are "Name: value".
func (h *house) post(t testing.TB, path, body string, headers ...string) result {
	t.Helper()
	return h.do(t, http.MethodPost, path, body, headers...)
}

func (h *house) do(t testing.TB, method, path, body string, headers ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := h.client.Do(h.request(ctx, t, method, path, body, headers...))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return result{response.StatusCode, response.Header, string(text)}
}

func (h *house) request(ctx context.Context, t testing.TB, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+keyText)
	r.Header.Set("Content-Type", "application/json")
	for _, line := range headers {
		name, v, _ := strings.Cut(line, ": ")
		r.Header.Set(name, v)
	}
	return r
}

// json decodes the body.
func (r result) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("body is no JSON object: %v\n%s", err, r.body)
	}
	return v
}

// at walks into decoded JSON by names and indices, "" or nil where there is nothing.
func at(v any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			a, _ := v.([]any)
			if s >= len(a) {
				return nil
			}
			v = a[s]
		}
	}
	return v
}

// chat is an OpenAI body: the user's text and further members.
func chat(text string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]%s}`, deployed, text, joined(more))
}

// generation is a native body: the user's text and further parameters.
func generation(text string, parameters ...string) string {
	return fmt.Sprintf(`{"model":%q,"input":{"messages":[{"role":"user","content":%q}]},"parameters":{%s}}`,
		deployed, text, strings.TrimPrefix(joined(parameters), ","))
}

func joined(members []string) string {
	if len(members) == 0 {
		return ""
	}
	return "," + strings.Join(members, ",")
}

// frames splits an event stream.
func frames(body string) []string {
	return strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
}

// datas returns the decoded data of all frames that are JSON.
func datas(t testing.TB, body string) (list []map[string]any) {
	t.Helper()
	for _, frame := range frames(body) {
		_, data, ok := strings.Cut(frame, "data:")
		if !ok || strings.TrimSpace(data) == "[DONE]" {
			continue
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatalf("%v in frame %q", err, frame)
		}
		list = append(list, v)
	}
	return list
}

// lookUpPath is at for a path with dots.
func lookUpPath(v any, path string) any {
	var steps []any
	for step := range strings.SplitSeq(path, ".") {
		if i, err := strconv.Atoi(step); err == nil {
			steps = append(steps, i)
		} else {
			steps = append(steps, step)
		}
	}
	return at(v, steps...)
}
