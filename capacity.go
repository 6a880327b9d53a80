package berth

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// A ptu deployment may be sold as capacity instances (api.md 4.12): each is throughput
// bought under one charge type, and what the deployment admits is the sum of what is
// effective of them. One that was bought by an ordinary create is a single implicit
// post-paid instance; it gets its row with the first write through the reservation API.

// ServiceTier is the class of service of a reservation (api.md 4.12). Both are served
// alike here; they differ in how they can be bought.
type ServiceTier string

// The tiers.
const (
	TierFast    ServiceTier = "ptu_fast"    // pre-paid and post-paid
	TierDefault ServiceTier = "ptu_default" // pre-paid only
)

// The charge types.
const (
	// ChargeTypePostPaid is what mu, lora and ordinary ptu deployments are sold under
	// (statement 39).
	ChargeTypePostPaid = "post_paid"
	// ChargeTypePrePaid is a term of ptu throughput paid in advance.
	ChargeTypePrePaid = "pre_paid"
)

// CapacityInstance is throughput of a ptu deployment that is bought, scaled, renewed and
// released by itself.
type CapacityInstance struct {
	ID           string // cap_ + UUIDv7
	DeploymentID string
	ChargeType   string
	Status       InstanceStatus
	// Effective is what calls may use now, Configured what was bought, Target what it
	// becomes by the change under way; the same as Configured when there is none.
	Effective  PTUCapacity
	Configured PTUCapacity
	Target     PTUCapacity
	Terms      PrepaidTerms // pre-paid
	// EffectiveAt is when it first served, ExpiresAt the end of a pre-paid term; both are
	// zero before.
	EffectiveAt time.Time
	ExpiresAt   time.Time
	// DueAt is when Berth has to do something about it by itself; zero: never.
	DueAt      time.Time
	Reason     string
	CreatedAt  time.Time
	ModifiedAt time.Time
	DeletedAt  time.Time // released; zero while it is bought
}

// Prepaid reports whether the instance is a term paid in advance.
func (i *CapacityInstance) Prepaid() bool { return i.ChargeType == ChargeTypePrePaid }

// Released reports whether the instance is bought no more.
func (i *CapacityInstance) Released() bool { return !i.DeletedAt.IsZero() }

// Slot reports whether it is an 8-hour slot, which is neither scaled nor renewed.
func (i *CapacityInstance) Slot() bool { return i.Prepaid() && i.Terms.Cycle == CycleHour }

// move takes the instance along the table; where the cause does not apply it stays.
func (i *CapacityInstance) move(cause Cause) {
	if to, ok := i.Status.Next(cause); ok {
		i.Status = to
	}
}

// steady reports whether nothing is under way that a change would have to wait for.
func (i *CapacityInstance) steady() bool {
	return !i.Released() && (i.Status == InstanceRunning || i.Status == InstanceSuspended)
}

// CanScale reports whether the instance may be scaled as it stands (api.md 4.12).
func (i *CapacityInstance) CanScale() bool {
	return i.steady() && i.Status == InstanceRunning && !i.Slot()
}

// CanRenew reports whether another term may be bought; an expired one is still renewed
// while it is kept.
func (i *CapacityInstance) CanRenew() bool { return i.steady() && i.Prepaid() && !i.Slot() }

// CanEnableAutoRenewal reports whether a renewal may let it renew itself.
func (i *CapacityInstance) CanEnableAutoRenewal() bool { return i.CanRenew() && !i.Terms.AutoRenewal }

// CanDisableAutoRenewal reports whether a renewal may end that.
func (i *CapacityInstance) CanDisableAutoRenewal() bool { return i.CanRenew() && i.Terms.AutoRenewal }

// CanDelete reports whether it may be released without unsubscription.
func (i *CapacityInstance) CanDelete() bool {
	return !i.Released() && i.Status != InstanceDeleting && (!i.Prepaid() || i.Status == InstanceSuspended)
}

// due sets DueAt: the next moment at which the passing of time changes the instance.
func (i *CapacityInstance) due(zone *time.Location) {
	i.DueAt = time.Time{}
	switch {
	case i.Released() || i.Status == InstanceDeleting || i.ExpiresAt.IsZero():
	case i.Slot():
		i.DueAt = i.ExpiresAt
	case i.Status == InstanceSuspended:
		i.DueAt = i.ExpiresAt.Add(KeptAfterExpiry)
	case i.Terms.AutoRenewal:
		i.DueAt = RenewalAt(i.ExpiresAt, zone)
	default:
		i.DueAt = i.ExpiresAt.Add(ServiceAfterExpiry)
	}
}

// OperationType is what a capacity operation does.
type OperationType string

// The types of operations. STOP is documented as well; here a deployment is stopped as
// a whole.
const (
	OperationCreate OperationType = "CREATE"
	OperationScale  OperationType = "SCALE"
	OperationRenew  OperationType = "RENEW"
	OperationDelete OperationType = "DELETE"
	OperationRefund OperationType = "REFUND" // a pre-paid term ended early
)

// OperationStatus is where a capacity operation stands.
type OperationStatus string

