package sched

import (
	"math"
	"time"
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
func (p *Pool) expected(q *queue, now time.Time) time.Duration {
	tokens := p.guaranteed.tokens
	if !q.guaranteed {
		tokens += p.bestEffort.tokens
	}
	return min(max(p.pace.wait(tokens, now), leastWait), mostWait)
}
