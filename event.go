package berth

import "time"

// Event is one thing that happened to a deployment.
type Event struct {
	ID            string // evt_ + UUIDv7, in order of time
	DeploymentID  string
	At            time.Time
	Status        Status // after the event
	Capacity      int64
	ReadyCapacity int64
	Reason        string // a sentence for people
}

// Event describes the deployment as it stands now, with the reason for its last
// change.
func (d *Deployment) Event(id string, at time.Time, reason string) Event {
	return Event{
		ID: id, DeploymentID: d.ID, At: at, Status: d.Status,
		Capacity: d.Capacity, ReadyCapacity: d.ReadyCapacity, Reason: reason,
	}
}
