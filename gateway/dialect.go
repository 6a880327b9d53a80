package gateway

import (
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
)

// dialect is what differs between the operations: how a request is read and how
// answers and failures are written. One file each.
type dialect interface {
	// parse reads a checked body. The request's values are parts of it, except for what
	// is needed after the engine has answered.
	parse(body value, h http.Header, route *berth.Route) (request, error)
	// copies is how many bytes parse takes at most, about, for what it writes anew.
	copies(body value) int64
	// bound is how long a call may take.
	bound(*request, Bounds) time.Duration
	// writer returns what writes the answer.
	writer(*call) writer
	// failure appends a JSON error body.
	failure(dst []byte, f *failure, requestID string) []byte
}

// writer writes one answer from what an engine says: the chunks of a stream, or one
// whole reply.
type writer interface {
	// event appends what the client is sent at once for a reply.
	event(dst []byte, r *reply, u *usage) []byte
	// full reports that no more replies are wanted.
	full() bool
	// canEnd reports that f is no failure for the client: end makes an answer of what
	// there is.
	canEnd(f *failure) bool
	// end appends the last of the answer.
	end(dst []byte, u *usage) []byte
	// fail appends the event that ends a stream of events with a failure.
	fail(dst []byte, f *failure) []byte
}

// modelOf returns the name of the model in a request's body.
func modelOf(body value) (string, error) {
	if name := member(body, "model").text(); name != "" {
		return name, nil
	}
	return "", fail(problemNoModel)
}

// appendTier appends what tells the client that a call was served from its reservation.
func appendTier(dst []byte, c berth.Class) []byte {
	if c == berth.ClassReserved {
		dst = append(dst, `,"service_tier":"ptu-standard"`...)
	}
	return dst
}
