package app

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// logPause is how long a line may wait for others to be written together: a write per
	// call was half of what the line of a call costs.
	logPause = 100 * time.Millisecond
	logBytes = 64 << 10 // that wait at most
)

// logWriter writes lines several at a time. Lines of the last 100 ms are lost when the
// process is killed; warnings and errors do not wait.
type logWriter struct {
	mu      sync.Mutex
	out     io.Writer
	waiting []byte
	timer   *time.Timer
	armed   bool
}

func newLogWriter(out io.Writer) *logWriter { return &logWriter{out: out} }

// Write implements io.Writer. It takes whole lines, and an error of the one that it wrote
// is of no use to who logs.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, line...)
	switch {
	case len(w.waiting) >= logBytes:
		w.flush()
	case w.armed:
	case w.timer == nil:
		w.armed = true
		w.timer = time.AfterFunc(logPause, w.Flush)
	default:
		w.armed = true
		w.timer.Reset(logPause)
	}
	return len(line), nil
}

// Flush writes what waits.
func (w *logWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.flush()
}

func (w *logWriter) flush() {
	if len(w.waiting) > 0 {
		_, _ = w.out.Write(w.waiting) // a log has nowhere to complain
		w.waiting = w.waiting[:0]
	}
}

// promptHandler lets what is serious through at once, and what waits before it.
type promptHandler struct {
	slog.Handler
	lines *logWriter
}

// Handle implements slog.Handler.
func (h promptHandler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		h.lines.Flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h promptHandler) WithAttrs(list []slog.Attr) slog.Handler {
	return promptHandler{h.Handler.WithAttrs(list), h.lines}
}

// WithGroup implements slog.Handler.
func (h promptHandler) WithGroup(name string) slog.Handler {
	return promptHandler{h.Handler.WithGroup(name), h.lines}
}
