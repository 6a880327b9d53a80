package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What the garbage collector may leave lying about. A server that does little but pass
// calls on has a small heap, and with the runtime's own rule (as much garbage as there is
// in use) would collect it many times a second: a tenth of what a call costs
// (docs/performance.md). So it may have 64 MiB, or a quarter of what is in use where
// that is more, but never more than four times what is in use.
const (
	garbage          = 64 << 20
	mostGarbage      = 400 // percent of what is in use
	leastGarbage     = 25
	collectorPause   = time.Second
	collectorQuarrel = 10 // percent; a smaller change is not worth stopping the world for
)

// garbagePercent is how much garbage there may be, in percent of the live bytes.
func garbagePercent(live uint64) int {
	return int(min(max(100*garbage/max(live, 1), leastGarbage), mostGarbage))
}

// tuneCollector follows what is in use, until ctx ends, and then leaves the collector as
// it found it. Who sets GOGC or GOMEMLIMIT has decided otherwise.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := garbagePercent(0)
	before := debug.SetGCPercent(now)
	defer func() { debug.SetGCPercent(before) }()
	every(ctx, collectorPause, func() {
		metrics.Read(live)
		if wanted := garbagePercent(live[0].Value.Uint64()); wanted > now+collectorQuarrel || wanted < now-collectorQuarrel {
			now = wanted
			debug.SetGCPercent(now)
		}
	})
}
