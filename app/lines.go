package app

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// lineHandler writes the same JSON lines as slog's own handler, and the plain ones, such
// as the line of each call, in a third of the time: those whose values are numbers,
// spans of time and texts without anything to escape. The others it leaves to slog's.
type lineHandler struct {
	slog.Handler
	out io.Writer
}

// newLineHandler returns one with the options that slog's gets, of which only the level may
// be set.
func newLineHandler(out io.Writer, o *slog.HandlerOptions) *lineHandler {
	return &lineHandler{slog.NewJSONHandler(out, o), out}
}

var linePool = sync.Pool{New: func() any { return new([]byte) }}

// Handle implements slog.Handler. The writer takes whole lines from many at once.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	line := linePool.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer linePool.Put(line)
	var plain bool
	if *line, plain = appendLine((*line)[:0], &r); !plain {
		return h.Handler.Handle(ctx, r)
	}
	_, err := h.out.Write(*line)
	return err
}

// appendLine appends a record's line; false when it is not plain.
func appendLine(dst []byte, r *slog.Record) (_ []byte, plain bool) {
	year := r.Time.Year()
	if r.Time.IsZero() || year < 1 || year > 9999 || !isPlain(r.Message) {
		return dst, false
	}
	dst = append(dst, `{"time":"`...)
	dst = r.Time.Round(0).AppendFormat(dst, time.RFC3339Nano)
	dst = append(append(dst, `","level":"`...), r.Level.String()...)
	dst = append(append(append(dst, `","msg":"`...), r.Message...), '"')
	plain = true
	r.Attrs(func(a slog.Attr) bool {
		if plain = a.Key != "" && isPlain(a.Key); !plain {
			return false
		}
		dst = append(append(append(dst, `,"`...), a.Key...), `":`...)
		switch a.Value.Kind() {
		case slog.KindString:
			text := a.Value.String()
			plain = isPlain(text)
			dst = append(append(append(dst, '"'), text...), '"')
		case slog.KindInt64:
			dst = strconv.AppendInt(dst, a.Value.Int64(), 10)
		case slog.KindDuration:
			dst = strconv.AppendInt(dst, int64(a.Value.Duration()), 10)
		case slog.KindBool:
			dst = strconv.AppendBool(dst, a.Value.Bool())
		default:
			plain = false
		}
		return plain
	})
	return append(dst, "}\n"...), plain
}

// isPlain reports whether text stands in JSON as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
