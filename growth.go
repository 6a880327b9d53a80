package berth

import "time"

// Growth of a pool with what waits in it (design 2).
const (
	// GrowAfter is how long best effort waits for a lane before it gets another replica.
	GrowAfter = 30 * time.Second
	// ShrinkAfter is how long a lane could have done without its youngest replica before
	// that is given back.
	ShrinkAfter = 5 * time.Minute
	// spareShare is the largest part of the slots of the others that may be busy meanwhile,
	// in hundredths: giving the replica back must not make calls wait again.
	spareShare = 75
)

// Spares reports whether a lane with so many ready replicas of so many slots could do
// without one of them now, while that many calls run on it.
func Spares(ready, slots, running int64) bool {
	return ready > 1 && 100*running <= spareShare*slots*(ready-1)
}

// Grow sets how many replicas a lane has grown to; 0: none beyond what members need.
func (p *Pool) Grow(lane Lane, replicas int64) {
	if lane == LaneLoRA {
		p.GrownLoRA = replicas
	} else {
		p.GrownBase = replicas
	}
}

// Grown returns how many replicas a lane has grown to.
func (p *Pool) Grown(lane Lane) int64 {
	if lane == LaneLoRA {
		return p.GrownLoRA
	}
	return p.GrownBase
}
