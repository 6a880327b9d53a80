// Package server is the front door of the control plane: routes, keys, paging, request
// ids, the mapping between wire and domain, and one table of errors. What a client
// sees is ruled by reference/api.md; what happens is decided in the root package.
package server

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// Options of a [Server]; all but Heartbeat are required.
type Options struct {
	Deployments *berth.Deployments
	Models      *berth.Models
	Uploads     *berth.Uploads
	FineTunes   *berth.FineTunes
	Keys        *berth.Keys
	Workspaces  *berth.Workspaces
	Usage       *berth.Usage
	Inventory   *berth.Inventory
	Imports     *berth.Imports
	Prices      *berth.Prices
	Books       *berth.Books
	Backups     *berth.Backups
	Push        *berth.Push
	Statements  *berth.Statements

	Calibrations    *berth.Calibrations
	Reconciliations *berth.Reconciliations
	Audits          *berth.Audits
	// Authenticate finds the live key of a token ("" included), as it acts in the named
	// workspace ("": its own), or refuses with berth.CodeUnauthenticated or
	// berth.CodeWorkspaceDenied.
	Authenticate func(token, workspaceID string) (*berth.KeyEntry, error)
	// WorkspaceDomain is the domain below which host names begin with a workspace's id;
	// "": none does.
	WorkspaceDomain string
	// Logs returns the last lines that a replica's engine wrote.
	Logs func(replicaID string, lines int) ([]string, error)
	// Busy returns the running calls on a replica.
	Busy func(replicaID string) int
	// Explain says what would become of calls to a deployment now.
	Explain func(deployedModel string) berth.Explanation
	// Follow returns a channel that gets a value after each change of a deployment, and a
	// function that ends it.
	Follow func(deploymentID string) (changed <-chan struct{}, stop func())
	// Stopping is closed when the server goes down: event streams end.
	Stopping <-chan struct{}
	// Heartbeat is the longest silence of an event stream; 0: 10 s.
	Heartbeat time.Duration
	// Ready returns nil once the server can serve, else the reason why not.
	Ready func() error
	Zone  *time.Location // of gmt_create and gmt_modified (api.md 2.4)
	// KiloTPM makes the capacity-instance endpoints count in 1,000 tokens per minute
	// (api.md 6.2).
	KiloTPM   bool
	BodyBytes int64 // largest request body
	// Warnings are what an operator should look at although the server serves.
	Warnings func() []string
	// Metrics answers who may read them: owners, and who has the ScrapeKey, unless that is "".
	Metrics   http.HandlerFunc
	ScrapeKey string
	Version   string
	NewUUID   func() string // request ids (api.md 2.3)
	Logger    *slog.Logger
}

// Server answers the control plane's requests.
type Server struct {
	Options
	mux     routes
	streams streams
	walks   walks
}

