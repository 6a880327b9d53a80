package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// exposition is figures in Prometheus's text format. There are some twenty, none with
// buckets, so it is written by hand: the library would bring five more.
type exposition struct {
	w   io.Writer
	err error
}

// family begins a metric.
func (m *exposition) family(name, kind, help string) {
	m.print("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample is one value of it; labels are names and values in turn.
func (m *exposition) sample(name string, value float64, labels ...string) {
	var list []string
	for i := 0; i < len(labels); i += 2 {
		list = append(list, labels[i]+`="`+labelEscapes.Replace(labels[i+1])+`"`)
	}
	if len(list) > 0 {
		name += "{" + strings.Join(list, ",") + "}"
	}
	m.print("%s %v\n", name, value)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (m *exposition) one(name, kind, help string, value float64) {
	m.family(name, kind, help)
	m.sample(name, value)
}

func (m *exposition) print(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.w, format, args...)
	}
}

// serveMetrics answers GET /metrics; the server has checked who asks.
func (a *App) serveMetrics(w http.ResponseWriter, r *http.Request) {
	var text strings.Builder
	if err := a.writeMetrics(r.Context(), &text); err != nil {
		a.opt.Logger.Warn("metrics not read", "error", err)
		http.Error(w, "The figures cannot be read now.", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, text.String()) // an error means that the scraper has gone
}

func (a *App) writeMetrics(ctx context.Context, w io.Writer) error {
	m := &exposition{w: w}
	m.family("berth_info", "gauge", "1, with the server's version.")
	m.sample("berth_info", 1, "version", a.opt.Version)

	f := a.meter.Figures()
	m.family("berth_calls_total", "counter", "Calls that were recorded since the server started, by class and how they ended.")
	for _, k := range slices.SortedFunc(maps.Keys(f.Calls), func(x, y [2]string) int { return slices.Compare(x[:], y[:]) }) {
		m.sample("berth_calls_total", float64(f.Calls[k]), "class", k[0], "end", k[1])
	}
	m.family("berth_tokens_total", "counter", "Tokens of those calls; cached ones are part of the input, thinking ones of the output.")
	for _, t := range []struct {
		kind string
		n    int64
	}{{"input", f.Input}, {"cached", f.Cached}, {"output", f.Output}, {"thinking", f.Thinking}} {
		m.sample("berth_tokens_total", float64(t.n), "kind", t.kind)
	}
	m.one("berth_usage_records_total", "counter", "Usage records written to the database since the server started.", float64(f.Records))
	m.one("berth_usage_records_dropped_total", "counter", "Refused calls, of no tokens, that have no record for lack of room in the journal.", float64(f.Unkept))
	m.one("berth_usage_behind_seconds", "gauge", "Age of the oldest usage that waits for the database; 0 when all is written.", f.Behind.Seconds())
	u := a.meter.Usage()
	m.one("berth_journal_segments", "gauge", "Segments of the journal on disk.", float64(u.Segments))
	m.one("berth_journal_segments_max", "gauge", "Segments that there may be; calls are refused when they are full.", float64(u.Most))
	m.one("berth_journal_bytes", "gauge", "Bytes of the journal on disk.", float64(u.Bytes))
	refusing := 0.0
	if a.meter.Trouble() != "" {
		refusing = 1
	}
	m.one("berth_journal_refusing", "gauge", "1 while calls are refused because their usage cannot be kept.", refusing)

	found := a.unexplained.Load()
	m.one("berth_unexplained_tokens", "gauge", "Tokens of the last 24 hours by which engines' counters and usage records differ, and nothing explains it. Should be 0.", float64(found.tokens))
	m.one("berth_unexplained_rows", "gauge", "Rows of berth reconciliation in which they are.", float64(found.rows))

	pushErr := a.writePushMetrics(ctx, m)

	states, err := a.replicaStates(ctx)
	m.family("berth_replicas", "gauge", "Replicas by state.")
	for _, state := range slices.Sorted(maps.Keys(states)) {
		m.sample("berth_replicas", float64(states[state]), "state", string(state))
	}
	m.one("berth_calls_in_flight", "gauge", "Calls that engines have now.", float64(a.gateway.InFlight("", "")))
	m.one("go_goroutines", "gauge", "Goroutines of the server.", float64(runtime.NumGoroutine()))
	return errors.Join(m.err, pushErr, err)
}

// writePushMetrics writes how the push stands, if there is one.
func (a *App) writePushMetrics(ctx context.Context, m *exposition) error {
	if a.pusher == nil {
		return nil
	}
	var w berth.PushWaiting
	err := a.store.View(ctx, func(tx berth.Tx) (err error) {
		w, err = tx.Pushes().Waiting(ctx)
		return err
	})
	if err != nil {
		return err
	}
	s := a.pusher.State()
	m.family("berth_push_waiting_events", "gauge", "Events that the push URL has not taken yet; of records at most so many.")
	m.sample("berth_push_waiting_events", float64(w.Records), "kind", "record")
	m.sample("berth_push_waiting_events", float64(w.Notices), "kind", "other")
	behind := time.Duration(0)
	if !w.Oldest.IsZero() {
		behind = max(0, a.opt.Now().Sub(w.Oldest))
	}
	m.one("berth_push_behind_seconds", "gauge", "Age of the oldest event that waits for the push URL; 0 when none does.", behind.Seconds())
	m.one("berth_push_events_total", "counter", "Events that the push URL took since the server started.", float64(s.Delivered))
	m.family("berth_push_messages_total", "counter", "Messages to the push URL since the server started, by what came of them; all but the taken ones are tried again.")
	for _, o := range berth.PushOutcomes() {
		m.sample("berth_push_messages_total", float64(s.Messages[o]), "outcome", string(o))
	}
	m.one("berth_push_lost_events_total", "counter", "Records and other events that retention deleted before the push URL took them; kept over restarts. Should be 0.", float64(w.Lost))
	failing := 0.0
	if s.Failing {
		failing = 1
	}
	m.one("berth_push_failing", "gauge", "1 while the push URL does not take events.", failing)
	return nil
}

func (a *App) replicaStates(ctx context.Context) (map[berth.ReplicaState]int, error) {
	states := map[berth.ReplicaState]int{
		berth.ReplicaPending: 0, berth.ReplicaStarting: 0, berth.ReplicaReady: 0, berth.ReplicaDraining: 0, berth.ReplicaStopping: 0, berth.ReplicaFailed: 0,
	}
	err := a.store.View(ctx, func(tx berth.Tx) error {
		list, err := tx.Replicas().List(ctx)
		for state := range states {
			states[state] = 0
		}
		for i := range list {
			states[list[i].State]++
		}
		return err
	})
	return states, err
}

// scrapeKey reads the key with which /metrics may be read and nothing else; "" for none.
func scrapeKey(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("metrics.key_file: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if len(key) < leastScrapeKey {
		return "", fmt.Errorf("metrics.key_file: %s has a key of %d characters; use at least %d", path, len(key), leastScrapeKey)
	}
	return key, nil
}

const leastScrapeKey = 16

// unexplained is what a look at the reconciliation of the last day has found.
type unexplained struct{ tokens, rows int64 }

// Looks at the reconciliation.
const (
	auditPause  = 15 * time.Second
	auditHours  = 2 * time.Hour // whose rows are held against the stored records
	warnedHours = 24 * time.Hour
)

// audit holds what was reconciled against the stored records, and finds what is
// unexplained, until ctx ends.
func (a *App) audit(ctx context.Context) {
	every(ctx, auditPause, func() {
		if err := a.auditOnce(ctx); err != nil && ctx.Err() == nil {
			a.opt.Logger.Warn("the reconciliation was not looked at; the next try is in 15 s", "error", err)
		}
	})
}

func (a *App) auditOnce(ctx context.Context) error {
	now := a.opt.Now()
	lost, err := a.services.reconciliations.Audit(ctx, now.Add(-auditHours), now.Add(time.Hour))
	for i := range lost {
		r := &lost[i]
		a.opt.Logger.Error("the stored usage records and what was reconciled differ; see berth reconciliation",
			"replica", r.ReplicaID, "nonce", r.Nonce, "hour", r.Hour, "unexplained_input_tokens", r.Unexplained.Input, "unexplained_output_tokens", r.Unexplained.Output)
	}
	if err != nil {
		return err
	}
	var u unexplained
	if u.tokens, u.rows, err = a.services.reconciliations.Unexplained(ctx, now.Add(-warnedHours).Truncate(time.Hour)); err == nil {
		a.unexplained.Store(&u)
	}
	return err
}

// warnings are what an operator should look at although the server serves. They are told
// to everybody who asks for its readiness, so they name nothing.
func (a *App) warnings() []string {
	var list []string
	if u := a.unexplained.Load(); u.rows > 0 {
		list = append(list, fmt.Sprintf("Engines' counters and usage records of the last 24 hours differ by %d tokens that nothing explains; see berth reconciliation --unexplained.", u.tokens))
	}
	return list
}
