package fakeengine

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// Options are what an engine needs besides its script.
type Options struct {
	// Key is the bearer key that everything but /health asks for; "" asks for none.
	Key string
	// Now dates answers; nil means time.Now. Speed and delays follow the real
	// clock, or the fake one of a testing/synctest bubble.
	Now func() time.Time
	// Adapters are the names of those that it has from the start.
	Adapters []string
	// Diary gets what calls made it do, line by line; nil: nobody keeps one.
	Diary io.WriterAt
}

// Engine is a running fake engine, an http.Handler for one server or none. It
// starts no goroutines. All methods are safe for concurrent use.
type Engine struct {
	script Script
	key    string
	now    func() time.Time
	routes *http.ServeMux
	tally  tally
	slots  chan struct{} // holds one value per busy slot; nil without a bound
	lora   shelf
	diary  io.WriterAt

	started  chan struct{}
	starting *time.Timer // closes started; nil if that was done at once

	kill     sync.Once
	died     chan struct{}
	exitCode int // written before died is closed
}

var _ http.Handler = (*Engine)(nil)

// New returns an engine whose start delay begins now. The script must be valid
// (Script.Validate).
func New(script Script, options Options) *Engine {
	e := &Engine{
		script:  script,
		key:     options.Key,
		now:     options.Now,
		diary:   options.Diary,
		started: make(chan struct{}),
		died:    make(chan struct{}),
	}
	if e.now == nil {
		e.now = time.Now
	}
	for _, name := range options.Adapters {
		e.lora.names.Store(name, true)
	}
	if script.Slots > 0 {
		e.slots = make(chan struct{}, script.Slots)
	}
	e.routes = e.newRoutes()
	if script.StartDelayMS == 0 {
		close(e.started)
	} else {
		delay := time.Duration(script.StartDelayMS) * time.Millisecond
		e.starting = time.AfterFunc(delay, func() { close(e.started) })
	}
	return e
}

func (e *Engine) newRoutes() *http.ServeMux {
	behindKey := http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"POST /v1/chat/completions":              e.work(checkChat, e.complete(chatDialect{})),
		"POST /v1/completions":                   e.work(checkCompletion, e.complete(textDialect{})),
		"POST /v1/embeddings":                    e.work(checkEmbeddings, e.embed),
		"POST /v1/chat/completions/input_tokens": e.serveInputTokens,
		"POST /tokenize":                         e.serveTokenize,
		"POST /v1/load_lora_adapter":             e.serveLoad,
		"POST /v1/unload_lora_adapter":           e.serveUnload,
		"GET /v1/models":                         e.serveModels,
		"GET /metrics":                           e.serveMetrics,
		"GET /slots":                             e.serveSlots,
	} {
		behindKey.HandleFunc(pattern, handler)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /health", e.serveHealth)
	routes.HandleFunc("/", e.guarded(behindKey))
	return routes
}

// ServeHTTP answers one request. Where the script cuts the connection, and after
// the engine's death, it panics with http.ErrAbortHandler, which an http.Server
// takes as just that.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.dead() {
		panic(http.ErrAbortHandler)
	}
	e.routes.ServeHTTP(w, r)
}

// guarded lets a request pass that has the key, once the engine has started.
func (e *Engine) guarded(next http.Handler) http.HandlerFunc {
	want := []byte("Bearer " + e.key)
	return func(w http.ResponseWriter, r *http.Request) {
		got := []byte(r.Header.Get("Authorization"))
		switch {
		case e.key != "" && subtle.ConstantTimeCompare(got, want) == 0:
			writeError(w, http.StatusUnauthorized, "authentication_error", "Invalid API Key")
		case !e.isStarted():
			writeLoading(w)
		default:
			next.ServeHTTP(w, r)
		}
	}
}

func (e *Engine) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if !e.isStarted() {
		writeLoading(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Started returns a channel that is closed once the start delay has passed. It
// stays open if the engine is killed before.
func (e *Engine) Started() <-chan struct{} { return e.started }

func (e *Engine) isStarted() bool {
	select {
	case <-e.started:
		return true
	default:
		return false
	}
}

// Kill ends the engine as SIGKILL ends a process: open calls are cut, new ones get
// no answer. It does not wait for the open calls to notice (WaitIdle does). Only
// the first call counts, later ones change nothing.
func (e *Engine) Kill(exitCode int) {
	e.kill.Do(func() {
		if e.starting != nil {
			e.starting.Stop()
		}
		e.exitCode = exitCode
		close(e.died)
	})
}

// Died returns a channel that is closed when the engine was killed or crashed as
// its script says.
func (e *Engine) Died() <-chan struct{} { return e.died }

// ExitCode returns what a process of this engine would have exited with, -1 while
// it lives.
func (e *Engine) ExitCode() int {
	if !e.dead() {
		return -1
	}
	return e.exitCode
}

func (e *Engine) dead() bool {
	select {
	case <-e.died:
		return true
	default:
		return false
	}
}

// crash ends the engine with the exit code of the script.
func (e *Engine) crash() {
	var c Crash
	if e.script.Crash != nil {
		c = *e.script.Crash
	}
	e.Kill(c.exitCode())
}

// What ends a call before its answer is complete.
var (
	errClientGone = errors.New("the client went away")
	errEngineDied = errors.New("the engine died")
	errCut        = errors.New("the script cuts the connection")
)

// alive returns errEngineDied or errClientGone once a call has lost one of them.
func (e *Engine) alive(ctx context.Context) error {
	if e.dead() {
		return errEngineDied
	}
	if ctx.Err() != nil {
		return errClientGone
	}
	return nil
}

// hang waits for the end of the client or of the engine and says which it was.
func (e *Engine) hang(ctx context.Context) error {
	select {
	case <-e.died:
		return errEngineDied
	case <-ctx.Done():
		return errClientGone
	}
}
