package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/server"
	"github.com/berthhq/berth/store/sqlitetest"
)

const home, away = "llm-home", "llm-away"

// desk is the server on a real store and domain, without engines.
type desk struct {
	testing.TB
	server   *httptest.Server
	store    berth.Store
	options  server.Options
	snapshot atomic.Pointer[berth.Snapshot]
	keys     map[string]string // text by name: owner, admin, guest, stranger
	ids      atomic.Int64
	clock    atomic.Int64
	broken   atomic.Bool   // the gateway cannot be told
	slow     atomic.Bool   // the gateway is told when the client has gone
	written  chan struct{} // gets a value when a slow telling begins
	stopping chan struct{}
	trial    []berth.Line // under other prices
	parts    map[berth.Dimension]berth.Opened
	many     int           // of records are the lines of tokens, one token each; 0: parts has them
	changed  chan struct{} // wakes event streams; a wake for nobody is no matter
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	s := sqlitetest.Open(t)
	d := &desk{TB: t, store: s, keys: map[string]string{}, stopping: make(chan struct{}), changed: make(chan struct{}, 100), written: make(chan struct{})}
	d.snapshot.Store(&berth.Snapshot{})
	d.clock.Store(time.Date(2026, 10, 2, 1, 0, 0, 512_000_000, time.UTC).UnixNano())
	d.furnish()
	d.wire()
	for name, n := range map[string]berth.NewKey{
		"owner": {WorkspaceID: home, Role: berth.RoleOwner}, "admin": {WorkspaceID: home, Role: berth.RoleAdmin},
		"guest": {WorkspaceID: home, Role: berth.RoleInference}, "stranger": {WorkspaceID: away, Role: berth.RoleAdmin},
	} {
		_, text, err := d.options.Keys.Create(berth.WithCaller(t.Context(), berth.System()), n)
		must(t, err)
		d.keys[name] = text
	}
	d.server = httptest.NewServer(server.New(d.options))
	t.Cleanup(d.server.Close)
	return d
}

func (d *desk) furnish() {
	d.Helper()
	model := func(name string, plans ...berth.Plan) berth.Model {
		return berth.Model{
			Name: name, Kind: berth.ModelKindBase, Engine: berth.EngineFake, Plans: plans, Thinking: berth.ThinkingOptional,
			Specs: []berth.SpecOverride{{Spec: "MU1"}}, ContextLength: 32_768,
			File:        berth.ModelFile{Path: "/models/" + name, Digest: "sha256:" + name},
			Calibration: berth.Calibration{InputTPM: 600_000, OutputTPM: 60_000, Declared: true},
		}
	}
	four := model("qwen-plus-2025-12-01", berth.PlanMU)
	four.Specs = []berth.SpecOverride{{Spec: "MU1", UnitsPerReplica: 4}}
	both := model("both", berth.PlanMU, berth.PlanPTU)
	both.Specs = append(both.Specs, berth.SpecOverride{Spec: "MU1-PD"})
	tuned := model("qwen3-8b-ft-202511132025-0260", berth.PlanLoRA, berth.PlanMU)
	tuned.Kind, tuned.Base = berth.ModelKindAdapter, "both"
	tuned.Specs = nil
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		for i, w := range []string{home, away} {
			account := fmt.Sprintf("100000000000000%d", i+1)
			must(d, tx.Accounts().InsertAccount(ctx, berth.Account{ID: account, Currency: "CNY", TimeZone: "UTC"}))
			must(d, tx.Accounts().InsertWorkspace(ctx, berth.Workspace{ID: w, AccountID: account}))
		}
		must(d, tx.Nodes().Put(ctx, berth.Node{ID: "local", Online: true, Total: berth.Resources{Threads: 100, MemoryBytes: 1 << 40}}))
		for _, m := range []berth.Model{
			four, both, tuned, model("qwen-flash-2025-07-28", berth.PlanPTU), model("shown"),
		} {
			must(d, tx.Models().Insert(ctx, m))
		}
		return nil
	})
}