// New returns the server with all its routes.
func New(o Options) *Server {
	s := &Server{Options: o, mux: routes{ServeMux: http.NewServeMux()}}
	s.walks = walks{now: func() time.Time { return s.Deployments.Now() }, all: map[walker]walk{}}
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /openapi.json", s.openAPI)

	s.native("POST /api/v1/deployments", s.createDeployment)
	s.native("GET /api/v1/deployments", s.listDeployments)
	s.native("GET /api/v1/deployments/models", s.listDeployable)
	s.native("GET /api/v1/deployments/{id}", s.getDeployment)
	s.native("DELETE /api/v1/deployments/{id}", s.deleteDeployment)
	s.mux.HandleFunc("GET /api/v1/deployments/{id}/stream", s.streamEvents)
	s.mux.HandleFunc("GET /api/v1/deployments/{id}/events", s.streamEvents)
	s.native("PUT /api/v1/deployments/{id}", s.changing(s.Deployments.Change))
	s.native("PUT /api/v1/deployments/{id}/scale", s.changing(s.Deployments.Scale))
	s.native("PUT /api/v1/deployments/{id}/update", s.changing(s.Deployments.Update))
	s.native("PUT /api/v1/deployments/{id}/stop", s.switching(s.Deployments.Stop))
	s.native("PUT /api/v1/deployments/{id}/start", s.switching(s.Deployments.Start))
	s.native("PUT /api/v1/deployments/{id}/update-overflowstrategy", s.setOverflow)
	s.native("PUT /api/v1/deployments/{id}/updateOverflowStrategy", s.setOverflow)
	s.native("POST /api/v1/deployments/{id}/capacity-instances", s.createCapacity)
	s.native("GET /api/v1/deployments/{id}/capacity-instances", s.listCapacity)
	s.native("GET /api/v1/deployments/{id}/capacity-instances/{instance}", s.getCapacity)
	s.native("PUT /api/v1/deployments/{id}/capacity-instances/{instance}/scale", s.scaleCapacity)
	s.native("PUT /api/v1/deployments/{id}/capacity-instances/{instance}/renew", s.renewCapacity)
	s.native("DELETE /api/v1/deployments/{id}/capacity-instances/{instance}", s.deleteCapacity)
	s.native("GET /api/v1/deployments/{id}/capacity-operations/{operation}", s.getOperation)
	s.native("PUT /api/v1/deployments/{id}/renew", s.renewDeployment)
	s.native("GET /api/v1/models", s.listModelsNative)
	s.own("POST /api/v1/tokens", synchronous(s.createToken)) // its answer has no envelope (api.md 2.2)
	s.native("POST /api/v1/custom_models/import", s.createImport)
	s.native("GET /api/v1/custom_models/import", s.listImports)
	s.native("GET /api/v1/custom_models/import/{id}", s.getImport)
	s.native("DELETE /api/v1/custom_models/import/{id}", s.deleteImport)
	s.native("PUT /api/v1/custom_models/import/{id}/cancel", s.cancelImport) // ours

	s.mountFineTunes()

	s.own("POST /berth/v1/quote", s.quote)
	s.own("GET /berth/v1/models", s.listModels)
	s.own("POST /berth/v1/models", s.addModel)
	s.own("GET /berth/v1/models/{name}", s.getModel)
	s.own("DELETE /berth/v1/models/{name}", s.deleteModel)
	s.own("POST /berth/v1/models/{name}/calibrate", s.calibrate)
	s.own("GET /berth/v1/models/{name}/calibrations", s.listCalibrations)
	s.own("GET /berth/v1/accounts", s.listAccounts)
	s.own("POST /berth/v1/accounts", s.createAccount)
	s.own("GET /berth/v1/accounts/{id}", s.getAccount)
	s.own("PATCH /berth/v1/accounts/{id}", s.updateAccount)
	s.own("GET /berth/v1/accounts/{id}/balance", s.getBalance)
	s.own("GET /berth/v1/accounts/{id}/payments", s.listPayments)
	s.own("POST /berth/v1/accounts/{id}/payments", s.addPayment)
	s.own("GET /berth/v1/ledger", s.listPostings)
	s.own("GET /berth/v1/prices", s.listPrices)
	s.own("POST /berth/v1/prices", s.setPrices)
	s.own("POST /berth/v1/prices/dry-run", s.tryPrices)
	s.own("GET /berth/v1/statements/{month}", s.getStatement)
	s.own("GET /berth/v1/statements/{month}/records", s.openLine)
	s.own("GET /berth/v1/workspaces", s.listWorkspaces)
	s.own("POST /berth/v1/workspaces", s.createWorkspace)
	s.own("GET /berth/v1/workspaces/{id}", s.getWorkspace)
	s.own("PUT /berth/v1/workspaces/{id}", s.updateWorkspace)
	s.own("DELETE /berth/v1/workspaces/{id}", s.deleteWorkspace)
	s.own("GET /berth/v1/uploads", s.listUploads)
	s.own("POST /berth/v1/uploads", s.createUpload)
	s.own("GET /berth/v1/uploads/{id}", s.getUpload)
	s.own("DELETE /berth/v1/uploads/{id}", s.deleteUpload)
	s.mux.HandleFunc("GET /berth/v1/uploads/{id}/files/{name}", s.getUploadFile) // and HEAD
	s.mux.HandleFunc("PATCH /berth/v1/uploads/{id}/files/{name}", s.appendUpload)
	s.own("GET /berth/v1/keys", s.listKeys)
	s.own("POST /berth/v1/keys", s.createKey)
	s.own("DELETE /berth/v1/keys/{id}", s.revokeKey)
	s.own("GET /berth/v1/usage", s.usageTotals)
	s.own("GET /berth/v1/usage/records", s.usageRecords)
	s.own("GET /berth/v1/reconciliation", s.reconciliation)
	s.own("GET /berth/v1/audit", s.listAudits)
	s.own("GET /berth/v1/specs", s.listSpecs)
	s.own("GET /berth/v1/nodes", s.listNodes)
	s.mux.HandleFunc("POST /berth/v1/backup", s.createBackup)
	s.own("GET /berth/v1/push", s.getPush)
	s.own("GET /berth/v1/deployments/{id}/events", s.listEvents)
	s.own("GET /berth/v1/deployments/{id}/replicas", s.listReplicas)
	s.own("GET /berth/v1/deployments/{id}/explain", s.explain)
	s.own("GET /berth/v1/deployments/{id}/logs", s.listLogs)
	s.own("POST /berth/v1/deployments/{id}/capacity-instances/{instance}/unsubscribe", s.unsubscribeCapacity)

	s.mux.HandleFunc("/", s.unknown)
	return s
}

