package reconcile

import (
	"context"
	"fmt"
	"time"

	berth "github.com/berthhq/berth"
)

// loadsFor is how long an engine that starts counts as loading. One that hangs keeps
// others waiting no longer than that.
const loadsFor = time.Minute

// line is where owners wait until fewer engines load, first come, first served.
type line struct {
	owners []berth.Ref
	in     map[berth.Ref]bool
}

func (q *line) len() int { return len(q.owners) }

// join puts an owner at the end and reports whether it was not in the line.
func (q *line) join(o berth.Ref) bool {
	if q.in[o] {
		return false
	}
	if q.in == nil {
		q.in = map[berth.Ref]bool{}
	}
	q.in[o] = true
	q.owners = append(q.owners, o)
	return true
}

// take removes the first n owners at most and returns them.
func (q *line) take(n int) []berth.Ref {
	n = max(0, min(n, len(q.owners)))
	first := append([]berth.Ref(nil), q.owners[:n]...)
	q.owners = q.owners[n:]
	for _, o := range first {
		delete(q.in, o)
	}
	return first
}

// loading counts the engines that are loading now.
func (l *Loop) loading() int {
	n, now := 0, l.opt.Now()
	for _, t := range l.tasks {
		if !t.loads.IsZero() && now.Sub(t.loads) < loadsFor {
			n++
		}
	}
	return n
}

// mayLoad reports whether the engine of r may be started in this pass, and counts it.
func (l *Loop) mayLoad(r *berth.Replica) bool {
	if l.traits(r.Engine).Remote { // nothing is loaded
		return true
	}
	if l.room <= 0 {
		return false
	}
	l.room--
	return true
}

// wait puts an owner into the line. A deployment that nobody can call yet is told why.
func (l *Loop) wait(p *part) write {
	if !l.line.join(p.owner) || p.owner.Noun != berth.NounDeployment {
		return nil
	}
	if d := p.Deployments; len(d) == 0 || d[0].Status != berth.StatusPending {
		return nil
	}
	return func(ctx context.Context, tx berth.Tx) (func(), error) {
		d, err := tx.Deployments().Get(ctx, p.owner.ID)
		if err != nil || d.Status != berth.StatusPending {
			return nil, err
		}
		why := fmt.Sprintf("Waiting: %d engines may load at the same time (engines.parallel_starts), and others came first.", l.opt.ParallelStarts)
		return nil, tx.Events().Append(ctx, d.Event(l.opt.NewID("evt_"), l.opt.Now(), why))
	}
}
