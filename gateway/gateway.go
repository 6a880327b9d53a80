package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
)

// Dialect is how a driver says a call in its engine's words: the members of the JSON
// body besides those the client may set. model, stream and the largest output are
// among them, and for streams that usage is wanted at the end and, where the engine
// can, on the way.
type Dialect interface {
	Fields(berth.EngineCall) []berth.Field
	// Traits says what the engine can do.
	Traits() berth.EngineTraits
	// Count says how to ask for the exact number of tokens of a call's prompt; false
	// where the engine cannot tell.
	Count(berth.EngineCall) (berth.EngineCount, bool)
	// Refuses returns the sentence with which a call is refused that the engine cannot
	// do, or a member of which it would drop in silence; "" for none.
	Refuses(call berth.EngineCall, members []berth.Field) string
	// Blames returns the sentence for the caller when an engine's refusal, a status other
	// than 200 with its own sentence, is about the request; "" when it is not.
	Blames(status int, said string) string
}

// Meter keeps usage records. Its methods are called by many calls at once and neither
// wait nor keep the mark.
type Meter interface {
	// Open marks that a call is about to go to an engine, and again when it goes to another
	// one. A [berth.Error] refuses the call: its use could not be kept.
	Open(*berth.UsageMark) error
	// Progress marks the figures so far of a call that is open: once per beat while it is
	// streamed, and before the caller is given the end of the answer. Source is
	// [berth.SourceEngine] when the figures are final, Billable says whether the caller was
	// told something.
	Progress(*berth.UsageMark)
	// Close marks the record of a call, whether it was opened or not.
	Close(*berth.UsageMark)
	// Beat changes each second.
	Beat() uint32
}

// Bounds of the gateway; zero fields mean the default.
type Bounds struct {
	Body           int64         // bytes of one request body; 8 MiB
	BodiesInFlight int64         // bytes of all, with what is made of them for engines; 256 MiB
	Calls          int64         // at once; 65,536
	StreamIdle     time.Duration // without an event of the engine, or a client that reads; 120 s
	Call           time.Duration // 30 min
	NativeCall     time.Duration // native calls without a stream; 300 s
	Wait           time.Duration // for a slot of a pool, of a call that does not say how long; 60 s
	LongestWait    time.Duration // of one that does; 120 s
}

func (b Bounds) withDefaults() Bounds {
	return Bounds{
		Body:           cmp.Or(b.Body, 8<<20),
		BodiesInFlight: cmp.Or(b.BodiesInFlight, 256<<20),
		Calls:          cmp.Or(b.Calls, 65_536),
		StreamIdle:     cmp.Or(b.StreamIdle, 2*time.Minute),
		Call:           cmp.Or(b.Call, 30*time.Minute),
		NativeCall:     cmp.Or(b.NativeCall, 5*time.Minute),
		Wait:           cmp.Or(b.Wait, time.Minute),
		LongestWait:    cmp.Or(b.LongestWait, 2*time.Minute),
	}
}

// Options are what a gateway needs. Hash, Engine, Meter, Now, NewID and Logger are
// required.
type Options struct {
	Hash   func(token string) berth.KeyHash
	Engine func(driverName string) Dialect // nil for a driver that is not known
	// Limits makes the limiter of a deployment when its first call comes; nil: none.
	Limits func(deploymentID string) Limiter
	// Pools makes the scheduler of a pool when its first call comes; nil: none, and calls
	// go to the least loaded replica.
	Pools func() Scheduler
	Meter Meter
	Now   func() time.Time
	NewID func(prefix string) string
	// WorkspaceDomain is the domain below which host names begin with a workspace's id;
	// "": none does.
	WorkspaceDomain string
	Bounds          Bounds
	Logger          *slog.Logger
}

// Gateway serves inference. It is safe for concurrent use.
type Gateway struct {
	hash    func(string) berth.KeyHash
	engine  func(string) Dialect
	meter   Meter
	now     func() time.Time
	newID   func(string) string
	engines *engines
	domain  string
	bounds  Bounds
	logger  *slog.Logger

	snapshot atomic.Pointer[berth.Snapshot]
	table    table
	pools    pools
	bodies   bodies
	doors    doors
	closing  atomic.Bool
}

// New returns a gateway without keys and routes, which refuses every call until the
// first Swap.
func New(o Options) *Gateway {
	bounds := o.Bounds.withDefaults()
	g := &Gateway{
		hash: o.Hash, engine: o.Engine, meter: o.Meter, now: o.Now, newID: o.NewID,
		engines: newEngines(nil), domain: o.WorkspaceDomain, bounds: bounds, logger: o.Logger,
		table:  table{newLimiter: o.Limits},
		pools:  pools{open: o.Pools, now: o.Now},
		bodies: bodies{each: bounds.Body, all: bounds.BodiesInFlight},
		doors:  doors{most: bounds.Calls, empty: make(chan struct{})},
	}
	g.snapshot.Store(&berth.Snapshot{})
	return g
}

