package gateway

import (
	"time"

	berth "github.com/berthhq/berth"
)

// Limiter holds the limits per minute of one deployment. It outlives snapshots and is
// used by many calls at once.
type Limiter interface {
	// Reserve books what a call asks for, all of it or nothing. limits are those of the
	// snapshot that the call was resolved from; they may differ from the last call's.
	Reserve(now time.Time, limits berth.Limits, ask Tokens) (Reservation, *Refusal)
}

// Reservation is what an admitted call holds until it is settled, exactly once.
type Reservation interface {
	// Settle corrects the booking to what was used; zero Tokens erase it.
	Settle(now time.Time, used Tokens)
}

// Tokens are the amounts of one call that limits count.
type Tokens struct {
	Requests int64
	Input    int64 // when asking: an upper bound
	Output   int64 // of all answers, thinking included
	Thinking int64 // the part of Output that is thinking; when asking: at most
}

// DimensionRequests is the Refusal.Dimension of limits that count calls.
const DimensionRequests = "requests"

// Refusal says why a call does not fit.
type Refusal struct {
	Dimension          string // as it stands in the sentence: "requests", "input tokens" …
	Limit, Used, Asked int64
	// RetryAfter is the wait after which the call fits if nothing else comes; 0 when it
	// asks for more than the limit and never fits.
	RetryAfter time.Duration
}

// unlimited is the reservation of a call that nothing limits.
type unlimited struct{}

func (unlimited) Settle(time.Time, Tokens) {}

// What the input of a call is bounded by before it is counted: a token is at least a
// byte of text, and templates add a few per message and per call.
const (
	templateTokensPerMessage = 16
	templateTokensPerCall    = 64
)

// reserve admits a call within the limits of its deployment and returns on whose
// promise. A ptu call beyond its reservation is served as overflow where the
// deployment says so (api.md 6.3).
func reserve(now time.Time, l Limiter, route *berth.Route, ask Tokens) (berth.Class, Reservation, error) {
	class := classOf(route.Plan)
	reservation, refusal := l.Reserve(now, route.Limits, ask)
	switch {
	case refusal == nil:
		return class, reservation, nil
	case refusal.Dimension != DimensionRequests && route.Plan == berth.PlanPTU && route.Limits.Overflow == berth.OverflowEnable:
		return berth.ClassOverflow, unlimited{}, nil
	}
	return class, unlimited{}, refused(refusal)
}

func limited(l berth.Limits) bool { return l.Requests > 0 || l.Tokens > 0 || l.IsMetered }

func classOf(p berth.Plan) berth.Class {
	switch p {
	case berth.PlanPTU:
		return berth.ClassReserved
	case berth.PlanLoRA:
		return berth.ClassShared
	}
	return berth.ClassDedicated
}

// refused tells the caller what is exceeded, by how much, and when to come again.
func refused(r *Refusal) *failure {
	if r.RetryAfter <= 0 {
		return invalid("The call asks for %d %s; the limit of this deployment is %d per minute, so it can never pass. Ask for less, or raise the limit.",
			r.Asked, r.Dimension, r.Limit).finally()
	}
	row := problemQuota
	if r.Dimension == DimensionRequests {
		row = problemRate
	}
	return fail(row).after(r.RetryAfter).say("%s The limit is %d %s per minute; %d are used or reserved, this call asks for %d.",
		row.message, r.Limit, r.Dimension, r.Used, r.Asked)
}
