package limit

import (
	"math"
	"sync"
)

// Dimension is what is counted per minute.
type Dimension uint8

// The dimensions. A plan limits some of them; the others are never asked for.
const (
	Requests Dimension = iota // calls
	Tokens                    // input and output together
	Input                     // prompt tokens
	Output                    // answer tokens
	Thinking                  // reasoning tokens
	dimensions
)

// String returns the dimension's name as it stands in messages and metrics.
func (d Dimension) String() string {
	return [...]string{"requests", "tokens", "input", "output", "thinking"}[d]
}

// Amounts holds one amount for each Dimension.
type Amounts [dimensions]int64

// Limiter holds the limits of one deployment. A call passes all dimensions or none.
// It is safe for concurrent use and must not be copied.
type Limiter struct {
	mu      sync.Mutex
	limits  Amounts
	windows [dimensions]Window
}

// Level is how far one limit is used.
type Level struct {
	Limit   int64 // 0: there is none
	Used    int64 // of the last minute, with what is still owed
	ResetMS int64 // until nothing of it is left, if nothing else comes
}

// Levels holds one Level for each Dimension.
type Levels [dimensions]Level

// Reservation is what an admitted call holds until it is settled or cancelled, exactly
// once. It is a plain value.
type Reservation struct {
	tickets [dimensions]Ticket
}

// Refusal says which dimension refused a call: the one that must be waited for longest.
type Refusal struct {
	Dimension Dimension
	Limit     int64 // per minute
	Used      int64 // of the last minute, with what is still owed
	Asked     int64
	// RetryAfterMS is the smallest wait after which the same call passes all
	// dimensions, if nothing else comes. 0 when Possible is false.
	RetryAfterMS int64
	// Possible is false when the call asks for more than the limit and so can never
	// pass.
	Possible bool
}

// New returns a Limiter; a limit of 0 means none for that dimension.
func New(limits Amounts) *Limiter {
	l := &Limiter{}
	l.SetLimits(0, limits)
	return l
}

// SetLimits changes the limits from the next call on; a limit of 0 means none. What the
// last minute used counts against the new limits.
func (l *Limiter) SetLimits(nowMS int64, limits Amounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setLimits(nowMS, limits)
}

func (l *Limiter) setLimits(nowMS int64, limits Amounts) {
	l.limits = limits
	for d := range l.windows {
		limit := limits[d]
		if limit == 0 {
			limit = math.MaxInt64
		}
		l.windows[d].SetLimit(nowMS, limit)
	}
}

// Reserve admits a call that asks for the given amounts, all or nothing, within limits,
// which hold from this call on; nil leaves them. When it does not, ok is false and the
// Refusal says why. levels, unless nil, are told how far the limits are used then.
func (l *Limiter) Reserve(nowMS int64, limits *Amounts, ask Amounts, levels *Levels) (r Reservation, why Refusal, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limits != nil && *limits != l.limits {
		l.setLimits(nowMS, *limits)
	}
	r, why, ok = l.reserve(nowMS, ask)
	if levels != nil {
		l.levels(levels)
	}
	return r, why, ok
}

func (l *Limiter) reserve(nowMS int64, ask Amounts) (r Reservation, why Refusal, ok bool) {
	ok = true
	for d := range l.windows {
		w := &l.windows[d]
		w.advance(nowMS)
		if w.fits(ask[d]) {
			continue
		}
		if refusal := w.refusal(Dimension(d), ask[d]); ok || refusal.longerThan(why) {
			why = refusal
		}
		ok = false
	}
	if !ok {
		return Reservation{}, why, false
	}
	for d := range l.windows {
		r.tickets[d] = l.windows[d].reserve(ask[d])
	}
	return r, Refusal{}, true
}

// Levels returns how far limits, which hold from now on, are used.
func (l *Limiter) Levels(nowMS int64, limits Amounts) (levels Levels) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limits != l.limits {
		l.setLimits(nowMS, limits)
	}
	for d := range l.windows {
		l.windows[d].advance(nowMS)
	}
	l.levels(&levels)
	return levels
}

// levels are those of the latest time seen.
func (l *Limiter) levels(to *Levels) {
	for d := range l.windows {
		to[d] = Level{}
		if w := &l.windows[d]; l.limits[d] > 0 {
			to[d] = Level{Limit: w.limit, Used: w.live + w.debt, ResetMS: w.resetMS()}
		}
	}
}

// refusal describes why amount does not fit at the latest time seen.
func (w *Window) refusal(d Dimension, amount int64) Refusal {
	wait, possible := w.RetryAfter(w.nowMS, amount)
	return Refusal{
		Dimension: d, Limit: w.limit, Used: w.live + w.debt, Asked: amount,
		RetryAfterMS: wait, Possible: possible,
	}
}

// longerThan orders refusals by how long they last; never passing is the longest.
func (r Refusal) longerThan(other Refusal) bool {
	if r.Possible != other.Possible {
		return !r.Possible
	}
	return r.RetryAfterMS > other.RetryAfterMS
}

// Shrink lowers a reservation to amounts that are known to do, where they are lower. It is
// not settled yet.
func (l *Limiter) Shrink(r Reservation, nowMS int64, to Amounts) Reservation {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.windows {
		if t := &r.tickets[d]; to[d] < t.amount {
			l.windows[d].Settle(*t, nowMS, to[d])
			t.amount = to[d]
		}
	}
	return r
}

// Settle corrects a reservation to what the call really used.
func (l *Limiter) Settle(r Reservation, nowMS int64, actual Amounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.windows {
		l.windows[d].Settle(r.tickets[d], nowMS, actual[d])
	}
}

// Cancel takes a reservation back, as if the call had never come.
func (l *Limiter) Cancel(r Reservation, nowMS int64) { l.Settle(r, nowMS, Amounts{}) }

// Book adds what was used without a reservation: after a restart, the last minute read
// back from the journal, oldest first.
func (l *Limiter) Book(nowMS int64, amounts Amounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.windows {
		l.windows[d].Book(nowMS, amounts[d])
	}
}

// Used returns what counts against each limit.
func (l *Limiter) Used(nowMS int64) Amounts {
	l.mu.Lock()
	defer l.mu.Unlock()
	var used Amounts
	for d := range l.windows {
		used[d] = l.windows[d].Used(nowMS)
	}
	return used
}
