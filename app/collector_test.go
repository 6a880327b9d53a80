package app

import "testing"

func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 16 << 20: 400, 32 << 20: 200, 64 << 20: 100, 128 << 20: 50, 300 << 20: 25, 10 << 30: 25,
	} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d MiB in use: %d %%, wanted %d", live>>20, got, want)
		}
	}
}
