package sched

import (
	"math"
	"time"

	berth "github.com/berthhq/berth"
)

// What a caller is told to wait (api.md 2.5), and the time over which the pace of a pool
// is measured.
const (
	leastWait = time.Second
	mostWait  = time.Minute
	paceSpan  = 20 * time.Second
)

// pace is how many tokens a pool finishes per second, of the last half minute or so.
type pace struct {
	tokens float64 // finished, the older the less they count
	from   time.Time
	at     time.Time
}

func (p *pace) add(tokens int64, now time.Time) {
	if p.from.IsZero() {
		p.from, p.at = now, now
	}
	p.decay(now)
	p.tokens += float64(max(tokens, 0))
}

func (p *pace) decay(now time.Time) {
	if gone := now.Sub(p.at); gone > 0 {
		p.tokens *= math.Exp(-gone.Seconds() / paceSpan.Seconds())
		p.at = now
	}
}

// wait returns the time that the pool needs for so many tokens; unknown: [mostWait].
func (p *pace) wait(tokens int64, now time.Time) time.Duration {
	if tokens <= 0 {
		return 0
	}
	p.decay(now)
	over := min(max(now.Sub(p.from), time.Second), paceSpan).Seconds()
	if p.tokens < 1 {
		return mostWait
	}
	return time.Duration(min(float64(tokens)*over/p.tokens, 24*3600) * float64(time.Second))
}

// expected is when it makes sense for a refused call to come again: when what waits now,
// and goes before it, is done.
func (p *Pool) expected(q *queue, lane berth.Lane, now time.Time) time.Duration {
	return min(max(p.wait(q, lane, q.tokens, now), leastWait), mostWait)
}

// wait returns the time until so many tokens of a class are done, guaranteed ones that
// wait before those of best effort.
func (p *Pool) wait(q *queue, lane berth.Lane, tokens int64, now time.Time) time.Duration {
	if q.guaranteed {
		return p.pace.wait(tokens, now)
	}
	pace := &p.pace
	if own := p.bestPace[lane]; own != nil && own.tokens >= 1 {
		pace = own // reserved calls that come meanwhile go first, too
	}
	wait := pace.wait(tokens, now)
	if lane != berth.LaneLoRA {
		wait += p.pace.wait(p.guaranteed.tokens, now)
	}
	return wait
}

// keepPace counts the tokens of a call that is done.
func (p *Pool) keepPace(e *entry, tokens int64, now time.Time) {
	p.pace.add(tokens, now)
	if e.queue.guaranteed {
		return
	}
	own := p.bestPace[e.replica.Lane]
	if own == nil {
		own = &pace{}
		p.bestPace[e.replica.Lane] = own
	}
	own.add(tokens, now)
}

// expectedOf is how long a call of a deployment waits that comes now: until what the
// deployment has in line is done and, as deployments take turns, as much of each other
// one; or until the first of those that run ends, when nobody waits and all slots are
// taken.
func (p *Pool) expectedOf(id, adapter string, q *queue, now time.Time) time.Duration {
	var lane berth.Lane
	busy, free := int64(0), false
	for _, r := range p.replicas {
		if !r.retired && r.Serves(adapter) {
			lane, busy, free = r.Lane, busy+r.busy, free || r.room(q) > 0
		}
	}
	lines, running := map[string]int64{}, int64(0)
	for _, e := range p.entries {
		switch {
		case e.replica != nil && e.replica.Lane == lane:
			running += e.tokens
		case e.replica == nil && e.queue == q && e.lane == lane:
			lines[e.turn.DeploymentID] += e.tokens
		}
	}
	own, before := lines[id], int64(0)
	for _, tokens := range lines {
		before += min(tokens, own+p.bounds.Share)
	}
	if before == 0 && free {
		return 0
	}
	return min(p.wait(q, lane, before, now)+p.pace.wait(running/(busy+1), now), mostWait)
}
