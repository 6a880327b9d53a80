package api_test

import (
	"math"
	"testing"

	"github.com/berthhq/berth/api"
)

func TestAmountsAreWrittenForPeopleAndReadExactly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nano           int64
		currency, want string
	}{
		{0, "CNY", "0.00"},
		{648_000_000_000, "CNY", "648.00"},
		{1_234_567_800_000_000, "CNY", "1,234,567.80"},
		{480_000_000, "CNY", "0.48"},
		{1, "CNY", "0.000000001"},
		{-1_500_000_000, "CNY", "-1.50"},
		{-999_123_456_789_000, "EUR", "-999,123.456789"},
		{54_000_000_000, "JPY", "54"},
		{54_500_000_000, "JPY", "54.5"},
		{54_000_000_000, "KWD", "54.000"},
		{math.MaxInt64, "USD", "9,223,372,036.854775807"},
	} {
		if got := api.FormatAmount(c.nano, c.currency); got != c.want {
			t.Errorf("%d %s is written %s, not %s", c.nano, c.currency, got, c.want)
		}
		if got, err := api.ParseAmount(c.want); err != nil || got != c.nano {
			t.Errorf("%s is read as %d, %v", c.want, got, err)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "1e3", "1.0000000000", "x", "--1", "1.-5", "9223372037", "0x10", " 1"} {
		if got, err := api.ParseAmount(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}
