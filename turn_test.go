package berth_test

import (
	"testing"

	berth "github.com/berthhq/berth"
)

func TestGuaranteedSlots(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ slots, soldPPM, replicas, want int64 }{
		{4, 0, 1, 0},
		{1, 900_000, 1, 0}, // one slot is not divided
		{4, 1, 1, 1},
		{4, 10_000, 1, 1},
		{4, 250_000, 1, 3},
		{4, 900_000, 1, 3}, // best effort keeps one
		{8, 100_000, 1, 3}, // 0.8 busy on the average; 3 or more in 5 % of all moments
		{8, 250_000, 1, 6},
		{8, 500_000, 2, 6}, // the same on each of two
		{64, 500_000, 1, 43},
		{256, 500_000, 1, 147},
		{256, 900_000, 1, 255},
		{4, 900_000, 0, 0},
	} {
		if got := berth.GuaranteedSlots(c.slots, c.soldPPM, c.replicas); got != c.want {
			t.Errorf("GuaranteedSlots(%d, %d, %d) = %d, want %d", c.slots, c.soldPPM, c.replicas, got, c.want)
		}
	}
}
