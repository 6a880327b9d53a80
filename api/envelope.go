package api

import (
	"fmt"
	"time"
)

// Envelope is a successful answer of the native API. Answers under /berth/v1 are the
// bare object.
type Envelope[T any] struct {
	RequestID string `json:"request_id"`
	Output    T      `json:"output"`
}

// Error is a refusal or failure that the server reported, in the form in which the
// native API and /berth/v1 write it.
type Error struct {
	RequestID string `json:"request_id"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	// Status is the HTTP status; 0 for an error that arrived inside a stream.
	Status int `json:"-"`
	// RetryAfter is the wait after which a new try can succeed; 0 when none was named.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (e *Error) Error() string {
	if e.RequestID == "" {
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	}
	return fmt.Sprintf("%s (%s, request %s)", e.Message, e.Code, e.RequestID)
}
