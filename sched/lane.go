package sched

import (
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// turnLanes gives slots of lanes that take adapters in turns. A lane goes on with its
// adapter when nobody else waits; a lane without calls begins another group; then all
// look again, because who else waited may have found a lane, or have been set free.
func (p *Pool) turnLanes(now time.Time) {
	for again := true; again && p.bestEffort.waiting > 0; {
		granted, disbanded := p.granted, p.disbanded
		for _, idle := range []bool{false, true} {
			for _, r := range p.replicas {
				if r.grouped() && !r.retired && (r.busy == 0) == idle {
					p.fill(r, now)
				}
			}
		}
		again = p.granted > granted || p.disbanded > disbanded
	}
}

// fill gives away what slots of a lane it can.
func (p *Pool) fill(r *replica, now time.Time) {
	for p.bestEffort.waiting > 0 && r.room(&p.bestEffort) > 0 {
		e := p.nextOf(r, now)
		if e == nil || r.room(&p.bestEffort) < r.need(e) {
			return // the slots that it lacks come with the end of its group's others
		}
		p.grant(e, r)
	}
}

// nextOf returns the call that is next in a lane, nil when there is none or its adapter
// has to wait for the end of the present group. What comes after the group was closed joins
// it as long as its deployment has tokens left of its turn: a caller with few calls at once
// would otherwise have fewer in each round than one with many in line.
func (p *Pool) nextOf(r *replica, now time.Time) *entry {
	q := &p.bestEffort
	if r.group.Len() > 0 && now.Sub(r.began) >= p.bounds.Turn && p.othersWait(r) {
		p.disband(r)
	}
	if r.group.Len() > 0 {
		if e := r.group.Front().Value.(*entry); p.takes(r, e) {
			return e
		}
		p.disband(r) // what is left of it goes to a lane that did not fail
	}
	if r.busy == 0 {
		return p.first(r, now)
	}
	if p.othersWait(r) {
		if now.Sub(r.began) >= p.bounds.Turn {
			return nil
		}
		if now.Sub(r.rested) < p.bounds.Back { // others of those who came back
			if e := p.back(r); e != nil {
				return e
			}
		}
		return p.joiner(r)
	}
	same := func(e *entry) bool { return e.turn.Adapter == r.adapter && p.takes(r, e) }
	t := q.next(p.share(r), same)
	if t == nil {
		p.reclaim(same)
		t = q.next(p.share(r), same)
	}
	if t == nil {
		return nil
	}
	return t.head()
}

// first returns the call that a lane at rest begins with: one of the present turn, if its
// callers come back, else of a new group.
func (p *Pool) first(r *replica, now time.Time) *entry {
	if p.resting(r, now) {
		if e := p.back(r); e != nil {
			return e
		}
		if p.kept(r, now) {
			return nil
		}
	}
	return p.newGroup(r, now)
}

// joiner returns a call that joins a group after it was closed, nil if there is none. While
// it runs others wait for slots that nobody of its turn takes, so its deployment pays for
// them, too, and the turn ends when less than half of the slots are taken: callers with few
// calls at a time do not hold up a lane for long.
func (p *Pool) joiner(r *replica) *entry {
	for _, t := range r.turns {
		if t.line.Len() == 0 || t.head().turn.Adapter != r.adapter || !p.takes(r, t.head()) {
			continue
		}
		taken := r.busy + r.need(t.head())
		idle := t.price() * max(r.Slots-taken, 0) / taken
		if 2*taken >= r.Slots && taken <= r.Slots && t.deficit >= t.price()+idle {
			t.deficit -= idle
			return t.head()
		}
	}
	return nil
}

// resting reports whether a lane has just come to rest in a turn that may go on: the turn is
// young, it kept half of the slots busy, and its last call ended a moment ago.
func (p *Pool) resting(r *replica, now time.Time) bool {
	return r.grouped() && !r.retired && r.busy == 0 && r.group.Len() == 0 && 2*r.peak >= r.Slots &&
		now.Sub(r.rested) < p.bounds.Back && now.Sub(r.began) < p.bounds.Turn && p.othersWait(r)
}

// kept reports whether a lane at rest is kept for callers whose turn it is, who have tokens
// left of it and nobody in line: an engine that ends all their calls in the same moment
// leaves them no time to ask again.
func (p *Pool) kept(r *replica, now time.Time) bool {
	return p.resting(r, now) && slices.ContainsFunc(r.turns, func(t *tenant) bool {
		return t.line.Len() == 0 && t.deficit > 0 && p.bestEffort.tenants[t.id] == t // else it is forgotten
	})
}

// back returns a call of those who come back to a lane at rest, nil if there is none. They
// pay for slots that they leave empty.
func (p *Pool) back(r *replica) *entry {
	for _, t := range r.turns {
		if t.line.Len() == 0 || t.head().turn.Adapter != r.adapter || !p.takes(r, t.head()) {
			continue
		}
		idle := t.price() * max(r.Slots-r.peak, 0) / r.peak
		if t.deficit >= t.price()+idle {
			t.deficit -= idle
			return t.head()
		}
	}
	return nil
}

// share is what deployments get in a round of a lane: enough for its slots to be busy.
func (p *Pool) share(r *replica) int64 { return p.bounds.Share * r.Slots }

// othersWait reports whether a call of another adapter waits for the lane.
func (p *Pool) othersWait(r *replica) bool {
	for x := p.bestEffort.ring.Front(); x != nil; x = x.Next() {
		if e := x.Value.(*tenant).head(); e.turn.Adapter != r.adapter && r.serves(e) {
			return true
		}
	}
	return false
}

// newGroup closes a group for a lane without calls and returns its first call, nil when
// nobody waits. It is of another adapter than the last if one waits, and of one that no
// other lane is at if there is such.
func (p *Pool) newGroup(r *replica, now time.Time) *entry {
	q := &p.bestEffort
	p.endTurns(r)
	here := func(e *entry) bool { return p.takes(r, e) }
	other := func(e *entry) bool { return here(e) && e.turn.Adapter != r.adapter }
	unattended := func(e *entry) bool { return other(e) && !p.attended(e.turn.Adapter, r) }
	t := q.visit(p.share(r), unattended)
	if t == nil {
		t = q.visit(p.share(r), other)
	}
	if t == nil {
		p.reclaim(here)
		t = q.visit(p.share(r), here)
	}
	if t == nil {
		return nil
	}
	r.peak = 0
	r.adapter, r.began = t.head().turn.Adapter, now
	p.join(r, t)
	var more []*tenant // the others of the adapter have their turn, too
	for x := q.ring.Front(); x != nil; x = x.Next() {
		if o := x.Value.(*tenant); o != t && o.head().turn.Adapter == r.adapter && p.takes(r, o.head()) {
			more = append(more, o)
		}
	}
	for _, o := range more {
		q.earn(o, p.share(r))
		p.join(r, o)
	}
	return r.group.Front().Value.(*entry)
}

// endTurns ends the turns of those whose group a lane was at.
func (p *Pool) endTurns(r *replica) {
	for _, t := range r.turns {
		p.bestEffort.endTurn(t)
	}
	clear(r.turns)
	r.turns = r.turns[:0]
}

// join moves what a deployment can pay for of a lane's adapter into its group, which is
// one call in a lane on trial.
func (p *Pool) join(r *replica, t *tenant) {
	t.turns++
	r.turns = append(r.turns, t)
	most := p.bounds.Group
	if r.Trust == berth.OnTrial {
		most = 1
	}
	for t.line.Len() > 0 && r.group.Len() < most {
		e := t.head()
		if e.turn.Adapter != r.adapter || !p.takes(r, e) || t.deficit < t.cost(e) {
			return
		}
		p.bestEffort.choose(e, r.group)
	}
}

// reclaim gives up groups whose calls another lane with room may begin with.
func (p *Pool) reclaim(may func(*entry) bool) {
	for _, r := range p.replicas {
		if r.group.Len() > 0 && may(r.group.Front().Value.(*entry)) {
			p.disband(r)
		}
	}
}

// attended reports whether another lane is at the adapter.
func (p *Pool) attended(adapter string, but *replica) bool {
	for _, r := range p.replicas {
		if r != but && r.grouped() && r.busy > 0 && r.adapter == adapter {
			return true
		}
	}
	return false
}

// disband puts what is left of a lane's group back to where it came from.
func (p *Pool) disband(r *replica) {
	for r.group.Len() > 0 {
		p.disbanded++
		e := r.group.Back().Value.(*entry)
		e.queue.unshift(e)
	}
}
