package store

import (
	"time"

	berth "github.com/berthhq/berth"
)

// The tables that periods are added up from.
const (
	inDays = iota
	inHours
	inRecords
)

// period is a part of a time that one table knows all of. That of days is from one day to
// before another ("": without an end); others from one instant to before another, which
// are in the same day unless it is asked by hour.
type period struct {
	of             int
	fromDay, toDay string
	from, to       time.Time
}

// kept refuses a period that needs records or hours from before they are kept.
func (p *period) kept(from time.Time, zone *time.Location) error {
	if p.of == inDays || from.IsZero() || !p.from.Before(from) {
		return nil
	}
	return berth.Errorf(berth.CodeInvalid, "Of the time before %s only whole days are kept; ask for whole days, or from that day on.", from.In(zone).Format(time.DateOnly))
}

// within adds the conditions of a period of instants.
func (p *period) within(w *filter, column string) {
	if !p.from.IsZero() {
		w.add(column+" >= ?", instant{&p.from})
	}
	if !p.to.IsZero() {
		w.add(column+" < ?", instant{&p.to})
	}
}

// periods cuts [from, to) of a zone into as few parts as there are; a zero time is no
// bound.
func periods(from, to time.Time, zone *time.Location, byHour bool) []period {
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return nil
	}
	if byHour {
		return hours(from, to, zone)
	}
	days := period{of: inDays}
	var before, after []period
	if !from.IsZero() {
		d := berth.DayOf(from, zone)
		if days.fromDay = d.Name; d.Start.Before(from) {
			if !to.IsZero() && to.Before(d.End) {
				return hours(from, to, zone)
			}
			before = hours(from, d.End, zone)
			days.fromDay = berth.DayOf(d.End, zone).Name
		}
	}
	if !to.IsZero() {
		d := berth.DayOf(to, zone)
		if days.toDay = d.Name; d.Start.Before(to) {
			start := d.Start
			if start.Before(from) {
				start = from
			}
			after = hours(start, to, zone)
		}
	}
	if days.toDay == "" || days.fromDay < days.toDay {
		before = append(before, days)
	}
	return append(before, after...)
}

// hours is periods without days.
func hours(from, to time.Time, zone *time.Location) []period {
	whole := period{of: inHours, from: from, to: to}
	var before, after []period
	if !from.IsZero() {
		if start, end := berth.HourOf(from, zone); start.Before(from) {
			if !to.IsZero() && to.Before(end) {
				return []period{{of: inRecords, from: from, to: to}}
			}
			before = []period{{of: inRecords, from: from, to: end}}
			whole.from = end
		}
	}
	if !to.IsZero() {
		if start, _ := berth.HourOf(to, zone); start.Before(to) {
			after = []period{{of: inRecords, from: start, to: to}}
			whole.to = start
		}
	}
	if whole.to.IsZero() || whole.from.Before(whole.to) {
		before = append(before, whole)
	}
	return append(before, after...)
}