func (d *desk) wire() {
	engines := map[string]berth.EngineTraits{
		berth.EngineFake:     {Name: berth.EngineFake, Adapters: true, MixedAdapters: true},
		berth.EngineEndpoint: {Name: berth.EngineEndpoint, Remote: true},
	}
	w := berth.Writer{Store: d.store, Now: d.now, NewID: d.newID, Publish: d.publish}
	deployments := &berth.Deployments{
		Writer: w, Engines: engines, Wake: func() {},
		Specs: []berth.Spec{
			{Name: "MU1", Unit: berth.Resources{Threads: 1, MemoryBytes: 256 << 20}, Slots: 4, ContextLength: 32_768, UnitsPerReplica: 1},
			{Name: "MU1-PD", Type: berth.SpecTypeSeparated, Unit: berth.Resources{Threads: 1, MemoryBytes: 256 << 20}, Slots: 4, ContextLength: 32_768},
		},
	}
	d.options = server.Options{
		Deployments: deployments,
		Models:      &berth.Models{Writer: w, Engines: engines, SpecsOf: deployments.SpecsOf, Files: shelf{}, Shelf: shelf{}, Seal: func(string, string) []byte { return []byte("sealed") }},
		Keys: &berth.Keys{
			Writer: w, NewKey: func() (string, error) { return d.newID("sk-"), nil },
			NewToken: func() (string, error) { return d.newID("st-"), nil }, Hash: hashOf, Hint: func(string) string { return "sk-…" },
		},
		Workspaces: &berth.Workspaces{
			Writer: w, NewWorkspaceID: func() string { return d.newID("llm-") }, NewAccountID: func() string { return d.newID("9") },
		},
		Calibrations: &berth.Calibrations{
			Writer: w, Engines: engines, SpecsOf: deployments.SpecsOf, Begin: func(string) {},
		},
		Usage:     &berth.Usage{Store: d.store},
		Audits:    &berth.Audits{Store: d.store},
		Inventory: &berth.Inventory{Store: d.store},
		Prices:    &berth.Prices{Writer: w},
		Books:     &berth.Books{Writer: w},
		Statements: &berth.Statements{
			Store: d.store, Now: d.now, Settle: func(context.Context, string) error { return nil },
			Rerate: func(context.Context, string, string, string, []berth.Price) ([]berth.Line, error) {
				return d.trial, nil
			},
			Parts: func(_ context.Context, _ berth.Tx, l *berth.Line, cursor string) (berth.Opened, error) {
				if d.many > 0 && !l.Dimension.ByTime() {
					return manyRecords(cursor, d.many)
				}
				if cursor != "" && cursor != "2" {
					return berth.Opened{}, berth.Errorf(berth.CodeInvalid, "The cursor is not one of this list; use the next of its last page.")
				}
				return d.parts[l.Dimension], nil
			},
		},
		Authenticate: func(token, workspaceID string) (*berth.KeyEntry, error) {
			s := d.snapshot.Load()
			if k := s.Keys[hashOf(token)]; k != nil && (k.ExpiresAt.IsZero() || d.now().Before(k.ExpiresAt)) {
				return s.Enter(k, workspaceID)
			}
			return nil, berth.Errorf(berth.CodeUnauthenticated, "Invalid API-key provided.")
		},
		Logs: func(replicaID string, lines int) ([]string, error) {
			return []string{fmt.Sprint(lines, " of ", replicaID)}, nil
		},
		Busy:     func(string) int { return 2 },
		Explain:  func(string) berth.Explanation { return berth.Explanation{} },
		Follow:   func(string) (<-chan struct{}, func()) { return d.changed, func() {} },
		Stopping: d.stopping,
		Ready:    func() error { return errors.New("not yet") },
		Zone:     time.FixedZone("UTC+8", 8*60*60), BodyBytes: 4096, Version: "test",
		NewUUID: func() string { return fmt.Sprintf("7b0e7b52-0a3d-4bb6-a1ac-%012d", d.ids.Add(1)) },
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// publish gives the gateway, of which only the keys matter here, what the store has.
func (d *desk) publish(ctx context.Context, _ int64) error {
	if d.broken.Load() {
		return errors.New("secret of operators")
	}
	if d.slow.Load() {
		d.written <- struct{}{}
		<-ctx.Done()
		ctx = context.WithoutCancel(ctx)
	}
	state := berth.Routing{}
	err := d.store.View(ctx, func(tx berth.Tx) (err error) {
		if state.Keys, err = tx.Keys().List(ctx, ""); err != nil {
			return err
		}
		state.Workspaces, err = tx.Accounts().Workspaces(ctx)
		return err
	})
	d.snapshot.Store(state.Snapshot(d.now()))
	return err
}

// shelf has every file.
type shelf struct{}

func (shelf) Put(context.Context, berth.Arrival) (berth.ModelFile, error) {
	return berth.ModelFile{}, errors.New("nothing is uploaded here")
}

func (shelf) Remove(berth.ModelFile) error { return nil }

func (shelf) InspectBase(context.Context, string) (berth.ModelFile, error) {
	return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "There is no llama.cpp here.")
}

func (shelf) InspectAdapter(context.Context, string, berth.ModelFile) (berth.ModelFile, error) {
	return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "There is no llama.cpp here.")
}

func (shelf) IsFolder(string) bool { return false }

func (shelf) InspectPlain(_ context.Context, path string) (berth.ModelFile, error) {
	return berth.ModelFile{Path: path, Digest: "sha256:plain"}, nil
}

func hashOf(text string) berth.KeyHash { return sha256.Sum256([]byte(text)) }

func (d *desk) now() time.Time { return time.Unix(0, d.clock.Load()).UTC() }

