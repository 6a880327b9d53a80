package berth

import "context"

// NumberedEvent is an event with its place among those of its deployment.
type NumberedEvent struct {
	Event
	Number int64 // from 1
}

// Watch follows one deployment by its stored events: no change of status or ready
// capacity is lost or told twice, however late anybody looks (api.md 4.14). It is for
// one goroutine.
type Watch struct {
	DeploymentID  string
	DeployedModel string

	deployments *Deployments
	reasons     bool  // the caller may read them
	number      int64 // of the last event that was looked at
	told        state
}

// state is what a watch is about.
type state struct {
	status Status
	ready  int64
}

// maxMissed bounds the events that a watch goes back for.
const maxMissed = 200

// Watch begins to follow a deployment. The last change it returns is the present state;
// before it comes what was missed since the event of the given number, if that is at
// most [maxMissed] events ago; 0 misses nothing. Needs [RoleInference], reasons are told
// to [RoleAdmin]. Unknown names are refused as by [Deployments.Get].
func (s *Deployments) Watch(ctx context.Context, deployedModel string, after int64) (*Watch, []NumberedEvent, error) {
	caller := CallerFrom(ctx)
	if !caller.May(RoleInference) {
		return nil, nil, accessDenied()
	}
	w := &Watch{DeployedModel: deployedModel, deployments: s, reasons: caller.May(RoleAdmin)}
	var changes []NumberedEvent
	err := s.read(ctx, func(tx Tx) error {
		d, err := s.find(ctx, tx, caller, deployedModel)
		if err != nil {
			return err
		}
		w.DeploymentID = d.ID
		changes, err = w.present(ctx, tx, &d, after)
		return err
	})
	return w, changes, err
}

// present returns what changed since the event numbered after, and the state of d last.
func (w *Watch) present(ctx context.Context, tx Tx, d *Deployment, after int64) ([]NumberedEvent, error) {
	count, err := tx.Events().Count(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	if after <= 0 || after > count || count-after > maxMissed {
		after = count
	}
	w.number = max(0, after-1)
	events, err := tx.Events().After(ctx, d.ID, w.number, maxMissed+1)
	if err != nil {
		return nil, err
	}
	now := d.Event("", d.ModifiedAt, "")
	if len(events) > 0 {
		now.Reason = events[len(events)-1].Reason
	}
	changes := w.take(events)
	changes = changes[min(1, len(changes)):] // the first event was told, and says what is a change
	if n := len(changes); n == 0 || stateOf(changes[n-1].Event) != stateOf(now) {
		changes = append(changes, w.change(now))
	}
	w.told = stateOf(now)
	return changes, nil
}

func stateOf(e Event) state { return state{e.Status, e.ReadyCapacity} }

// Next returns what changed since it was called last; none when nothing did. It also
// works while and after the deployment is deleted.
func (w *Watch) Next(ctx context.Context) ([]NumberedEvent, error) {
	var changes []NumberedEvent
	for {
		var page []Event
		err := w.deployments.read(ctx, func(tx Tx) (err error) {
			page, err = tx.Events().After(ctx, w.DeploymentID, w.number, maxMissed)
			return err
		})
		if err != nil {
			return nil, err
		}
		changes = append(changes, w.take(page)...)
		if len(page) < maxMissed {
			return changes, nil
		}
	}
}

// take counts events and returns those that changed something.
func (w *Watch) take(events []Event) []NumberedEvent {
	var changes []NumberedEvent
	for _, e := range events {
		w.number++
		if now := stateOf(e); now != w.told {
			w.told = now
			changes = append(changes, w.change(e))
		}
	}
	return changes
}

func (w *Watch) change(e Event) NumberedEvent {
	if !w.reasons {
		e.Reason = ""
	}
	return NumberedEvent{Event: e, Number: w.number}
}
