package reconcile

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// No more engines load at a time than may; who waits is told so, once, and comes up when
// one of them is done or has taken too long.
func TestEnginesWaitForOthersToLoad(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(o *Options) { o.ParallelStarts = 2 })
	y.engines(neverReady)
	var all []berth.Deployment
	for i := range 4 {
		one := int64(1)
		all = append(all, y.buy(berth.Purchase{ModelName: "base", Plan: "mu", Spec: "MU1", Capacity: &one, Suffix: fmt.Sprint("n", i)}))
		if i < 2 {
			y.awaitStatus(all[i], berth.StatusDeploying)
		}
	}
	waits := func(d berth.Deployment) (times int) {
		for _, e := range y.story(d) {
			if strings.Contains(e.Reason, "engines.parallel_starts") {
				times++
			}
		}
		return times
	}
	starting := func(p picture) (n int) {
		for _, r := range p.replicas {
			if r.State == berth.ReplicaStarting {
				n++
			}
		}
		return n
	}
	// A remote engine is nobody's load; when it serves, the loop has looked at all others.
	y.awaitStatus(y.own("remote", 1), berth.StatusDeploying)
	if n := starting(y.look()); n != 3 { // the remote one too
		t.Errorf("%d engines start", n)
	}
	for i, want := range []int{0, 0, 1, 1} {
		if got := waits(all[i]); got != want {
			t.Errorf("deployment %d is told %d times that it waits, want %d", i, got, want)
		}
	}
	y.remove(all[0])
	y.awaitStatus(all[2], berth.StatusDeploying)
	y.skip(loadsFor)
	y.awaitStatus(all[3], berth.StatusDeploying)
}

// A mass of owners is looked at bit by bit, what is due first, and all of it before the
// loop says that it has looked.
func TestAMassIsLookedAtBitByBit(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.halt()
	const many = 3 * lookAtOnce
	y.tx(func(ctx context.Context, tx berth.Tx) error {
		for i := range many {
			id := fmt.Sprintf("dep_%05d", i)
			must(t, tx.Deployments().Insert(ctx, berth.Deployment{ID: id, DeployedModel: id, WorkspaceID: home, Status: berth.StatusStopped}))
		}
		return nil
	})
	loop := New(y.loop.Load().opt)
	last := berth.Ref{Noun: berth.NounDeployment, ID: fmt.Sprintf("dep_%05d", many-1)}
	seen := map[berth.Ref]bool{}
	for pass := 0; !closed(loop.Looked()); pass++ {
		if pass > 2*many/lookAtOnce {
			t.Fatalf("not looked after %d passes", pass)
		}
		if pass == 1 {
			loop.due(last)
		}
		before := len(loop.backlog)
		_, err := loop.pass(context.Background())
		must(t, err)
		if n := before - len(loop.backlog); n > lookAtOnce {
			t.Fatalf("%d owners in a pass", n)
		}
		for o := range loop.agenda.at {
			seen[o] = true
		}
		if pass == 1 && !seen[last] {
			t.Error("what is due waits for the mass")
		}
	}
	if len(seen) != many {
		t.Errorf("the loop has looked, it says, and has seen %d of %d", len(seen), many)
	}
	var first, latest time.Time
	for _, at := range loop.agenda.at {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(latest) {
			latest = at
		}
	}
	if latest.Sub(first) < loop.opt.Sweep/3 {
		t.Errorf("the next round is between %s and %s", first, latest)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A transaction of the loop does not go on for long, whatever there is to do.
func TestATransactionEndsInTime(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil)
	y.halt()
	loop := New(y.loop.Load().opt)
	var steps []step
	for range 6 {
		steps = append(steps, step{berth.Ref{ID: "slow"}, func(context.Context, berth.Tx) (func(), error) {
			y.ahead.Add(int64(writesFor / 2))
			return nil, nil
		}})
	}
	taken, err := loop.takeSome(context.Background(), steps)
	if err != nil || taken == 0 || taken > 2 {
		t.Errorf("%d steps are taken at once, %v", taken, err)
	}
}
