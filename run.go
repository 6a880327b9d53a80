package berth

import "time"

// Run is a time in which an mu or ptu deployment serves and is charged for, on one grid of
// minutes that begins with it: from RUNNING until it is stopped, fails, is deleted or in
// arrears, or its engines end with Berth (design 9).
type Run struct {
	ID            string // svc_ + UUIDv7
	AccountID     string
	WorkspaceID   string
	DeploymentID  string
	DeployedModel string
	ModelName     string
	BaseModel     string
	Plan          Plan
	Spec          string // mu: the spec's name
	StartedAt     time.Time
	EndedAt       time.Time // zero: it goes on
	// RatedTo is the moment up to which lines say what the run is charged. The store sets it
	// back when something is written of an earlier one.
	RatedTo time.Time
	// Steps are what was to be charged and since when, the first at StartedAt, in order.
	Steps []RunStep
}

// RunStep is what is to be charged from a moment on.
type RunStep struct {
	At    time.Time
	Units int64 // mu
	PTU   PTUCapacity
}

// Minutes returns how many minutes of the run have begun by a moment: each is charged
// once, at the highest capacity effective in it.
func (r *Run) Minutes(by time.Time) int64 {
	end := by
	if !r.EndedAt.IsZero() && r.EndedAt.Before(by) {
		end = r.EndedAt
	}
	if !end.After(r.StartedAt) {
		return 0
	}
	return int64((end.Sub(r.StartedAt) + time.Minute - 1) / time.Minute)
}
