package meter

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// book is an account with a journal that only counts.
type book struct {
	*account
	at    journal.Position
	now   time.Time
	total berth.Reconciliation // of all rows
	kept  map[time.Time]*berth.Reconciliation
}

func newBook() *book {
	b := &book{account: newAccount(berth.EngineAccount{ReplicaID: "rep", Nonce: "run", BeganAt: noon, TurnedAt: noon}), now: noon, at: 1}
	b.checked = noon
	b.kept = map[time.Time]*berth.Reconciliation{}
	return b
}

func (b *book) next() journal.Position {
	b.at++
	return b.at
}

func (b *book) start() journal.Position {
	ref := b.next()
	b.opened(ref)
	return ref
}

// stop records a call; source "" is the engine's.
func (b *book) stop(ref journal.Position, used, most berth.Tokens, source berth.Source) {
	u := berth.UsageRecord{EndedAt: b.now, InputTokens: used.Input, OutputTokens: used.Output, Source: source, Billable: source != berth.SourceUnknown, DeployedModel: "m"}
	if source == "" {
		u.Source = berth.SourceEngine
	}
	b.record(ref, b.next(), &u, most)
}

// look is a reading that nothing comes in between of.
func (b *book) look(input, output, calls int64) bool {
	return b.lookFrom(b.next(), input, output, calls)
}

func (b *book) lookFrom(from journal.Position, input, output, calls int64) bool {
	b.next()
	return b.read(berth.EngineReading{At: b.now, Tokens: berth.Tokens{Input: input, Output: output}, Calls: calls, From: int64(from)})
}

// write moves the rows to where they are kept.
func (b *book) write() *berth.Reconciliation {
	b.total = berth.Reconciliation{}
	for _, r := range b.rows {
		if b.kept[r.Hour] == nil {
			b.kept[r.Hour] = &berth.Reconciliation{}
		}
		b.kept[r.Hour].Add(r)
	}
	clear(b.rows)
	for _, r := range b.kept {
		b.total.Add(r)
	}
	return &b.total
}

func tokens(input, output int64) berth.Tokens { return berth.Tokens{Input: input, Output: output} }

func TestCountersAndRecordsThatAgreeSettle(t *testing.T) {
	t.Parallel()
	b := newBook()
	one, two := b.start(), b.start()
	b.stop(one, tokens(10, 5), tokens(100, 100), "")
	if b.look(14, 9, 1) {
		t.Error("settled while a call runs")
	}
	b.stop(two, tokens(20, 7), tokens(100, 100), "")
	if b.look(30, 12, 1) {
		t.Error("settled while the engine has a call")
	}
	if !b.look(30, 12, 0) {
		t.Error("not settled")
	}
	r := b.write()
	if r.Engine != tokens(30, 12) || r.Recorded != tokens(30, 12) || r.Differs() != 0 || r.UnderWay() != (berth.Tokens{}) || r.Explained != (berth.Tokens{}) || b.Balance != (berth.Tokens{}) {
		t.Errorf("%+v", r)
	}
}

// A call that ends between the question and the answer may be in the counters or not.
func TestACallAcrossAReadingIsUnderWay(t *testing.T) {
	t.Parallel()
	b := newBook()
	ref := b.start()
	from := b.next()
	b.stop(ref, tokens(10, 5), tokens(10, 5), "")
	if b.lookFrom(from, 10, 2, 0) {
		t.Error("settled by a reading that may have missed a part")
	}
	if r := b.write(); r.Differs() != 0 {
		t.Errorf("unexplained: %+v", r)
	}
	if !b.look(10, 5, 0) || b.write().Differs() != 0 {
		t.Errorf("%+v", b.total)
	}
}

