package cli

import (
	"testing"
	"time"
)

func TestAges(t *testing.T) {
	t.Parallel()
	p := program{Options: Options{Now: func() time.Time { return noon }}}
	for want, ago := range map[string]time.Duration{
		"now": 300 * time.Millisecond, "59s ago": 59 * time.Second, "1m ago": time.Minute, "47h ago": 47 * time.Hour,
		"2d ago": 49 * time.Hour, "2026-07-04": 90 * day, "in 5m": -5 * time.Minute, "in 3d": -3 * day,
	} {
		if got := p.age(noon.Add(-ago)); got != want {
			t.Errorf("%s: got %s, want %s", ago, got, want)
		}
	}
	if got := p.age(time.Time{}); got != "" {
		t.Errorf("no time: got %s", got)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]int64{
		"0": 0, "999": 999, "1,000": 1000, "-1,000": -1000, "-999": -999, "1,234,567": 1234567,
		"9,223,372,036,854,775,807": 1<<63 - 1, "-9,223,372,036,854,775,808": -1 << 63,
	} {
		if got := count(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPrintableTakesOutWhatSteersATerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ü 漢\n\t": "plain ü 漢\n\t", "\x1b[1;31mred\x1b[0m": "red", "\x1b]0;title\a": "]0;title", "a\r\x7f\u009bb": "ab",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}
