package sched

import (
	"container/list"
	"time"
)

// queue is the line of one class: a ring of deployments with calls that wait.
type queue struct {
	guaranteed bool
	ring       *list.List    // of *tenant with calls in line
	cursor     *list.Element // whose turn it is; nil: the first's
	tenants    map[string]*tenant
	waiting    int // calls, those in groups included
	tokens     int64
	since      time.Time // somebody has been waiting
}

// tenant is one deployment's part of a queue. Without calls in line it is kept only for
// what it owes.
type tenant struct {
	id      string
	line    *list.List // of *entry
	place   *list.Element
	deficit int64 // tokens that it may use in this round
	turns   int   // lanes that are at a group of its adapter: until it ends, calls may join

	// What its last calls were said to use and did use, the older the less they count.
	said, used float64
}

// Calls are charged by what the deployment's calls used of what they were said to, lately:
// a refund that comes when a round is over would lag behind for ever by what they said too
// much. It changes by a part of learnPart with each call and stays within mostPart.
const (
	learnPart = 1.0 / 16
	mostPart  = 16
)

// cost is what a call is charged before anybody knows what it uses, at least 1.
func (t *tenant) cost(e *entry) int64 {
	if t.said == 0 {
		return e.tokens
	}
	part := min(max(t.used/t.said, 1.0/mostPart), mostPart)
	return max(int64(float64(e.tokens)*part), 1)
}

// price is the cost of the first call in line.
func (t *tenant) price() int64 { return t.cost(t.head()) }

// learn takes in what a call used that was said to use so many tokens.
func (t *tenant) learn(said, used int64) {
	t.said += float64(said) - t.said*learnPart
	t.used += float64(used) - t.used*learnPart
}

func newQueue(guaranteed bool) queue {
	return queue{guaranteed: guaranteed, ring: list.New(), tenants: map[string]*tenant{}}
}

func (t *tenant) head() *entry { return t.line.Front().Value.(*entry) }

func (q *queue) tenant(id string) *tenant {
	t := q.tenants[id]
	if t == nil {
		t = &tenant{id: id, line: list.New()}
		q.tenants[id] = t
	}
	if t.place == nil {
		t.place = q.ring.PushBack(t)
	}
	return t
}

// push puts a call at the end of its deployment's line, one that waited before at its
// head.
func (q *queue) push(e *entry, now time.Time) {
	t := q.tenant(e.turn.DeploymentID)
	e.line = t.line
	if e.turn.ArrivedAt.Before(now) {
		e.waiting = t.line.PushFront(e)
	} else {
		e.waiting = t.line.PushBack(e)
	}
	if q.waiting == 0 {
		q.since = now
	}
	q.waiting++
	q.tokens += e.tokens
}

// unshift puts a call that was taken out of its deployment's line back to its head, and
// gives back what it was charged.
func (q *queue) unshift(e *entry) {
	t := q.tenant(e.turn.DeploymentID)
	e.line.Remove(e.waiting)
	e.line, e.waiting = t.line, t.line.PushFront(e)
	t.deficit += e.charge
}

// choose charges a call to its deployment and moves it to another line.
func (q *queue) choose(e *entry, to *list.List) {
	t := q.tenants[e.turn.DeploymentID]
	e.charge = t.cost(e)
	t.deficit -= e.charge
	t.line.Remove(e.waiting)
	e.line, e.waiting = to, to.PushBack(e)
	q.settle(t)
}

// remove takes a call out of whatever line it is in.
func (q *queue) remove(e *entry) {
	e.line.Remove(e.waiting)
	e.line, e.waiting = nil, nil
	q.waiting--
	q.tokens -= e.tokens
	if t := q.tenants[e.turn.DeploymentID]; t != nil {
		q.settle(t)
	}
	if q.waiting == 0 { // nobody to be fair to
		clear(q.tenants)
		q.ring.Init()
		q.cursor = nil
	}
}

// settle takes a deployment without calls out of the ring. What it may still use is
// lost, as in every deficit round robin, but not before its turn is over; what it owes is
// not.
func (q *queue) settle(t *tenant) {
	if t.line.Len() > 0 {
		return
	}
	if t.place != nil {
		if q.cursor == t.place {
			q.cursor = t.place.Next()
		}
		q.ring.Remove(t.place)
		t.place = nil
	}
	if t.turns > 0 {
		return
	}
	if t.deficit = min(t.deficit, 0); t.deficit == 0 {
		delete(q.tenants, t.id)
	}
}

