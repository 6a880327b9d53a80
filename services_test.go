package berth_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store/sqlitetest"
	"github.com/berthhq/berth/store/storetest"
)

// The workspaces and the account of every house.
const (
	home, away = "llm-home", "llm-away"
	payer      = "1000000000000001"
	spare      = "1000000000000002"
)

// house is the services of the domain on a store of their own.
type house struct {
	testing.TB
	store       berth.Store // runs every transaction twice
	once        berth.Store // the same, without
	deployments *berth.Deployments
	models      *berth.Models
	uploads     *berth.Uploads
	fineTunes   *berth.FineTunes
	inbox       *inbox
	keys        *berth.Keys
	workspaces  *berth.Workspaces
	prices      *berth.Prices
	ledger      *berth.Books
	usage       *berth.Usage
	inventory   *berth.Inventory

	published atomic.Int64 // newest routing version that the gateway was told of
	woken     atomic.Int64
	ids       atomic.Int64
	mu        sync.Mutex
	time      time.Time
}

// newHouse has two workspaces, nodes of the given threads with plenty of memory, and
// the catalogue below.
func newHouse(t testing.TB, threads ...int64) *house {
	t.Helper()
	s := sqlitetest.Open(t)
	h := &house{TB: t, store: storetest.Twice(s), once: s, inbox: newInbox(), time: time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)}
	h.wire()
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		for i, id := range []string{payer, spare} {
			must(t, tx.Accounts().InsertAccount(ctx, berth.Account{ID: id, Name: id, Currency: "CNY", TimeZone: "UTC"}))
			w := berth.Workspace{ID: []string{home, away}[i], AccountID: id, Name: id, CreatedAt: h.now()}
			must(t, tx.Accounts().InsertWorkspace(ctx, w))
		}
		for i, n := range threads {
			must(t, tx.Nodes().Put(ctx, berth.Node{
				ID: fmt.Sprintf("node%d", i), Online: true, Total: berth.Resources{Threads: n, MemoryBytes: 1 << 40},
			}))
		}
		for _, m := range catalogue() {
			must(t, tx.Models().Insert(ctx, m))
		}
		return nil
	})
	return h
}

func (h *house) wire() {
	engines := map[string]berth.EngineTraits{
		berth.EngineLlamaCpp: {Name: berth.EngineLlamaCpp, Adapters: true},
		berth.EngineFake:     {Name: berth.EngineFake, Adapters: true, MixedAdapters: true},
		berth.EngineEndpoint: {Name: berth.EngineEndpoint, Remote: true},
		berth.EngineVLLM:     {Name: berth.EngineVLLM, Missing: "set its command"},
		"plain":              {Name: "plain"},
	}
	w := berth.Writer{
		Store: h.store, Now: h.now,
		NewID: func(prefix string) string { return fmt.Sprintf("%s%08d", prefix, h.ids.Add(1)) },
		Publish: func(_ context.Context, version int64) error {
			for have := h.published.Load(); have < version && !h.published.CompareAndSwap(have, version); {
				have = h.published.Load()
			}
			return nil
		},
	}
	h.deployments = &berth.Deployments{
		Writer: w, Engines: engines, Wake: func() { h.woken.Add(1) },
		Specs: []berth.Spec{
			{Name: "MU1", Unit: berth.Resources{Threads: 1, MemoryBytes: 256 << 20}, Slots: 4, ContextLength: 32_768, UnitsPerReplica: 1},
			{Name: "MU8", Unit: berth.Resources{Threads: 8, MemoryBytes: 2 << 30}, Slots: 8, ContextLength: 32_768, UnitsPerReplica: 1},
			{Name: "MU1-PD", Type: berth.SpecTypeSeparated, Unit: berth.Resources{Threads: 1, MemoryBytes: 256 << 20}, Slots: 4, ContextLength: 32_768},
		},
	}
	h.uploads = &berth.Uploads{
		Writer: w, Inbox: h.inbox, Bounds: berth.UploadBounds{Bytes: 1000, Open: 2, Expiry: time.Hour, SpareBytes: 100},
	}
	h.models = &berth.Models{
		Writer: w, Engines: engines, Files: shelf{}, SpecsOf: h.deployments.SpecsOf, Uploads: h.uploads, Shelf: shelf{},
		Seal: func(model, key string) []byte { return []byte("sealed " + model + key) },
	}
	h.fineTunes = &berth.FineTunes{Writer: w, Models: h.models, Zone: time.UTC}
	h.keys = &berth.Keys{
		Writer:         w,
		NewKey:         func() (string, error) { return fmt.Sprintf("sk-%08d", h.ids.Add(1)), nil },
		NewToken:       func() (string, error) { return fmt.Sprintf("st-%08d", h.ids.Add(1)), nil },
		Hash:           hashOf,
		Hint:           func(text string) string { return text[:4] + "…" },
		NewWorkspaceID: func() string { return "llm-first" },
		NewAccountID:   func() string { return "1000000000000009" },
	}
	h.workspaces = &berth.Workspaces{
		Writer:         w,
		NewWorkspaceID: func() string { return fmt.Sprintf("llm-%08d", h.ids.Add(1)) },
		NewAccountID:   func() string { return fmt.Sprintf("2%015d", h.ids.Add(1)) },
	}
	h.prices, h.ledger = &berth.Prices{Writer: w}, &berth.Books{Writer: w}
	h.usage = &berth.Usage{Store: h.store}
	h.inventory = &berth.Inventory{Store: h.store}
}

