package gateway

import (
	"time"

	berth "github.com/berthhq/berth"
)

// comingUpWait is what a caller of a deployment is told to wait that comes up by itself.
const comingUpWait = 5 * time.Second

// resolve finds the deployment that key calls as model, in a status that serves
// (api.md 9.1).
func resolve(s *berth.Snapshot, key *berth.KeyEntry, model string) (*berth.Route, error) {
	route := s.Routes[model]
	if route == nil || route.Status == berth.StatusDeleting || route.Status == berth.StatusDeleted {
		f := fail(problemUnknown)
		f.compatibleSentence = unknownModel(model)
		return nil, f
	}
	if !mayCall(key, route) {
		return nil, fail(problemModelDenied)
	}
	return route, callable(route)
}

// mayCall reports whether a key's workspace and its list of deployments allow a route.
func mayCall(key *berth.KeyEntry, route *berth.Route) bool {
	return route.WorkspaceID == key.Caller.WorkspaceID && key.MayCall(route.DeploymentID)
}

// callable returns nil for a route that takes calls now. Waiting helps while it comes
// up, and while engines of a running one are being restarted.
func callable(route *berth.Route) error {
	switch {
	case route.Status == berth.StatusArrearsDown:
		return fail(problemArrearage).finally()
	case route.Status.ComingUp(), route.Status.Callable() && len(route.Targets) == 0:
		return fail(problemUnavailable).after(comingUpWait)
	case !route.Status.Callable():
		return fail(problemUnavailable).finally()
	}
	return nil
}

// withinBudget refuses calls of a workspace whose budget is spent, until its month is over
// (api.md 6.4). What is reserved has been paid for, and overflow is not stopped, as
// documented, so ptu deployments are called on.
func withinBudget(s *berth.Snapshot, route *berth.Route, now time.Time) error {
	until, stopped := s.Stopped[route.WorkspaceID]
	if !stopped || route.Plan == berth.PlanPTU || !now.Before(until) {
		return nil
	}
	return fail(problemBudget).finally().say("The budget of workspace %s for this month is spent. Calls are refused until %s, or until an owner sets a larger one.",
		route.WorkspaceID, until.UTC().Format(time.RFC3339))
}