// Swap makes s what calls are decided by, from the next call on. Calls that run are
// not touched.
func (g *Gateway) Swap(s *berth.Snapshot) {
	g.snapshot.Store(s)
	g.pools.follow(s)
	g.table.prune(s)
}

// Snapshot returns the present snapshot, never nil, which must not be changed.
func (g *Gateway) Snapshot() *berth.Snapshot { return g.snapshot.Load() }

// InFlight counts the calls that a deployment has at a replica; "" stands for any. After
// Swap it counts every call that uses an older snapshot.
func (g *Gateway) InFlight(deploymentID, replicaID string) int {
	return g.table.inFlight(deploymentID, replicaID)
}

// Cut ends the running calls of a deployment, "" for all. It does not wait for their
// end.
func (g *Gateway) Cut(deploymentID string) { g.table.cut(deploymentID) }

// Drain refuses new calls, for good, and returns when the last one has ended, or with
// ctx's cause. It may be called again.
func (g *Gateway) Drain(ctx context.Context) error {
	g.doors.shut()
	return g.doors.wait(ctx)
}

// Close refuses new calls, cuts those that run and returns when they have ended. It may
// be called again.
func (g *Gateway) Close() {
	g.doors.shut()
	g.closing.Store(true)
	g.table.cut("")
	_ = g.doors.wait(context.Background()) // cannot fail
	g.engines.close()
}

// The bases below which clients look for operations (api.md 1 and 10.7), the documented
// one first: the error shape follows the operation, not the base.
var (
	chatBases  = []string{"/compatible-mode/v1", "/v1", "/api/v1"}
	modelBases = []string{"/compatible-mode/v1", "/v1"}
	// An older address of responses stands beside the others (api.md 9.8).
	responsesBases = []string{"/compatible-mode/v1", "/v1", "/api/v1", "/api/v2/apps/protocols/compatible-mode/v1"}

	messageBases = []string{"/apps/anthropic/v1", "/api/v1/v1", "/compatible-mode/v1/v1", "/v1"}
	nativeBases  = []string{"/api/v1", "/compatible-mode/v1", "/v1", "/apps/anthropic"}
	// tokenizerBases are those of native resources, which have no services below them.
	tokenizerBases = append(slices.Clone(nativeBases), "/apps/anthropic/v1")
)

// Route is one operation.
type Route struct {
	Method string
	Path   string // below each base
	Bases  []string
	handle http.HandlerFunc
}

// Routes returns all operations. A test holds them against the contract in
// api/openapi.yaml.
func (g *Gateway) Routes() []Route {
	return []Route{
		{http.MethodPost, "/chat/completions", chatBases, g.serve(openAI{})},
		{http.MethodPost, "/services/aigc/text-generation/generation", nativeBases, g.serve(native{})},
		{http.MethodPost, "/services/aigc/multimodal-generation/generation", nativeBases, g.serve(native{parts: true})},
		{http.MethodGet, "/models", modelBases, g.serveModels(openAICatalogue)},
		{http.MethodGet, "/models/{id}", modelBases, g.serveModels(openAICatalogue)},
		{http.MethodPost, "/messages", messageBases, g.serve(anthropic{})},
		{http.MethodPost, "/messages/count_tokens", messageBases, g.serveCount(anthropic{counting: true}, countedTokens)},
		{http.MethodGet, "/models", messageBases[:1], g.serveModels(anthropicCatalogue)},
		{http.MethodGet, "/models/{id}", messageBases[:1], g.serveModels(anthropicCatalogue)},
		{http.MethodPost, "/responses", responsesBases, g.serve(openAIResponses{})},
		{http.MethodPost, "/tokenizer", tokenizerBases, g.serveCount(tokenizer{}, tokenized)},
		{http.MethodPost, "/completions", modelBases, g.serve(openAICompletions{})},
		{http.MethodPost, "/embeddings", chatBases, g.serve(openAIEmbeddings{})},
		{http.MethodPost, "/services/embeddings/text-embedding/text-embedding", nativeBases, g.serve(nativeEmbeddings{})},
	}
}

// Calls returns who answers the paths to which calls are posted, as they are documented.
func (g *Gateway) Calls() map[string]http.Handler {
	calls := map[string]http.Handler{}
	for _, r := range g.Routes() {
		if r.Method != http.MethodPost {
			continue
		}
		for _, base := range r.Bases {
			calls[base+r.Path] = r.handle
		}
	}
	return calls
}

// Register adds the gateway's operations to mux, each with and without a trailing
// slash, so that none is redirected. The patterns name no method: a wrong one is
// answered in the operation's dialect.
func (g *Gateway) Register(mux *http.ServeMux) {
	for _, r := range g.Routes() {
		for _, base := range r.Bases {
			mux.HandleFunc(base+r.Path, r.handle)
			mux.HandleFunc(base+r.Path+"/{$}", r.handle)
		}
	}
}
