package app

import (
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/gateway"
	"github.com/berthhq/berth/limit"
)

// limiter gives the gateway the turnstile of one deployment.
type limiter struct {
	turnstile *limit.Limiter
	begun     time.Time       // whose clock does not go back, nor forward at once
	last      []berth.Booking // of the minute before the start
	booked    sync.Once       // last is
}

// lastMinute is what calls booked before the start of this server, by deployment; it goes
// to the turnstiles with their first call.
type lastMinute struct {
	now      func() time.Time
	mu       sync.Mutex
	bookings map[string][]berth.Booking
	over     time.Time // when none of them counts any more
}

func (m *lastMinute) newLimiter(deploymentID string) gateway.Limiter {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if now.After(m.over) {
		m.bookings = nil
	}
	return &limiter{turnstile: limit.New(limit.Amounts{}), begun: now, last: m.bookings[deploymentID]}
}

// bookLast brings the last minute back. It comes before the limits, so that everything
// stands at its own time, even where limits were lowered since.
func (l *limiter) bookLast(split bool) {
	for _, b := range l.last {
		l.turnstile.Book(b.At.UnixMilli(), amounts(tokensOf(b.Booked), split))
	}
	l.last = nil
}

func tokensOf(b berth.Booked) gateway.Tokens {
	return gateway.Tokens{
		Requests: b.Requests, Input: b.Input, Output: b.Output, Thinking: b.Thinking, Content: max(0, b.Output-b.Thinking),
	}
}

// at is a moment as the turnstile has it. Steps of the wall clock do not show in it.
func (l *limiter) at(now time.Time) int64 {
	return l.begun.UnixMilli() + now.Sub(l.begun).Milliseconds()
}

// Reserve implements gateway.Limiter. Changed limits hold from this call on.
func (l *limiter) Reserve(now time.Time, limits berth.Limits, ask gateway.Tokens, standing *gateway.Standing) (gateway.Reservation, *gateway.Refusal) {
	within := amountsOf(limits)
	split := limits.PTU.ThinkingTPM > 0
	l.booked.Do(func() { l.bookLast(split) })
	var levels limit.Levels
	held, why, ok := l.turnstile.Reserve(l.at(now), &within, amounts(ask, split), &levels)
	*standing = standingOf(&levels)
	if ok {
		return &reservation{limiter: l, held: held, split: split}, nil
	}
	refusal := &gateway.Refusal{Dimension: dimensionNames[why.Dimension], Limit: why.Limit, Used: why.Used, Asked: why.Asked}
	if why.Possible {
		refusal.RetryAfter = time.Duration(why.RetryAfterMS) * time.Millisecond
	}
	return nil, refusal
}

// Standing implements gateway.Limiter.
func (l *limiter) Standing(now time.Time, limits berth.Limits) gateway.Standing {
	l.booked.Do(func() { l.bookLast(limits.PTU.ThinkingTPM > 0) })
	levels := l.turnstile.Levels(l.at(now), amountsOf(limits))
	return standingOf(&levels)
}

func standingOf(levels *limit.Levels) gateway.Standing {
	level := func(d limit.Dimension) gateway.Level {
		l := levels[d]
		return gateway.Level{Limit: l.Limit, Used: l.Used, Reset: time.Duration(l.ResetMS) * time.Millisecond}
	}
	return gateway.Standing{
		Requests: level(limit.Requests), Tokens: level(limit.Tokens),
		Input: level(limit.Input), Output: level(limit.Output), Thinking: level(limit.Thinking),
	}
}

// dimensionNames are the words of the sentence that a refused caller reads.
var dimensionNames = map[limit.Dimension]string{
	limit.Requests: gateway.DimensionRequests, limit.Tokens: gateway.DimensionTokens,
	limit.Input: gateway.DimensionInput, limit.Output: "output tokens", limit.Thinking: "thinking tokens",
}

type reservation struct {
	limiter *limiter
	held    limit.Reservation
	split   bool
}

// Shrink implements gateway.Reservation.
func (r *reservation) Shrink(now time.Time, to gateway.Tokens) {
	r.held = r.limiter.turnstile.Shrink(r.held, r.limiter.at(now), amounts(to, r.split))
}

// Settle implements gateway.Reservation.
func (r *reservation) Settle(now time.Time, used gateway.Tokens) {
	r.limiter.turnstile.Settle(r.held, r.limiter.at(now), amounts(used, r.split))
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
		a[limit.Output], a[limit.Thinking] = t.Content, t.Thinking
	}
	return a
}
