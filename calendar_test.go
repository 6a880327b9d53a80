package berth_test

import (
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// Zones whose clocks change at midnight, by half an hour, past midnight, by a whole day,
// or never.
var strangeZones = map[string][]string{
	"UTC":                 {"2026-10-02"},
	"Asia/Shanghai":       {"2026-10-02"},
	"America/New_York":    {"2026-03-08", "2026-11-01"},
	"Asia/Kathmandu":      {"2026-03-08"},
	"Australia/Lord_Howe": {"2026-04-05", "2026-10-04"},
	"Africa/Cairo":        {"2026-04-24", "2026-10-29", "2026-10-30"},
	"America/St_Johns":    {"2006-10-29", "2006-04-02"}, // at a minute past midnight
	"Pacific/Apia":        {"2011-12-29", "2011-12-31"}, // had no 30th
	"America/Nuuk":        {"2026-10-24", "2026-10-25"},
}

func TestDaysAndHoursFollowEachOtherWithoutAGap(t *testing.T) {
	t.Parallel()
	for name, days := range strangeZones {
		zone := mustZone(t, name)
		for _, day := range days {
			noon, err := time.ParseInLocation("2006-01-02 15:04", day+" 12:00", zone)
			must(t, err)
			var at time.Time
			first := noon.Add(-50 * time.Hour)
			var d berth.Day
			var hour, hourEnd time.Time
			for at = first; at.Before(noon.Add(50 * time.Hour)); at = at.Add(time.Minute) {
				if now := berth.DayOf(at, zone); now != d {
					if !d.End.IsZero() && (!now.Start.Equal(d.End) || !at.Equal(d.End) || now.Name <= d.Name) {
						t.Fatalf("%s: %v is followed by %v at %v", name, d, now, at)
					}
					d = now
				}
				if d.Start.After(at) || !at.Before(d.End) {
					t.Fatalf("%s: %v is not in %v", name, at, d)
				}
				start, end := berth.HourOf(at, zone)
				if start != hour {
					if !hourEnd.IsZero() && !start.Equal(hourEnd) {
						t.Fatalf("%s: the hour until %v is followed by that from %v", name, hourEnd, start)
					}
					hour, hourEnd = start, end
				}
				if start.After(at) || !at.Before(end) || end.Sub(start) > time.Hour || start.Before(d.Start) || end.After(d.End) {
					t.Fatalf("%s: %v is not in the hour from %v to %v of %v", name, at, start, end, d)
				}
				if again, err := berth.DayNamed(d.Name, zone); err != nil || again != d {
					t.Fatalf("%s: the day named %s is %v, %v, want %v", name, d.Name, again, err, d)
				}
			}
		}
	}
}

func TestADayIsTheDateOnTheClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone, day  string
		start, end string
	}{
		{"Asia/Shanghai", "2026-10-02", "2026-10-01T16:00:00Z", "2026-10-02T16:00:00Z"},
		{"America/New_York", "2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"America/New_York", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
	} {
		d, err := berth.DayNamed(c.day, mustZone(t, c.zone))
		if err != nil || d.Start.Format(time.RFC3339) != c.start || d.End.Format(time.RFC3339) != c.end {
			t.Errorf("%s in %s: %v, %v", c.day, c.zone, d, err)
		}
	}
	if _, err := berth.DayNamed("2026-13-01", time.UTC); berth.CodeOf(err) != berth.CodeInvalid {
		t.Errorf("no day: %v", err)
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	must(t, err)
	return zone
}
