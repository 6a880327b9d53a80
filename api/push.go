package api

import (
	"context"
	"time"
)

// The states of a [Push].
const (
	PushOff        = "off"  // no URL is configured
	PushIdle       = "idle" // nothing was sent yet by this process
	PushDelivering = "delivering"
	PushFailing    = "failing"
)

// Push is how the push of usage and events to a URL stands.
type Push struct {
	State          string     `json:"state"`
	URL            string     `json:"url,omitempty"` // without its query
	Types          []string   `json:"types,omitempty"`
	Since          *time.Time `json:"since,omitempty"` // of the state
	Reason         string     `json:"reason,omitempty"`
	Tries          int64      `json:"tries,omitempty"`   // in a row that failed
	NextAt         *time.Time `json:"next_at,omitempty"` // while it fails
	DeliveredAt    *time.Time `json:"delivered_at,omitempty"`
	Delivered      int64      `json:"delivered"`       // events, by this process
	WaitingRecords int64      `json:"waiting_records"` // at most
	WaitingEvents  int64      `json:"waiting_events"`
	WaitingSince   *time.Time `json:"waiting_since,omitempty"` // when the oldest of them came about
	// Lost is how many records and events were deleted with age before the URL took them.
	Lost int64 `json:"lost"`
}

// Push returns how the push stands. It takes an owner's key.
func (c *Client) Push(ctx context.Context) (Push, error) {
	return own[Push](ctx, c, request{path: "/berth/v1/push"})
}
