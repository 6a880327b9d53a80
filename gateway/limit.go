package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	berth "github.com/berthhq/berth"
)

// Limiter holds the limits per minute of one deployment. It outlives snapshots and is
// used by many calls at once.
type Limiter interface {
	// Reserve books what a call asks for, all of it or nothing, and tells standing how far
	// the limits are used then. limits are those of the snapshot that the call was resolved
	// from; they may differ from the last call's.
	Reserve(now time.Time, limits berth.Limits, ask Tokens, standing *Standing) (Reservation, *Refusal)
	// Standing says how far limits are used.
	Standing(now time.Time, limits berth.Limits) Standing
}

// Standing is how far the limits of a deployment are used.
type Standing struct{ Requests, Tokens, Input, Output, Thinking Level }

// Level is how far one limit per minute is used; none when Limit is 0. Used may exceed
// Limit where more was used than reserved, or after a reduction.
type Level struct {
	Limit, Used int64
	Reset       time.Duration // until nothing of it is used, if nothing else comes
}

// remaining is never negative.
func (l Level) remaining() int64 { return max(0, l.Limit-l.Used) }

// tokens is the level of all limited tokens together: of the limit on tokens, else of the
// reserved dimensions, added up.
func (s *Standing) tokens() (limit, remaining int64, reset time.Duration) {
	if s.Tokens.Limit > 0 {
		return s.Tokens.Limit, s.Tokens.remaining(), s.Tokens.Reset
	}
	for _, l := range []*Level{&s.Input, &s.Output, &s.Thinking} {
		limit, remaining, reset = limit+l.Limit, remaining+l.remaining(), max(reset, l.Reset)
	}
	return limit, remaining, reset
}

// Reservation is what an admitted call holds until it is settled, exactly once.
type Reservation interface {
	// Shrink lowers the booking of a call that goes on to what is known to do.
	Shrink(now time.Time, to Tokens)
	// Settle corrects the booking to what was used; zero Tokens erase it.
	Settle(now time.Time, used Tokens)
}

// Tokens are the amounts of one call that limits count.
type Tokens struct {
	Requests int64
	Input    int64 // when asking: an upper bound
	Output   int64 // of all answers, thinking included
	Thinking int64 // the part of Output that is thinking; when asking: at most
	Content  int64 // the part that is not; when asking: at most
}

// within moves what was used to the part of the output that asked has room in: where the
// whole is within what was asked, so is each part. The marks between thinking and content
// belong to either.
func (t Tokens) within(asked Tokens) Tokens {
	switch {
	case t.Output > asked.Output:
	case t.Content > asked.Content:
		t.Content = asked.Content
		t.Thinking = t.Output - t.Content
	case t.Thinking > asked.Thinking:
		t.Thinking = asked.Thinking
		t.Content = t.Output - t.Thinking
	}
	return t
}

// The words for Refusal.Dimension that matter here: of limits that count calls, and of
// those in which the input counts.
const (
	DimensionRequests = "requests"
	DimensionTokens   = "tokens"
	DimensionInput    = "input tokens"
)

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

func (unlimited) Shrink(time.Time, Tokens) {}
func (unlimited) Settle(time.Time, Tokens) {}

// reserve admits the call within the limits of its deployment and finds on whose promise.
// The input counts as its upper bound first, which costs nothing, and is counted exactly
// only where that does not fit (design 7), or is longer than reservations serve. A ptu call
// with such an input is overflow, one beyond its reservation where the deployment says so
// (api.md 6.3). A deployment without limits costs nothing here.
func (g *Gateway) reserve(ctx context.Context, c *call) error {
	c.class = classOf(c.route.Plan)
	if c.live.limiter == nil || !limited(c.route.Limits) {
		return nil
	}
	input, exact := int64(0), true // where tokens do not count
	if limitsTokens(c.route.Limits) {
		input, exact = g.boundInput(ctx, c), false
	}
	if c.route.Terms.TooLong(input) {
		switch n, err := g.countExactly(ctx, c); {
		case err == nil:
			input, exact = n, true
		case !errors.Is(err, errNoCount): // else the bound decides
			return err
		}
		if c.route.Terms.TooLong(input) {
			c.class, c.standing = berth.ClassOverflow, c.live.limiter.Standing(g.now(), c.route.Limits)
			return nil
		}
	}
	for {
		refusal := g.reserveInput(c, input)
		switch {
		case refusal == nil && !exact && c.standing.near(c.asked.Input):
			g.shrink(ctx, c)
			return nil
		case refusal == nil:
			return nil
		case !exact && (refusal.ofInput() || c.longer(input)):
			var err error
			if input, err = g.countExactly(ctx, c); err == nil {
				exact = true
				continue
			}
			if !errors.Is(err, errNoCount) && (refusal.RetryAfter <= 0 || failureOf(err).status < http.StatusTooManyRequests) {
				return err // the bound alone refuses nobody for good
			}
		}
		if c.route.Limits.Overflow == berth.OverflowEnable && c.route.Plan == berth.PlanPTU && refusal.Dimension != DimensionRequests {
			c.class = berth.ClassOverflow
			return nil
		}
		return refused(refusal)
	}
}

