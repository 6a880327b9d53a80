package berth

import (
	"context"
	"time"
)

// Notice is something besides usage records that the push URL is to be told: an event of a
// deployment, a month that was closed, or news of a budget. None is set when it is not kept
// any more.
type Notice struct {
	Number     int64
	Event      Event
	Deployment Deployment // of the event
	Month      Month
	Budget     BudgetNews
}

// PushState is how the push stands in this process.
type PushState struct {
	URL     string // without its query; "": none is configured
	Types   []string
	Failing bool
	Since   time.Time // of Failing as it is; zero: nothing was sent yet
	Reason  string    // why it fails
	Tries   int       // in a row that failed
	NextAt  time.Time // of the next try, while it fails
	// DeliveredAt is when something was taken last, zero: nothing yet.
	DeliveredAt time.Time
	Delivered   int64 // events
	// Messages counts those of this process by what came of them.
	Messages map[PushOutcome]int64
	Waiting  PushWaiting
}

// PushOutcome is what came of a message to the push URL.
type PushOutcome string

// The outcomes. All but the first are tried again.
const (
	PushTaken      PushOutcome = "taken"
	PushPutOff     PushOutcome = "put_off"    // 5xx, 408, 429
	PushRefused    PushOutcome = "refused"    // any other answer
	PushUnanswered PushOutcome = "unanswered" // none, or too late
)

// PushOutcomes are all of them.
func PushOutcomes() []PushOutcome {
	return []PushOutcome{PushTaken, PushPutOff, PushRefused, PushUnanswered}
}

// PushWaiting is what the push URL has not taken.
type PushWaiting struct {
	Records int64 // at most
	Notices int64
	// Oldest is when the first of them came about; zero when nothing waits.
	Oldest time.Time
	// Lost is how many records and other events retention deleted before they were taken,
	// while a push was active, since the first.
	Lost int64
}

// Push answers how the push stands.
type Push struct {
	Store Store
	State func() PushState
}

// Get returns the state with what waits. Needs [RoleOwner].
func (s *Push) Get(ctx context.Context) (PushState, error) {
	if !CallerFrom(ctx).May(RoleOwner) {
		return PushState{}, accessDenied()
	}
	state := s.State()
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		state.Waiting, err = tx.Pushes().Waiting(ctx)
		return err
	})
	return state, err
}
