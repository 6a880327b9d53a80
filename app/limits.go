package app

import (
	"sync"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/gateway"
	"github.com/berthhq/berth/limit"
)

// limiter gives the gateway the turnstile of one deployment.
type limiter struct {
	turnstile *limit.Limiter
	limits    atomic.Pointer[berth.Limits] // that the turnstile has
	last      []berth.Booking              // of the minute before the start
	booked    sync.Once                    // last is
}

// lastMinute is what calls booked before the start of this server, by deployment; it goes
// to the turnstiles with their first call.
type lastMinute struct {
	mu       sync.Mutex
	bookings map[string][]berth.Booking
	over     time.Time // when none of them counts any more
}

func (m *lastMinute) newLimiter(deploymentID string) gateway.Limiter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().After(m.over) {
		m.bookings = nil
	}
	return &limiter{turnstile: limit.New(limit.Amounts{}), last: m.bookings[deploymentID]}
}

// bookLast brings the last minute back. It comes before the limits, so that everything
// stands at its own time, even where limits were lowered since.
func (l *limiter) bookLast(split bool) {
	for _, b := range l.last {
		l.turnstile.Book(b.At.UnixMilli(), amounts(gateway.Tokens(b.Booked), split))
	}
	l.last = nil
}

// Reserve implements gateway.Limiter. Changed limits hold from this call on.
func (l *limiter) Reserve(now time.Time, limits berth.Limits, ask gateway.Tokens) (gateway.Reservation, *gateway.Refusal) {
	ms := now.UnixMilli()
	split := limits.PTU.ThinkingTPM > 0
	l.booked.Do(func() { l.bookLast(split) })
	if have := l.limits.Load(); have == nil || *have != limits {
		l.turnstile.SetLimits(ms, amountsOf(limits))
		kept := limits // its own copy, so that calls allocate nothing
		l.limits.Store(&kept)
	}
	held, why, ok := l.turnstile.Reserve(ms, amounts(ask, split))
	if ok {
		return &reservation{turnstile: l.turnstile, held: held, split: split}, nil
	}
	refusal := &gateway.Refusal{Dimension: dimensionNames[why.Dimension], Limit: why.Limit, Used: why.Used, Asked: why.Asked}
	if why.Possible {
		refusal.RetryAfter = time.Duration(why.RetryAfterMS) * time.Millisecond
	}
	return nil, refusal
}

// dimensionNames are the words of the sentence that a refused caller reads.
var dimensionNames = map[limit.Dimension]string{
	limit.Requests: gateway.DimensionRequests, limit.Tokens: "tokens",
	limit.Input: "input tokens", limit.Output: "output tokens", limit.Thinking: "thinking tokens",
}

type reservation struct {
	turnstile *limit.Limiter
	held      limit.Reservation
	split     bool
}

// Settle implements gateway.Reservation.
func (r *reservation) Settle(now time.Time, used gateway.Tokens) {
	r.turnstile.Settle(r.held, now.UnixMilli(), amounts(used, r.split))
}

func amountsOf(l berth.Limits) limit.Amounts {
	return limit.Amounts{
		limit.Requests: l.Requests, limit.Tokens: l.Tokens,
		limit.Input: l.PTU.InputTPM, limit.Output: l.PTU.OutputTPM, limit.Thinking: l.PTU.ThinkingTPM,
	}
}

// amounts books thinking apart only where it is reserved apart; else it is output.
func amounts(t gateway.Tokens, split bool) limit.Amounts {
	a := limit.Amounts{limit.Requests: t.Requests, limit.Tokens: t.Input + t.Output, limit.Input: t.Input, limit.Output: t.Output}
	if split {
		a[limit.Output], a[limit.Thinking] = t.Output-t.Thinking, t.Thinking
	}
	return a
}