// The statuses of operations.
const (
	OperationProcessing OperationStatus = "PROCESSING"
	OperationSucceeded  OperationStatus = "SUCCEEDED"
	OperationFailed     OperationStatus = "FAILED"
)

// CapacityOperation is one write to a capacity instance, by a client or by the passing
// of time, and what there is to pay for it.
type CapacityOperation struct {
	ID           string // digits
	DeploymentID string
	InstanceID   string
	// RequestID is that of the write; with the same one the same Fingerprint gets this
	// operation again and another is refused (statement 131). Empty for Berth's own.
	RequestID    string
	Fingerprint  string
	Type         OperationType
	Status       OperationStatus
	FromStatus   InstanceStatus
	ToStatus     InstanceStatus // of the instance when the operation ended
	ErrorCode    string
	ErrorMessage string
	Target       PTUCapacity
	// Terms are those that a RENEW buys when it succeeds.
	Terms PrepaidTerms
	// Charge is what the operation sold.
	Charge     Charge
	CreatedAt  time.Time
	FinishedAt time.Time // zero while it is PROCESSING
}

// Charge is what an operation sold, for billing to rate: throughput over a time. The
// amount stays 0 while there are no prices.
type Charge struct {
	From       time.Time   `json:"from"`
	To         time.Time   `json:"to"` // zero: until the next operation of a post-paid instance
	Capacity   PTUCapacity `json:"capacity"`
	Currency   string      `json:"currency,omitempty"`
	AmountNano int64       `json:"amount_nano,omitempty"`
}

// operationID makes the digits that name an operation out of one of our ids.
func operationID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%019d", binary.BigEndian.Uint64(sum[:])>>1)
}

// Reservations are the rules of capacity instances that an operator sets.
type Reservations struct {
	// StrictCapacity refuses a ptu create without ptu_capacity (api.md 12, 5).
	StrictCapacity bool
	// MaxInstances bounds the instances of a deployment that are not released,
	// MaxInstancesEver all that it ever had (api.md 12, 21). 0 means the default.
	MaxInstances     int
	MaxInstancesEver int
}

// The default bounds of [Reservations].
const (
	DefaultMaxInstances     = 20
	DefaultMaxInstancesEver = 1000
)

// Plus returns c + o.
func (c PTUCapacity) Plus(o PTUCapacity) PTUCapacity {
	return PTUCapacity{c.InputTPM + o.InputTPM, c.OutputTPM + o.OutputTPM, c.ThinkingTPM + o.ThinkingTPM}
}

// Minus returns c − o.
func (c PTUCapacity) Minus(o PTUCapacity) PTUCapacity {
	return PTUCapacity{c.InputTPM - o.InputTPM, c.OutputTPM - o.OutputTPM, c.ThinkingTPM - o.ThinkingTPM}
}

// IsZero reports whether nothing is reserved.
func (c PTUCapacity) IsZero() bool { return c == PTUCapacity{} }

// checkDirection refuses a change whose dimensions do not move together, or against the
// order type that was named ("" = none).
func checkDirection(from, to PTUCapacity, order string) error {
	up, down := to.exceeds(from), from.exceeds(to)
	switch {
	case up && down:
		return Errorf(CodeInvalid, "All dimensions of ptu_capacity must grow or shrink together; there are input_tpm %d, output_tpm %d, thinking_output_tpm %d now.",
			from.InputTPM, from.OutputTPM, from.ThinkingTPM)
	case order != "" && order != OrderUpgrade && order != OrderDowngrade:
		return Errorf(CodeInvalid, "The order_type %q is not known; use UPGRADE or DOWNGRADE, or leave it out.", order)
	case up && order == OrderDowngrade || down && order == OrderUpgrade:
		return Errorf(CodeInvalid, "The order_type %s does not fit: ptu_capacity goes the other way.", order)
	}
	return nil
}

// The order types.
const (
	OrderUpgrade   = "UPGRADE"
	OrderDowngrade = "DOWNGRADE"
)

// InstanceFilter selects and pages the capacity instances of a deployment.
type InstanceFilter struct {
	Page            Page
	WithoutReleased bool
	Statuses        []InstanceStatus // empty: all
	ChargeTypes     []string         // empty: all
}

// Select returns the page and the number of all that match: those with effective
// capacity first, then the newest, ties by id (api.md 4.12).
func (f InstanceFilter) Select(all []CapacityInstance) ([]CapacityInstance, int64) {
	found := slices.DeleteFunc(slices.Clone(all), func(i CapacityInstance) bool {
		return f.WithoutReleased && i.Released() ||
			len(f.Statuses) > 0 && !slices.Contains(f.Statuses, i.Status) ||
			len(f.ChargeTypes) > 0 && !slices.Contains(f.ChargeTypes, i.ChargeType)
	})
	slices.SortFunc(found, func(a, b CapacityInstance) int {
		return cmp.Or(boolOrder(!a.Effective.IsZero(), !b.Effective.IsZero()), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	total := int64(len(found))
	from := min(f.Page.offset(), total)
	return found[from:min(from+f.Page.Size, total)], total
}
