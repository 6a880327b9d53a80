package limit

import "slices"

// naive is the specification of Window, written for reading: it keeps every booking for
// ever and adds them up each time.
type naive struct {
	limit    int64
	nowMS    int64
	bookings []booking
	debt     int64
}

func (n *naive) live() int64 {
	var sum int64
	for _, b := range n.bookings {
		if n.nowMS-b.atMS < minuteMS {
			sum += b.amount
		}
	}
	return sum
}

func (n *naive) pay() {
	part := min(n.debt, n.limit-n.live())
	if part > 0 {
		n.debt -= part
		n.bookings = append(n.bookings, booking{n.nowMS, part})
	}
}

// advance stops at each moment when a booking ends.
func (n *naive) advance(nowMS int64) {
	for n.debt > 0 {
		next := nowMS + 1
		for _, b := range n.bookings {
			if end := b.atMS + minuteMS; end > n.nowMS {
				next = min(next, end)
			}
		}
		if next > nowMS {
			break
		}
		n.nowMS = next
		n.pay()
	}
	n.nowMS = max(n.nowMS, nowMS)
}

// reserve returns the index of the booking.
func (n *naive) reserve(nowMS, amount int64) (int, bool) {
	n.advance(nowMS)
	if amount > 0 && (n.debt > 0 || n.live()+amount > n.limit) {
		return 0, false
	}
	n.bookings = append(n.bookings, booking{n.nowMS, amount})
	return len(n.bookings) - 1, true
}

func (n *naive) settle(i int, nowMS, reserved, actual int64) {
	n.advance(nowMS)
	n.bookings[i].amount -= max(0, reserved-actual)
	n.book(nowMS, max(0, actual-reserved))
}

func (n *naive) book(nowMS, amount int64) {
	n.advance(nowMS)
	n.debt += amount
	n.pay()
}

func (n *naive) setLimit(nowMS, limit int64) {
	n.advance(nowMS)
	n.limit = limit
	n.pay()
}

// fullestMinute returns the largest sum of bookings that any minute holds.
func fullestMinute(bookings []booking) int64 {
	sorted := slices.SortedFunc(slices.Values(bookings), func(a, b booking) int { return int(a.atMS - b.atMS) })
	var sum, most int64
	first := 0
	for _, b := range sorted {
		for b.atMS-sorted[first].atMS >= minuteMS {
			sum -= sorted[first].amount
			first++
		}
		sum += b.amount
		most = max(most, sum)
	}
	return most
}

// clone lets a test look into the future of a Window without taking it there.
func (w *Window) clone() *Window {
	c := *w
	c.ring.buf = slices.Clone(w.ring.buf)
	return &c
}