// What is missing in the records, or too much in them, is unexplained at the first moment
// without a call.
func TestALostRecordIsUnexplained(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.stop(b.start(), tokens(10, 5), tokens(10, 5), "")
	b.look(17, 9, 0) // and one that nobody wrote down
	if r := b.write(); r.Unexplained != tokens(7, 4) || r.Differs() != 11 {
		t.Errorf("%+v", r)
	}
	b.stop(b.start(), tokens(10, 5), tokens(10, 5), "")
	b.stop(b.start(), tokens(10, 5), tokens(10, 5), "") // the same one, twice
	b.look(27, 14, 0)
	if r := b.write(); r.Unexplained != tokens(-3, -1) || b.Balance != (berth.Tokens{}) {
		t.Errorf("%+v", r)
	}
}

// Of a call that the caller left, the counters explain as much as it can have used, also
// when the engine notices later, and no more.
func TestCallsWithoutFiguresExplainAsMuchAsTheyCan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		read                   berth.Tokens
		explained, unexplained berth.Tokens
	}{
		"nothing":             {tokens(0, 0), tokens(0, 0), tokens(0, 0)},
		"a part":              {tokens(30, 20), tokens(30, 20), tokens(0, 0)},
		"all it could":        {tokens(40, 50), tokens(40, 50), tokens(0, 0)},
		"more than it could":  {tokens(41, 53), tokens(40, 50), tokens(1, 3)},
		"more of one of them": {tokens(10, 53), tokens(10, 50), tokens(0, 3)},
	} {
		b := newBook()
		b.stop(b.start(), tokens(0, 0), tokens(40, 50), berth.SourceUnknown)
		b.look(c.read.Input, c.read.Output, 0)
		if r := b.write(); r.Explained != c.explained || r.Unexplained != c.unexplained || r.Inexact != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	b := newBook()
	b.stop(b.start(), tokens(0, 0), tokens(40, 50), berth.SourceUnknown)
	b.look(0, 0, 0)
	b.now = b.now.Add(5 * time.Second)
	b.look(10, 10, 0) // it had not noticed yet
	if r := b.write(); r.Explained != tokens(10, 10) || r.Differs() != 0 {
		t.Errorf("%+v", r)
	}
	for range 3 {
		b.now = b.now.Add(slackTurn)
		b.look(10, 10, 0)
	}
	b.look(10, 11, 0) // half a minute later it has
	if r := b.write(); r.Explained != tokens(10, 10) || r.Unexplained != tokens(0, 1) {
		t.Errorf("%+v", r)
	}
}

// A stream that broke off has at least the tokens that were seen; its prompt was guessed.
func TestAGuessedPromptIsTolerated(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.stop(b.start(), tokens(25, 5), tokens(100, 50), berth.SourceCounted)
	b.look(12, 8, 0)
	if r := b.write(); r.Explained != tokens(-13, 3) || r.Differs() != 0 {
		t.Errorf("%+v", r)
	}
	b.stop(b.start(), tokens(25, 5), tokens(100, 50), berth.SourceCounted)
	b.look(24, 11, 0) // fewer than the caller was given
	if r := b.write(); r.Unexplained != tokens(0, -2) {
		t.Errorf("%+v", r)
	}
}

// A call across the hour's end is in no hour unexplained: it is under way in the first and
// recorded in the second.
func TestACallAcrossTheHoursEnd(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.now = noon.Add(59*time.Minute + 59*time.Second)
	ref := b.start()
	b.look(10, 40, 1)
	b.now = b.now.Add(time.Second)
	b.look(10, 60, 1)
	b.stop(ref, tokens(10, 90), tokens(10, 100), "")
	b.look(10, 90, 0)
	b.write()
	before, after := b.kept[noon], b.kept[noon.Add(time.Hour)]
	if before.Engine != tokens(10, 40) || before.Recorded != (berth.Tokens{}) || before.UnderWay() != tokens(10, 40) || before.Differs() != 0 {
		t.Errorf("before: %+v", before)
	}
	if after.Engine != tokens(0, 50) || after.Recorded != tokens(10, 90) || after.UnderWay() != tokens(-10, -40) || after.Differs() != 0 {
		t.Errorf("after: %+v", after)
	}
}

