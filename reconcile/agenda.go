package reconcile

import (
	"container/heap"
	"time"

	berth "github.com/berthhq/berth"
)

// agenda says when the loop looks at each owner again.
type agenda struct {
	at    map[berth.Ref]time.Time
	queue queue // soonest first; an entry that differs from at is void
}

type entry struct {
	owner berth.Ref
	at    time.Time
}

func newAgenda() *agenda { return &agenda{at: map[berth.Ref]time.Time{}} }

// set moves an owner to at.
func (a *agenda) set(o berth.Ref, at time.Time) {
	a.at[o] = at
	heap.Push(&a.queue, entry{o, at})
	if len(a.queue) > 2*len(a.at)+64 {
		a.sweep()
	}
}

// soonen makes sure that an owner is looked at no later than at.
func (a *agenda) soonen(o berth.Ref, at time.Time) {
	if known, ok := a.at[o]; !ok || at.Before(known) {
		a.set(o, at)
	}
}

// take removes the owners that are due, at most so many, and returns them.
func (a *agenda) take(now time.Time, most int) []berth.Ref {
	var due []berth.Ref
	for len(due) < most && a.valid() && !now.Before(a.queue[0].at) {
		e := heap.Pop(&a.queue).(entry)
		delete(a.at, e.owner)
		due = append(due, e.owner)
	}
	return due
}

// next returns when the first owner is due; zero: none.
func (a *agenda) next() time.Time {
	if !a.valid() {
		return time.Time{}
	}
	return a.queue[0].at
}

// valid drops void entries from the front and reports whether one is left.
func (a *agenda) valid() bool {
	for len(a.queue) > 0 {
		at, ok := a.at[a.queue[0].owner]
		if ok && at.Equal(a.queue[0].at) {
			return true
		}
		heap.Pop(&a.queue)
	}
	return false
}

// sweep rids the queue of void entries.
func (a *agenda) sweep() {
	a.queue = a.queue[:0]
	for o, at := range a.at {
		a.queue = append(a.queue, entry{o, at})
	}
	heap.Init(&a.queue)
}

// queue implements [heap.Interface].
type queue []entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(entry)) }

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
