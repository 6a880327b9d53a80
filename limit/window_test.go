package limit

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// call is a reservation that is not settled yet.
type call struct {
	ticket   Ticket
	booking  int // its index in the naive reference
	reserved int64
}

// machine drives a Window and the naive reference with the same calls.
type machine struct {
	w     Window
	n     naive
	nowMS int64
	open  []call
}

func newMachine(t *rapid.T) *machine {
	m := &machine{}
	m.limit(t)
	return m
}

func (m *machine) limit(t *rapid.T) {
	limit := rapid.Int64Range(1, 60).Draw(t, "limit")
	m.w.SetLimit(m.nowMS, limit)
	m.n.setLimit(m.nowMS, limit)
}

// wait lets time pass, mostly in steps near the length of a minute or far below it, and
// sometimes backwards, as seen by calls that overtake each other.
func (m *machine) wait(t *rapid.T) {
	step := rapid.OneOf(
		rapid.Int64Range(-3, 3), rapid.Int64Range(0, 20_000),
		rapid.Int64Range(minuteMS-2, minuteMS+2), rapid.Int64Range(0, 20*minuteMS),
	).Draw(t, "ms")
	m.nowMS = max(0, m.nowMS+step)
}

func (m *machine) reserve(t *rapid.T) {
	amount := rapid.Int64Range(0, 40).Draw(t, "amount")
	m.checkRetryAfter(t, amount)
	ticket, ok := m.w.Reserve(m.nowMS, amount)
	i, want := m.n.reserve(m.nowMS, amount)
	if ok != want {
		t.Fatalf("Reserve(%d, %d) = %v, want %v", m.nowMS, amount, ok, want)
	}
	if ok {
		m.open = append(m.open, call{ticket, i, amount})
	}
}

// checkRetryAfter: the wait is enough, and one millisecond less is not.
func (m *machine) checkRetryAfter(t *rapid.T, amount int64) {
	wait, possible := m.w.RetryAfter(m.nowMS, amount)
	if possible != (amount <= m.w.limit) {
		t.Fatalf("RetryAfter(%d, %d): possible = %v with limit %d", m.nowMS, amount, possible, m.w.limit)
	}
	if !possible {
		return
	}
	if _, ok := m.w.clone().Reserve(m.w.nowMS+wait, amount); !ok {
		t.Fatalf("%d does not pass after %d ms", amount, wait)
	}
	if wait == 0 {
		return
	}
	if _, ok := m.w.clone().Reserve(m.w.nowMS+wait-1, amount); ok {
		t.Fatalf("%d passes before %d ms", amount, wait)
	}
}

// settle ends a call that used what the generator says.
func (m *machine) settle(t *rapid.T, use func(reserved int64) *rapid.Generator[int64]) {
	if len(m.open) == 0 {
		t.Skip("no call is open")
	}
	i := rapid.IntRange(0, len(m.open)-1).Draw(t, "call")
	c := m.open[i]
	m.open = append(m.open[:i], m.open[i+1:]...)
	actual := use(c.reserved).Draw(t, "actual")
	if actual == 0 {
		m.w.Cancel(c.ticket, m.nowMS)
	} else {
		m.w.Settle(c.ticket, m.nowMS, actual)
	}
	m.n.settle(c.booking, m.nowMS, c.reserved, actual)
}

func (m *machine) check(t *rapid.T) {
	m.n.advance(m.nowMS)
	if got, want := m.w.Used(m.nowMS), m.n.live()+m.n.debt; got != want {
		t.Fatalf("Used(%d) = %d, want %d", m.nowMS, got, want)
	}
	if m.w.debt != m.n.debt {
		t.Fatalf("debt at %d = %d, want %d", m.nowMS, m.w.debt, m.n.debt)
	}
}

func upTo(reserved int64) *rapid.Generator[int64] { return rapid.Int64Range(0, reserved) }

func beyond(reserved int64) *rapid.Generator[int64] { return rapid.Int64Range(0, 3*reserved+200) }

func TestWithDeclaredMaximaNoMinuteHoldsMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		t.Repeat(map[string]func(*rapid.T){
			"wait":    m.wait,
			"reserve": m.reserve,
			"settle":  func(t *rapid.T) { m.settle(t, upTo) },
			"":        m.check,
		})
		if most := fullestMinute(m.n.bookings); most > m.w.limit {
			t.Fatalf("a minute holds %d, the limit is %d", most, m.w.limit)
		}
	})
}

