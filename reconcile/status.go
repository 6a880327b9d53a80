package reconcile

import (
	"fmt"
	"slices"

	berth "github.com/berthhq/berth"
)

// strength is what stands behind a deployment, in replicas.
type strength struct {
	ready, live, starting, needed int64
	owed                          int64 // of a pool's lane: needed by those that are served already
	serving                       bool  // every lane has a ready replica
	whole                         bool  // every lane has as many ready ones as it needs
	dead                          bool  // some lane has none that may come up
	short                         bool  // some lane cannot become whole, since some were given up
	failed                        bool
	reason                        string // of the newest replica that was given up
}

// strengthOf counts the replicas that serve d: its own, or those of its pool's lane.
func (p *planner) strengthOf(d *berth.Deployment) strength {
	if d.PoolID != "" {
		return p.lane(d)
	}
	lanes := d.Lanes(nil)
	all := strength{serving: true, whole: true, dead: len(lanes) == 0}
	for _, lane := range lanes {
		s := p.count(slices.DeleteFunc(slices.Clone(p.owned[d.ID]), func(r berth.Replica) bool { return r.Lane != lane.Lane }), lane.Replicas)
		all.ready += s.ready
		all.live += s.live
		all.starting += s.starting
		all.needed += s.needed
		all.serving = all.serving && s.serving
		all.whole = all.whole && s.whole
		all.dead = all.dead || s.dead
		all.short = all.short || s.short
		if s.failed {
			all.failed, all.reason = true, s.reason
		}
	}
	return all
}

// count counts the replicas of one lane.
func (p *planner) count(replicas []berth.Replica, needed int64) strength {
	s := strength{needed: needed}
	for i := range replicas {
		r := &replicas[i]
		switch r.State {
		case berth.ReplicaReady:
			if p.Running(r) {
				s.ready++
			}
		case berth.ReplicaStarting:
			s.starting++
		case berth.ReplicaFailed:
			s.failed, s.reason = true, r.Reason
		}
		if r.Live() {
			s.live++
		}
	}
	s.serving, s.dead = s.ready > 0, s.live == 0
	s.whole, s.short = s.ready >= needed, s.failed && s.live < needed
	return s
}

// lane counts the replicas of d's pool that serve it.
func (p *planner) lane(d *berth.Deployment) strength {
	pool := p.pools[d.PoolID]
	if pool == nil {
		return strength{dead: true}
	}
	shared := p.sharesOf(pool)
	m, ok := shared.members[d.ID]
	if !ok {
		return strength{dead: true}
	}
	kind := berth.Member{Plan: m.Plan, Adapter: m.Adapter}
	s, ok := shared.strengths[kind]
	if !ok {
		var serving []berth.Replica
		loads := p.Engines[pool.Engine].LoadsAdapters
		for _, r := range p.owned[d.PoolID] {
			switch {
			case r.Serves(m):
				serving = append(serving, r)
			case loads && m.Plan == berth.PlanLoRA && r.Lane.TakesAdapters():
				if r.State == berth.ReplicaReady { // to the others, not yet to this one
					r.State = berth.ReplicaStarting
				}
				serving = append(serving, r)
			}
		}
		s = p.count(serving, replicasOf(shared.want, serving))
		s.owed = replicasOf(shared.owed, serving)
		shared.strengths[kind] = s
	}
	return s
}

// shares is what the members of a pool have in common in one pass.
type shares struct {
	members    map[string]berth.Member   // by deployment
	want, owed []berth.LaneWant          // needed by all; by those that are served already
	lanes      []berth.LaneWant          // what there should be: also what the pool has grown to
	strengths  map[berth.Member]strength // by plan and adapter
}

func (p *planner) sharesOf(pool *berth.Pool) *shares {
	if s, ok := p.shared[pool.ID]; ok {
		return s
	}
	all, engine := p.members[pool.ID], p.Engines[pool.Engine]
	s := &shares{members: make(map[string]berth.Member, len(all)), strengths: map[berth.Member]strength{}}
	served := make([]berth.Member, 0, len(all))
	for _, m := range all {
		s.members[m.DeploymentID] = m
		// What others are still waiting for is not missing to those who are served.
		if d, ok := p.byID[m.DeploymentID]; ok && d.Status.Callable() && !d.Growing() {
			served = append(served, m)
		}
	}
	s.want, s.owed = pool.Needs(berth.DemandOf(all), engine), pool.Needs(berth.DemandOf(served), engine)
	s.lanes = pool.Lanes(berth.DemandOf(all), engine)
	p.shared[pool.ID] = s
	return s
}

