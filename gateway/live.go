package gateway

import (
	"sync"
	"sync/atomic"

	berth "github.com/berthhq/berth"
)

// live is what outlives snapshots of one deployment.
type live struct {
	deploymentID string

	limiter Limiter // nil: none
	past    history
	counts  counts
	added   overheads
	turn    atomic.Uint32 // where the next search for a target begins

	mu      sync.Mutex
	running map[*lease]struct{}
	gone    bool // dropped from the table; take another
}

// lease is a call's place at a replica, counted until it is given back.
type lease struct {
	owner     *live
	replica   *replica // nil while it waits for its turn
	replicaID string
	cut       func() // ends the call
}

// replica counts the calls at one engine, of all deployments. Below 0 it is dropped from
// the table; take another.
type replica struct {
	inFlight atomic.Int64
	hash     uint64                 // of its id
	health   atomic.Pointer[health] // nil: nothing failed since it last answered
	spoke    atomic.Int64           // when it last said something, in ns of Unix time; 0: never
}

const dropped = -1

// enter counts a call; false: the replica is dropped.
func (r *replica) enter() bool {
	for {
		n := r.inFlight.Load()
		if n < 0 {
			return false
		}
		if r.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// retire marks a replica without calls as dropped.
func (r *replica) retire() bool { return r.inFlight.CompareAndSwap(0, dropped) }

// table holds the live values by deployment and the replicas by id. Look-ups take no
// lock.
type table struct {
	deployments sync.Map // deployment id -> *live
	replicas    sync.Map // replica id -> *replica
	newLimiter  func(deploymentID string) Limiter
	swaps       atomic.Int64 // since the last prune
}

func (t *table) live(deploymentID string) *live {
	if l, ok := t.deployments.Load(deploymentID); ok {
		return l.(*live)
	}
	fresh := &live{deploymentID: deploymentID, running: map[*lease]struct{}{}}
	if t.newLimiter != nil {
		fresh.limiter = t.newLimiter(deploymentID)
	}
	l, _ := t.deployments.LoadOrStore(deploymentID, fresh)
	return l.(*live)
}

func (t *table) replica(id string) *replica {
	if r, ok := t.replicas.Load(id); ok {
		return r.(*replica)
	}
	r, _ := t.replicas.LoadOrStore(id, &replica{hash: hashOfText(hashStart, id)})
	return r.(*replica)
}

// enter takes a place at target for a call that cut ends.
func (t *table) enter(deploymentID string, target berth.Target, cut func()) *lease {
	for {
		l := t.live(deploymentID)
		p := &lease{owner: l, replica: t.replica(target.ReplicaID), replicaID: target.ReplicaID, cut: cut}
		l.mu.Lock()
		entered := !l.gone && p.replica.enter()
		if entered {
			l.running[p] = struct{}{}
		}
		l.mu.Unlock()
		if entered {
			return p
		}
	}
}

// wait counts a call that waits for a replica and that cut ends.
func (t *table) wait(deploymentID string, cut func()) *lease {
	for {
		l := t.live(deploymentID)
		l.mu.Lock()
		if l.gone {
			l.mu.Unlock()
			continue
		}
		p := &lease{owner: l, cut: cut}
		l.running[p] = struct{}{}
		l.mu.Unlock()
		return p
	}
}

// leave gives the place back. cut is not called any more when it returns.
func (p *lease) leave() {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	if _, ok := p.owner.running[p]; ok {
		delete(p.owner.running, p)
		if p.replica != nil {
			p.replica.inFlight.Add(-1)
		}
	}
}

// inFlight counts calls; "" stands for any deployment or replica.
func (t *table) inFlight(deploymentID, replicaID string) int {
	if deploymentID == "" && replicaID != "" {
		r, ok := t.replicas.Load(replicaID)
		if !ok {
			return 0
		}
		return int(max(0, r.(*replica).inFlight.Load()))
	}
	n := 0
	for l := range t.matching(deploymentID) {
		l.mu.Lock()
		for p := range l.running {
			if replicaID == "" || p.replicaID == replicaID {
				n++
			}
		}
		l.mu.Unlock()
	}
	return n
}

// cut ends the calls of a deployment, "" for all.
func (t *table) cut(deploymentID string) {
	for l := range t.matching(deploymentID) {
		l.mu.Lock()
		for p := range l.running {
			p.cut()
		}
		l.mu.Unlock()
	}
}

func (t *table) matching(deploymentID string) func(yield func(*live) bool) {
	return func(yield func(*live) bool) {
		if deploymentID == "" {
			t.deployments.Range(func(_, l any) bool { return yield(l.(*live)) })
		} else if l, ok := t.deployments.Load(deploymentID); ok {
			yield(l.(*live))
		}
	}
}

// prune drops what no route names and no call uses. It looks at every route, so it waits
// until there were as many swaps as an eighth of the routes: what is left meanwhile is
// little.
func (t *table) prune(s *berth.Snapshot) {
	if swaps := t.swaps.Add(1); swaps*8 < int64(len(s.Routes)) {
		return
	}
	t.swaps.Store(0)
	deployments, replicas := map[string]bool{}, map[string]bool{}
	for _, route := range s.Routes {
		deployments[route.DeploymentID] = true
		for _, target := range route.Targets {
			replicas[target.ReplicaID] = true
		}
	}
	t.deployments.Range(func(id, l any) bool {
		if !deployments[id.(string)] && l.(*live).retire() {
			t.deployments.CompareAndDelete(id, l)
		}
		return true
	})
	t.replicas.Range(func(id, r any) bool {
		if !replicas[id.(string)] && r.(*replica).retire() {
			t.replicas.CompareAndDelete(id, r)
		}
		return true
	})
}

// retire marks a live value without calls as gone.
func (l *live) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = len(l.running) == 0
	return l.gone
}