func (d *desk) newID(prefix string) string { return fmt.Sprintf("%s%08d", prefix, d.ids.Add(1)) }

func (d *desk) tx(fn func(context.Context, berth.Tx) error) {
	d.Helper()
	must(d, d.store.Tx(d.Context(), func(tx berth.Tx) error { return fn(d.Context(), tx) }))
}

// request is one question to the server.
type request struct {
	key    string // name; "" none
	call   string // method and path
	body   string
	header map[string]string
}

// reply is its answer.
type reply struct {
	testing.TB
	status int
	header http.Header
	text   string
	body   map[string]any
}

// ask sends a request and checks what holds for every answer of the control plane.
func (d *desk) ask(q request) reply {
	d.Helper()
	a := d.send(q)
	decoder := json.NewDecoder(strings.NewReader(a.text))
	decoder.UseNumber()
	if err := decoder.Decode(&a.body); err != nil {
		d.Fatalf("%s: %d with no JSON object: %q", q.call, a.status, a.text)
	}
	_, path, _ := strings.Cut(q.call, " ")
	d.checkShape(q, path, a)
	return a
}

// send sends a request, whatever the answer is.
func (d *desk) send(q request) reply {
	d.Helper()
	method, path, _ := strings.Cut(q.call, " ")
	r, err := http.NewRequestWithContext(d.Context(), method, d.server.URL+path, strings.NewReader(q.body))
	must(d, err)
	if q.key != "" {
		text, known := d.keys[q.key]
		if !known {
			text = q.key
		}
		r.Header.Set("Authorization", "Bearer "+text)
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
	must(d, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(d, err)
	return reply{TB: d, status: response.StatusCode, header: response.Header, text: string(text)}
}

func (d *desk) checkShape(q request, path string, a reply) {
	d.Helper()
	id := a.header.Get("X-Request-Id")
	_, isOutput := a.body["output"]
	native := !strings.HasPrefix(path, "/berth/") && !strings.HasSuffix(path, "z")
	switch {
	case a.status >= 300 && a.status < 400: // conformance 141
		d.Errorf("%s: redirected to %s", q.call, a.header.Get("Location"))
	case a.header.Get("Content-Type") != "application/json": // conformance 7
		d.Errorf("%s: content type %q", q.call, a.header.Get("Content-Type"))
	case a.status >= 400 && !strings.HasSuffix(path, "z"): // conformance 5, 142
		if a.string("request_id") != id || id == "" || a.string("code") == "" || a.string("message") == "" || isOutput || len(a.body) != 3 {
			d.Errorf("%s: no error as documented: %s", q.call, a.text)
		}
		if conflict := a.status == http.StatusConflict; conflict && a.header.Get("X-Should-Retry") != "false" { // conformance 143
			d.Errorf("%s: a conflict that clients repeat", q.call)
		}
	case native && a.status == http.StatusOK: // conformance 4, 6, 137, 140, 142
		output, isObject := a.body["output"].(map[string]any)
		if _, hasCode := output["code"]; !isObject || hasCode || a.string("request_id") != id || len(a.body) != 2 {
			d.Errorf("%s: no envelope as documented: %s", q.call, a.text)
		}
	case a.status != http.StatusOK && a.status < 400:
		d.Errorf("%s: status %d", q.call, a.status)
	}
}

// at returns the value below the keys, nil when there is none.
func (a reply) at(keys ...string) any {
	var v any = a.body
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (a reply) string(keys ...string) string {
	s, _ := a.at(keys...).(string)
	return s
}

// integer fails the test when the value is not written as an integer.
func (a reply) integer(keys ...string) int64 {
	a.Helper()
	n, _ := a.at(keys...).(json.Number)
	i, err := n.Int64()
	if err != nil {
		a.Errorf("%v is %v, no integer", keys, a.at(keys...))
	}
	return i
}

func (a reply) list(keys ...string) []any {
	a.Helper()
	l, ok := a.at(keys...).([]any)
	if !ok {
		a.Errorf("%v is %v, no list", keys, a.at(keys...))
	}
	return l
}

// mustAsk is ask for what must be answered with 200.
func (d *desk) mustAsk(q request) reply {
	d.Helper()
	a := d.ask(q)
	if a.status != http.StatusOK {
		d.Fatalf("%s: %d %s", q.call, a.status, a.text)
	}
	return a
}

func (d *desk) create(body string) reply {
	d.Helper()
	return d.mustAsk(request{key: "admin", call: "POST /api/v1/deployments", body: body})
}

// mustRefuse asks and checks status, code and a part of the sentence.
func (d *desk) mustRefuse(name string, q request, status int, code, says string) reply {
	d.Helper()
	a := d.ask(q)
	if a.status != status || a.string("code") != code || !strings.Contains(a.string("message"), says) {
		d.Errorf("%s: got %d %s", name, a.status, a.text)
	}
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
