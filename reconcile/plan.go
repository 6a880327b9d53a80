// Package reconcile is the foreman: it compares what is bought with what runs and acts
// until they agree. [Plan] decides, purely; [Loop] acts. The loop may be killed between
// any two steps: the next one starts from the store and from what is measured.
package reconcile

import (
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// State is desired and observed state at one moment.
type State struct {
	Now         time.Time
	Deployments []berth.Deployment // live ones, DELETING included
	Pools       []berth.Pool
	Members     []berth.Member
	Replicas    []berth.Replica
	Engines     map[string]berth.EngineTraits
	// Running reports whether the engine of that start of a replica exists.
	Running func(r *berth.Replica) bool
	// InFlight returns the running calls of a deployment on a replica; "" means any.
	InFlight func(deploymentID, replicaID string) int
	// Ending reports whether an engine that an earlier Berth started is still on its way
	// out: until it is gone its replica is left alone, for its hardware is in use.
	Ending func(r *berth.Replica) bool
	// Queues are the lanes that best effort waits for, with since when.
	Queues []berth.PoolDemand
	// Spare returns since when a lane that has grown could do with a replica fewer; zero: it
	// cannot.
	Spare func(poolID string, lane berth.Lane) time.Time
	// Grace is how long calls of a deployment that is deleted or stopped may run on, Drain those on a
	// replica that another takes the place of.
	Grace, Drain time.Duration
}

// Action is one step towards agreement, to be taken in the order given.
type Action interface{ action() }

// The actions.
type (
	// Start starts the engine of a pending replica.
	Start struct{ Replica berth.Replica }
	// Lost books that a replica's engine is gone without a fault of its own, such as
	// after a restart of Berth.
	Lost struct{ Replica berth.Replica }
	// Drain takes a replica out of routing.
	Drain struct{ Replica berth.Replica }
	// Grow adds the replicas that the lanes of a pool miss, where they can be placed.
	Grow struct{ Pool berth.Pool }
	// Load gives a replica that runs adapters.
	Load struct {
		Replica  berth.Replica
		Adapters []berth.AdapterRef
	}
	// Unload takes them from it.
	Unload struct {
		Replica  berth.Replica
		Adapters []berth.AdapterRef
	}
	// Resize makes a lane as large as what waits in it asks for: so many replicas (To 0: as
	// its members need) instead of From.
	Resize struct {
		Pool     berth.Pool
		Lane     berth.Lane
		To, From int64
	}
	// Stop ends the engine of a replica.
	Stop struct{ Replica berth.Replica }
	// Remove forgets a replica whose engine is measured gone and frees its hardware.
	Remove struct{ Replica berth.Replica }
	// SetDeployment moves a deployment along the table of transitions; Cause "" changes
	// only its ready capacity. Nothing happens when it has another status by then than
	// From, what was planned for.
	SetDeployment struct {
		ID            string
		From          berth.Status
		Cause         berth.Cause
		ReadyCapacity int64
		PartPPM       int64 // ptu, while its lane serves a part of what was sold
		Reason        string
	}
	// Cut ends the running calls of a deployment.
	Cut struct{ DeploymentID string }
	// IdlePool books that a pool has no member any more.
	IdlePool struct{ Pool berth.Pool }
	// RemovePool forgets a pool without members and replicas.
	RemovePool struct{ Pool berth.Pool }
)

func (Start) action()         {}
func (Lost) action()          {}
func (Drain) action()         {}
func (Grow) action()          {}
func (Resize) action()        {}
func (Load) action()          {}
func (Unload) action()        {}
func (Stop) action()          {}
func (Remove) action()        {}
func (SetDeployment) action() {}
func (Cut) action()           {}
func (IdlePool) action()      {}
func (RemovePool) action()    {}

// DrainPoll is how often a draining replica is looked at.
const DrainPoll = 100 * time.Millisecond

// GrowPause is the wait after a replica of a lane was given up, or could not be placed,
// before another takes its place.
const GrowPause = time.Minute

// planner collects the actions of one pass.
type planner struct {
	State
	actions []Action
	next    time.Time
	byID    map[string]*berth.Deployment
	pools   map[string]*berth.Pool
	members map[string][]berth.Member // by pool
	shared  map[string]*shares        // by pool
	owned   map[string][]berth.Replica
	surplus map[string]map[string]bool // by deployment, replicas that it does not need
}

// Plan returns what to do now and when to look again at the latest (zero: when
// something happens). It is a pure function: the same state gives the same plan, and
// a state that agrees gives none.
func Plan(s State) ([]Action, time.Time) {
	p := &planner{
		State: s,
		byID:  map[string]*berth.Deployment{}, pools: map[string]*berth.Pool{},
		members: map[string][]berth.Member{}, shared: map[string]*shares{}, owned: map[string][]berth.Replica{}, surplus: map[string]map[string]bool{},
	}
	for i := range s.Deployments {
		p.byID[s.Deployments[i].ID] = &s.Deployments[i]
	}
	for i := range s.Pools {
		p.pools[s.Pools[i].ID] = &s.Pools[i]
	}
	for _, m := range s.Members {
		p.members[m.PoolID] = append(p.members[m.PoolID], m)
	}
	for _, r := range s.Replicas {
		p.owned[r.DeploymentID+r.PoolID] = append(p.owned[r.DeploymentID+r.PoolID], r)
	}
	for i := range s.Deployments {
		p.deployment(&s.Deployments[i])
	}
	for i := range s.Pools {
		p.pool(&s.Pools[i])
	}
	for i := range s.Replicas {
		if r := &s.Replicas[i]; r.PoolID == "" {
			p.replica(r, p.wantsOwned(r))
		}
	}
	return p.actions, p.next
}

func (p *planner) do(a Action) { p.actions = append(p.actions, a) }

// wake makes sure that the next pass is not later than t.
func (p *planner) wake(t time.Time) {
	if p.next.IsZero() || t.Before(p.next) {
		p.next = t
	}
}

// wantsOwned reports whether a deployment wants one of its own replicas. One that was
// given up stays to be seen, and leads to its log, until its lane is whole without it.
func (p *planner) wantsOwned(r *berth.Replica) bool {
	d, ok := p.byID[r.DeploymentID]
	switch {
	case ok && d.Status == berth.StatusFailed:
		return r.State == berth.ReplicaFailed
	case !ok || !d.Status.Callable() && !d.Status.ComingUp() || d.Waits():
		return false
	case r.State == berth.ReplicaFailed:
		return lacks(berth.Missing(d.Lanes(nil), p.owned[d.ID]), r.Lane)
	}
	return !p.superfluous(d)[r.ID]
}

// superfluous returns the replicas that a deployment does not need any more, by id.
func (p *planner) superfluous(d *berth.Deployment) map[string]bool {
	out, ok := p.surplus[d.ID]
	if !ok {
		out = map[string]bool{}
		for _, r := range d.Superfluous(p.owned[d.ID]) {
			out[r.ID] = true
		}
		p.surplus[d.ID] = out
	}
	return out
}

func lacks(missing []berth.LaneWant, lane berth.Lane) bool {
	return slices.ContainsFunc(missing, func(w berth.LaneWant) bool { return w.Lane == lane })
}

// replica brings one replica towards what its owner wants of it.
func (p *planner) replica(r *berth.Replica, wanted bool) {
	running := p.Running(r)
	switch {
	case !running && p.Ending(r):
		p.wake(p.Now.Add(DrainPoll))
	case r.State == berth.ReplicaDraining:
		p.drained(r, running)
	case r.State == berth.ReplicaStopping:
		p.gone(r, running)
	case !wanted && r.State == berth.ReplicaReady && running:
		p.do(Drain{*r})
		p.wake(p.Now.Add(DrainPoll))
	case !wanted:
		p.gone(r, running)
	case r.State == berth.ReplicaPending && !p.Now.Before(r.RestartAt):
		p.do(Start{*r})
	case r.State == berth.ReplicaPending:
		p.wake(r.RestartAt)
	case (r.State == berth.ReplicaStarting || r.State == berth.ReplicaReady) && !running:
		p.do(Lost{*r})
	}
}

// gone stops a replica that runs and forgets one that does not.
func (p *planner) gone(r *berth.Replica, running bool) {
	if running {
		p.do(Stop{*r})
		return
	}
	p.do(Remove{*r})
}

// drained ends a draining replica when its calls have ended or had their time.
func (p *planner) drained(r *berth.Replica, running bool) {
	grace := p.State.Drain
	if d, ok := p.byID[r.DeploymentID]; r.PoolID == "" && (!ok || !d.Status.Callable()) {
		grace = p.Grace // deleted or stopped
	}
	over := !p.Now.Before(r.DrainFrom.Add(grace))
	// A call may have been routed just before the replica was taken out.
	idle := p.InFlight("", r.ID) == 0 && !p.Now.Before(r.DrainFrom.Add(DrainPoll))
	if !running || over || idle {
		p.gone(r, running)
		return
	}
	p.wake(p.Now.Add(DrainPoll))
}

// pool brings a pool's lanes towards what its members need.
func (p *planner) pool(pool *berth.Pool) {
	members, replicas := p.members[pool.ID], p.owned[pool.ID]
	want := p.sharesOf(pool).lanes
	superfluous := map[string]bool{}
	switch lingers := p.Now.Before(pool.IdleSince.Add(berth.PoolLinger)); {
	case len(members) == 0 && pool.IdleSince.IsZero():
		p.do(IdlePool{*pool})
		p.wake(p.Now.Add(berth.PoolLinger))
	case len(members) == 0 && lingers:
		p.wake(pool.IdleSince.Add(berth.PoolLinger))
	case len(members) == 0 && len(replicas) == 0:
		p.do(RemovePool{*pool})
	default:
		for _, r := range berth.Superfluous(want, replicas) {
			superfluous[r.ID] = true
		}
	}
	missing := berth.Missing(want, replicas)
	for i := range replicas {
		r := &replicas[i]
		// One that was given up stays to be seen, and to explain a member's fate, until its
		// lane is whole without it.
		forget := r.State == berth.ReplicaFailed && !lacks(missing, r.Lane)
		wanted := !superfluous[r.ID] && !forget
		p.replica(r, wanted)
		if wanted {
			p.adapters(r, want)
		}
	}
	if len(missing) > 0 {
		p.grow(pool, replicas)
	}
	if len(members) > 0 {
		p.demand(pool)
	}
}

// adapters gives a replica that serves what its lane wants and takes what it does not
// want any more, where its engine can while it runs.
func (p *planner) adapters(r *berth.Replica, want []berth.LaneWant) {
	i := slices.IndexFunc(want, func(w berth.LaneWant) bool { return w.Lane == r.Lane })
	if i < 0 || !want[i].Loads || r.State != berth.ReplicaReady || !p.Running(r) {
		return
	}
	if lacking := want[i].Lacking(r); len(lacking) > 0 {
		p.do(Load{*r, lacking})
	} else if spare := want[i].Spare(r); len(spare) > 0 {
		p.do(Unload{*r, spare})
	}
}

// grow makes up for replicas that were given up, after a pause: what failed just now
// would fail again.
func (p *planner) grow(pool *berth.Pool, replicas []berth.Replica) {
	at := pool.GrewAt.Add(GrowPause)
	for _, r := range replicas {
		if n := len(r.Failures); r.State == berth.ReplicaFailed && n > 0 {
			at = latest(at, r.Failures[n-1].Add(GrowPause))
		}
	}
	if p.Now.Before(at) {
		p.wake(at)
		return
	}
	p.do(Grow{*pool})
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