// endTurn takes a lane's turn from a deployment, which may be forgotten meanwhile.
func (q *queue) endTurn(t *tenant) {
	if t.turns--; q.tenants[t.id] == t {
		q.settle(t)
	}
}

// next returns the deployment whose turn it is among those whose first call may run: the
// first from the cursor on that can pay for it. When none can, a round ends: each gets as
// many shares as the one needs that lacks fewest. nil when none may run.
func (q *queue) next(share int64, may func(*entry) bool) *tenant {
	rounds := int64(0)
	t := q.affordable(may, func(t *tenant) {
		lacks := (t.price() - t.deficit + share - 1) / share
		if rounds == 0 || lacks < rounds {
			rounds = lacks
		}
	})
	if t != nil || rounds == 0 {
		return t
	}
	if q.cursor != nil {
		q.cursor = q.cursor.Next() // who was served last is not served first
	}
	for x := q.ring.Front(); x != nil; x = x.Next() {
		if t := x.Value.(*tenant); may(t.head()) {
			t.deficit += rounds * share
		}
	}
	return q.affordable(may, func(*tenant) {})
}

// affordable finds the first deployment from the cursor on whose first call may run and
// is paid for, and moves the cursor there. The others that may run go to poor.
func (q *queue) affordable(may func(*entry) bool, poor func(*tenant)) *tenant {
	x := q.cursor
	for range q.ring.Len() {
		if x == nil {
			x = q.ring.Front()
		}
		t := x.Value.(*tenant)
		if may(t.head()) {
			if t.deficit >= t.price() {
				q.cursor = x
				return t
			}
			poor(t)
		}
		x = x.Next()
	}
	return nil
}

// mostShares is how many shares a deployment may save up for turns that it could not use.
const mostShares = 16

// visit goes from deployment to deployment among those whose first call may run, gives
// each its share, and returns the first that can pay. Who was visited is last next time.
func (q *queue) visit(share int64, may func(*entry) bool) *tenant {
	rounds := int64(0)
	for x := q.ring.Front(); x != nil; x = x.Next() {
		if t := x.Value.(*tenant); may(t.head()) {
			lacks := max(1, (t.price()-t.deficit+share-1)/share)
			if rounds == 0 || lacks < rounds {
				rounds = lacks
			}
		}
	}
	if rounds == 0 {
		return nil
	}
	var visited []*tenant
	var chosen *tenant
	for x := q.ring.Front(); x != nil; x = x.Next() {
		t := x.Value.(*tenant)
		if !may(t.head()) {
			continue
		}
		if t.deficit += (rounds - 1) * share; chosen != nil {
			continue
		}
		t.deficit += share
		visited = append(visited, t)
		if t.deficit >= t.price() {
			chosen = t
		}
	}
	for _, t := range visited {
		q.last(t, share)
	}
	return chosen
}

// earn gives a deployment its share out of turn.
func (q *queue) earn(t *tenant, share int64) {
	t.deficit += share
	q.last(t, share)
}

func (q *queue) last(t *tenant, share int64) {
	t.deficit = min(t.deficit, max(mostShares*share, t.price()))
	q.ring.MoveToBack(t.place)
}

// done corrects the charge of a call that ended and learns from it, unless it used nothing:
// then it was not served.
func (q *queue) done(e *entry, used int64) {
	if t := q.tenants[e.turn.DeploymentID]; t != nil && used > 0 {
		t.learn(e.tokens, used)
	}
	q.correct(e.turn.DeploymentID, e.charge-used)
}

// correct gives back what a call did not use of what it was charged, or charges more.
func (q *queue) correct(id string, tokens int64) {
	if q.waiting == 0 || tokens == 0 {
		return
	}
	t := q.tenants[id]
	switch {
	case t != nil:
		t.deficit += tokens
		if t.place == nil && t.deficit >= 0 && t.turns == 0 {
			delete(q.tenants, id)
		}
	case tokens < 0:
		q.tenants[id] = &tenant{id: id, line: list.New(), deficit: tokens}
	}
}
