package server

import (
	"context"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// createBackup takes a backup and sends it as it is packed. A client that gets less than
// all of it has no whole zstd, and an archive without its manifest.
func (s *Server) createBackup(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, s.BodyBytes)
	v, err := guarded(r.Context(), r, s.authenticated(func(ctx context.Context, r *http.Request) (any, error) {
		var ask api.CreateBackup
		if r.ContentLength != 0 {
			var err error
			if ask, err = decode[api.CreateBackup](r); err != nil {
				return nil, err
			}
		}
		return s.Backups.Create(ctx, berth.BackupOptions{Models: ask.WithModels})
	}))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	b := v.(berth.Backup) //nolint:forcetypeassert // the operation above returns nothing else
	defer func() {
		if err := b.Close(); err != nil {
			s.Logger.Error("what a backup was made of is left on the disk until the next start", "error", err)
		}
	}()
	name := "berth-" + b.TakenAt().UTC().Format("20060102T150405Z") + ".tar.zst"
	w.Header().Set("Content-Type", "application/zstd")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { _ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) }() // for the connection's next request
	if err := b.WriteTo(ctx, &patient{ResponseWriter: w}); err != nil {
		s.Logger.Warn("a backup did not arrive", "request_id", requestID(w), "error", err)
		panic(http.ErrAbortHandler) // so that the client sees that something is missing
	}
	s.Logger.Info("a backup was sent", "request_id", requestID(w), "taken_at", b.TakenAt())
}

// backupPatience is how long a client may take no byte of a backup, whose files wait on
// the disk for it.
const backupPatience = time.Minute

// patient gives each write its time.
type patient struct{ http.ResponseWriter }

func (p *patient) Write(b []byte) (int, error) {
	// Behind a recorder nothing can hang.
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(backupPatience))
	return p.ResponseWriter.Write(b)
}
