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
	CodeArrearage       Code = "arrearage"        // the account is overdue, or has too little for a purchase
	CodeUnavailable     Code = "unavailable"      // exists, cannot serve now
	CodeThrottled       Code = "throttled"        // a bound of ours was reached
	CodeTooLarge        Code = "too_large"        // a body over its bound
	CodeInternal        Code = "internal"         // everything else; the message is for operators
)

// The codes of the reservation API, whose documented names say it better (api.md 4.12).
const (
	CodeInstanceRequired    Code = "instance_required"    // more than one instance: name one
	CodeInstanceUnsupported Code = "instance_unsupported" // state or charge type forbids it
	CodeUnsubscribe         Code = "unsubscribe_required" // a pre-paid term that is running
	CodePostpaidExists      Code = "postpaid_exists"      // one post-paid instance at most
	CodeTooManyInstances    Code = "too_many_instances"   // of a deployment, not released
	CodeTooManyEver         Code = "too_many_ever"        // of a deployment, released ones too
	CodeDeploymentDeleted   Code = "deployment_deleted"   // it was, or is being deleted
	CodeDeploymentUnknown   Code = "deployment_unknown"   // no such deployment, or not visible
	CodeInstanceUnknown     Code = "instance_unknown"     // not an instance of the deployment
	CodeOperationUnknown    Code = "operation_unknown"    // not an operation of the deployment
	CodeOperationConflict   Code = "operation_conflict"   // another change is under way
	CodeRequestReused       Code = "request_reused"       // the request id began another operation
	CodeBillingNotReady     Code = "billing_not_ready"    // the account cannot pay
	CodeBillingUnavailable  Code = "billing_unavailable"  // nobody can say whether it can
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
