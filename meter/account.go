package meter

import (
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

// account compares the counters of one start of an engine with the records of its calls, in
// the order in which the journal has them. It is pure: what it is told decides.
//
// The order is what makes it exact. An opening mark is written before the engine has the
// call, a closing one after it is done with it. A reading knows where the journal ended when
// it was asked for, and stands where it was answered. So of the calls that are closed before
// the one place the counters show everything, of those that are opened behind the other
// nothing; and where none was in between, and the engine has none either, what the counters
// show is what is recorded, to the token. Clocks have no part in it.
//
// Where calls were in between (a replica can be busy for days) the counters show at least
// what was recorded, and at most what is recorded when all of these calls have ended.
//
// Figures of calls that the engine did not report have a tolerance: their records may say
// too little or too much, by no more than the call can have used. What is within it is
// explained, the rest is unexplained. An engine may notice late that a caller has left, so
// the tolerance holds for a while after the call; then, what the counters do not show by now
// nobody used, and other tokens that nobody recorded cannot hide in it later.
type account struct {
	berth.EngineAccount
	open    map[journal.Position]struct{} // calls that the engine may have, by where they were opened
	recent  []recent                      // that a reading may not show in full
	asked   journal.Position              // when the last reading was asked for
	check   *comparison                   // under way
	checked time.Time                     // when counters and records were last compared
	ended   time.Time                     // zero: it runs
	closed  bool                          // nothing more can come

	rows  map[int64]*berth.Reconciliation // what was added since it was last written, by hour
	fresh bool                            // not written since it changed
}

// recent is a call that was closed lately.
type recent struct {
	at   journal.Position
	used berth.Tokens
}

// comparison waits for calls that were under way at a reading.
type comparison struct {
	at      time.Time
	balance berth.Tokens
	most    berth.Tokens // that the balance can be
	waits   map[journal.Position]struct{}
}

const (
	// slackTurn is how long tolerance holds at least, half of what it holds at most.
	slackTurn = 10 * time.Second
	// checkEvery is how often a busy engine is compared.
	checkEvery = time.Minute
	// maxRecent bounds the calls between two readings that are kept one by one.
	maxRecent = 4096
)

func newAccount(a berth.EngineAccount) *account {
	return &account{EngineAccount: a, open: map[journal.Position]struct{}{}, rows: map[int64]*berth.Reconciliation{}}
}

// row returns what is added to an hour.
func (a *account) row(at time.Time) *berth.Reconciliation {
	a.fresh = true
	hour := at.UTC().Truncate(time.Hour)
	r := a.rows[hour.Unix()]
	if r == nil {
		r = &berth.Reconciliation{ReplicaID: a.ReplicaID, Nonce: a.Nonce, Hour: hour, ModelName: a.ModelName}
		a.rows[hour.Unix()] = r
	}
	return r
}

// opened: the engine may get the call at any moment.
func (a *account) opened(ref journal.Position) { a.open[ref] = struct{}{} }

// left: there is no such call.
func (a *account) left(ref journal.Position) {
	delete(a.open, ref)
	a.over(ref, berth.Tokens{})
}

// moved: the call went on to another engine. This one took no calls, or died in the moment
// in which it got it.
func (a *account) moved(ref journal.Position, most berth.Tokens) {
	delete(a.open, ref)
	a.Slack = a.Slack.Plus(berth.Tolerance{More: most})
	a.fresh = true
	a.over(ref, most)
}

// record takes the record of a call that was closed at a place.
func (a *account) record(ref, at journal.Position, u *berth.UsageRecord, most berth.Tokens) {
	delete(a.open, ref)
	used := berth.Tokens{Input: u.InputTokens, Output: u.OutputTokens}
	a.row(u.EndedAt).Record(u)
	a.Balance, a.Since = a.Balance.Minus(used), a.Since.Plus(used)
	a.remember(at, used)
	if u.Source != berth.SourceEngine {
		most = larger(most, used)
		// A prompt's length may have been guessed; tokens of an answer were seen.
		a.Slack = a.Slack.Plus(berth.Tolerance{Less: berth.Tokens{Input: used.Input}, More: most.Minus(used)})
		used = most
	}
	a.over(ref, used)
}

func (a *account) remember(at journal.Position, used berth.Tokens) {
	if n := len(a.recent); n >= maxRecent { // as if the one before had ended with it
		a.recent[n-1] = recent{at, a.recent[n-1].used.Plus(used)}
		return
	}
	a.recent = append(a.recent, recent{at, used})
}

// over tells a check that a call has ended that can have had so much of the balance.
func (a *account) over(ref journal.Position, used berth.Tokens) {
	c := a.check
	if c == nil {
		return
	}
	if _, waits := c.waits[ref]; !waits {
		return
	}
	delete(c.waits, ref)
	c.most = c.most.Plus(used)
	if len(c.waits) > 0 {
		return
	}
	a.check = nil
	over := larger(c.balance.Minus(c.most), berth.Tokens{})
	a.unexplained(c.at, over)
}

// unexplained takes off the balance what nothing explains.
func (a *account) unexplained(at time.Time, t berth.Tokens) {
	if t == (berth.Tokens{}) {
		return
	}
	r := a.row(at)
	r.Unexplained = r.Unexplained.Plus(t)
	a.Balance = a.Balance.Minus(t)
}

// read takes a reading. settled: counters and records agree as far as they can.
func (a *account) read(r berth.EngineReading) (settled bool) {
	if !a.ended.IsZero() {
		return false
	}
	delta := r.Tokens.Minus(a.Read)
	if delta != (berth.Tokens{}) {
		row := a.row(r.At)
		row.Engine = row.Engine.Plus(delta)
	}
	a.fresh = true
	a.Balance, a.Read, a.ReadAt = a.Balance.Plus(delta), r.Tokens, r.At
	from := journal.Position(r.From)
	if a.Lags { // the counters may be as old as that
		from, a.asked = a.asked, from
	}
	a.Since = berth.Tokens{}
	kept := a.recent[:0]
	for _, c := range a.recent {
		if c.at >= from {
			kept = append(kept, c)
			a.Since = a.Since.Plus(c.used)
		}
	}
	a.recent = kept
	if len(a.open) == 0 && len(kept) == 0 && r.Calls == 0 {
		a.settle(r.At)
		return true
	}
	a.ripen(r.At)
	slack := a.Slack.Plus(a.OldSlack)
	least := berth.Tokens{}.Minus(a.Since).Minus(slack.Less)
	a.unexplained(r.At, smaller(a.Balance.Minus(least), berth.Tokens{}))
	if a.check == nil && r.At.Sub(a.checked) >= checkEvery && len(a.open) > 0 {
		a.checked = r.At
		a.check = &comparison{at: r.At, balance: a.Balance, most: slack.More, waits: make(map[journal.Position]struct{}, len(a.open))}
		for ref := range a.open {
			a.check.waits[ref] = struct{}{}
		}
	}
	return false
}

// settle divides the balance of an engine without calls into what is explained and what is
// not.
func (a *account) settle(at time.Time) {
	a.explain(at, a.Balance)
	a.unexplained(at, a.Balance)
	if at.Sub(a.TurnedAt) >= slackTurn {
		a.OldSlack, a.Slack, a.TurnedAt = a.Slack, berth.Tolerance{}, at
	}
	a.check, a.checked = nil, at
}

// ripen gives up what is left of old tolerance beyond what the counters of an engine that
// has calls show: all that the calls it is for have used is in them.
func (a *account) ripen(at time.Time) {
	if at.Sub(a.TurnedAt) < slackTurn {
		return
	}
	shown := a.Balance.Plus(a.Since).Plus(a.OldSlack.Less).Plus(a.Slack.Less)
	a.OldSlack.More = smaller(a.OldSlack.More, larger(shown, berth.Tokens{}))
	a.OldSlack, a.Slack, a.TurnedAt = a.OldSlack.Plus(a.Slack), berth.Tolerance{}, at
}

// explain takes as much of t off the balance and the tolerance as that allows.
func (a *account) explain(at time.Time, t berth.Tokens) {
	var x berth.Tokens
	for _, s := range []*berth.Tolerance{&a.OldSlack, &a.Slack} {
		part := larger(smaller(t.Minus(x), s.More), berth.Tokens{}.Minus(s.Less))
		s.More = s.More.Minus(larger(part, berth.Tokens{}))
		s.Less = s.Less.Plus(smaller(part, berth.Tokens{}))
		x = x.Plus(part)
	}
	if x == (berth.Tokens{}) {
		return
	}
	r := a.row(at)
	r.Explained = r.Explained.Plus(x)
	a.Balance = a.Balance.Minus(x)
}

// end: the engine has ended. Its account is closed with its last call.
func (a *account) end(at time.Time) {
	if a.ended.IsZero() {
		a.ended, a.fresh = at, true
	}
}

// finish closes the account of an engine that has ended when all its calls are recorded.
// What was recorded after the last reading no counter confirms.
func (a *account) finish() {
	if a.closed || a.ended.IsZero() || len(a.open) > 0 {
		return
	}
	a.closed, a.fresh = true, true
	unread := larger(smaller(berth.Tokens{}.Minus(a.Balance), a.Since), berth.Tokens{})
	if unread != (berth.Tokens{}) {
		r := a.row(a.ended)
		r.Unread = r.Unread.Plus(unread)
		a.Balance = a.Balance.Plus(unread)
	}
	a.explain(a.ended, a.Balance)
	a.unexplained(a.ended, a.Balance)
}

func larger(t, o berth.Tokens) berth.Tokens {
	return berth.Tokens{Input: max(t.Input, o.Input), Output: max(t.Output, o.Output)}
}

func smaller(t, o berth.Tokens) berth.Tokens {
	return berth.Tokens{Input: min(t.Input, o.Input), Output: min(t.Output, o.Output)}
}
