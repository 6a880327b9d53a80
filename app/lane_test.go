package app

import (
	"net/http"
	"sync"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// TestALaneIsNotKeptForLong: a lane at rest is kept for callers whose turn it is. When none
// of them comes back, who waits gets it, though no call comes or ends meanwhile.
func TestALaneIsNotKeptForLong(t *testing.T) {
	t.Parallel()
	crowd := gather(t, fakeengine.Script{Slots: 1, Reply: "word word word word", TokensPerSecond: 20}, 0, "a", "b")
	s := crowd.without(false, false)
	pool := *s.Pools["pool_1"]
	pool.Replicas = []berth.PoolReplica{{ID: "rep_1", Lane: berth.LaneLoRA, Slots: 1, Adapters: pool.Replicas[0].Adapters}}
	s.Pools = map[string]*berth.PoolRoute{"pool_1": &pool}
	crowd.Swap(s)
	ctx := t.Context()
	var calls sync.WaitGroup
	begin := func(of string, inLine int64) {
		t.Helper()
		calls.Go(func() {
			started := time.Now()
			if _, status := crowd.call(ctx, of); status != http.StatusOK || time.Since(started) > 30*time.Second {
				t.Errorf("a call of %s got %d after %s", of, status, time.Since(started))
			}
		})
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if state, ok := crowd.PoolState("pool_1"); ok && state.BestEffort.Waiting >= inLine && state.Replicas[0].Busy > 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d calls are not in line", inLine)
			}
		}
	}
	begin("a", 0) // alone, it has no turn
	begin("b", 1)
	begin("a", 2) // comes to wait for b, who does not come back
	calls.Wait()
}