func hashOf(text string) berth.KeyHash { return sha256.Sum256([]byte(text)) }

// catalogue has a model for every rule.
func catalogue() []berth.Model {
	base := func(name string, plans ...berth.Plan) berth.Model {
		return berth.Model{
			Name: name, Kind: berth.ModelKindBase, Engine: berth.EngineLlamaCpp, Plans: plans, Thinking: berth.ThinkingNone,
			Specs: []berth.SpecOverride{{Spec: "MU1"}}, ContextLength: 32_768,
			File: berth.ModelFile{Path: name, Digest: "sha256:" + name, Stat: berth.FileStat{SizeBytes: 1 << 20}, KVBytesPerToken: 1},
		}
	}
	calibrated := berth.Calibration{InputTPM: 600_000, OutputTPM: 60_000, Declared: true}
	abacus := base("abacus", berth.PlanMU, berth.PlanPTU)
	abacus.Calibration, abacus.Pool = calibrated, berth.PoolPolicy{Spec: "MU1", Min: 1, Max: 2}
	twin := base("twin", berth.PlanPTU)
	twin.Calibration, twin.Pool, twin.File = calibrated, abacus.Pool, abacus.File
	wide := base("wide", berth.PlanPTU)
	wide.Calibration = berth.Calibration{InputTPM: 1, OutputTPM: 1, Declared: true}
	plus := base("plus", berth.PlanMU)
	plus.Specs, plus.Thinking = []berth.SpecOverride{{Spec: "MU1", UnitsPerReplica: 4}, {Spec: "MU1-PD"}}, berth.ThinkingOptional
	deep := base("deep", berth.PlanMU)
	deep.Thinking = berth.ThinkingAlways
	heavy := base("heavy", berth.PlanMU)
	heavy.File.Stat.SizeBytes = 1 << 40
	plain := base("plain", berth.PlanMU)
	plain.Engine = "plain"
	strange := base("strange", berth.PlanMU)
	strange.Engine = "nobody's"
	secret := base("secret", berth.PlanMU)
	secret.WorkspaceID = away
	words := base("words", berth.PlanLoRA, berth.PlanMU)
	words.Kind, words.Base = berth.ModelKindAdapter, "abacus"
	shout := words
	shout.Name, shout.File.Digest = "shout", "sha256:shout"
	stiff := words
	stiff.Name, stiff.Base = "stiff", "plain"
	remote := berth.Model{
		Name: "remote", Kind: berth.ModelKindEndpoint, Engine: berth.EngineEndpoint, URL: "http://127.0.0.1:9", RemoteName: "gpt",
		Plans: []berth.Plan{berth.PlanMU}, Thinking: berth.ThinkingNone,
	}
	return []berth.Model{
		abacus, twin, wide, plus, deep, heavy, plain, strange, secret, words, shout, stiff, remote,
		base("raw", berth.PlanPTU), base("shown"), base("both", berth.PlanPTU, berth.PlanMU),
	}
}

// shelf has every file that is asked for, but for those named "broken".
type shelf struct{}

func (shelf) inspect(path string) (berth.ModelFile, error) {
	if path == "broken" {
		return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "The file %s is broken.", path)
	}
	return berth.ModelFile{
		Path: path, Digest: "sha256:" + path, Stat: berth.FileStat{SizeBytes: 1 << 20}, ContextLength: 4096, Thinking: path == "thinker",
	}, nil
}

func (s shelf) Put(_ context.Context, a berth.Arrival) (berth.ModelFile, error) {
	return s.inspect(a.Dir)
}

func (shelf) Remove(berth.ModelFile) error { return nil }

