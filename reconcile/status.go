package reconcile

import (
	"fmt"
	"slices"

	berth "github.com/berthhq/berth"
)

// strength is what stands behind a deployment.
type strength struct {
	ready, live, starting int64 // replicas
	needed                int64
	failed                bool
	reason                string // of the newest replica that was given up
}

// of counts the replicas that serve d: its own, or those of its pool's lane.
func (p *planner) strengthOf(d *berth.Deployment) strength {
	s := strength{needed: d.Replicas()}
	replicas := p.owned[d.ID]
	if d.PoolID != "" {
		replicas, s.needed = p.lane(d)
	}
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
	return s
}

// lane returns the replicas of d's pool that serve it and how many it takes.
func (p *planner) lane(d *berth.Deployment) ([]berth.Replica, int64) {
	members := p.members[d.PoolID]
	i := slices.IndexFunc(members, func(m berth.Member) bool { return m.DeploymentID == d.ID })
	pool := p.pools[d.PoolID]
	if i < 0 || pool == nil {
		return nil, 0
	}
	var serving []berth.Replica
	for _, r := range p.owned[d.PoolID] {
		if r.Serves(members[i]) {
			serving = append(serving, r)
		}
	}
	needed := int64(1)
	for _, w := range pool.Lanes(members, p.Engines[pool.Engine]) {
		if len(serving) > 0 && w.Lane == serving[0].Lane {
			needed = w.Replicas
		}
	}
	return serving, needed
}

// deployment moves d's status to what its replicas show.
func (p *planner) deployment(d *berth.Deployment) {
	if d.Status == berth.StatusDeleting {
		p.deleting(d)
		return
	}
	if !d.Status.Callable() && !d.Status.ComingUp() {
		return
	}
	s := p.strengthOf(d)
	set := SetDeployment{ID: d.ID, ReadyCapacity: s.ready * d.BaseCapacity}
	if d.PoolID != "" {
		// A lane that is not whole serves less than was sold, and shows it.
		set.ReadyCapacity = min(s.ready, s.needed) * d.Capacity / max(s.needed, 1)
	}
	switch {
	case s.live == 0 && d.PoolID != "" && !s.failed:
		return // the pool grows
	case s.live == 0:
		set.Cause, set.ReadyCapacity = berth.CauseGaveUp, 0
		set.Reason = "The engine could not come up: " + s.reason
	case d.Status.ComingUp() && s.ready > 0 && s.ready >= min(s.needed, s.live):
		set.Cause = berth.CauseReady
		set.Reason = fmt.Sprintf("Serving on %d of %d replicas.", s.ready, s.needed)
	case d.Status == berth.StatusPending && s.starting+s.ready > 0:
		set.Cause, set.ReadyCapacity = berth.CauseEngineStarting, 0
		set.Reason = "The engine is starting."
	case d.Status.ComingUp():
		return
	case set.ReadyCapacity != d.ReadyCapacity:
		set.Reason = fmt.Sprintf("Serving on %d of %d replicas.", s.ready, s.needed)
	default:
		return
	}
	p.do(set)
}

// deleting ends a deployment when its calls have ended or had their time and its own
// engines are gone.
func (p *planner) deleting(d *berth.Deployment) {
	if calls := p.InFlight(d.ID, ""); calls > 0 {
		if deadline := d.ModifiedAt.Add(p.Grace); p.Now.Before(deadline) {
			p.wake(p.Now.Add(DrainPoll))
			return
		}
		p.do(Cut{d.ID})
	}
	if len(p.owned[d.ID]) == 0 {
		p.do(SetDeployment{ID: d.ID, Cause: berth.CauseGone, Reason: "Deleted; the name is free again."})
	}
}
