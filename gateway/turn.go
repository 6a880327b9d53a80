package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// Scheduler decides whose turn it is in one pool (design 2). It has one owner, and
// returns the turns whose state changed in a slice that is valid until the next call.
type Scheduler interface {
	Enqueue(t *berth.Turn, now time.Time) []*berth.Turn
	Done(t *berth.Turn, used int64, now time.Time) []*berth.Turn
	Cancel(t *berth.Turn, now time.Time) []*berth.Turn
	Expire(now time.Time) []*berth.Turn
	// Look is when to call Expire although nobody's patience ends; zero: at no time.
	Look(now time.Time) time.Time
	SetReplicas(list []berth.PoolReplica, now time.Time) []*berth.Turn
	Demand(dst []berth.PoolDemand) []berth.PoolDemand
	State(now time.Time) berth.PoolState
	Line(deploymentID, adapter string, guaranteed bool, now time.Time) berth.LineState
	Turns() int // that wait or run
}

// pools are the waiting rooms, one per pool, that share no lock.
type pools struct {
	open func() Scheduler // nil: calls of pools go to the least loaded replica
	byID sync.Map         // pool id -> *pool
	now  func() time.Time
}

// pool is where the calls of one pool wait.
type pool struct {
	id  string
	now func() time.Time

	mu        sync.Mutex
	scheduler Scheduler
	told      *berth.PoolRoute // what the scheduler knows; nil: no replicas
	version   int64            // of the snapshot that said so
	waiting   map[*berth.Turn]*turnPlace
	failing   map[string]*failing // replicas that fail
	gone      bool                // dropped from the table; take another
	look      *time.Timer         // at which the scheduler looks again; nil: it does not
}

// failing is a replica that gets no calls until a time, and then one as a trial.
type failing struct {
	until time.Time
	trial bool
	most  time.Duration // until another call may try, if nothing is heard of one
}

// turnPlace is a call's turn in a pool.
type turnPlace struct {
	room  *pool
	turn  berth.Turn
	given chan struct{} // closed when the turn is no longer waiting; nil if it never was
	still func(*berth.Snapshot) error
	err   error // that a change of routes sent it away with
}

// room returns the waiting room of a pool.
func (p *pools) room(id string) *pool {
	if room, ok := p.byID.Load(id); ok {
		return room.(*pool)
	}
	room, _ := p.byID.LoadOrStore(id, &pool{id: id, now: p.now, scheduler: p.open(), waiting: map[*berth.Turn]*turnPlace{}, failing: map[string]*failing{}})
	return room.(*pool)
}

// follow tells the waiting rooms what changed with a snapshot. Rooms without replicas
// and calls are dropped.
func (p *pools) follow(s *berth.Snapshot) {
	p.byID.Range(func(id, room any) bool {
		if room.(*pool).follow(s) {
			p.byID.CompareAndDelete(id, room)
		}
		return true
	})
}

func (p *pool) follow(s *berth.Snapshot) (gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, w := range p.waiting {
		if w.err = w.still(s); w.err != nil {
			p.tell(p.scheduler.Cancel(t, p.now()))
		}
	}
	p.learn(s)
	p.gone = p.told == nil && p.scheduler.Turns() == 0
	return p.gone
}

// learn tells the scheduler of replicas that changed.
func (p *pool) learn(s *berth.Snapshot) {
	route := s.Pools[p.id]
	if s.Version < p.version || route == p.told {
		return
	}
	p.told, p.version = route, s.Version
	for id := range p.failing {
		if route == nil || !slices.ContainsFunc(route.Replicas, func(r berth.PoolReplica) bool { return r.ID == id }) {
			delete(p.failing, id) // it is another engine when it comes again
		}
	}
	p.inform()
}

// inform tells the scheduler which replicas there are, and how they are trusted.
func (p *pool) inform() {
	var replicas []berth.PoolReplica
	if p.told != nil {
		replicas = p.told.Replicas
	}
	if len(p.failing) > 0 {
		replicas = slices.Clone(replicas)
		for i := range replicas {
			if f := p.failing[replicas[i].ID]; f != nil {
				replicas[i].Trust = berth.Ejected
				if f.trial {
					replicas[i].Trust = berth.OnTrial
				}
			}
		}
	}
	p.tell(p.scheduler.SetReplicas(replicas, p.now()))
}

