package limit

import "sort"

const (
	// minuteMS is the length of the window that limits speak of, in milliseconds.
	minuteMS = 60_000
	// maxBookings bounds the bookings of a Window; a power of two.
	maxBookings = 4096
	// mergeMS is the width of the slots of time whose bookings are merged when a
	// Window is full: minuteMS / mergeMS is well below maxBookings.
	mergeMS = 20
)

// Window is one limit per minute. The zero value admits nothing until SetLimit.
// It is not safe for concurrent use; Limiter is.
//
// Amounts are from 0 to 2^40, times in milliseconds are 0 or more. A time before the
// latest one seen counts as that one. A limit is 0 or more; math.MaxInt64 never refuses.
type Window struct {
	limit int64
	nowMS int64 // the latest time seen
	live  int64 // sum of the bookings of the last minute
	debt  int64 // used beyond reservation, not booked yet
	ring  ring
}

// Ticket stands for a reservation until it is settled or cancelled, exactly once.
type Ticket struct {
	atMS   int64
	amount int64
}

// SetLimit changes the limit from the next call on; bookings stay. After a reduction
// nothing is admitted until enough of the last minute has passed.
func (w *Window) SetLimit(nowMS, limit int64) {
	w.advance(nowMS)
	w.limit = max(limit, 0)
	w.pay(w.nowMS)
}

// Reserve books amount and reports whether it fitted; otherwise nothing changes.
// An amount of 0 always fits.
func (w *Window) Reserve(nowMS, amount int64) (Ticket, bool) {
	w.advance(nowMS)
	if !w.fits(amount) {
		return Ticket{}, false
	}
	return w.reserve(amount), true
}

// fits reports whether amount can be booked at the latest time seen.
func (w *Window) fits(amount int64) bool {
	return amount == 0 || w.debt == 0 && amount <= w.limit-w.live
}

// reserve books what fits.
func (w *Window) reserve(amount int64) Ticket {
	w.book(w.nowMS, amount)
	return Ticket{atMS: w.nowMS, amount: amount}
}

// Settle corrects a reservation to the amount really used. More than was reserved is
// booked now, and what finds no room becomes debt. Less makes room in the minute of the
// admission.
func (w *Window) Settle(t Ticket, nowMS, actual int64) {
	w.advance(nowMS)
	if actual > t.amount {
		w.debt += actual - t.amount
	} else if w.nowMS-t.atMS < minuteMS {
		w.live -= w.ring.take(t.atMS, t.amount-actual)
	}
	w.pay(w.nowMS)
}

// Cancel takes a reservation back, as if the call had never come.
func (w *Window) Cancel(t Ticket, nowMS int64) { w.Settle(t, nowMS, 0) }

// Book adds an amount that was used without a reservation, such as usage read back
// after a restart. What finds no room becomes debt.
func (w *Window) Book(nowMS, amount int64) {
	w.advance(nowMS)
	w.debt += amount
	w.pay(w.nowMS)
}

// Used returns what counts against the limit: the bookings of the last minute and the
// debt. It exceeds the limit only after more was used than reserved, or after a
// reduction.
func (w *Window) Used(nowMS int64) int64 {
	w.advance(nowMS)
	return w.live + w.debt
}

// RetryAfter returns the smallest number of milliseconds after which Reserve of amount
// passes if nothing else comes, 0 for now. possible is false when the amount exceeds
// the limit and so can never pass. It reads as many bookings as have to go.
func (w *Window) RetryAfter(nowMS, amount int64) (ms int64, possible bool) {
	w.advance(nowMS)
	switch {
	case amount > w.limit:
		return 0, false
	case w.fits(amount):
		return 0, true
	}
	// Bookings end in order, and those that debt takes over end a minute later in
	// the same order: the bookings repeat until enough has gone. Only what exceeds
	// a reduced limit is not taken over.
	gone := w.live + w.debt + amount - w.limit
	excess := max(0, w.live-w.limit)
	var rounds int64
	if gone > excess {
		rounds = (gone - excess - 1) / w.limit
		gone -= rounds * w.limit
	}
	i := 0
	for gone -= w.ring.at(i).amount; gone > 0; gone -= w.ring.at(i).amount {
		i++
	}
	return w.ring.at(i).atMS + (rounds+1)*minuteMS - w.nowMS, true
}

