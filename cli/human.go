package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/berthhq/berth/api"
)

const day = 24 * time.Hour

// age says how long ago t was, or how far ahead it is.
func (p *program) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	now := p.Now()
	if past := now.Sub(t); past > 60*day {
		return t.In(now.Location()).Format(time.DateOnly)
	} else if past >= time.Second {
		return brief(past) + " ago"
	} else if past > -time.Second {
		return "now"
	}
	return "in " + brief(t.Sub(now))
}

// brief writes a duration in its largest unit.
func brief(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// moment writes a time in full.
func (p *program) moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(p.Now().Location()).Format(time.DateTime)
}

// count groups the digits of a number: 1,234,567.
func count(n int64) string { return api.FormatCount(n) }

// amount writes a number of things.
func amount(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// known is count, and nothing for 0.
func known(n int64) string {
	if n == 0 {
		return ""
	}
	return count(n)
}

// size writes a number of bytes, and nothing for 0.
func size(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return units.BytesSize(float64(bytes))
}

// parseTime reads a day, a time, or how long ago: 2026-10-02, 2026-10-02T15:00:00Z,
// 90m, 7d.
func (p *program) parseTime(s string) (time.Time, error) {
	now := p.Now()
	if t, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if d, err := parseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is neither a day (2026-10-02) nor a time (2026-10-02T15:00:00Z) nor how long ago (90m, 7d)", s)
}

// parseDuration reads what Go reads, and days.
func parseDuration(s string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.ParseUint(number, 10, 16); err == nil {
			return time.Duration(days) * day, nil
		}
	}
	return time.ParseDuration(s)
}
