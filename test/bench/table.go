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
// second, Berth the third.
type table struct {
	scenario
	rounds [][]result // by peer
}

const (
	alone = iota
	nginx
	berth
)

func newTable(s scenario, rounds int) *table {
	t := &table{scenario: s, rounds: make([][]result, len(s.peers))}
	for i := range t.rounds {
		t.rounds[i] = make([]result, 0, rounds)
	}
	return t
}

func (t *table) add(peer int, r result) { t.rounds[peer] = append(t.rounds[peer], r) }

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
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\tberth / nginx\n", t.title, t.peers[alone].name, t.peers[nginx].name, t.peers[berth].name)
	for _, f := range t.figures() {
		engine := "-"
		if f.alone {
			engine = spread(f.format, t.values(f, alone))
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", f.name, engine,
			spread(f.format, t.values(f, nginx)), spread(f.format, t.values(f, berth)), t.ratio(f))
	}
	_ = w.Flush() // to a terminal
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
	ours, theirs := t.values(f, berth), t.values(f, nginx)
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
