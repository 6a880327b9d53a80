//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// What is promised.
const (
	leastDelivered = 0.99
	mostFirst      = 1.25 // of the calibrated time
	mostUnfair     = 0.10
)

// row is a line of the table.
type row struct {
	what, wanted string
	of           func(*report) string
}

// mark shows what does not hold.
func mark(text string, holds bool) string {
	if holds {
		return text
	}
	return "**" + text + "**"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }

func (r *report) delivered() float64 {
	return float64(r.got) / max(float64(r.got+r.missing), 1)
}

// first says a quantile of the times to the first token beside the calibrated one.
func (r *report) first(part float64, calibratedMS int64, bound bool) string {
	got := quantile(r.firsts, part)
	times := float64(got) / float64(max(calibratedMS, 1)*int64(time.Millisecond))
	return mark(fmt.Sprintf("%s (%.2f ×)", ms(got), times), !bound || times <= mostFirst)
}

// share is what a deployment got of its fair share of what its lane made for best effort.
func (r *report) share(v *rival) string {
	total := int64(0)
	for _, o := range r.rivals {
		if o.lane == v.lane {
			total += o.tokens
		}
	}
	got := float64(v.tokens) * float64(r.sharing(v.lane)) / max(float64(total), 1)
	return mark(fmt.Sprintf("%.2f (%d calls)", got, v.calls), got >= 1-mostUnfair && got <= 1+mostUnfair)
}

// use says how the slots of lanes were taken.
func (r *report) use() string {
	var all []string
	for _, l := range r.lanes {
		n := max(l.looked, 1)
		text := fmt.Sprintf("%s: %.1f best effort", l.name, l.bestEffort/n)
		if l.name != "lora" {
			text = fmt.Sprintf("%s: %.1f reserved, %.1f best effort", l.name, (l.busy-l.bestEffort)/n, l.bestEffort/n)
		}
		text += fmt.Sprintf(" of %d", l.slots)
		if l.guaranteed > 0 {
			text += fmt.Sprintf(" (%d kept for reserved)", l.guaranteed)
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func rows(first *report) []row {
	list := []row{
		{"calibrated: µs of the engine per token of a prompt, of an answer", "", func(r *report) string {
			return fmt.Sprintf("%.0f, %.0f", float64(r.found.InputNSPerToken)/1e3, float64(r.found.OutputNSPerToken)/1e3)
		}},
		{"calibrated first token, p50 / p95", "", func(r *report) string {
			return fmt.Sprintf("%d / %d ms after %d tokens", r.found.FirstTokenP50MS, r.found.FirstTokenP95MS, r.found.FirstTokenInput)
		}},
		{"sold, of a replica's time", "", func(r *report) string {
			return fmt.Sprintf("%.0f %%: %d tokens/min in, %d out", r.percent, r.input, r.output)
		}},
		{"reserved calls made", "", func(r *report) string { return fmt.Sprint(r.calls) }},
		{"used of what is reserved, in and out", "100 %", func(r *report) string {
			minutes := float64(r.length) / float64(minute)
			return fmt.Sprintf("%.1f %%, %.1f %%", 100*float64(r.gotInput)/float64(r.input)/minutes, 100*float64(r.gotOutput)/float64(r.output)/minutes)
		}},
		{"tokens delivered of those asked for", "≥ 99 %", func(r *report) string {
			return mark(fmt.Sprintf("%.1f %%", 100*r.delivered()), r.delivered() >= leastDelivered)
		}},
		{"reserved calls refused", "0", func(r *report) string { return mark(fmt.Sprint(r.refused), r.refused == 0) }},
		{"one call more", "429", func(r *report) string {
			if r.oneMore == 0 {
				return "not asked"
			}
			return fmt.Sprint(r.oneMore)
		}},
		{"first token of reserved calls, p50 (of calibrated)", "", func(r *report) string { return r.first(0.5, r.found.FirstTokenP50MS, false) }},
		{"first token of reserved calls, p95 (of calibrated)", "≤ 1.25 ×", func(r *report) string { return r.first(0.95, r.found.FirstTokenP95MS, true) }},
	}
	for i, v := range first.rivals {
		list = append(list, row{v.name + ": got of its fair share", "0.90 to 1.10", func(r *report) string { return r.share(r.rivals[i]) }})
	}
	return append(list,
		row{"slots taken, on the average", "", (*report).use},
		row{"load before", "", func(r *report) string { return r.loadBefore }},
	)
}

// printAll writes a table that docs/performance.md takes as it is. What does not hold is
// bold.
func printAll(out io.Writer, reports []*report) {
	if len(reports) == 0 {
		return
	}
	fmt.Fprint(out, "| | wanted |")
	for _, r := range reports {
		fmt.Fprintf(out, " %s |", r.title)
	}
	fmt.Fprintf(out, "\n|---|---|%s\n", strings.Repeat("---|", len(reports)))
	for _, line := range rows(reports[0]) {
		fmt.Fprintf(out, "| %s | %s |", line.what, line.wanted)
		for _, r := range reports {
			fmt.Fprintf(out, " %s |", line.of(r))
		}
		fmt.Fprintln(out)
	}
}