// resetMS returns how long the last booking will count, and what debt takes over after it.
func (w *Window) resetMS() int64 {
	switch {
	case w.live+w.debt == 0:
		return 0
	case w.debt > 0:
		ms, _ := w.RetryAfter(w.nowMS, w.limit)
		return ms
	}
	return w.ring.at(w.ring.count-1).atMS + minuteMS - w.nowMS
}

// advance ends the bookings that are a minute old, in order, and lets debt take over
// their room at the moment it becomes free.
func (w *Window) advance(nowMS int64) {
	if nowMS <= w.nowMS {
		return
	}
	w.skip(nowMS)
	for w.ring.count > 0 {
		first := *w.ring.at(0)
		if nowMS-first.atMS < minuteMS {
			break
		}
		w.ring.drop()
		w.live -= first.amount
		w.pay(first.atMS + minuteMS)
	}
	w.nowMS = nowMS
}

// skip passes over whole minutes in which debt takes over every booking, so that a long
// silence costs no more than a short one: in each of them the same amounts are booked at
// the same offsets, and debt falls by the limit. The last minute before nowMS is left to
// advance.
func (w *Window) skip(nowMS int64) {
	if w.debt == 0 || w.live != w.limit || w.limit == 0 {
		return
	}
	minutes := min(w.debt/w.limit, (nowMS-w.ring.at(0).atMS)/minuteMS-1)
	if minutes <= 0 {
		return
	}
	for i := range w.ring.count {
		w.ring.at(i).atMS += minutes * minuteMS
	}
	w.debt -= minutes * w.limit
}

// pay books as much debt as there is room for.
func (w *Window) pay(atMS int64) {
	if part := min(w.debt, w.limit-w.live); part > 0 {
		w.debt -= part
		w.book(atMS, part)
	}
}

// book adds a booking at a time not before the last one's.
func (w *Window) book(atMS, amount int64) {
	if amount == 0 {
		return
	}
	w.live += amount
	w.ring.add(atMS, amount)
}

// booking is an amount and the latest millisecond at which a part of it was admitted.
type booking struct{ atMS, amount int64 }

// ring holds bookings in the order of their times, which are distinct. Its buffer
// doubles up to maxBookings and is never given back.
type ring struct {
	buf   []booking
	first int
	count int
}

// at returns the i-th oldest booking.
func (r *ring) at(i int) *booking { return &r.buf[(r.first+i)&(len(r.buf)-1)] }

// drop removes the oldest booking.
func (r *ring) drop() {
	r.first = (r.first + 1) & (len(r.buf) - 1)
	r.count--
}

// take reduces the booking that what was admitted at atMS is part of and returns by how
// much. That is the first one at atMS or later, since merging moves amounts to later
// bookings only. A booking never falls below 0, not even by a ticket used twice.
func (r *ring) take(atMS, amount int64) int64 {
	i := sort.Search(r.count, func(i int) bool { return r.at(i).atMS >= atMS })
	if i == r.count {
		return 0
	}
	amount = min(amount, r.at(i).amount)
	r.at(i).amount -= amount
	return amount
}

// add appends a booking, or adds to the last one if that is of the same millisecond.
func (r *ring) add(atMS, amount int64) {
	if r.count > 0 && r.at(r.count-1).atMS == atMS {
		r.at(r.count - 1).amount += amount
		return
	}
	if r.count == maxBookings {
		r.merge()
	}
	if r.count == len(r.buf) {
		r.grow()
	}
	r.count++
	*r.at(r.count - 1) = booking{atMS, amount}
}

// merge joins the bookings of each slot of mergeMS into the latest of them.
func (r *ring) merge() {
	kept := 0
	for i := 1; i < r.count; i++ {
		last, next := r.at(kept), *r.at(i)
		if last.atMS/mergeMS == next.atMS/mergeMS {
			last.amount += next.amount
			last.atMS = next.atMS
			continue
		}
		kept++
		*r.at(kept) = next
	}
	r.count = kept + 1
}

func (r *ring) grow() {
	buf := make([]booking, max(8, 2*len(r.buf)))
	for i := range r.count {
		buf[i] = *r.at(i)
	}
	r.buf, r.first = buf, 0
}