func (s shelf) InspectBase(_ context.Context, path string) (berth.ModelFile, error) {
	return s.inspect(path)
}

func (shelf) IsFolder(path string) bool { return strings.HasSuffix(path, "/") }

func (s shelf) InspectPlain(_ context.Context, path string) (berth.ModelFile, error) {
	return s.inspect(path)
}

func (s shelf) InspectAdapter(_ context.Context, path string, base berth.ModelFile) (berth.ModelFile, error) {
	if base.Path == "" {
		return berth.ModelFile{}, berth.Errorf(berth.CodeInvalid, "The base has no file.")
	}
	return s.inspect(path)
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.time
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.time = h.time.Add(d)
}

// as is a context with a caller of that role; its key is named after workspace and role.
func (h *house) as(workspace string, role berth.Role) context.Context {
	account := payer
	if workspace == away {
		account = spare
	}
	return berth.WithCaller(h.Context(), berth.Caller{
		KeyID: "key_" + workspace + string(role), WorkspaceID: workspace, AccountID: account, Role: role,
	})
}

func (h *house) admin() context.Context { return h.as(home, berth.RoleAdmin) }
func (h *house) owner() context.Context { return h.as(home, berth.RoleOwner) }

func (h *house) tx(fn func(context.Context, berth.Tx) error) {
	h.Helper()
	ctx := h.Context()
	must(h, h.store.Tx(ctx, func(tx berth.Tx) error { return fn(ctx, tx) }))
}

func (h *house) mustCreate(ctx context.Context, p berth.Purchase) berth.Deployment {
	h.Helper()
	d, err := h.deployments.Create(ctx, p)
	must(h, err)
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func num(n int64) *int64 { return &n }

func yes(b bool) *bool { return &b }

// books is everything that a purchase may write.
type books struct {
	Deployments []berth.Deployment
	Replicas    []berth.Replica
	Nodes       []berth.Node
	Holds       []berth.Hold
	Pools       []berth.Pool
	Members     []berth.Member
	Models      []berth.Model
	Keys        []berth.Key
	Accounts    []berth.Account
	Workspaces  []berth.Workspace
	Prices      []berth.Price
	Postings    []berth.Posting
	Audits      []berth.Audit
	Events      int
	Version     int64
}

func (h *house) books() books {
	h.Helper()
	var b books
	ctx := h.Context()
	must(h, h.store.View(ctx, func(tx berth.Tx) (err error) {
		b.Deployments, _, err = tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(h, err)
		b.Replicas, err = tx.Replicas().List(ctx)
		must(h, err)
		b.Nodes, err = tx.Nodes().List(ctx)
		must(h, err)
		b.Holds, err = tx.Nodes().Holds(ctx)
		must(h, err)
		b.Pools, err = tx.Pools().List(ctx)
		must(h, err)
		b.Members, err = tx.Pools().Members(ctx, "")
		must(h, err)
		b.Models, err = tx.Models().List(ctx)
		must(h, err)
		b.Keys, err = tx.Keys().List(ctx, "")
		must(h, err)
		b.Accounts, err = tx.Accounts().Accounts(ctx)
		must(h, err)
		b.Workspaces, err = tx.Accounts().Workspaces(ctx)
		must(h, err)
		b.Prices, err = tx.Prices().List(ctx)
		must(h, err)
		b.Postings, err = tx.Ledger().Postings(ctx, berth.PostingFilter{}, "", 10_000)
		must(h, err)
		b.Audits, err = tx.Events().Audits(ctx, berth.AuditFilter{}, nil, 10_000)
		must(h, err)
		slices.Reverse(b.Audits) // oldest first
		b.Events = 0
		for _, d := range b.Deployments {
			events, err := tx.Events().List(ctx, d.ID, "", 10_000)
			must(h, err)
			b.Events += len(events)
		}
		b.Version, err = tx.RoutingVersion(ctx)
		return err
	}))
	return b
}

// unchanged runs fn, which must be refused, and proves that it wrote nothing.
func (h *house) unchanged(fn func() error) error {
	h.Helper()
	before := h.books()
	err := fn()
	if err == nil {
		h.Fatal("it was not refused")
	}
	if after := h.books(); !reflect.DeepEqual(after, before) {
		h.Errorf("a refusal changed the store:\n got %+v\nwant %+v", after, before)
	}
	return err
}

// held returns the threads held on each node.
func (b books) held() map[string]int64 {
	held := map[string]int64{}
	for _, h := range b.Holds {
		held[h.NodeID] += h.Held.Threads
	}
	return held
}
