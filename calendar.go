package berth

import "time"

// Day is a day of a time zone: the instants in [Start, End). The days of a zone follow
// each other without a gap, whatever its clocks do; one may have 23, 25 or 24½ hours.
type Day struct {
	Name       string // YYYY-MM-DD
	Start, End time.Time
}

const secondsPerDay = 24 * 60 * 60

// DayOf returns the day in which t is. Where clocks that go back past midnight show a
// date twice, the earlier day ends the first time.
func DayOf(t time.Time, zone *time.Location) Day {
	since, offset, until := period(t, zone)
	day := floorDiv(t.Unix()+offset, secondsPerDay)
	start := max(day*secondsPerDay-offset, since)
	if since != minUnix {
		_, before, _ := period(time.Unix(since-1, 0), zone)
		if last := floorDiv(since-1+before, secondsPerDay); last >= day {
			day, start = last, last*secondsPerDay-before
		}
	}
	end := (day+1)*secondsPerDay - offset
	if end >= until {
		_, after, _ := period(time.Unix(until, 0), zone)
		end = max(until, (day+1)*secondsPerDay-after)
	}
	return Day{Name: time.Unix(day*secondsPerDay, 0).UTC().Format(time.DateOnly), Start: time.Unix(start, 0).UTC(), End: time.Unix(end, 0).UTC()}
}

// DayNamed returns the day of that name. A day that the zone left out is empty: it begins
// and ends where it would have been.
func DayNamed(name string, zone *time.Location) (Day, error) {
	date, err := time.Parse(time.DateOnly, name)
	if err != nil {
		return Day{}, Errorf(CodeInvalid, "%q is no day; write one as 2026-10-02.", name)
	}
	noon := date.Unix() + secondsPerDay/2
	_, offset, _ := period(time.Unix(noon, 0), zone)
	d := DayOf(time.Unix(noon-offset, 0), zone)
	switch {
	case d.Name < name:
		d = Day{Start: d.End, End: d.End}
	case d.Name > name:
		d = Day{Start: d.Start, End: d.Start}
	}
	d.Name = name
	return d, nil
}

// HourOf returns the hour on the clocks of a zone in which t is, from start to before
// end. Like days, hours follow each other without a gap: one in which the clocks change
// is two.
func HourOf(t time.Time, zone *time.Location) (start, end time.Time) {
	since, offset, until := period(t, zone)
	hour := floorDiv(t.Unix()+offset, 3600)
	return time.Unix(max(hour*3600-offset, since), 0).UTC(), time.Unix(min((hour+1)*3600-offset, until), 0).UTC()
}

const (
	minUnix = -1 << 62
	maxUnix = 1 << 62
)

// period returns the seconds by which the clocks of a zone are ahead of UTC at t, and
// from when to when they are.
func period(t time.Time, zone *time.Location) (since, offset, until int64) {
	t = t.In(zone)
	_, ahead := t.Zone()
	since, until = minUnix, maxUnix
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		since = start.Unix()
	}
	if !end.IsZero() {
		until = end.Unix()
	}
	return since, int64(ahead), until
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
