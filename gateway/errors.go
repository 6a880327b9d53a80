package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	berth "github.com/berthhq/berth"
)

// problem is a row of the table below: how one kind of failure looks in both dialects.
type problem struct {
	status            int
	code              string // native
	compatible        string // the code's OpenAI spelling; "": the same
	kind              string // OpenAI's type; "": the code's OpenAI spelling
	message           string
	compatibleMessage string // "": the same
}

const kindInvalid = "invalid_request_error"

// The one table of failures (api.md 3.2, 3.3 and 9.1).
var (
	problemNoKey       = &problem{401, "InvalidApiKey", "invalid_api_key", kindInvalid, "No API-key provided.", ""}
	problemBadKey      = &problem{401, "InvalidApiKey", "invalid_api_key", kindInvalid, "Invalid API-key provided.", "Incorrect API key provided."}
	problemWorkspace   = &problem{403, "Workspace.AccessDenied", "", "access_denied", "Workspace access denied.", ""}
	problemModelDenied = &problem{403, "Model.AccessDenied", "", "access_denied", "Model access denied.", ""}
	problemAsync       = &problem{403, "AccessDenied", "access_denied", "", "Current user api does not support asynchronous calls.", ""}
	problemUnknown     = &problem{404, "ModelNotFound", "model_not_found", kindInvalid, "Model can not be found.", ""}

	problemNoModel   = &problem{400, "BadRequest.EmptyModel", kindInvalid, "", `Required parameter "model" missing from request.`, "you must provide a model parameter."}
	problemNoInput   = &problem{400, "BadRequest.EmptyInput", kindInvalid, "", "Required input parameter missing from request.", ""}
	problemNotJSON   = &problem{400, "BadRequest.IllegalInput", kindInvalid, "", "The input parameter requires json format.", "Required body invalid, please check the request body format."}
	problemTooLarge  = &problem{400, "BadRequest.TooLarge", kindInvalid, "", "Payload Too Large.", ""}
	problemInvalid   = &problem{400, "InvalidParameter", "invalid_parameter_error", kindInvalid, "", ""}
	problemNoCount   = &problem{400, "UnsupportedOperation", "", kindInvalid, "The engine of this deployment cannot count a prompt; make the call and read its usage.", ""}
	problemThinking  = &problem{400, "InvalidParameter.NotSupportEnableThinking", "invalid_parameter_error", kindInvalid, "", ""}
	problemArrearage = &problem{400, "Arrearage", "", "", "Access denied, please make sure your account is in good standing.", ""}

	problemRate   = &problem{429, "Throttling.RateQuota", "limit_requests", "", "Requests rate limit exceeded, please try again later.", ""}
	problemQuota  = &problem{429, "Throttling.AllocationQuota", "insufficient_quota", "", "Allocated quota exceeded, please increase your quota limit.", ""}
	problemBudget = &problem{429, "Throttling.AllocationQuota", "insufficient_quota", "", "You exceeded your current quota, please check your plan and billing details.", ""}
	problemBusy   = &problem{429, "Throttling", "", "", "Too many requests in route. Please try again later.", ""}

	problemUnavailable = &problem{503, "ModelUnavailable", "", "", "Model is unavailable, please try again later.", ""}
	problemEngine      = &problem{500, "ModelServiceFailed", "", "", "Failed to request model service.", ""}
	problemIdle        = &problem{500, "ResponseTimeout", "", "", "Response timeout!", ""}
	problemTimeout     = &problem{500, "RequestTimeOut", "", "", "Request timed out, please try again later.", ""}
	problemInternal    = &problem{500, "InternalError", "internal_error", "", "An internal error has occured, please try again later or contact service support.", ""}

	// problemGone is never written: nobody is there to read it.
	problemGone = &problem{499, "ClientGone", "", "", "The client went away.", ""}
)

