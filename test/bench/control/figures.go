//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// figure is one row of the report.
type figure struct {
	what   string
	wanted string // "": nothing is promised
	p50    string
	p99    string
	note   string
}

type figures struct{ rows []figure }

// took adds a row of quantiles in milliseconds.
func (f *figures) took(what, wanted string, samples []time.Duration, note string) {
	slices.Sort(samples)
	row := figure{what: what, wanted: wanted, note: note, p50: "-", p99: "-"}
	if n := len(samples); n > 0 {
		row.p50, row.p99 = ms(samples[n/2]), ms(samples[min(n-1, n*99/100)])
		row.note = fmt.Sprintf("%d times%s", n, note)
	}
	f.rows = append(f.rows, row)
}

// is adds a row of one value.
func (f *figures) is(what, wanted, value, note string) {
	f.rows = append(f.rows, figure{what: what, wanted: wanted, p50: value, note: note})
}

func (f *figures) print(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "\twanted\tp50\tp99\t")
	for _, r := range f.rows {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", r.what, r.wanted, r.p50, r.p99, r.note)
	}
	_ = out.Flush() // as with Fprintln: there is nobody to tell
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
