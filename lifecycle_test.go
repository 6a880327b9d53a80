package berth_test

import (
	"testing"

	berth "github.com/berthhq/berth"
)

var statuses = []berth.Status{
	berth.StatusPending, berth.StatusDeploying, berth.StatusRunning, berth.StatusUpdating, berth.StatusUpdatingFailed,
	berth.StatusStopped, berth.StatusFailed, berth.StatusOfflining, berth.StatusDeleting, berth.StatusDeleted,
	berth.StatusArrearsDown, berth.StatusArrearsRecover,
}

var causes = []berth.Cause{
	berth.CauseEngineStarting, berth.CauseReady, berth.CauseGaveUp, berth.CauseChange, berth.CauseChangeDone,
	berth.CauseChangeFailed, berth.CauseStop, berth.CauseStopped, berth.CauseStart, berth.CauseArrears, berth.CausePaid,
	berth.CauseDelete, berth.CauseGone,
}

// The whole table, written down a second time: a row that is not here is no transition.
func TestTheTableOfTransitions(t *testing.T) {
	t.Parallel()
	want := map[berth.Status]map[berth.Cause]berth.Status{
		"PENDING": {
			"engine_starting": "DEPLOYING", "ready": "RUNNING", "gave_up": "FAILED", "stop": "OFFLINING",
			"arrears": "ARREARS_DOWN", "delete": "DELETING",
		},
		"DEPLOYING": {"ready": "RUNNING", "gave_up": "FAILED", "stop": "OFFLINING", "arrears": "ARREARS_DOWN", "delete": "DELETING"},
		"RUNNING": {
			"change": "UPDATING", "gave_up": "FAILED", "stop": "OFFLINING", "arrears": "ARREARS_DOWN", "delete": "DELETING",
		},
		"UPDATING": {
			"change_done": "RUNNING", "change_failed": "UPDATING_FAILED", "gave_up": "FAILED", "stop": "OFFLINING",
			"arrears": "ARREARS_DOWN", "delete": "DELETING",
		},
		"UPDATING_FAILED": {
			"change": "UPDATING", "gave_up": "FAILED", "stop": "OFFLINING", "arrears": "ARREARS_DOWN", "delete": "DELETING",
		},
		"OFFLINING":          {"stopped": "STOPPED", "delete": "DELETING"},
		"STOPPED":            {"start": "PENDING", "delete": "DELETING"},
		"FAILED":             {"start": "PENDING", "delete": "DELETING"},
		"ARREARS_DOWN":       {"paid": "ARREARS_RECOVERING", "delete": "DELETING"},
		"ARREARS_RECOVERING": {"ready": "RUNNING", "gave_up": "FAILED", "arrears": "ARREARS_DOWN", "delete": "DELETING"},
		"DELETING":           {"gone": "DELETED"},
		"DELETED":            {},
	}
	for _, from := range statuses {
		for _, cause := range causes {
			expected, allowed := want[from][cause]
			got, ok := from.Next(cause)
			if ok != allowed || got != expected {
				t.Errorf("%s on %s: got %q, %v; want %q, %v", from, cause, got, ok, expected, allowed)
			}
		}
	}
}

func TestEveryStatusThatIsNotOverCanBeDeleted(t *testing.T) {
	t.Parallel()
	for _, s := range statuses {
		_, ok := s.Next(berth.CauseDelete)
		if over := s == berth.StatusDeleting || s == berth.StatusDeleted; ok == over {
			t.Errorf("delete from %s: allowed is %v", s, ok)
		}
	}
}

// conformance 47: without an operation a status never goes back towards PENDING.
func TestNothingComesBackByItself(t *testing.T) {
	t.Parallel()
	operations := map[berth.Cause]bool{berth.CauseStart: true, berth.CauseChange: true}
	for _, from := range statuses {
		for _, cause := range causes {
			to, ok := from.Next(cause)
			if ok && !operations[cause] && (to == berth.StatusPending || to == berth.StatusDeploying && from != berth.StatusPending) {
				t.Errorf("%s goes back to %s on %s", from, to, cause)
			}
		}
	}
}

func TestWhatAStatusMeans(t *testing.T) {
	t.Parallel()
	for status, want := range map[berth.Status]struct{ callable, comingUp bool }{
		"PENDING":            {false, true},
		"DEPLOYING":          {false, true},
		"RUNNING":            {true, false},
		"UPDATING":           {true, false},
		"UPDATING_FAILED":    {true, false},
		"OFFLINING":          {false, false},
		"DELETING":           {false, false},
		"STOPPED":            {false, false},
		"FAILED":             {false, false},
		"DELETED":            {false, false},
		"ARREARS_DOWN":       {false, false},
		"ARREARS_RECOVERING": {false, true},
	} {
		if got := status.Callable(); got != want.callable {
			t.Errorf("%s: callable is %v", status, got)
		}
		if got := status.ComingUp(); got != want.comingUp {
			t.Errorf("%s: coming up is %v", status, got)
		}
	}
}