// With less of a limit on input left than one part of so many, or than so many calls like
// this one take, calls hold no more than they need.
const (
	nearPart  = 4
	nearCalls = 32
)

// near reports whether a limit that input counts against is nearly reached for a call that
// holds so much: what it holds beyond its need would soon refuse another one that fits.
func (s *Standing) near(held int64) bool {
	return s.Input.near(held) || s.Tokens.near(held)
}

func (l Level) near(held int64) bool {
	return l.Limit > 0 && l.remaining() < max(l.Limit/nearPart, nearCalls*held)
}

// shrink has the input counted and gives back what the bound took too much. Where it cannot
// be counted the bound stays.
func (g *Gateway) shrink(ctx context.Context, c *call) {
	input, err := g.countExactly(ctx, c)
	if err != nil || input >= c.asked.Input {
		return
	}
	c.asked.Input = input
	c.reservation.Shrink(g.now(), c.charged(c.asked, 0))
	c.standing = c.live.limiter.Standing(g.now(), c.route.Limits)
}

// countExactly has the input counted. It stands by itself for the stack's sake, see run.
//
//go:noinline
func (g *Gateway) countExactly(ctx context.Context, c *call) (int64, error) {
	return g.countCall(ctx, c.asking(c.request))
}

// reserveInput tries to reserve for the call with so many tokens of input.
func (g *Gateway) reserveInput(c *call, input int64) *Refusal {
	c.asked = c.request.ask(input, &c.live.past)
	reservation, refusal := c.live.limiter.Reserve(g.now(), c.route.Limits, c.charged(c.asked, 0), &c.standing)
	if refusal == nil {
		c.reservation = reservation
	}
	return refusal
}

// charged is what tokens of the call count against its deployment's limits (api.md 5.3). A
// reservation for all of the input, nothing of it cached, is never below what is charged in
// the end.
func (c *call) charged(t Tokens, cached int64) Tokens {
	terms := &c.route.Terms
	return Tokens{
		Requests: t.Requests, Input: terms.ChargeInput(t.Input, cached), Output: terms.ChargeOutput(t.Output, t.Input),
		Thinking: terms.ChargeOutput(t.Thinking, t.Input), Content: terms.ChargeOutput(t.Content, t.Input),
	}
}

// longer reports whether an answer counts more because the input is that long.
func (c *call) longer(input int64) bool {
	long := c.route.Terms.LongInput
	return len(long) > 0 && input > long[0].Above
}

// provisioned is what the call used of a reservation, after factors (api.md 9.3); ok is
// false when it used none.
func (c *call) provisioned(u *usage) (input, output int64, ok bool) {
	if c.class != berth.ClassReserved {
		return 0, 0, false
	}
	terms := &c.route.Terms
	return terms.ChargeInput(u.input, u.cached), terms.ChargeOutput(u.output, u.input), true
}

// ofInput reports whether a smaller input would help.
func (r *Refusal) ofInput() bool {
	return r.Dimension == DimensionTokens || r.Dimension == DimensionInput
}

func limitsTokens(l berth.Limits) bool { return l.Tokens > 0 || l.IsMetered }

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

// longestRetry is the longest wait that a client is told to make by itself (api.md 2.5):
// some sleep for whatever they are told.
const longestRetry = time.Minute

// refused tells the caller what is exceeded, by how much, and when to come again. What was
// used beyond reservations may take longer to be paid than a client should wait by itself:
// then it is told not to, and how long it takes.
func refused(r *Refusal) *failure {
	if r.RetryAfter <= 0 {
		return invalid("The call asks for %d %s; the limit of this deployment is %d per minute (%d used or reserved now), so it can never pass. Ask for less, or raise the limit.",
			r.Asked, r.Dimension, r.Limit, r.Used).finally()
	}
	row := problemQuota
	if r.Dimension == DimensionRequests {
		row = problemRate
	}
	const sentence = "%s The limit is %d %s per minute; %d are used or reserved, this call asks for %d."
	f := fail(row).say(sentence, row.message, r.Limit, r.Dimension, r.Used, r.Asked)
	if r.RetryAfter <= longestRetry {
		return f.after(r.RetryAfter)
	}
	seconds := (r.RetryAfter + time.Second - 1).Truncate(time.Second)
	return f.finally().say(sentence+" It passes in %s, if nothing else comes: calls that declared nothing used more than they held. Send max_tokens.",
		row.message, r.Limit, r.Dimension, r.Used, r.Asked, seconds)
}

// header tells clients how far the limits are used, in the words that OpenAI's
// clients know. Of reserved throughput the dimensions are added up.
func (s *Standing) header(h http.Header) {
	put := func(of string, limit, remaining int64, reset time.Duration) {
		if limit == 0 {
			return
		}
		h["X-Ratelimit-Limit-"+of] = []string{strconv.FormatInt(limit, 10)}
		h["X-Ratelimit-Remaining-"+of] = []string{strconv.FormatInt(remaining, 10)}
		h["X-Ratelimit-Reset-"+of] = []string{reset.String()}
	}
	put("Requests", s.Requests.Limit, s.Requests.remaining(), s.Requests.Reset)
	limit, remaining, reset := s.tokens()
	put("Tokens", limit, remaining, reset)
}
