package app

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"
)

func TestLinesAreThoseOfSlog(t *testing.T) {
	t.Parallel()
	var ours, theirs bytes.Buffer
	h := newLineHandler(&ours, &slog.HandlerOptions{Level: slog.LevelInfo})
	want := slog.NewJSONHandler(&theirs, &slog.HandlerOptions{Level: slog.LevelInfo})
	at := time.Date(2026, 11, 23, 16, 0, 0, 120, time.FixedZone("", 5*3600+1800))
	for _, attrs := range [][]any{
		nil,
		{"id", "use_1", "tokens", 12, "least", int64(math.MinInt64), "took", 1500 * time.Millisecond, "yes", true, "", "no key"},
		{"id", "", "tokens", -1, "took", time.Duration(-3)},
		{"quoted", `a "b" \c`, "n", 1}, {"lines", "a\nb\x7f"}, {"foreign", "é\u2028\xff"}, {"html", "<a&b>"}, {`a "key"`, 1},
		{"error", errors.New("x")}, {"nothing", nil}, {"float", 1.5}, {"unsigned", uint64(math.MaxUint64)}, {"time", at},
		{slog.Group("g", "a", 1)}, {"list", []int{1}}, {"bad"},
	} {
		for _, msg := range []string{"call", `a "call"`, ""} {
			for _, level := range []slog.Level{slog.LevelInfo, slog.LevelError, slog.LevelInfo + 1} {
				for _, when := range []time.Time{at, at.UTC(), time.Now(), {}, at.AddDate(8000, 0, 0)} {
					r := slog.NewRecord(when, level, msg, 0)
					r.Add(attrs...)
					ours.Reset()
					theirs.Reset()
					must(t, h.Handle(t.Context(), r))
					must(t, want.Handle(t.Context(), r))
					if ours.String() != theirs.String() {
						t.Errorf("got  %swant %s", ours.String(), theirs.String())
					}
				}
			}
		}
	}
	r := slog.NewRecord(at, slog.LevelInfo, "call", 0)
	ours.Reset()
	must(t, h.WithAttrs([]slog.Attr{slog.Int("a", 1)}).WithGroup("g").Handle(t.Context(), r))
	if got := ours.String(); got != `{"time":"2026-11-23T16:00:00.00000012+05:30","level":"INFO","msg":"call","a":1}`+"\n" {
		t.Error(got)
	}
	if h.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("it writes what nobody wants")
	}
}

func BenchmarkLine(b *testing.B) {
	out := newLogWriter(writerOfNothing{})
	defer out.Flush()
	for name, h := range map[string]slog.Handler{"ours": newLineHandler(out, nil), "slog": slog.NewJSONHandler(out, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := slog.NewRecord(time.Now(), slog.LevelInfo, "call", 0)
			for _, key := range []string{"request_id", "record", "workspace", "key", "deployment", "deployed_model", "replica", "class", "source", "end"} {
				r.AddAttrs(slog.String(key, "use_01a20922-dc3c-7e9f-92d5-7f099cf67378"))
			}
			for _, key := range []string{"input_tokens", "cached_tokens", "output_tokens", "thinking_tokens", "status", "duration", "first_token"} {
				r.AddAttrs(slog.Int64(key, 123456))
			}
			for b.Loop() {
				_ = h.Handle(b.Context(), r)
			}
		})
	}
}

type writerOfNothing struct{}

func (writerOfNothing) Write(p []byte) (int, error) { return len(p), nil }
