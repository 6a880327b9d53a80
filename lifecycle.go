package berth

import "slices"

// Status is where a deployment stands (api.md 4.3).
type Status string

// The documented values that Berth uses.
const (
	StatusPending        Status = "PENDING"         // bought, hardware held
	StatusDeploying      Status = "DEPLOYING"       // engines coming up
	StatusRunning        Status = "RUNNING"         // serving
	StatusUpdating       Status = "UPDATING"        // serving while a change is under way
	StatusUpdatingFailed Status = "UPDATING_FAILED" // serving as before a change that failed
	StatusStopped        Status = "STOPPED"         // no hardware, no charge
	StatusFailed         Status = "FAILED"          // could not come up; hardware given back
	StatusOfflining      Status = "OFFLINING"       // draining towards STOPPED
	StatusDeleting       Status = "DELETING"        // no new calls; running ones end
	StatusDeleted        Status = "DELETED"         // a tombstone
	StatusArrearsDown    Status = "ARREARS_DOWN"    // stopped because the account is overdue
	StatusArrearsRecover Status = "ARREARS_RECOVERING"
)

// Cause is why a status changes.
type Cause string

// The causes of transitions.
const (
	CauseEngineStarting Cause = "engine_starting" // the first engine was started
	CauseReady          Cause = "ready"           // what was bought answers
	CauseGaveUp         Cause = "gave_up"         // no engine comes up any more
	CauseChange         Cause = "change"          // scale or update accepted
	CauseChangeDone     Cause = "change_done"
	CauseChangeFailed   Cause = "change_failed"
	CauseStop           Cause = "stop"
	CauseStopped        Cause = "stopped" // drained and hardware measured free
	CauseStart          Cause = "start"
	CauseArrears        Cause = "arrears"
	CausePaid           Cause = "paid"
	CauseDelete         Cause = "delete"
	CauseGone           Cause = "gone" // the last replica is measured gone
)

// transitions is the only table of status changes: from, cause, to.
var transitions = map[Status]map[Cause]Status{
	StatusPending: {
		CauseEngineStarting: StatusDeploying,
		CauseReady:          StatusRunning,
		CauseGaveUp:         StatusFailed,
		CauseStop:           StatusOfflining,
		CauseArrears:        StatusArrearsDown,
		CauseDelete:         StatusDeleting,
	},
	StatusDeploying: {
		CauseReady:   StatusRunning,
		CauseGaveUp:  StatusFailed,
		CauseStop:    StatusOfflining,
		CauseArrears: StatusArrearsDown,
		CauseDelete:  StatusDeleting,
	},
	StatusRunning: {
		CauseChange:  StatusUpdating,
		CauseGaveUp:  StatusFailed,
		CauseStop:    StatusOfflining,
		CauseArrears: StatusArrearsDown,
		CauseDelete:  StatusDeleting,
	},
	StatusUpdating: {
		CauseChangeDone:   StatusRunning,
		CauseChangeFailed: StatusUpdatingFailed,
		CauseGaveUp:       StatusFailed,
		CauseStop:         StatusOfflining,
		CauseArrears:      StatusArrearsDown,
		CauseDelete:       StatusDeleting,
	},
	StatusUpdatingFailed: {
		CauseChange:  StatusUpdating,
		CauseGaveUp:  StatusFailed,
		CauseStop:    StatusOfflining,
		CauseArrears: StatusArrearsDown,
		CauseDelete:  StatusDeleting,
	},
	StatusOfflining:      {CauseStopped: StatusStopped, CauseDelete: StatusDeleting},
	StatusStopped:        {CauseStart: StatusPending, CauseDelete: StatusDeleting},
	StatusFailed:         {CauseStart: StatusPending, CauseDelete: StatusDeleting},
	StatusArrearsDown:    {CausePaid: StatusArrearsRecover, CauseDelete: StatusDeleting},
	StatusArrearsRecover: {CauseReady: StatusRunning, CauseGaveUp: StatusFailed, CauseArrears: StatusArrearsDown, CauseDelete: StatusDeleting},
	StatusDeleting:       {CauseGone: StatusDeleted},
	StatusDeleted:        {},
}

