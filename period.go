package berth

import "time"

// Period is a month of an account: the instants in [Start, End).
type Period struct {
	Name       string // YYYY-MM
	Start, End time.Time
}

const monthLayout = "2006-01"

// Zone returns the time zone of the account's days and months, UTC if its name is unknown
// here.
func (a *Account) Zone() *time.Location {
	zone, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		return time.UTC
	}
	return zone
}

// MonthOf returns the month in which a moment is.
func (a *Account) MonthOf(at time.Time) Period {
	day, err := time.Parse(time.DateOnly, DayOf(at, a.Zone()).Name)
	if err != nil { // no year that a client can name
		day = at
	}
	return a.month(day.Year(), day.Month())
}

// MonthNamed returns the month of a name, "" for the one in which now is; [CodeInvalid]
// when it is no month or has not begun.
func (a *Account) MonthNamed(name string, now time.Time) (Period, error) {
	if name == "" {
		return a.MonthOf(now), nil
	}
	t, err := time.Parse(monthLayout, name)
	if err != nil || t.Year() < 1970 {
		return Period{}, Errorf(CodeInvalid, "%q is no month; write it like 2026-11.", name)
	}
	m := a.month(t.Year(), t.Month())
	if m.Start.After(now) {
		return Period{}, Errorf(CodeInvalid, "The month %s has not begun.", name)
	}
	return m, nil
}

// Next returns the month after m.
func (a *Account) Next(m Period) Period { return a.MonthOf(m.End) }

func (a *Account) month(year int, month time.Month) Period {
	zone := a.Zone()
	first := func(month time.Month) (name string, start time.Time) {
		t := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		day, err := DayNamed(t.Format(time.DateOnly), zone)
		if err != nil { // no year that a client can name
			return t.Format(monthLayout), t
		}
		return t.Format(monthLayout), day.Start
	}
	p := Period{}
	p.Name, p.Start = first(month)
	_, p.End = first(month + 1)
	return p
}