// routes is a mux that remembers what it serves.
type routes struct {
	*http.ServeMux
	patterns []string
}

// HandleFunc mounts a handler.
func (m *routes) HandleFunc(pattern string, h http.HandlerFunc) {
	m.patterns = append(m.patterns, pattern)
	m.ServeMux.HandleFunc(pattern, h)
}

// Routes returns the patterns of all operations, "METHOD /path", so that a test can hold
// them against the contract in api/openapi.yaml.
func (s *Server) Routes() []string {
	return slices.DeleteFunc(slices.Clone(s.mux.patterns), func(pattern string) bool { return pattern == "/" })
}

// ServeHTTP implements http.Handler. It never answers a redirect (statement 141), and
// every answer carries the request's id (statement 142).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := s.identify(w, r)
	s.mux.ServeHTTP(w, nativePath(r.WithContext(context.WithValue(r.Context(), requestKey{}, id))))
}

// identify puts the request's id into the answer's header and returns it.
func (s *Server) identify(w http.ResponseWriter, r *http.Request) string {
	id := cmp.Or(api.RequestID(r.Header), s.NewUUID())
	w.Header().Set("X-Request-Id", id)
	if dialectOf(r.URL.Path) == dialectAnthropic {
		w.Header().Set("Request-Id", id)
	}
	return id
}

// Starting answers a request, for any of the listener's paths, that came before the
// process may answer it: 503, in the shape of its operation.
func (s *Server) Starting(w http.ResponseWriter, r *http.Request) {
	s.identify(w, r)
	if r = nativePath(r); strings.Contains(r.URL.Path, nativeServices) {
		r = r.Clone(r.Context())
		r.URL.Path = nativeBase + nativeServices
	}
	s.refuse(w, r, &berth.Error{Code: berth.CodeUnavailable, Message: "Berth is starting; try again in a second.", RetryAfter: time.Second})
}

// requestKey is where a request's context has its id.
type requestKey struct{}

// requestOf returns the id of the request whose context it is.
func requestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// operation answers one kind of request: a value to show, or an error.
type operation func(ctx context.Context, r *http.Request) (any, error)

// native mounts an operation of the documented API: its value becomes the output of an
// envelope.
func (s *Server) native(pattern string, op operation) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, synchronous(op), func(id string, v any) any { return api.Envelope[any]{RequestID: id, Output: v} })
	})
}

// synchronous refuses requests for the asynchronous task API (api.md 2.1).
func synchronous(op operation) operation {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if strings.EqualFold(r.Header.Get("X-DashScope-Async"), "enable") {
			return nil, berth.Errorf(berth.CodeForbidden, "Current user api does not support asynchronous calls.")
		}
		return op(ctx, r)
	}
}

// own mounts an operation of ours: its value is the body.
func (s *Server) own(pattern string, op operation) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, op, func(_ string, v any) any { return v })
	})
}

