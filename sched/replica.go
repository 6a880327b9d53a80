package sched

import (
	"container/list"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// replica is an engine with slots.
type replica struct {
	berth.PoolReplica

	adapters map[string]bool
	retired  bool // takes no new calls and is forgotten when it has none
	busy     int64
	best     int64  // of those busy, best effort
	claim    *entry // for which it is kept free
	trial    *entry // the call that tries it, while it is on trial

	// Lanes that take adapters in turns: whose turn it is, the calls of its closed group
	// that have no slots yet, and when it began. turns are the deployments whose turn it is;
	// some may be forgotten, when nobody waited for anything.
	adapter string
	group   *list.List
	began   time.Time
	turns   []*tenant
	peak    int64     // slots that were taken at once in this turn
	rested  time.Time // when all slots were free last
}

func (r *replica) set(v *berth.PoolReplica) {
	if !slices.Equal(r.Adapters, v.Adapters) || r.adapters == nil {
		r.adapters = make(map[string]bool, len(v.Adapters))
		for i := range v.Adapters {
			r.adapters[v.Adapters[i].Digest] = true
		}
	}
	r.PoolReplica, r.retired, r.trial = *v, false, nil
	r.Slots = max(r.Slots, 1)
	r.Guaranteed = min(max(r.Guaranteed, 0), r.Slots-1)
}

// grouped reports whether the replica takes adapters in turns.
func (r *replica) grouped() bool { return r.Lane == berth.LaneLoRA }

// serves reports whether the call may ever run here.
func (r *replica) serves(e *entry) bool {
	if r.retired || slices.Contains(e.turn.Tried, r.ID) {
		return false
	}
	switch adapter := e.turn.Adapter; r.Lane {
	case berth.LaneBase:
		return adapter == ""
	case berth.LaneMixed:
		return adapter == "" || r.adapters[adapter]
	default:
		return r.adapters[adapter]
	}
}

// open reports whether nobody else has the replica kept free. Guaranteed calls do not
// stand back for best effort.
func (r *replica) open(e *entry) bool {
	return r.claim == nil || r.claim == e || e.queue.guaranteed && !r.claim.queue.guaranteed
}

// most returns how many slots a class may have here.
func (r *replica) most(q *queue) int64 {
	if q.guaranteed {
		return r.Slots
	}
	return r.Slots - r.Guaranteed
}

// room returns how many more slots a class may take.
func (r *replica) room(q *queue) int64 {
	free := r.Slots - r.busy
	if !q.guaranteed {
		free = min(free, r.most(q)-r.best)
	}
	if r.retired {
		return 0
	}
	return max(free, 0)
}

// need returns how many slots the call takes here: as many as it has sequences, or all
// that its class may have.
func (r *replica) need(e *entry) int64 { return min(max(e.turn.Slots, 1), r.most(e.queue)) }

// less compares loads.
func (r *replica) less(o *replica) bool { return r.busy*o.Slots < o.busy*r.Slots }

func (r *replica) take(e *entry) {
	e.replica, e.slots = r, r.need(e)
	r.busy += e.slots
	r.peak = max(r.peak, r.busy)
	if !e.queue.guaranteed {
		r.best += e.slots
	}
	if r.Trust == berth.OnTrial && r.trial == nil {
		r.trial = e
	}
}

func (r *replica) release(e *entry) {
	r.busy -= e.slots
	if !e.queue.guaranteed {
		r.best -= e.slots
	}
	if r.trial == e {
		r.trial = nil
	}
}