// An engine that always has a call is compared within the bounds of those under way.
func TestAnEngineThatIsAlwaysBusy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		extra berth.Tokens // in the counters, of nobody
		want  berth.Tokens
	}{
		"nothing is missing":     {tokens(0, 0), tokens(0, 0)},
		"less than is under way": {tokens(0, 3), tokens(0, 0)}, // seen when it rests
		"a lot is missing":       {tokens(0, 1000), tokens(0, 995)},
		"too much is recorded":   {tokens(0, -30), tokens(0, -25)},
	} {
		b := newBook()
		ref := b.start()
		for n := range int64(100) { // one begins before the other ends
			b.now = b.now.Add(2 * time.Second)
			next := b.start()
			b.stop(ref, tokens(0, 10), tokens(10, 10), "")
			ref = next
			extra := tokens(0, 0)
			if n >= 20 {
				extra = c.extra
			}
			b.look(0, max(0, 10*(n+1)+5+extra.Output), 1)
		}
		if r := b.write(); r.Unexplained != c.want {
			t.Errorf("%s: %+v", name, r)
		}
		b.stop(ref, tokens(0, 10), tokens(10, 10), "")
		b.look(0, 1010+c.extra.Output, 0)
		if r := b.write(); r.Unexplained != c.extra {
			t.Errorf("%s, when it rests: %+v", name, r)
		}
	}
}

// What calls without figures might have used and did not is no place for other tokens to
// hide in, though the engine never rests.
func TestABusyEngineKeepsNoOldTolerance(t *testing.T) {
	t.Parallel()
	b := newBook()
	ref, made := b.start(), int64(0)
	for n := range int64(120) { // one begins before the other ends
		b.now = b.now.Add(5 * time.Second)
		next := b.start()
		if made += 10; n < 20 { // nobody was told, and they might have had 10,000
			b.stop(ref, tokens(0, 0), tokens(10, 10_000), berth.SourceUnknown)
		} else {
			b.stop(ref, tokens(0, 10), tokens(10, 10), "")
		}
		if ref = next; n == 60 {
			made += 1000 // of nobody
		}
		b.look(0, made+5, 1)
		if r := b.write(); n < 60 && r.Differs() != 0 {
			t.Fatalf("%d: %+v", n, r)
		}
	}
	if r := b.write(); r.Unexplained.Output < 980 || r.Unexplained.Output > 1000 {
		t.Errorf("%+v", r)
	}
	b.stop(ref, tokens(0, 10), tokens(10, 10), "")
	b.look(0, made+10, 0)
	if r := b.write(); r.Unexplained.Plus(r.Explained) != tokens(0, 1200) || r.Unexplained.Output < 980 || r.UnderWay() != tokens(0, 0) {
		t.Errorf("when it rests: %+v", r)
	}
}

