package gateway

import (
	"context"
	"sync/atomic"
	"time"
)

// idleTimer ends a call whose engine says nothing for too long. It is told of every event,
// and only notes when that was: a timer that is moved each time costs several times as
// much.
type idleTimer struct {
	cancel context.CancelCauseFunc
	began  time.Time
	until  atomic.Int64 // since began; when it is too long
	timer  *time.Timer
}

func newIdleTimer(patience time.Duration, cancel context.CancelCauseFunc) *idleTimer {
	t := &idleTimer{cancel: cancel, began: time.Now()}
	t.until.Store(int64(patience))
	t.timer = time.AfterFunc(time.Hour, t.look) // which needs the field
	t.timer.Reset(patience)
	return t
}

// allow lets the engine be silent for so long from now on. The timer fires no earlier for
// it, so a shorter time than before is for hurry.
func (t *idleTimer) allow(patience time.Duration) {
	t.until.Store(int64(time.Since(t.began) + patience))
}

func (t *idleTimer) hurry(patience time.Duration) {
	t.allow(patience)
	t.timer.Reset(patience)
}

// stop ends it. A look that has begun meanwhile finds a call that has ended.
func (t *idleTimer) stop() { t.timer.Stop() }

func (t *idleTimer) look() {
	if left := time.Duration(t.until.Load()) - time.Since(t.began); left > 0 {
		t.timer.Reset(left)
		return
	}
	t.cancel(wentIdle())
}
