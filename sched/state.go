package sched

import (
	"time"

	berth "github.com/berthhq/berth"
)

// count keeps the demand of lanes: how many calls of best effort wait for each.
func (p *Pool) count(e *entry, by int64, now time.Time) {
	if e.queue.guaranteed {
		return
	}
	row := p.lacks(e.lane)
	if row.Waiting == 0 {
		row.Since = now
	}
	row.Waiting += by
}

func (p *Pool) lacks(lane berth.Lane) *berth.PoolDemand {
	for i := range p.lacking {
		if p.lacking[i].Lane == lane {
			return &p.lacking[i]
		}
	}
	p.lacking = append(p.lacking, berth.PoolDemand{Lane: lane})
	return &p.lacking[len(p.lacking)-1]
}

// Demand appends a row for each lane that best effort waits for. Pools do not know their
// ids; the caller fills them in.
func (p *Pool) Demand(dst []berth.PoolDemand) []berth.PoolDemand {
	for _, row := range p.lacking {
		if row.Waiting > 0 {
			dst = append(dst, row)
		}
	}
	return dst
}

// Turns returns how many calls wait or run.
func (p *Pool) Turns() int { return len(p.entries) }

// State says what the pool is doing. The caller fills in its id.
func (p *Pool) State(now time.Time) berth.PoolState {
	s := berth.PoolState{
		Guaranteed: p.lineState(&p.guaranteed, now), BestEffort: p.lineState(&p.bestEffort, now),
		Granted: p.granted, Waited: p.waited, Full: p.full, TooLate: p.tooLate,
	}
	for _, r := range p.replicas {
		lane := berth.LaneState{
			ReplicaID: r.ID, Lane: r.Lane, Slots: r.Slots, Guaranteed: r.Guaranteed,
			Busy: r.busy, BestEffort: r.best, Group: int64(r.group.Len()), Trust: r.Trust,
		}
		if r.grouped() && r.busy > 0 {
			lane.Adapter, lane.GroupSince = r.adapter, r.began
		}
		s.Replicas = append(s.Replicas, lane)
	}
	return s
}

func (p *Pool) lineState(q *queue, now time.Time) berth.LineState {
	s := berth.LineState{Waiting: int64(q.waiting), Tokens: q.tokens, Tenants: int64(q.ring.Len())}
	if q.waiting > 0 {
		s.Since, s.Expected = q.since, p.expected(q, "", now)
	}
	return s
}

// Line returns a deployment's part of the guaranteed calls or of best effort, waiting
// calls of groups included. The adapter is the deployment's.
func (p *Pool) Line(deploymentID, adapter string, guaranteed bool, now time.Time) (s berth.LineState) {
	q := &p.bestEffort
	if guaranteed {
		q = &p.guaranteed
	}
	s.Expected = p.expectedOf(deploymentID, adapter, q, now)
	for _, e := range p.inLine() {
		if e.turn.DeploymentID != deploymentID || e.queue != q {
			continue
		}
		s.Waiting, s.Tokens, s.Tenants = s.Waiting+1, s.Tokens+e.tokens, 1
		if s.Since.IsZero() || e.turn.ArrivedAt.Before(s.Since) {
			s.Since = e.turn.ArrivedAt
		}
	}
	return s
}