// answer authenticates, runs the operation and writes what it says.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, op operation, shape func(id string, v any) any) {
	r.Body = http.MaxBytesReader(w, r.Body, s.BodyBytes)
	v, err := guarded(r.Context(), r, s.authenticated(op))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	h, must := v.(heard)
	if must {
		v = h.value
	}
	if d, is := v.(document); is {
		_ = d.write(w) // a client that has gone is no concern of ours
		return
	}
	if e, ok := v.(export); ok {
		if err := e.write(w); err != nil {
			s.Logger.Info("a file was not sent whole", "request_id", requestID(w), "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler)
		}
		return
	}
	writeErr := writeJSON(w, http.StatusOK, shape(requestID(w), v))
	if must && (writeErr != nil || !delivered(w, r)) {
		err := h.unheard()
		s.Logger.Info("an answer did not arrive", "request_id", requestID(w), "path", r.URL.Path, "remembered", err == nil, "error", err)
	}
}

// heard is the value of an operation that must know when its answer did not arrive.
type heard struct {
	value   any
	unheard func() error
}

// delivered reports whether the client was there while the answer was written: what the
// connection has taken and the client never reads, nobody can know.
func delivered(w http.ResponseWriter, r *http.Request) bool {
	return r.Context().Err() == nil && http.NewResponseController(w).Flush() == nil && r.Context().Err() == nil
}

// requestID is the one that ServeHTTP gave the answer.
func requestID(w http.ResponseWriter) string { return w.Header().Get("X-Request-Id") }

// guarded makes an error of a panic, so that it is answered and logged like one.
func guarded(ctx context.Context, r *http.Request, op operation) (v any, err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return op(ctx, r)
}

// authenticated runs op with the caller in its context.
func (s *Server) authenticated(op operation) operation {
	return func(_ context.Context, r *http.Request) (any, error) {
		ctx, err := s.authenticate(r)
		if err != nil {
			return nil, err
		}
		return op(ctx, r)
	}
}

// authenticate puts the caller into the context, as it acts in the workspace that the
// request names (statement 11).
func (s *Server) authenticate(r *http.Request) (context.Context, error) {
	key, err := s.Authenticate(api.KeyText(r), api.WorkspaceID(r, s.WorkspaceDomain))
	if err != nil {
		return nil, err
	}
	return berth.WithCaller(context.WithValue(r.Context(), entryKey{}, key), key.Caller), nil
}

// entryKey is where the context of an authenticated request has its key.
type entryKey struct{}

func keyOf(ctx context.Context) *berth.KeyEntry {
	key, _ := ctx.Value(entryKey{}).(*berth.KeyEntry)
	return key
}

// methods are those that any operation has.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// unknown answers paths and methods that are not there, after authentication
// (api.md 2.3: the service authenticates before it routes).
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, func(context.Context, *http.Request) (any, error) {
		var allowed []string
		for _, method := range methods {
			probe := *r
			probe.Method = method
			if _, pattern := s.mux.Handler(&probe); pattern != "/" {
				allowed = append(allowed, method)
			}
		}
		if allowed == nil {
			return nil, berth.Errorf(berth.CodeNotFound, "Not found!")
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, berth.Errorf(berth.CodeInvalid, "Request method '%s' is not supported.", r.Method)
	}, nil)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	_ = writeJSON(w, http.StatusOK, api.Health{Status: "ok", Version: s.Version})
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		_ = writeJSON(w, http.StatusServiceUnavailable, api.Health{Status: err.Error(), Version: s.Version})
		return
	}
	_ = writeJSON(w, http.StatusOK, api.Health{Status: "ok", Version: s.Version, Warnings: s.Warnings()})
}

// metrics are for owners, and for a scraper with a key of its own.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if s.ScrapeKey == "" || subtle.ConstantTimeCompare([]byte(api.KeyText(r)), []byte(s.ScrapeKey)) == 0 {
		ctx, err := s.authenticate(r)
		if err == nil && !berth.CallerFrom(ctx).May(berth.RoleOwner) {
			err = berth.Errorf(berth.CodeForbidden, "Access denied. Metrics need a key of role owner, or the one of metrics.key_file.")
		}
		if err != nil {
			s.refuse(w, r, err)
			return
		}
	}
	s.Metrics(w, r)
}
