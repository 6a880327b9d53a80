package gateway

import (
	"fmt"
	"time"

	berth "github.com/berthhq/berth"
)

// Explain says what would become of calls to a deployment now. It reads what calls use
// and takes no part in it.
func (g *Gateway) Explain(deployedModel string) berth.Explanation {
	route := g.Snapshot().Routes[deployedModel]
	if route == nil {
		return berth.Explanation{Refusals: []string{"The gateway does not know this deployment."}}
	}
	l := g.table.live(route.DeploymentID)
	e := berth.Explanation{ExpectedOutput: l.past.expect(), Terms: route.Terms, Refusals: takesNone(route)}
	if l.limiter != nil && limited(route.Limits) {
		standing := l.limiter.Standing(g.now(), route.Limits)
		e.Limits = standing.states()
	}
	for _, s := range e.Limits {
		if s.Remaining == 0 {
			e.Refusals = append(e.Refusals, exhausted(route, s))
		}
	}
	for _, t := range route.Targets {
		e.Replicas = append(e.Replicas, berth.ReplicaLoad{
			ReplicaID: t.ReplicaID, Slots: t.Slots, InFlight: int64(g.table.inFlight("", t.ReplicaID)),
		})
	}
	e.Queue = g.queueOf(route)
	return e
}

// queueOf says how calls of the route wait, nil where they do not.
func (g *Gateway) queueOf(route *berth.Route) *berth.Queue {
	if route.PoolID == "" || g.pools.open == nil {
		return nil
	}
	q := &berth.Queue{PoolID: route.PoolID, Adapter: route.Adapter}
	s, ok := g.PoolState(route.PoolID)
	if !ok { // no call came yet
		if pool := g.Snapshot().Pools[route.PoolID]; pool != nil {
			for i := range pool.Replicas {
				r := &pool.Replicas[i]
				s.Replicas = append(s.Replicas, berth.LaneState{ReplicaID: r.ID, Lane: r.Lane, Slots: r.Slots, Guaranteed: r.Guaranteed})
			}
		}
	}
	q.Replicas = s.Replicas
	q.Lines = []berth.QueueLine{
		{Guaranteed: true, All: s.Guaranteed, Own: g.Line(route.PoolID, route.DeploymentID, route.Adapter, true)},
		{All: s.BestEffort, Own: g.Line(route.PoolID, route.DeploymentID, route.Adapter, false)},
	}
	return q
}

// takesNone says why a route takes no calls at all.
func takesNone(route *berth.Route) []string {
	switch {
	case !route.Status.Callable():
		return []string{fmt.Sprintf("The deployment is %s.", route.Status)}
	case len(route.Targets) == 0:
		return []string{"No replica is ready."}
	}
	return nil
}

func exhausted(route *berth.Route, s berth.LimitState) string {
	what := s.Dimension
	if what != DimensionRequests && what != DimensionTokens {
		what += " tokens"
	}
	then := "calls are refused until some of it is free"
	if route.Limits.IsMetered && route.Limits.Overflow == berth.OverflowEnable && s.Dimension != DimensionRequests {
		then = "calls are served as overflow until some of it is free"
	}
	return fmt.Sprintf("All %d %s of the minute are used or reserved; %s. All is free in %s if nothing else comes.",
		s.Limit, what, then, s.Reset.Round(time.Millisecond))
}

// states lists the limits that there are.
func (s *Standing) states() (list []berth.LimitState) {
	for _, d := range []struct {
		name  string
		level *Level
	}{
		{DimensionRequests, &s.Requests}, {DimensionTokens, &s.Tokens},
		{"input", &s.Input}, {"output", &s.Output}, {"thinking", &s.Thinking},
	} {
		if l := d.level; l.Limit > 0 {
			list = append(list, berth.LimitState{Dimension: d.name, Limit: l.Limit, Used: l.Used, Remaining: l.remaining(), Reset: l.Reset})
		}
	}
	return list
}
