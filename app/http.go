package app

import (
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/berthhq/berth/internal/front"
	"github.com/berthhq/berth/server"
)

// frontServer serves the one listener of design 10: calls that are quite plain by itself,
// all else by net/http.
func (a *App) frontServer() *front.Server {
	return front.New(front.Options{
		Handlers: a.gateway.Calls(),
		Take: func() bool {
			select {
			case <-a.loop.Looked():
				return true
			default:
				return false
			}
		},
		Other: a.httpServer(), Idle: idlePatience, First: headerPatience, Logger: a.opt.Logger,
		Body: func(length int64) time.Duration { return bodyTime(length, bodyPatience) },
	})
}

// idlePatience is how long a connection may be without a request, headerPatience how long
// one takes to come, the first one of a connection from its beginning on.
const (
	idlePatience   = 2 * time.Minute
	headerPatience = 10 * time.Second
)

// httpServer serves the gateway's paths and the control plane's.
func (a *App) httpServer() *http.Server {
	mux := http.NewServeMux()
	a.gateway.Register(mux)
	control := a.newServer()
	mux.Handle("/", control)
	return &http.Server{
		Handler:           cleanPaths(inTime(a.onceLooked(mux, control), a.opt.Config.Limits.Body, bodyPatience)),
		ReadHeaderTimeout: headerPatience,
		IdleTimeout:       idlePatience,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.opt.Logger.Handler(), slog.LevelDebug),
	}
}

// What a request body may take: bodyPatience, and a second more per bodyRate bytes that it
// may have. Uploads have a rule of their own: any length, but never silent for long.
const (
	bodyPatience = 30 * time.Second
	bodyRate     = 64 << 10
)

func bodyTime(size int64, patience time.Duration) time.Duration {
	return patience + time.Duration(size/bodyRate)*time.Second
}

// inTime bounds how long a client may take to send a body of at most most bytes; net/http
// by itself would wait for ever, also for the body of a request that is refused unread.
// When the body has ended, net/http lifts the deadline.
func inTime(next http.Handler, most int64, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			size := most
			if r.ContentLength >= 0 {
				size = min(most, r.ContentLength)
			}
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime(size, patience))) // behind a recorder nothing can hang
		}
		next.ServeHTTP(w, r)
	})
}

// Routes returns every operation that is served, "METHOD /path", so that tests can hold
// each to who may use it.
func (a *App) Routes() []string {
	list := a.newServer().Routes()
	for _, r := range a.gateway.Routes() {
		for _, base := range r.Bases {
			list = append(list, r.Method+" "+base+r.Path)
		}
	}
	return list
}

// lookPatience is how long a request waits for the first look before it is sent away.
const lookPatience = 5 * time.Second

// onceLooked keeps clients waiting until the loop has compared the store with what
// runs: before that, what the store says of engines is of another life. Health is
// answered at once.
func (a *App) onceLooked(serving http.Handler, control *server.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-a.loop.Looked():
			serving.ServeHTTP(w, r)
			return
		default:
		}
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
			control.ServeHTTP(w, r)
			return
		}
		patience := time.NewTimer(lookPatience)
		defer patience.Stop()
		select {
		case <-a.loop.Looked():
			serving.ServeHTTP(w, r)
			return
		case <-r.Context().Done():
		case <-patience.C:
		}
		control.Starting(w, r)
	})
}

// cleanPaths spares clients the redirect with which a mux answers a path with a double
// or a trailing slash: none may be answered (statement 141).
func cleanPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clean := path.Clean("/" + r.URL.Path); clean != r.URL.Path {
			r.URL.Path = clean
			r.URL.RawPath = strings.TrimRight(r.URL.RawPath, "/")
		}
		next.ServeHTTP(w, r)
	})
}
