package app

import (
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"
)

// httpServer is the one listener of design 10: the gateway's paths and the control
// plane's.
func (a *App) httpServer() *http.Server {
	mux := http.NewServeMux()
	a.gateway.Register(mux)
	mux.Handle("/", a.newServer())
	return &http.Server{
		Handler:           cleanPaths(mux),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.opt.Logger.Handler(), slog.LevelDebug),
	}
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
