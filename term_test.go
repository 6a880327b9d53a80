package berth_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// place is a time zone of the tests.
func place(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	must(t, err)
	return zone
}

func TestTerms(t *testing.T) {
	t.Parallel()
	shanghai, york := place(t, "Asia/Shanghai"), place(t, "America/New_York")
	days := func(n int64) berth.PrepaidTerms { return berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: n} }
	slot := berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: berth.SlotHours}
	for name, c := range map[string]struct {
		terms      berth.PrepaidTerms
		from, want string
		zone       *time.Location
	}{
		"one day ends with the day":                      {days(1), "2026-10-02 09:00:00", "2026-10-03 00:00:00", shanghai},
		"a day bought in its first second is a whole":    {days(1), "2026-10-02 00:00:00", "2026-10-03 00:00:00", shanghai},
		"thirty days end with the thirtieth":             {days(30), "2026-10-02 09:00:00", "2026-11-01 00:00:00", shanghai},
		"the last second before 22:00 gets no day more":  {days(1), "2026-10-02 21:59:59", "2026-10-03 00:00:00", shanghai},
		"from 22:00 there is one day on top":             {days(1), "2026-10-02 22:00:00", "2026-10-04 00:00:00", shanghai},
		"over the end of a year":                         {days(1), "2026-12-31 23:59:59", "2027-01-02 00:00:00", shanghai},
		"a day of 25 hours is a day":                     {days(1), "2026-11-01 00:30:00", "2026-11-02 00:00:00", york},
		"a day of 23 hours is a day":                     {days(2), "2026-03-07 12:00:00", "2026-03-09 00:00:00", york},
		"a slot is eight hours, late in the evening too": {slot, "2026-10-02 22:30:00", "2026-10-03 06:30:00", shanghai},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, err := time.ParseInLocation(time.DateTime, c.from, c.zone)
			must(t, err)
			if got := c.terms.End(from.UTC(), c.zone).In(c.zone).Format(time.DateTime); got != c.want {
				t.Errorf("ends %s, want %s", got, c.want)
			}
		})
	}
}

func TestTermsRenewInTheMorningOfTheDayBefore(t *testing.T) {
	t.Parallel()
	zone := place(t, "Asia/Shanghai")
	end := time.Date(2026, 10, 3, 0, 0, 0, 0, zone)
	if got := berth.RenewalAt(end.UTC(), zone); !got.Equal(time.Date(2026, 10, 2, 8, 0, 0, 0, zone)) {
		t.Errorf("renews at %s", got)
	}
	week := berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 7}
	if got := week.Extend(end.UTC(), zone); !got.Equal(time.Date(2026, 10, 10, 0, 0, 0, 0, zone)) {
		t.Errorf("extended until %s", got)
	}
}

// Whatever is bought whenever and wherever: a term of N days lasts more than N−1 and less
// than N+2 of them, ends at a midnight, and a longer one ends later.
func TestTermsAreAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	zones := []*time.Location{time.UTC, place(t, "Asia/Shanghai"), place(t, "America/New_York"), place(t, "Pacific/Apia"), place(t, "Asia/Kathmandu")}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		from := time.Unix(rapid.Int64Range(1_700_000_000, 2_000_000_000).Draw(t, "from"), 0).In(zone)
		n := rapid.Int64Range(1, 400).Draw(t, "days")
		term := berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: n}
		end := term.End(from, zone)
		y, m, d := from.Date()
		first := time.Date(y, m, d, 0, 0, 0, 0, zone)
		if lasts := end.Sub(first); lasts < time.Duration(n)*24*time.Hour-2*time.Hour || lasts > time.Duration(n+1)*24*time.Hour+2*time.Hour {
			t.Fatalf("%d days from %s last until %s", n, from, end)
		}
		if h, mi, s := end.Clock(); h+mi+s != 0 {
			t.Fatalf("ends at %s", end)
		}
		if left := end.Sub(from); left < time.Hour {
			t.Fatalf("%s is left of %d days", left, n)
		}
		longer := berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: n + 1}
		if !longer.End(from, zone).After(end) || !term.Extend(end, zone).After(end) {
			t.Fatal("more does not last longer")
		}
		if at := berth.RenewalAt(end, zone); !at.Before(end) || end.Sub(at) > 18*time.Hour {
			t.Fatalf("a term that ends %s renews at %s", end, at)
		}
	})
}

func TestTermsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		terms berth.PrepaidTerms
		tier  berth.ServiceTier
		says  string
	}{
		"another cycle":             {berth.PrepaidTerms{Cycle: "day", Duration: 1}, berth.TierFast, "pricing_cycle"},
		"no duration":               {berth.PrepaidTerms{Cycle: berth.CycleDay}, berth.TierFast, "pre_paid_info.duration"},
		"too long":                  {berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: berth.MaxTermDays + 1}, berth.TierFast, "pre_paid_info.duration"},
		"a slot of the fast tier":   {berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: 8}, berth.TierFast, "ptu_default"},
		"a slot of nine hours":      {berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: 9}, berth.TierDefault, "duration of 8"},
		"a slot that renews itself": {berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: 8, AutoRenewal: true, RenewalDays: 1}, berth.TierDefault, "auto_renewal"},
		"renewal of no days":        {berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 1, AutoRenewal: true}, berth.TierFast, "auto_renewal_duration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, c.terms.Check(c.tier), berth.CodeInvalid, c.says)
		})
	}
	for _, tier := range []berth.ServiceTier{berth.TierFast, berth.TierDefault} {
		must(t, berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: 1, AutoRenewal: true, RenewalDays: 30}.Check(tier))
	}
	must(t, berth.PrepaidTerms{Cycle: berth.CycleHour, Duration: 8}.Check(berth.TierDefault))
}