// An engine that dies takes with it what it counted since it was read; the records of that
// time are listed as such, and no more than these.
func TestAnEngineThatDies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		read                           berth.Tokens // before
		used                           berth.Tokens // by a call that was under way
		source                         berth.Source
		unread, explained, unexplained berth.Tokens
	}{
		"a call that was whole":      {tokens(10, 6), tokens(10, 9), "", tokens(0, 3), tokens(0, 0), tokens(0, 0)},
		"a call without figures":     {tokens(10, 6), tokens(0, 0), berth.SourceUnknown, tokens(0, 0), tokens(10, 6), tokens(0, 0)},
		"more than it can have used": {tokens(10, 60), tokens(0, 0), berth.SourceUnknown, tokens(0, 0), tokens(10, 20), tokens(0, 40)},
	} {
		b := newBook()
		b.stop(b.start(), tokens(5, 5), tokens(5, 5), "")
		b.look(5, 5, 0)
		ref := b.start()
		b.look(5+c.read.Input, 5+c.read.Output, 1)
		b.end(b.now)
		b.finish()
		if b.closed {
			t.Errorf("%s: closed before its last call", name)
		}
		b.stop(ref, c.used, tokens(10, 20), c.source)
		b.finish()
		if r := b.write(); !b.closed || r.Unread != c.unread || r.Explained != c.explained || r.Unexplained != c.unexplained || r.UnderWay() != (berth.Tokens{}) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Counters that lag behind are believed a reading later.
func TestCountersThatLag(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.Lags = true
	b.stop(b.start(), tokens(10, 5), tokens(10, 5), "")
	if b.look(10, 3, 0) {
		t.Error("believed at once")
	}
	if !b.look(10, 5, 0) || b.write().Differs() != 0 {
		t.Errorf("%+v", b.total)
	}
}

// Whatever calls do in whatever order, an engine that counts right is never unexplained;
// and one record that is lost, or there twice, always is in the end.
func TestOnlyWhatIsWrongIsUnexplained(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b := newBook()
		var engine berth.Tokens // as the engine counts
		type running struct {
			ref        journal.Position
			used, made berth.Tokens // in the end, so far
			inexact    bool
		}
		var calls []*running
		spoilt := rapid.SampledFrom([]string{"", "lost", "twice"}).Draw(r, "spoilt")
		wrong, tail := berth.Tokens{}, berth.Tokens{} // tail: of calls that were left, and is not made yet
		work := func(c *running, part int64) {        // the engine does a part of what is left
			step := tokens((c.used.Input-c.made.Input)*part/4, (c.used.Output-c.made.Output)*part/4)
			c.made, engine = c.made.Plus(step), engine.Plus(step)
		}
		end := func(i int) {
			c := calls[i]
			calls = append(calls[:i], calls[i+1:]...)
			if c.inexact { // it stopped somewhere, and somebody saw a part; the engine notices later
				b.stop(c.ref, tokens(c.made.Input/2, 0), tokens(200, 200), berth.SourceCounted)
				tail = tail.Plus(c.used.Minus(c.made))
				return
			}
			work(c, 4)
			if spoilt != "" && wrong == (berth.Tokens{}) && c.used.Output > 0 {
				wrong = c.used
				if spoilt == "lost" {
					b.left(c.ref)
					return
				}
				b.stop(c.ref, c.used, c.used, "")
				wrong = berth.Tokens{}.Minus(c.used)
			}
			b.stop(c.ref, c.used, tokens(200, 200), "")
		}
		exact := spoilt != "" || rapid.Bool().Draw(r, "all figures are known")
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			engine, tail = engine.Plus(tail), berth.Tokens{}
			b.now = b.now.Add(time.Duration(rapid.IntRange(0, 400).Draw(r, "seconds")) * time.Second)
			switch what := rapid.SampledFrom([]string{"start", "start", "work", "end", "end", "read", "across"}).Draw(r, "what"); {
			case what == "start":
				calls = append(calls, &running{
					ref: b.start(), used: tokens(rapid.Int64Range(0, 100).Draw(r, "input"), rapid.Int64Range(0, 100).Draw(r, "output")),
					inexact: !exact && rapid.Bool().Draw(r, "inexact"),
				})
			case what == "read":
				b.look(engine.Input, engine.Output, int64(len(calls)))
			case len(calls) == 0:
			case what == "work":
				work(rapid.SampledFrom(calls).Draw(r, "call"), rapid.Int64Range(0, 3).Draw(r, "part"))
			case what == "end":
				end(rapid.IntRange(0, len(calls)-1).Draw(r, "call"))
			case what == "across": // a call ends while the engine is asked
				from := b.next()
				seen := engine
				end(rapid.IntRange(0, len(calls)-1).Draw(r, "call"))
				b.lookFrom(from, seen.Input, seen.Output, 0)
			}
			if got := b.write(); spoilt == "" && got.Differs() != 0 {
				r.Fatalf("unexplained: %+v", got)
			}
		}
		for len(calls) > 0 {
			end(0)
		}
		if rapid.Bool().Draw(r, "it dies") && spoilt == "" {
			b.end(b.now)
			b.finish()
		} else {
			b.look(engine.Input, engine.Output, 0)
		}
		got := b.write()
		if got.Unexplained != wrong {
			r.Fatalf("unexplained %+v, wrong is %+v: %s", got.Unexplained, wrong, fmt.Sprintf("%+v", got))
		}
		if got.UnderWay() != (berth.Tokens{}) {
			r.Fatalf("the hours do not add up: %+v", got)
		}
	})
}