// Changes of the limit: no minute holds more than the highest limit that held in it.
func TestWithChangingLimitsNoMinuteHoldsMoreThanTheHighest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		changes := []booking{{0, m.w.limit}} // amount is the limit from then on
		t.Repeat(map[string]func(*rapid.T){
			"wait":    m.wait,
			"reserve": m.reserve,
			"settle":  func(t *rapid.T) { m.settle(t, upTo) },
			"limit": func(t *rapid.T) {
				m.limit(t)
				changes = append(changes, booking{m.w.nowMS, m.w.limit})
			},
			"": m.check,
		})
		for _, first := range m.n.bookings {
			var sum, highest int64
			for _, b := range m.n.bookings {
				if b.atMS >= first.atMS && b.atMS-first.atMS < minuteMS {
					sum += b.amount
				}
			}
			for i, c := range changes {
				ends := i+1 == len(changes) || changes[i+1].atMS >= first.atMS
				if ends && c.atMS < first.atMS+minuteMS {
					highest = max(highest, c.amount)
				}
			}
			if sum > highest {
				t.Fatalf("the minute from %d holds %d, no limit in it was above %d", first.atMS, sum, highest)
			}
		}
	})
}

func TestSurplusIsPaidDownByWaitingAndTheRateStaysTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		var used int64
		t.Repeat(map[string]func(*rapid.T){
			"wait":    m.wait,
			"reserve": m.reserve,
			"settle":  func(t *rapid.T) { m.settle(t, beyond) },
			"book": func(t *rapid.T) {
				amount := rapid.Int64Range(0, 300).Draw(t, "amount")
				m.w.Book(m.nowMS, amount)
				m.n.book(m.nowMS, amount)
			},
			"": m.check,
		})
		for _, b := range m.n.bookings {
			used += b.amount
		}
		if most := fullestMinute(m.n.bookings); most > m.w.limit {
			t.Fatalf("a minute holds %d, the limit is %d", most, m.w.limit)
		}
		if minutes := m.n.nowMS/minuteMS + 1; used > minutes*m.w.limit {
			t.Fatalf("%d booked in %d minutes of %d", used, minutes, m.w.limit)
		}
	})
}

func TestAChangedLimitHoldsFromTheNextCall(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		t.Repeat(map[string]func(*rapid.T){
			"wait":    m.wait,
			"reserve": m.reserve,
			"settle":  func(t *rapid.T) { m.settle(t, beyond) },
			"limit":   m.limit,
			"":        m.check,
		})
	})
}

// TestAFullRingErrsToRefuseByMilliseconds admits a call in almost every millisecond of
// four minutes, far beyond what the ring holds.
func TestAFullRingErrsToRefuseByMilliseconds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	const limit = 40_000 // below the 60,000 that are asked for in a minute
	var w Window
	w.SetLimit(0, limit)
	var admitted []booking
	var total int64
	for nowMS := range int64(4 * minuteMS) {
		amount := random.Int64N(3)
		ticket, ok := w.Reserve(nowMS, amount)
		if !ok {
			continue
		}
		if random.IntN(8) == 0 {
			w.Cancel(ticket, nowMS)
			continue
		}
		admitted, total = append(admitted, booking{nowMS, amount}), total+amount
	}
	if most := fullestMinute(admitted); most > limit {
		t.Errorf("a minute holds %d, the limit is %d", most, limit)
	}
	if w.ring.count > maxBookings || len(w.ring.buf) > maxBookings {
		t.Errorf("%d bookings in a ring of %d", w.ring.count, len(w.ring.buf))
	}
	// Four minutes begin; each loses less than two slots of mergeMS.
	if least := int64(4 * limit * (minuteMS - 2*mergeMS) / minuteMS); total < least {
		t.Errorf("%d admitted, want at least %d", total, least)
	}
}

func TestALongSilencePaysALargeDebtAtOnce(t *testing.T) {
	t.Parallel()
	var w Window
	w.SetLimit(0, 10)
	w.Book(5, 1<<40)
	minutes := int64(1<<40) / 10
	if wait, _ := w.RetryAfter(5, 10); wait != (minutes+1)*minuteMS {
		t.Errorf("RetryAfter = %d ms, want %d", wait, (minutes+1)*minuteMS)
	}
	if got := w.Used(5 + (minutes-2)*minuteMS); got != 1<<40-(minutes-2)*10 {
		t.Errorf("Used = %d, want what two minutes and a rest hold", got)
	}
	if got := w.Used(5 + (minutes+1)*minuteMS); got != 0 {
		t.Errorf("Used = %d, want 0", got)
	}
}