// failure is what a step returns when the call cannot go on.
type failure struct {
	*problem
	sentence           string        // instead of the problem's message, in both dialects
	compatibleSentence string        // the same for the OpenAI dialect alone
	retryAfter         time.Duration // 0: waiting is not known to help
	final              bool          // x-should-retry: false
	allow              string        // the method that the path has, of a call with another one
	end                berth.End     // for the usage record; "": refused
	cause              error         // for operators only
}

func fail(p *problem) *failure { return &failure{problem: p} }

// invalid refuses a parameter with a sentence of api.md 3.3, or one of ours.
func invalid(format string, args ...any) *failure { return fail(problemInvalid).say(format, args...) }

// wrongMethod refuses a method of a path that has another one.
func wrongMethod(method, allow string) *failure {
	f := invalid("Request method '%s' is not supported.", method)
	f.allow = allow
	return f
}

func (f *failure) say(format string, args ...any) *failure {
	f.sentence = fmt.Sprintf(format, args...)
	return f
}

func (f *failure) because(err error) *failure {
	f.cause = err
	return f
}

func (f *failure) after(wait time.Duration) *failure {
	f.retryAfter = min(max(wait, time.Second), time.Minute)
	return f
}

func (f *failure) finally() *failure {
	f.final = true
	return f
}

func (f *failure) ending(end berth.End) *failure {
	f.end = end
	return f
}

// errPanic is the cause of a failure that is a fault of the program.
var errPanic = errors.New("panic")

// caught makes a failure of a panic. It is deferred with recover() as its argument.
func caught(p any, err *error) {
	switch p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		*err = fail(problemInternal).because(fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())).ending(berth.EndEngineFailed)
	}
}

// Error implements error, for logs.
func (f *failure) Error() string {
	text := f.code + ": " + cmp.Or(f.sentence, f.message)
	if f.cause != nil {
		text += ": " + f.cause.Error()
	}
	return text
}

func (f *failure) Unwrap() error { return f.cause }

// failureOf makes a failure of any error: the domain's by its code, others internal.
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var e *berth.Error
	if !errors.As(err, &e) {
		return fail(problemInternal).because(err)
	}
	row, ok := map[berth.Code]*problem{
		berth.CodeUnavailable: problemUnavailable,
		berth.CodeThrottled:   problemBusy,
		berth.CodeInvalid:     problemInvalid,
	}[e.Code]
	if !ok {
		return fail(problemInternal).because(err)
	}
	f = fail(row).say("%s", e.Message).because(e.Err)
	if e.RetryAfter > 0 {
		f = f.after(e.RetryAfter)
	}
	return f
}

// header says how long to wait, and whether waiting helps at all (api.md 2.5).
func (f *failure) header(h http.Header) {
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	waiting := f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable
	switch {
	case f.final, waiting && f.retryAfter == 0:
		h.Set("X-Should-Retry", "false")
	case f.retryAfter > 0:
		seconds := (f.retryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
		h.Set("Retry-After-Ms", strconv.FormatInt(int64((f.retryAfter+time.Millisecond-1)/time.Millisecond), 10))
	}
}

// appendNative appends {"request_id","code","message"}.
func (f *failure) appendNative(dst []byte, requestID string) []byte {
	dst = append(dst, `{"request_id":`...)
	dst = appendString(dst, requestID)
	dst = append(dst, `,"code":`...)
	dst = appendString(dst, f.code)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, f.nativeMessage())
	return append(dst, '}')
}

func (f *failure) nativeMessage() string { return cmp.Or(f.sentence, f.message) }

// appendOpenAI appends {"error":{…},"request_id"}.
func (f *failure) appendOpenAI(dst []byte, requestID string) []byte {
	code := cmp.Or(f.compatible, f.code)
	dst = append(dst, `{"error":{"message":`...)
	dst = appendString(dst, cmp.Or(f.compatibleSentence, f.sentence, f.compatibleMessage, f.message))
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, cmp.Or(f.kind, code))
	dst = append(dst, `,"param":null,"code":`...)
	dst = appendString(dst, code)
	dst = append(dst, `},"request_id":`...)
	dst = appendString(dst, requestID)
	return append(dst, '}')
}
