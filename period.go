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
	year, month, _ := at.In(a.Zone()).Date()
	return a.month(year, month)
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
	return Period{
		Name:  time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Format(monthLayout),
		Start: time.Date(year, month, 1, 0, 0, 0, 0, zone),
		End:   time.Date(year, month+1, 1, 0, 0, 0, 0, zone),
	}
}
