package reconcile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// For any sequence of calls the agenda is a plain map of owners and times.
func TestAnAgendaIsAMap(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		a, want := newAgenda(), map[berth.Ref]time.Time{}
		for range rapid.IntRange(0, 300).Draw(t, "calls") {
			o := berth.Ref{Noun: berth.NounDeployment, ID: fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "owner"))}
			at := begin.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "second")) * time.Second)
			known, ok := want[o]
			switch rapid.IntRange(0, 2).Draw(t, "call") {
			case 0:
				a.set(o, at)
				want[o] = at
			case 1:
				a.soonen(o, at)
				if !ok || at.Before(known) {
					want[o] = at
				}
			default:
				most := rapid.IntRange(0, 4).Draw(t, "most")
				due := a.take(at, most)
				for i, o := range due {
					if want[o].After(at) || i > 0 && want[o].Before(want[due[i-1]]) {
						t.Fatalf("%v at %s: %v", due, at, want)
					}
				}
				for _, o := range due {
					delete(want, o)
				}
				for o, w := range want {
					if len(due) < most && !w.After(at) {
						t.Fatalf("%v was not taken", o)
					}
				}
			}
			var times []time.Time
			for _, w := range want {
				times = append(times, w)
			}
			slices.SortFunc(times, time.Time.Compare)
			var next time.Time
			if len(times) > 0 {
				next = times[0]
			}
			if got := a.next(); !got.Equal(next) {
				t.Fatalf("next is %s, want %s", got, next)
			}
			if len(a.queue) > 2*len(a.at)+65 {
				t.Fatalf("%d entries for %d owners", len(a.queue), len(a.at))
			}
		}
	})
}