// Next returns the status that follows s for cause; false when cause does not apply
// to s, in which case nothing may be changed.
func (s Status) Next(cause Cause) (Status, bool) {
	to, ok := transitions[s][cause]
	return to, ok
}

// Callable reports whether the gateway takes calls in this status.
func (s Status) Callable() bool {
	return slices.Contains([]Status{StatusRunning, StatusUpdating, StatusUpdatingFailed}, s)
}

// ComingUp reports whether a status turns into a callable one by itself, so that a
// caller may wait (api.md 2.5).
func (s Status) ComingUp() bool {
	return slices.Contains([]Status{StatusPending, StatusDeploying, StatusArrearsRecover}, s)
}

// Settled reports whether nothing is under way: the status stays until somebody or
// something new changes it (api.md 4.14).
func (s Status) Settled() bool {
	return slices.Contains([]Status{
		StatusRunning, StatusStopped, StatusFailed, StatusUpdatingFailed, StatusArrearsDown, StatusDeleted,
	}, s)
}

// InstanceStatus is where a capacity instance stands (api.md 4.12).
type InstanceStatus string

// The documented values that Berth uses. An order is confirmed at once, so the two that
// wait for it are left in the same transaction unless billing says otherwise.
const (
	InstanceOrdered        InstanceStatus = "WAIT_PRE_PAID_BILLING_TO_DEPLOYING"
	InstanceWaiting        InstanceStatus = "WAIT_TO_DEPLOY" // its engines come up
	InstanceRunning        InstanceStatus = "RUNNING"
	InstanceScalingOrdered InstanceStatus = "WAIT_PRE_PAID_BILLING_TO_SCALING"
	InstanceScaling        InstanceStatus = "SCALING"
	InstanceSuspended      InstanceStatus = "SUSPENDED" // expired; its throughput is kept a while
	InstanceRecovering     InstanceStatus = "RECOVERING"
	InstanceDeleting       InstanceStatus = "DELETING" // its release waits for a change
	InstanceStopped        InstanceStatus = "STOPPED"  // released
	InstanceFailed         InstanceStatus = "FAILED"   // could not be bought after all
)

// The causes of transitions of capacity instances, beside those of deployments.
const (
	CauseConfirmed Cause = "confirmed" // the order of a pre-paid term
	CauseExpired   Cause = "expired"   // its term, and the grace after it
	CauseRenewed   Cause = "renewed"
	CauseRelease   Cause = "release" // accepted
	CauseReleased  Cause = "released"
)

// instanceTransitions is the table of status changes of capacity instances.
var instanceTransitions = map[InstanceStatus]map[Cause]InstanceStatus{
	InstanceOrdered:        {CauseConfirmed: InstanceWaiting, CauseChangeFailed: InstanceFailed},
	InstanceWaiting:        {CauseChangeDone: InstanceRunning, CauseChangeFailed: InstanceFailed, CauseRelease: InstanceDeleting},
	InstanceRunning:        {CauseChange: InstanceScaling, CauseRelease: InstanceDeleting, CauseExpired: InstanceSuspended},
	InstanceScalingOrdered: {CauseConfirmed: InstanceScaling, CauseChangeFailed: InstanceRunning},
	InstanceScaling:        {CauseChangeDone: InstanceRunning, CauseChangeFailed: InstanceRunning, CauseRelease: InstanceDeleting},
	InstanceSuspended:      {CauseRenewed: InstanceRecovering, CauseRelease: InstanceDeleting},
	InstanceRecovering:     {CauseChangeDone: InstanceRunning, CauseChangeFailed: InstanceSuspended, CauseRelease: InstanceDeleting},
	InstanceDeleting:       {CauseReleased: InstanceStopped, CauseChangeDone: InstanceDeleting, CauseChangeFailed: InstanceDeleting},
	InstanceStopped:        {CauseStart: InstanceWaiting},
	InstanceFailed:         {CauseStart: InstanceWaiting},
}

// Next returns the status that follows s for cause; false when cause does not apply.
func (s InstanceStatus) Next(cause Cause) (InstanceStatus, bool) {
	to, ok := instanceTransitions[s][cause]
	return to, ok
}
