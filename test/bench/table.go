//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// table is the figures of one scenario. The engine alone is the first peer, nginx the
// second, Berth the last.
type table struct {
	scenario
	rounds [][]result // by peer
	failed []error    // by peer
}

const (
	alone = iota
	nginx
)

func (t *table) berth() int { return len(t.peers) - 1 }

func newTable(s scenario, rounds int) *table {
	t := &table{scenario: s, rounds: make([][]result, len(s.peers)), failed: make([]error, len(s.peers))}
	for i := range t.rounds {
		t.rounds[i] = make([]result, 0, rounds)
	}
	return t
}

func (t *table) add(peer int, r result) { t.rounds[peer] = append(t.rounds[peer], r) }

// fail notes that a peer cannot be measured. Without the engine, nginx or Berth the rest
// means nothing.
func (t *table) fail(peer int, err error) error {
	p := t.peers[peer]
	if p.log != nil {
		err = fmt.Errorf("%w\n%s", err, p.log())
	}
	t.failed[peer] = fmt.Errorf("%s: %w", p.name, err)
	if peer <= nginx || peer == t.berth() {
		return t.failed[peer]
	}
	return nil
}

// figure is a row: what a round at a peer gives, and the engine alone in the same round.
type figure struct {
	name   string
	format string
	of     func(r, engine result) float64
	alone  bool // the engine alone has one, too
}

func (t *table) figures() []figure {
	at := func(q float64) func(r, _ result) float64 {
		return func(r, _ result) float64 { return r.quantile(q) }
	}
	added := func(q float64) func(r, engine result) float64 {
		return func(r, engine result) float64 { return r.quantile(q) - engine.quantile(q) }
	}
	return []figure{
		{"CPU of the proxy, µs/" + t.unit, "%.1f", func(r, _ result) float64 {
			return float64(r.cpu.Nanoseconds()) / 1e3 / float64(r.calls*t.perCall)
		}, false},
		{t.unit + "s/s", "%.0f", func(r, _ result) float64 { return float64(r.calls*t.perCall) / r.took.Seconds() }, true},
		{"p50, ms/call", "%.2f", at(0.5), true},
		{"p99, ms/call", "%.2f", at(0.99), true},
		{"added to p50, ms", "%.2f", added(0.5), false},
		{"added to p99, ms", "%.2f", added(0.99), false},
	}
}

func (t *table) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, t.title)
	for _, p := range t.peers {
		fmt.Fprint(w, "\t", p.name)
	}
	fmt.Fprintln(w, "\tberth / nginx")
	for _, f := range t.figures() {
		fmt.Fprint(w, "  ", f.name)
		for i := range t.peers {
			if i == alone && !f.alone || t.failed[i] != nil {
				fmt.Fprint(w, "\t-")
				continue
			}
			fmt.Fprint(w, "\t", spread(f.format, t.values(f, i)))
		}
		fmt.Fprintf(w, "\t%s\n", t.ratio(f))
	}
	_ = w.Flush() // to a terminal
	for _, err := range t.failed {
		if err != nil {
			fmt.Fprintln(out, "  not measured:", err)
		}
	}
	fmt.Fprintln(out)
}

func (t *table) values(f figure, peer int) []float64 {
	values := make([]float64, len(t.rounds[peer]))
	for i, r := range t.rounds[peer] {
		values[i] = f.of(r, t.rounds[alone][i])
	}
	return values
}

// ratio compares within each round. A difference that may be nothing has none.
func (t *table) ratio(f figure) string {
	ours, theirs := t.values(f, t.berth()), t.values(f, nginx)
	for i := range ours {
		if theirs[i] <= 0.005 || ours[i] <= 0 {
			return "-"
		}
		ours[i] /= theirs[i]
	}
	return spread("%.2f", ours)
}

// spread is the median and what it lies between.
func spread(format string, values []float64) string {
	slices.Sort(values)
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	return fmt.Sprintf(format+" ("+format+".."+format+")", median, values[0], values[len(values)-1])
}

// quantile of the latencies, in ms.
func (r result) quantile(q float64) float64 {
	i := min(int(q*float64(len(r.latencies))), len(r.latencies)-1)
	return float64(r.latencies[i]) / float64(time.Millisecond)
}