// replicasOf returns how many replicas are wanted of the lane that the given ones are of.
func replicasOf(want []berth.LaneWant, serving []berth.Replica) int64 {
	for _, w := range want {
		if len(serving) > 0 && w.Lane == serving[0].Lane {
			return w.Replicas
		}
	}
	return 1
}

// deployment moves d's status to what its replicas show.
func (p *planner) deployment(d *berth.Deployment) {
	switch {
	case d.Status == berth.StatusDeleting:
		p.ending(d, berth.CauseGone, "Deleted; the name is free again.")
	case d.Status == berth.StatusOfflining:
		p.ending(d, berth.CauseStopped, "Stopped; the hardware is free.")
	case d.Status == berth.StatusArrearsDown || d.Waits():
		p.callsOver(d)
	case d.Status.ComingUp():
		p.comingUp(d, p.strengthOf(d))
	case d.Status.Callable():
		p.serving(d, p.strengthOf(d))
	}
}

// comingUp moves a deployment that was bought towards RUNNING.
func (p *planner) comingUp(d *berth.Deployment, s strength) {
	switch {
	case p.gaveUp(d, s):
	case s.serving && s.ready >= min(s.needed, s.live):
		p.set(d, s, berth.CauseReady, serves(s))
	case d.Status == berth.StatusPending && s.starting+s.ready > 0:
		p.do(SetDeployment{ID: d.ID, From: d.Status, Cause: berth.CauseEngineStarting, Reason: "The engine is starting."})
	}
}

// serving keeps what a deployment shows true, and ends the change under way.
func (p *planner) serving(d *berth.Deployment, s strength) {
	changing := d.Status == berth.StatusUpdating
	switch {
	case p.gaveUp(d, s):
	case changing && d.Growing() && s.short:
		p.set(d, s, berth.CauseChangeFailed, "The change failed and what was there before serves on: "+s.reason)
	case changing && (s.whole || !d.Growing() && s.live <= s.needed) && len(p.superfluous(d)) == 0:
		p.set(d, s, berth.CauseChangeDone, serves(s))
	case p.readyCapacity(d, s) != d.ReadyCapacity || partPPM(d, s) != d.PartPPM:
		p.set(d, s, "", serves(s))
	}
}

func serves(s strength) string {
	return fmt.Sprintf("Serving on %d of %d replicas.", min(s.ready, s.needed), s.needed)
}

// gaveUp ends a deployment behind which nothing comes up any more, and reports whether
// there is nothing left to say of it.
func (p *planner) gaveUp(d *berth.Deployment, s strength) bool {
	if !s.dead {
		return false
	}
	if d.PoolID == "" || s.failed { // else the pool grows
		p.do(SetDeployment{ID: d.ID, From: d.Status, Cause: berth.CauseGaveUp, Reason: "The engine could not come up: " + s.reason})
	}
	return true
}

func (p *planner) set(d *berth.Deployment, s strength, cause berth.Cause, reason string) {
	p.do(SetDeployment{ID: d.ID, From: d.Status, Cause: cause, ReadyCapacity: p.readyCapacity(d, s), PartPPM: partPPM(d, s), Reason: reason})
}

// readyCapacity is how much of what was bought serves now.
func (p *planner) readyCapacity(d *berth.Deployment, s strength) int64 {
	if d.PoolID != "" {
		// A lane that is not whole serves less than was sold, and shows it.
		return min(s.ready, s.owed) * d.Capacity / max(s.owed, 1)
	}
	return s.ready * d.Spec.UnitsPerReplica
}

// partPPM is how much of a ptu deployment's throughput serves while its lane serves less
// than was sold, in millionths; 0 when that is all or nothing.
func partPPM(d *berth.Deployment, s strength) int64 {
	if d.Plan != berth.PlanPTU || s.ready >= s.owed {
		return 0
	}
	return s.ready * berth.Whole / s.owed
}

// ending takes a deployment that is deleted or stopped to its end when its calls have
// ended or had their time and its own engines are gone.
func (p *planner) ending(d *berth.Deployment, cause berth.Cause, reason string) {
	if !p.callsOver(d) {
		return
	}
	if len(p.owned[d.ID]) == 0 {
		p.do(SetDeployment{ID: d.ID, From: d.Status, Cause: cause, Reason: reason})
	}
}

// callsOver reports whether the running calls of a deployment that takes none any more have
// ended or had their time, which ends them.
func (p *planner) callsOver(d *berth.Deployment) bool {
	if calls := p.InFlight(d.ID, ""); calls > 0 {
		if deadline := d.ModifiedAt.Add(p.Grace); p.Now.Before(deadline) {
			p.wake(p.Now.Add(DrainPoll))
			return false
		}
		p.do(Cut{d.ID})
	}
	return true
}