// distrust keeps calls away from a replica that failed for a time, and lets one try it in
// each time of trial afterwards.
func (p *pool) distrust(replicaID string, wait, trial time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told == nil || !slices.ContainsFunc(p.told.Replicas, func(r berth.PoolReplica) bool { return r.ID == replicaID }) {
		return
	}
	p.failing[replicaID] = &failing{until: p.now().Add(wait), most: trial}
	p.inform()
}

// trust lets calls go to a replica that works again.
func (p *pool) trust(replicaID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing[replicaID] != nil {
		delete(p.failing, replicaID)
		p.inform()
	}
}

// tryFailing lets a call try each replica whose time is over, and another one when
// nothing is heard of that for too long.
func (p *pool) tryFailing(now time.Time) {
	due := false
	for _, f := range p.failing {
		if !now.Before(f.until) {
			f.until, f.trial, due = now.Add(f.most), true, true
		}
	}
	if due {
		p.inform()
	}
}

// tell wakes those who wait for turns that changed.
func (p *pool) tell(changed []*berth.Turn) {
	for _, t := range changed {
		if w := p.waiting[t]; w != nil {
			delete(p.waiting, t)
			close(w.given)
		}
	}
	if at := p.scheduler.Look(p.now()); !at.IsZero() && p.look == nil {
		p.look = time.AfterFunc(at.Sub(p.now()), func() { p.lookAgain(at) })
	}
}

// lookAgain has the scheduler look at what waits, at the time that it wanted.
func (p *pool) lookAgain(at time.Time) {
	p.mu.Lock()
	p.look = nil
	p.mu.Unlock()
	p.expire(at)
}

// enqueue brings a call; false: the room has gone.
func (p *pool) enqueue(w *turnPlace, s *berth.Snapshot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	p.learn(s)
	p.tryFailing(p.now())
	changed := p.scheduler.Enqueue(&w.turn, p.now())
	if w.turn.State == berth.TurnWaiting {
		w.given = make(chan struct{})
		p.waiting[&w.turn] = w
	}
	p.tell(changed)
	return true
}

// expire sends away who waited until a time or longer.
func (p *pool) expire(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Before(until) { // by a clock that runs behind the timers
		now = until
	}
	p.tell(p.scheduler.Expire(now))
}

// giveBack ends a turn, wherever it stands.
func (p *pool) giveBack(t *berth.Turn, used int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, t)
	p.tell(p.scheduler.Cancel(t, p.now()))
	p.tell(p.scheduler.Done(t, used, p.now()))
	p.tryFailing(p.now())
}

// outcome says how the wait for a turn ended.
func (w *turnPlace) outcome() error {
	switch t := &w.turn; {
	case t.State == berth.TurnRunning:
		return nil
	case w.err != nil:
		return w.err
	case t.State == berth.TurnTooLate:
		return fail(problemUnavailable).after(t.After).
			say("%s All slots of the model were busy for %s, which is as long as the call may wait.", problemUnavailable.message, t.Wait)
	case t.State == berth.TurnFull && t.Wait <= 0:
		return fail(problemBusy).after(t.After).say("%s All slots of the model are busy, and the call would not wait.", problemBusy.message)
	case t.State == berth.TurnFull:
		return fail(problemBusy).after(t.After).say("%s Too many calls wait for the model already.", problemBusy.message)
	case len(t.Tried) > 0:
		return refusedEverywhere()
	}
	return fail(problemUnavailable).after(comingUpWait)
}

// refusedEverywhere: no engine takes calls. They are being started again, or are loading
// (api.md 2.5).
func refusedEverywhere() *failure {
	return fail(problemUnavailable).after(comingUpWait).because(errors.New("no engine takes calls")).ending(berth.EndEngineFailed)
}

