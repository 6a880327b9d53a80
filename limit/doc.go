// Package limit is the turnstile: it decides whether a call fits into the limits per
// minute of its deployment, and it does so by arithmetic alone. No goroutine, no timer,
// no clock of its own: time comes in with every call, as milliseconds of any clock
// that all calls of one Limiter share.
//
// # What is promised
//
// A minute is any 60,000 consecutive milliseconds. For calls that reserve at least what
// they use, no minute, wherever it starts, holds more than the limit, and whatever fits
// is admitted. For other calls the long-run rate is at most the limit.
//
// # How
//
// A Window keeps the bookings of the last minute, each at the millisecond of its
// admission, oldest first:
//
//	Reserve   books an amount now, if the bookings of the last minute leave room
//	Settle    corrects the booking of the admission to what was really used
//	Cancel    takes the booking back
//
// Use beyond the reservation cannot be undone, so it is booked when it is known, as far
// as there is room. What is left is debt: it takes every bit of room that becomes free,
// before any later call. The bookings alone therefore never exceed the limit, debt paid
// is usage booked later than it happened, and the rate stays true over time.
//
//	invariant   debt > 0  ⇒  the bookings of the last minute reach the limit
//
// # Cost
//
// Each booking is added and removed once, so a call costs O(1) amortised plus a binary
// search among at most 4,096 bookings at settlement. Bookings of the same millisecond
// are one. When 4,096 are alive, those within the same 20 ms move to the latest of
// them: at most 3,001 remain, a booking lives up to 19 ms longer, and that errs to
// refuse. Nothing is allocated once the ring has grown to the traffic; a full ring is
// 64 KiB.
package limit
