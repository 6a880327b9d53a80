package berth

import "time"

// PricingCycle is what a prepaid term is counted in (api.md 4.12). Case matters.
type PricingCycle string

// The cycles.
const (
	CycleDay  PricingCycle = "Day"  // calendar days in the account's time zone
	CycleHour PricingCycle = "Hour" // one slot of [SlotHours]; only tier ptu_default
)

// The times of prepaid terms (api.md 6.4).
const (
	// SlotHours is the only duration of [CycleHour].
	SlotHours = 8
	// LateOrderHour is the hour of the day from which an order gets a day on top.
	LateOrderHour = 22
	// RenewalHour is the hour of the day before the expiry at which a term is renewed.
	RenewalHour = 8
	// ServiceAfterExpiry is how long calls go on after the expiry of a term in days.
	ServiceAfterExpiry = 2 * time.Hour
	// KeptAfterExpiry is how long its throughput is kept for a renewal; then it is released.
	KeptAfterExpiry = 14 * time.Hour
	// MaxTermDays is the longest term that can be bought at once.
	MaxTermDays = 3650
)

// PrepaidTerms are what a client says about paying in advance: pre_paid_info of
// api.md 4.12.
type PrepaidTerms struct {
	Cycle    PricingCycle `json:"cycle,omitempty"`
	Duration int64        `json:"duration,omitempty"` // days, or [SlotHours]
	// AutoRenewal buys another RenewalDays at [RenewalHour] of the day before the expiry.
	AutoRenewal bool  `json:"auto_renewal,omitempty"`
	RenewalDays int64 `json:"renewal_days,omitempty"`
}

// Check refuses terms that cannot be bought (api.md 4.12).
func (t PrepaidTerms) Check(tier ServiceTier) error {
	switch {
	case t.Cycle != CycleDay && t.Cycle != CycleHour:
		return Errorf(CodeInvalid, "The pricing_cycle %q is not known; use Day or Hour, written like this.", t.Cycle)
	case t.Cycle == CycleHour && tier != TierDefault:
		return Errorf(CodeInvalid, "The pricing_cycle Hour is sold with service_tier ptu_default only; use Day.")
	case t.Cycle == CycleHour && t.Duration != SlotHours:
		return Errorf(CodeInvalid, "A slot of pricing_cycle Hour has a duration of %d; it is %d here.", SlotHours, t.Duration)
	case t.Cycle == CycleHour && t.AutoRenewal:
		return Errorf(CodeInvalid, "A slot of pricing_cycle Hour cannot renew itself; set auto_renewal to false.")
	case t.Duration < 1 || t.Duration > MaxTermDays:
		return Errorf(CodeInvalid, "Range of pre_paid_info.duration should be [1, %d]", MaxTermDays)
	case t.AutoRenewal && (t.RenewalDays < 1 || t.RenewalDays > MaxTermDays):
		return Errorf(CodeInvalid, "Range of pre_paid_info.auto_renewal_duration should be [1, %d]", MaxTermDays)
	}
	return nil
}

// End returns when a term that takes effect at from is over: a slot after its hours, days
// at the midnight after the last of them, the day of from being the first, unless it is
// [LateOrderHour] or later: then that day is given on top. Always after from.
func (t PrepaidTerms) End(from time.Time, zone *time.Location) time.Time {
	if t.Cycle == CycleHour {
		return from.Add(SlotHours * time.Hour)
	}
	days := int(t.Duration)
	if from.In(zone).Hour() >= LateOrderHour {
		days++
	}
	return midnight(from, days, zone)
}

// Extend returns when a term that is over at end is over after t was bought on top.
func (t PrepaidTerms) Extend(end time.Time, zone *time.Location) time.Time {
	if t.Cycle == CycleHour {
		return end.Add(SlotHours * time.Hour)
	}
	return midnight(end, int(t.Duration), zone)
}

// midnight returns the start of the day that is so many days after the one of t.
func midnight(t time.Time, days int, zone *time.Location) time.Time {
	y, m, d := t.In(zone).Date()
	return time.Date(y, m, d+days, 0, 0, 0, 0, zone)
}

// RenewalAt returns when a term that is over at end renews itself: at [RenewalHour] of
// the day before. A term of one day that was bought later than that renews at once.
func RenewalAt(end time.Time, zone *time.Location) time.Time {
	y, m, d := end.In(zone).Date()
	return time.Date(y, m, d-1, RenewalHour, 0, 0, 0, zone)
}