// turn gets the call slots in its pool, s being the present snapshot, or says why there
// are none. The caller gives them back.
func (g *Gateway) turn(ctx context.Context, c *call, s *berth.Snapshot, tried []string, cut func()) error {
	w := &turnPlace{turn: berth.Turn{
		DeploymentID: c.route.DeploymentID, Class: c.class, Adapter: c.route.Adapter,
		Slots: max(c.request.n, 1), Tokens: c.expected(), Wait: c.patience, Tried: tried, ArrivedAt: c.arrived,
	}}
	w.still = func(s *berth.Snapshot) error { // only what never changes of the call
		_, err := g.again(s, c)
		return err
	}
	c.place = w
	for w.room = g.pools.room(c.route.PoolID); !w.room.enqueue(w, s); {
		w.room = g.pools.room(c.route.PoolID)
	}
	c.arrived = w.turn.ArrivedAt
	if w.given == nil {
		return w.outcome()
	}
	c.lease = g.table.wait(c.route.DeploymentID, cut) // so that Cut finds it
	defer c.lease.leave()
	if g.closing.Load() { // Cut may have looked before
		return wasCut()
	}
	if now := g.Snapshot(); now != s { // and so may who came with a change
		if err := w.still(now); err != nil {
			return err
		}
	}
	return w.wait(ctx)
}

func (w *turnPlace) wait(ctx context.Context) error {
	until := w.turn.ArrivedAt.Add(w.turn.Wait)
	timer := time.NewTimer(max(0, until.Sub(w.room.now())))
	defer timer.Stop()
	for {
		select {
		case <-w.given:
			return w.outcome()
		case <-timer.C:
			w.room.expire(until)
		case <-ctx.Done():
			return interrupted(ctx, ctx.Err())
		}
	}
}

// giveBack ends the call's turn, if it has one.
func (c *call) giveBack() {
	if c.place != nil {
		c.place.room.giveBack(&c.place.turn, c.usage.input+c.usage.output)
		c.place = nil
	}
}

// expected is what the call will use, as far as its deployment's last ones tell.
func (c *call) expected() int64 {
	output := int64(0)
	if c.request.operation.writes {
		output = c.live.past.expect()
	}
	if c.request.declared > 0 {
		output = min(output, c.request.declared)
	}
	return (c.request.prompt.bytes+bytesPerToken-1)/bytesPerToken + max(c.request.n, 1)*output
}

// headerWait says how long a call may wait for a slot (api.md 2.1).
const headerWait = "X-Dashscope-Wait-Timeout"

// patienceOf reads how long a call may wait: what its header says in seconds, at most the
// bound; 0 is not at all; as much as an answer may take says nothing.
func patienceOf(h http.Header, b Bounds, answer time.Duration) (time.Duration, error) {
	text := strings.TrimSpace(h.Get(headerWait))
	if text == "" {
		return b.Wait, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0) {
		return 0, invalid("The header X-DashScope-Wait-Timeout should be a number of seconds, 0 or more.")
	}
	if seconds >= answer.Seconds() {
		return b.Wait, nil
	}
	return min(time.Duration(seconds*float64(time.Second)), b.LongestWait), nil
}

// Demand returns since when best effort has been waiting, by pool and lane; nothing for
// those where none is.
func (g *Gateway) Demand() []berth.PoolDemand {
	var all []berth.PoolDemand
	g.pools.byID.Range(func(_, room any) bool {
		p := room.(*pool)
		p.mu.Lock()
		defer p.mu.Unlock()
		from := len(all)
		for all = p.scheduler.Demand(all); from < len(all); from++ {
			all[from].PoolID = p.id
		}
		return true
	})
	return all
}

// PoolState says what a pool's scheduler is doing; false before its first call.
func (g *Gateway) PoolState(poolID string) (berth.PoolState, bool) {
	room, ok := g.pools.byID.Load(poolID)
	if !ok {
		return berth.PoolState{}, false
	}
	p := room.(*pool)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.scheduler.State(p.now())
	s.PoolID = poolID
	return s, true
}

// Line says how a deployment's guaranteed calls, or those of best effort, wait in its pool.
func (g *Gateway) Line(poolID, deploymentID, adapter string, guaranteed bool) berth.LineState {
	room, ok := g.pools.byID.Load(poolID)
	if !ok {
		return berth.LineState{}
	}
	p := room.(*pool)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scheduler.Line(deploymentID, adapter, guaranteed, p.now())
}
