package berth

import (
	"context"
	"time"
)

// PrepaidMinutesPerDay is how many minutes of reserved throughput a day costs that is paid in
// advance: half of those that it has (api.md 5.3: 12 hours of the hourly price).
const PrepaidMinutesPerDay = 12 * 60

// Order is throughput that was paid in advance, or what of an order was given back. It is a
// fact about the past and is never changed. On a statement it is lines of the throughput's
// dimensions on the day of the order, of class [ClassPrepaid], or [ClassRefund] with
// quantities below 0: what is paid is the price by the minute, so both kinds of capacity
// stand under the same dimensions and prices, and add up.
type Order struct {
	ID            string // ord_ + UUIDv7
	AccountID     string
	WorkspaceID   string
	DeploymentID  string
	DeployedModel string
	ModelName     string
	BaseModel     string
	InstanceID    string
	// OperationID is the operation that ordered it. What is given back names the same one.
	OperationID string
	At          time.Time
	// PriceAt is when the price held that it was, or is, paid at.
	PriceAt time.Time
	Minutes int64 // that are paid; below 0: given back
	PTU     PTUCapacity
}

// The classes of lines of what is paid in advance.
const (
	ClassPrepaid Class = "prepaid"
	ClassRefund  Class = "refund"
)

// Minutes returns how many minutes of throughput a term costs.
func (t PrepaidTerms) Minutes() int64 {
	if t.Cycle == CycleHour {
		return t.Duration * PrepaidMinutesPerDay / 24
	}
	return t.Duration * PrepaidMinutesPerDay
}

// refundFactor is what the used part of a term is settled at when it ends early, in tenths
// (api.md 6.4).
const refundFactor = 12

// Unused returns how many of the minutes that a term cost are given back when it ends at a
// moment: all, less the used part of its time by 1.2, rounded up.
func Unused(minutes int64, from, to, at time.Time) int64 {
	whole := to.Sub(from)
	used := min(max(at.Sub(from), 0), whole)
	if whole <= 0 {
		return 0
	}
	// In seconds, so that no product overflows: 3650 days are below 2^29 of them.
	w := int64((whole + time.Second - 1) / time.Second)
	u := int64((used + time.Second - 1) / time.Second)
	kept := (minutes*u*refundFactor + w*10 - 1) / (w * 10)
	return max(0, minutes-kept)
}

// OrderStore keeps orders.
type OrderStore interface {
	Insert(ctx context.Context, o Order) error
	// Of returns the orders of deployments of [from, to), by time and id.
	Of(ctx context.Context, deploymentIDs []string, from, to time.Time) ([]Order, error)
	// Unrated returns orders of which there are no lines yet, by id, at most limit, after the
	// given id ("" = from the first).
	Unrated(ctx context.Context, after string, limit int64) ([]Order, error)
	// Rated notes that there are.
	Rated(ctx context.Context, id string) error
}
