package berth

import (
	"errors"
	"fmt"
	"time"
)

// Code says what kind of failure an [Error] is. Each surface maps it to its own
// wire form in one table (server/errors.go, gateway/errors.go).
type Code string

// The whole vocabulary. A code that is not listed here is [CodeInternal].
const (
	CodeInvalid         Code = "invalid"          // malformed or out-of-range input
	CodeUnauthenticated Code = "unauthenticated"  // no key, unknown key, revoked or expired key
	CodeForbidden       Code = "forbidden"        // the key's role does not allow the operation
	CodeWorkspaceDenied Code = "workspace_denied" // the key may not act in that workspace
	CodeNotFound        Code = "not_found"        // no such thing, or not visible to the caller
	CodeConflict        Code = "conflict"         // the name is taken
	CodeUnsupported     Code = "unsupported"      // the operation does not fit the object's plan or state
	CodeDenied          Code = "denied"           // the object's state does not allow it yet
	CodeNoCapacity      Code = "no_capacity"      // the hardware for a purchase is not free
	CodeUnavailable     Code = "unavailable"      // exists, cannot serve now
	CodeThrottled       Code = "throttled"        // a bound of ours was reached
	CodeTooLarge        Code = "too_large"        // a body over its bound
	CodeInternal        Code = "internal"         // everything else; the message is for operators
)

// Error is a failure with a sentence that is safe to show to the caller and says
// what to do. Err, when set, is the cause and is shown to operators only.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is the wait after which a new try can succeed, 1 s to 60 s; zero
	// when waiting is not known to help.
	RetryAfter time.Duration
	Err        error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] with the given code and a message formatted as by
// [fmt.Sprintf].
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first [Error] in err's chain, "" for nil and
// [CodeInternal] for any other error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
