package fakeengine

import (
	"context"
	"time"
)

// maxStep bounds one wait, so that no script overflows a duration.
const maxStep = 24 * time.Hour

// pace makes the tokens of one call last as long as the script says. It keeps to
// the times that are due, so late timers do not add up: over a whole answer the
// rate is exact.
type pace struct {
	engine *Engine
	due    time.Time
}

// newPace starts the clock of a call.
func (e *Engine) newPace() *pace { return &pace{engine: e, due: time.Now()} }

// tokens waits for the time of n tokens at the given rate (0: no time), stretched
// by the calls that run beside this one. It returns errClientGone or
// errEngineDied as soon as either is true.
func (p *pace) tokens(ctx context.Context, n int, perSecond float64) error {
	if n == 0 || perSecond == 0 {
		return p.engine.alive(ctx)
	}
	others := p.engine.Stats().Running() - 1
	stretch := 1 + p.engine.script.Slowdown*float64(others)
	seconds := min(float64(n)/perSecond*stretch, maxStep.Seconds())
	p.due = p.due.Add(time.Duration(seconds * float64(time.Second)))

	timer := time.NewTimer(time.Until(p.due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return p.engine.alive(ctx)
	case <-p.engine.died:
		return errEngineDied
	case <-ctx.Done():
		return errClientGone
	}
}
