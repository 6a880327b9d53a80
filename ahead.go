package berth

import (
	"math/bits"
	"strings"
	"time"
)

// ahead is throughput that is paid in advance, for so many minutes of its price.
type ahead struct {
	ptu     PTUCapacity
	minutes int64
}

// halfOf is how many minutes the rest of a term costs: half of those that it has, rounded up.
func halfOf(from, to time.Time) int64 {
	return max(0, int64((to.Sub(from)+2*time.Minute-1)/(2*time.Minute)))
}

// more returns what c has beyond o, at least 0 of each.
func (c PTUCapacity) more(o PTUCapacity) PTUCapacity {
	return RunStep{PTU: c}.minus(RunStep{PTU: o}).PTU
}

// ordered returns what an operation on an instance that is paid in advance has to be paid for
// when it takes effect at a moment, as the instance was before: a term, the rest of one that
// gets more throughput, or both.
func ordered(o *CapacityOperation, i *CapacityInstance, now time.Time) (term, rest ahead) {
	if !i.Prepaid() {
		return term, rest
	}
	grown := o.Target.more(i.Configured)
	switch o.Type {
	case OperationCreate:
		term = ahead{o.Target, i.Terms.Minutes()}
	case OperationRenew:
		term = ahead{o.Target, o.Terms.Minutes()}
		if i.ExpiresAt.After(now) {
			rest = ahead{grown, halfOf(now, i.ExpiresAt)}
		}
	case OperationScale:
		rest = ahead{grown, halfOf(now, i.ExpiresAt)}
	case OperationDelete, OperationRefund:
	}
	return term, rest
}

// restOf marks the order of the rest of a term in which an operation also bought another.
const restOf = "+"

// book writes the orders of an operation that takes effect on an instance, which is as it was
// before.
func (b *sale) book(o *CapacityOperation, i *CapacityInstance) error {
	now := b.Now()
	term, rest := ordered(o, i, now)
	id := o.ID
	if o.Type == OperationRenew {
		id += restOf
	}
	if err := b.order(Order{InstanceID: i.ID, OperationID: o.ID, PriceAt: now, Minutes: term.minutes, PTU: term.ptu}); err != nil {
		return err
	}
	return b.order(Order{InstanceID: i.ID, OperationID: id, PriceAt: now, Minutes: rest.minutes, PTU: rest.ptu})
}

// order writes an order unless it is one of nothing.
func (b *sale) order(o Order) error {
	if o.Minutes == 0 || o.PTU.IsZero() {
		return nil
	}
	a, err := b.payer()
	if err != nil {
		return err
	}
	o.ID, o.At, o.AccountID, o.WorkspaceID = b.NewID("ord_"), b.Now(), a.ID, b.d.WorkspaceID
	o.DeploymentID, o.DeployedModel, o.ModelName, o.BaseModel = b.d.ID, b.d.DeployedModel, b.d.ModelName, b.d.BaseModel
	return b.tx.Orders().Insert(b.ctx, o)
}

// handBack gives back what is paid of an instance that has less than before from now on, or
// nothing: of each order the same part, less its used time by 1.2.
func (b *sale) handBack(i *CapacityInstance, from, to PTUCapacity) error {
	if !i.Prepaid() {
		return nil
	}
	now := b.Now()
	all, err := b.tx.Orders().Of(b.ctx, []string{b.d.ID}, time.Unix(1, 0), now.AddDate(100, 0, 0))
	if err != nil {
		return err
	}
	left := map[string]PTUCapacity{}
	for k := range all {
		if o := &all[k]; o.InstanceID == i.ID && o.Minutes > 0 {
			left[o.OperationID] = o.PTU
		}
	}
	for k := range all {
		if o := &all[k]; o.InstanceID == i.ID && o.Minutes < 0 {
			left[o.OperationID] = left[o.OperationID].Minus(o.PTU)
		}
	}
	for k := range all {
		o := all[k]
		if o.InstanceID != i.ID || o.Minutes < 0 {
			continue
		}
		begin, end, err := b.paidFor(&o)
		if err != nil {
			return err
		}
		o.Minutes = -Unused(o.Minutes, begin, end, now)
		o.PTU = left[o.OperationID].share(from.Minus(to), from)
		if err := b.order(o); err != nil {
			return err
		}
	}
	return nil
}

// paidFor is the time that an order pays for.
func (b *sale) paidFor(o *Order) (from, to time.Time, err error) {
	id, rest := strings.CutSuffix(o.OperationID, restOf)
	op, err := b.tx.Capacities().Operation(b.ctx, id)
	if rest {
		return o.At, op.Charge.From, err
	}
	return op.Charge.From, op.Charge.To, err
}

// share returns the part of c that part is of whole, in each dimension, rounded down.
func (c PTUCapacity) share(part, whole PTUCapacity) PTUCapacity {
	of := func(n, part, whole int64) int64 {
		if part <= 0 || whole <= 0 {
			return 0
		}
		if part >= whole {
			return n
		}
		hi, lo := bits.Mul64(uint64(n), uint64(part))
		quotient, _ := bits.Div64(hi, lo, uint64(whole)) // below n, since part is below whole
		return int64(quotient)
	}
	return PTUCapacity{of(c.InputTPM, part.InputTPM, whole.InputTPM), of(c.OutputTPM, part.OutputTPM, whole.OutputTPM), of(c.ThinkingTPM, part.ThinkingTPM, whole.ThinkingTPM)}
}
