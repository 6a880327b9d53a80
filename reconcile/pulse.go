package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
)

// An engine can stop working without ending: stopped by a signal, deadlocked, or waiting
// for a disk or a driver that does not come back. Its calls would wait until their own
// bound, and new ones would follow them. So engines of ours that have once answered are
// asked all the time whether they are there, in a way that costs them nothing.

// pulseMisses is how many times in a row a frozen engine has not answered, and pulseUse
// the processor time that an engine which works uses at least meanwhile: one that only
// has no thread left for the question is not frozen (llama.cpp has 256 for all callers).
const (
	pulseMisses = 4
	pulseUse    = 100 * time.Millisecond
	pulseAtOnce = 64
)

// pulse is what the questions to one start of an engine have come to.
type pulse struct {
	answered bool          // once, so that silence means something
	missed   int           // answers, in a row
	used     time.Duration // processor time when it was last seen to work
}

// after returns the pulse after one more question.
func (p pulse) after(answered bool, used time.Duration) pulse {
	switch {
	case answered:
		return pulse{answered: true, used: used}
	case !p.answered: // it loads; [Options.StartTimeout] bounds that
		return p
	case used-p.used >= pulseUse:
		return pulse{answered: true, used: used}
	}
	p.missed++
	return p
}

func (p pulse) frozen() bool { return p.missed >= pulseMisses }

// watch asks the engines until ctx ends.
func (l *Loop) watch(ctx context.Context) {
	ticker := time.NewTicker(l.opt.Pulse)
	defer ticker.Stop()
	pulses := map[string]pulse{} // by nonce
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		running := l.opt.Runner.Instances()
		next := make(map[string]pulse, len(running))
		for i, heard := range l.hear(ctx, running) {
			used, known := l.opt.Used(running[i])
			if !known {
				continue // what an engine does meanwhile cannot be told, so it is left alone
			}
			p := pulses[running[i].Nonce]
			if _, up := l.answered.Load(running[i].Nonce); up {
				p.answered = true // before it was asked here
			}
			p = p.after(heard, used)
			next[running[i].Nonce] = p
			if p.frozen() && ctx.Err() == nil {
				l.tellFrozen(ctx, running[i])
			}
		}
		pulses = next
		l.answered.Range(func(nonce, replicaID any) bool {
			if !l.opt.Runner.Runs(replicaID.(string), nonce.(string)) {
				l.answered.Delete(nonce)
			}
			return true
		})
	}
}

// hear asks engines, many at once, whether they are there.
func (l *Loop) hear(ctx context.Context, running []engine.Instance) []bool {
	heard := make([]bool, len(running))
	room := make(chan struct{}, pulseAtOnce)
	var asked sync.WaitGroup
	for i := range running {
		room <- struct{}{}
		asked.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(ctx, l.opt.Pulse)
			defer cancel()
			heard[i] = engine.Answers(ctx, l.opt.Prober.Client, running[i].Endpoint)
		})
	}
	asked.Wait()
	return heard
}

// tellFrozen reports a frozen engine to the loop, which ends it as one that has failed.
func (l *Loop) tellFrozen(ctx context.Context, i engine.Instance) {
	var r berth.Replica
	err := l.opt.Store.View(ctx, func(tx berth.Tx) (err error) {
		r, err = tx.Replicas().Get(ctx, i.ReplicaID)
		return err
	})
	if err != nil || r.Nonce != i.Nonce {
		return // asked again with the next pulse
	}
	l.report(report{
		replicaID: i.ReplicaID, nonce: i.Nonce, owner: ownerOf(&r), kind: reportFrozen,
		err: fmt.Errorf("the engine was frozen: no answer and hardly any processor time for %s", pulseMisses*l.opt.Pulse),
	})
}

// takeFrozen makes a failure of a frozen engine. While something else is under way on the
// replica that ends first: the engine is reported again.
func (l *Loop) takeFrozen(r report) {
	if t, busy := l.tasks[r.replicaID]; busy {
		if t.cancel != nil && t.loads.IsZero() {
			t.cancel()
		}
		return
	}
	r.kind = reportFailed
	l.noted = append(l.noted, r)
}
