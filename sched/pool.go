package sched

import (
	"cmp"
	"container/list"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// Bounds of a pool; zero fields mean the default.
type Bounds struct {
	Calls  int           // waiting per class; 4096
	Tenant int           // waiting per deployment and class; 256
	Share  int64         // tokens that deployments get in each round; 512
	Group  int           // calls of a closed group; 512
	Back   time.Duration // for which a lane at rest is kept for callers of its turn that come back; 20 ms
	Turn   time.Duration // in which a closed group's calls begin, or wait for its next; 10 s
}

func (b Bounds) withDefaults() Bounds {
	return Bounds{
		Calls:  cmp.Or(b.Calls, 4096),
		Tenant: cmp.Or(b.Tenant, 256),
		Share:  cmp.Or(b.Share, 512),
		Group:  cmp.Or(b.Group, 512),
		Back:   cmp.Or(b.Back, 20*time.Millisecond),
		Turn:   cmp.Or(b.Turn, 10*time.Second),
	}
}

// Pool is the scheduler of one pool. Its methods return the turns whose state changed,
// in a slice that is valid until the next call. Times never go back.
type Pool struct {
	bounds     Bounds
	replicas   []*replica
	guaranteed queue
	bestEffort queue
	entries    map[*berth.Turn]*entry // waiting or running
	pace       pace
	bestPace   map[berth.Lane]*pace // of best effort alone
	lacking    []berth.PoolDemand   // a row per lane that somebody ever waited for
	chosen     *list.List           // passed through on the way to a replica
	changed    []*berth.Turn

	granted, waited, full, tooLate int64
	disbanded                      int64 // calls put back from groups
}

// entry is a turn that waits or runs.
type entry struct {
	turn    *berth.Turn
	tokens  int64 // that it is said to use, at least 1
	charge  int64 // of them, what its deployment was charged when it was chosen
	queue   *queue
	waiting *list.Element // its place in a line; nil when it runs
	line    *list.List    // that place's
	claim   *replica      // kept free for it
	replica *replica      // where it runs
	slots   int64         // that it has there
	until   time.Time     // it waits no longer
	lane    berth.Lane    // that it waits for
}

// grouped reports whether the call waits in a closed group.
func (e *entry) grouped() bool {
	t := e.queue.tenants[e.turn.DeploymentID]
	return e.line != nil && (t == nil || e.line != t.line)
}

// NewPool returns a pool without replicas.
func NewPool(b Bounds) *Pool {
	p := &Pool{bounds: b.withDefaults(), entries: map[*berth.Turn]*entry{}, bestPace: map[berth.Lane]*pace{}, chosen: list.New()}
	p.guaranteed = newQueue(true)
	p.bestEffort = newQueue(false)
	return p
}

// Enqueue brings a call. It runs, waits or is refused when Enqueue returns; another one
// may be refused in its place.
func (p *Pool) Enqueue(t *berth.Turn, now time.Time) []*berth.Turn {
	p.begin()
	if t.ArrivedAt.IsZero() {
		t.ArrivedAt = now
	}
	t.State, t.ReplicaID = berth.TurnWaiting, ""
	e := &entry{turn: t, tokens: max(t.Tokens, 1), queue: &p.bestEffort, until: t.ArrivedAt.Add(t.Wait)}
	if t.Class.Guaranteed() {
		e.queue = &p.guaranteed
	}
	if !p.served(e) {
		return p.refuse(e, berth.TurnNoReplica, now)
	}
	p.entries[t] = e
	e.queue.push(e, now)
	p.count(e, 1, now)
	p.dispatch(now)
	if t.State != berth.TurnWaiting {
		return p.changed
	}
	if !now.Before(e.until) && t.Wait > 0 {
		p.drop(e, berth.TurnTooLate, now)
	} else if t.Wait <= 0 {
		p.drop(e, berth.TurnFull, now)
	} else if last := p.surplus(e); last != nil {
		p.drop(last, berth.TurnFull, now)
	}
	if t.State == berth.TurnWaiting {
		p.waited++
	}
	return p.changed
}

// Done takes back the slots of a call that runs. used are its tokens, 0 if it was not
// served. A turn that does not run is left as it is.
func (p *Pool) Done(t *berth.Turn, used int64, now time.Time) []*berth.Turn {
	p.begin()
	e := p.entries[t]
	if e == nil || e.replica == nil {
		return p.changed
	}
	delete(p.entries, t)
	t.State = berth.TurnDone
	e.replica.release(e)
	if e.replica.busy == 0 {
		e.replica.rested = now
	}
	if e.replica.retired && e.replica.busy == 0 {
		p.forget(e.replica)
	}
	p.keepPace(e, used, now)
	e.queue.done(e, used)
	p.dispatch(now)
	return p.changed
}

// Cancel takes a waiting call out of the line. One that does not wait is left as it is.
func (p *Pool) Cancel(t *berth.Turn, now time.Time) []*berth.Turn {
	p.begin()
	if e := p.entries[t]; e != nil && e.waiting != nil {
		p.drop(e, berth.TurnLeft, now)
	}
	return p.changed
}

// Expire refuses the calls that waited long enough.
func (p *Pool) Expire(now time.Time) []*berth.Turn {
	p.begin()
	for _, e := range p.inLine() {
		if e.waiting != nil && !now.Before(e.until) {
			p.drop(e, berth.TurnTooLate, now)
		}
	}
	p.dispatch(now)
	return p.changed
}

// Look is when to call Expire although nobody's patience ends: calls wait for a lane that is
// kept for others until then. Zero: there is no such time.
func (p *Pool) Look(now time.Time) (at time.Time) {
	for _, r := range p.replicas {
		if until := r.rested.Add(p.bounds.Back); p.kept(r, now) && (at.IsZero() || until.Before(at)) {
			at = until
		}
	}
	return at
}

// SetReplicas says which replicas there are from now on. Calls that run at others end
// there. Calls that nobody serves any more are refused.
func (p *Pool) SetReplicas(list []berth.PoolReplica, now time.Time) []*berth.Turn {
	p.begin()
	for _, r := range p.replicas {
		r.retired = !slices.ContainsFunc(list, func(v berth.PoolReplica) bool { return v.ID == r.ID })
	}
	for i := range list {
		p.replica(list[i].ID).set(&list[i])
	}
	for _, r := range slices.Clone(p.replicas) {
		if c := r.claim; c != nil && !p.takes(r, c) {
			p.unclaim(r)
		}
		if r.group.Len() > 0 && !p.takes(r, r.group.Front().Value.(*entry)) {
			p.disband(r)
		}
		if r.retired && r.busy == 0 {
			p.forget(r)
		}
	}
	for _, e := range p.inLine() {
		if e.waiting != nil && !p.served(e) {
			p.drop(e, berth.TurnNoReplica, now)
		}
	}
	p.dispatch(now)
	return p.changed
}

func (p *Pool) begin() { p.changed = p.changed[:0] }

// replica returns the one with the id, a new one if need be.
func (p *Pool) replica(id string) *replica {
	for _, r := range p.replicas {
		if r.ID == id {
			return r
		}
	}
	r := &replica{group: list.New()}
	p.replicas = append(p.replicas, r)
	return r
}

func (p *Pool) forget(r *replica) {
	p.endTurns(r)
	p.replicas = slices.DeleteFunc(p.replicas, func(o *replica) bool { return o == r })
}

// served reports whether any replica takes the call, now or later, and which kind.
func (p *Pool) served(e *entry) bool {
	for _, r := range p.replicas {
		if r.serves(e) {
			e.lane = cmp.Or(e.lane, r.Lane)
			return true
		}
	}
	return false
}

// takes reports whether a call may run at a replica as far as it is trusted: one that
// failed is left to its trials while others serve the call.
func (p *Pool) takes(r *replica, e *entry) bool {
	if !r.serves(e) {
		return false
	}
	if r.Trust == berth.Trusted || r.Trust == berth.OnTrial && r.trial == nil {
		return true
	}
	for _, o := range p.replicas {
		if o.Trust == berth.Trusted && o.serves(e) {
			return false
		}
	}
	return true
}

// inLine returns all that wait, class by class, in order of deployments, then groups.
func (p *Pool) inLine() []*entry {
	var all []*entry
	add := func(line *list.List) {
		for x := line.Front(); x != nil; x = x.Next() {
			all = append(all, x.Value.(*entry))
		}
	}
	for _, q := range []*queue{&p.guaranteed, &p.bestEffort} {
		for x := q.ring.Front(); x != nil; x = x.Next() {
			add(x.Value.(*tenant).line)
		}
	}
	for _, r := range p.replicas {
		add(r.group)
	}
	return all
}

// surplus returns the call to be refused when e is one too many: the last of its own
// deployment or of the one with most, so that a flood keeps nobody out.
func (p *Pool) surplus(e *entry) *entry {
	own := e.queue.tenants[e.turn.DeploymentID]
	switch {
	case own != nil && own.line.Len() > p.bounds.Tenant:
		return own.line.Back().Value.(*entry)
	case e.queue.waiting <= p.bounds.Calls:
		return nil
	}
	longest := own
	for x := e.queue.ring.Front(); x != nil; x = x.Next() {
		if t := x.Value.(*tenant); longest == nil || t.line.Len() > longest.line.Len() {
			longest = t
		}
	}
	if longest == nil { // all wait in groups
		return e
	}
	return longest.line.Back().Value.(*entry)
}

// drop ends the wait of a call, and lets in who was kept out by its claim.
func (p *Pool) drop(e *entry, state berth.TurnState, now time.Time) {
	grouped := e.grouped()
	p.leave(e)
	if grouped {
		e.queue.correct(e.turn.DeploymentID, e.charge)
	}
	delete(p.entries, e.turn)
	p.refuse(e, state, now)
	p.dispatch(now)
}

func (p *Pool) refuse(e *entry, state berth.TurnState, now time.Time) []*berth.Turn {
	e.turn.State = state
	switch state {
	case berth.TurnFull:
		p.full++
	case berth.TurnTooLate:
		p.tooLate++
	}
	e.turn.After = p.expected(e.queue, e.lane, now)
	p.changed = append(p.changed, e.turn)
	return p.changed
}

// leave takes a waiting call out of its line.
func (p *Pool) leave(e *entry) {
	if e.claim != nil {
		p.unclaim(e.claim)
	}
	e.queue.remove(e)
	p.count(e, -1, time.Time{})
}

// grant gives a waiting call its slots, and charges it if no group has.
func (p *Pool) grant(e *entry, r *replica) {
	if !e.grouped() {
		e.queue.choose(e, p.chosen)
	}
	p.leave(e)
	r.take(e)
	e.turn.State, e.turn.ReplicaID = berth.TurnRunning, r.ID
	p.granted++
	p.changed = append(p.changed, e.turn)
}

// dispatch gives away what can be given: guaranteed calls first.
func (p *Pool) dispatch(now time.Time) {
	p.serve(&p.guaranteed)
	p.serve(&p.bestEffort)
	p.turnLanes(now)
}

// serve gives slots of the lanes without groups to calls of a class.
func (p *Pool) serve(q *queue) {
	for q.ring.Len() > 0 && p.anyRoom(q) {
		t := q.next(p.bounds.Share, p.mayRun)
		if t == nil {
			return
		}
		e := t.head()
		if r := p.fit(e); r != nil {
			p.grant(e, r)
		} else {
			p.claim(e)
		}
	}
}

func (p *Pool) anyRoom(q *queue) bool {
	for _, r := range p.replicas {
		if !r.grouped() && r.room(q) > 0 {
			return true
		}
	}
	return false
}

// mayRun reports whether it makes sense to choose a call now: it fits, or it can have a
// replica kept free for it.
func (p *Pool) mayRun(e *entry) bool {
	return p.fit(e) != nil || e.claim == nil && p.claimable(e) != nil
}

// fit returns the least loaded replica with room for the call, the preferred one among
// equals.
func (p *Pool) fit(e *entry) *replica {
	var best *replica
	for _, r := range p.replicas {
		if r.grouped() || !p.takes(r, e) || !r.open(e) || r.room(e.queue) < r.need(e) {
			continue
		}
		if best == nil || r.less(best) || !best.less(r) && r.ID == e.turn.Prefer {
			best = r
		}
	}
	return best
}

// claimable returns the replica where a call that needs several slots will find them
// soonest.
func (p *Pool) claimable(e *entry) *replica {
	var best *replica
	for _, r := range p.replicas {
		if r.grouped() || !p.takes(r, e) || !r.open(e) || r.room(e.queue) < 1 {
			continue
		}
		if best == nil || r.room(e.queue)-r.need(e) > best.room(e.queue)-best.need(e) {
			best = r
		}
	}
	return best
}

// claim keeps a replica free for a call that needs more slots than there are: nobody of
// its class or below begins there before it.
func (p *Pool) claim(e *entry) {
	r := p.claimable(e)
	p.unclaim(r)
	r.claim, e.claim = e, r
}

func (p *Pool) unclaim(r *replica) {
	if r.claim != nil {
		r.claim.claim = nil
		r.claim = nil
	}
}
