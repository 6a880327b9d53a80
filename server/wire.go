package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"code":"InternalError","message":"The answer could not be written."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// wireCode is how an error of the domain looks on the wire (api.md 3.1, 3.2).
type wireCode struct {
	status int
	code   string
}

// wireCodes is the one table of codes and HTTP statuses.
var wireCodes = map[berth.Code]wireCode{
	berth.CodeInvalid:         {http.StatusBadRequest, "InvalidParameter"},
	berth.CodeUnauthenticated: {http.StatusUnauthorized, "InvalidApiKey"},
	berth.CodeForbidden:       {http.StatusForbidden, "AccessDenied"},
	berth.CodeWorkspaceDenied: {http.StatusForbidden, "Workspace.AccessDenied"},
	berth.CodeNotFound:        {http.StatusNotFound, "NotFound"},
	berth.CodeConflict:        {http.StatusConflict, "Conflict"},
	berth.CodeUnsupported:     {http.StatusBadRequest, "UnsupportedOperation"},
	berth.CodeDenied:          {http.StatusBadRequest, "OperationDenied"},
	berth.CodeNoCapacity:      {http.StatusBadRequest, "InsufficientCapacity"},
	berth.CodeArrearage:       {http.StatusBadRequest, "Arrearage"},
	berth.CodeUnavailable:     {http.StatusServiceUnavailable, "ModelUnavailable"},
	berth.CodeThrottled:       {http.StatusTooManyRequests, "Throttling"},
	berth.CodeTooLarge:        {http.StatusBadRequest, "BadRequest.TooLarge"},
	berth.CodeInternal:        {http.StatusInternalServerError, "InternalError"},

	berth.CodeInstanceRequired:    {http.StatusBadRequest, "CAPACITY_INSTANCE_REQUIRED"},
	berth.CodeInstanceUnsupported: {http.StatusBadRequest, "CAPACITY_INSTANCE_OPERATION_UNSUPPORTED"},
	berth.CodeUnsubscribe:         {http.StatusBadRequest, "PREPAID_UNSUBSCRIBE_REQUIRED"},
	berth.CodePostpaidExists:      {http.StatusBadRequest, "POSTPAID_INSTANCE_ALREADY_EXISTS"},
	berth.CodeTooManyInstances:    {http.StatusBadRequest, "CAPACITY_SLOT_LIMIT_EXCEEDED"},
	berth.CodeTooManyEver:         {http.StatusBadRequest, "TOTAL_CAPACITY_INSTANCE_LIMIT_EXCEEDED"},
	berth.CodeDeploymentDeleted:   {http.StatusBadRequest, "MODEL_CODE_DELETED"},
	berth.CodeDeploymentUnknown:   {http.StatusNotFound, "MODEL_CODE_NOT_FOUND"},
	berth.CodeInstanceUnknown:     {http.StatusNotFound, "CAPACITY_INSTANCE_NOT_FOUND"},
	berth.CodeOperationUnknown:    {http.StatusNotFound, "CAPACITY_OPERATION_NOT_FOUND"},
	berth.CodeOperationConflict:   {http.StatusConflict, "CAPACITY_INSTANCE_OPERATION_CONFLICT"},
	berth.CodeRequestReused:       {http.StatusConflict, "IDEMPOTENCY_KEY_CONFLICT"},
	berth.CodeBillingNotReady:     {http.StatusForbidden, "BILLING_ACCOUNT_NOT_READY"},
	berth.CodeBillingUnavailable:  {http.StatusServiceUnavailable, "BILLING_SERVICE_UNAVAILABLE"},
}

// internalMessage is the documented sentence, misspelling included.
const internalMessage = "An internal error has occured, please try again later or contact service support."

// refuse writes an error.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, known := s.describe(w, r, err)
	advise(w.Header(), r.Method, e, known)
	_ = writeJSON(w, e.Status, errorBody(dialectOf(r.URL.Path), e)) // a client that has gone is no concern of ours
}

// describe returns an error as clients see it, and what the domain said of it, nil when
// that is nothing. What is internal goes to the log and not to the client.
func (s *Server) describe(w http.ResponseWriter, r *http.Request, err error) (api.Error, *berth.Error) {
	wire := wireCodes[berth.CodeOf(err)]
	e := api.Error{Status: wire.status, RequestID: requestID(w), Code: wire.code, Message: internalMessage}
	var known *berth.Error
	if errors.As(err, &known) && known.Code != berth.CodeInternal {
		e.Message = sentence(known.Message)
	} else if r.Context().Err() == nil { // else nobody waits for the answer any more
		s.Logger.Error("request failed", "request_id", e.RequestID, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	return e, known
}

// messageMost bounds an error's sentence, in bytes: some repeat what the client sent, and
// some name everybody who has hardware.
const messageMost = 2000

func sentence(message string) string {
	if len(message) <= messageMost {
		return message
	}
	return strings.ToValidUTF8(message[:messageMost], "") + "…"
}

// advise tells clients whether to repeat a request, and when (api.md 2.5): 429 and 503
// that pass by themselves say when; never to be repeated are a conflict, a refused
// purchase, what waiting does not cure, and a write that may have taken effect.
func advise(h http.Header, method string, e api.Error, known *berth.Error) {
	passes := known != nil && known.RetryAfter > 0
	waiting := e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
	write := method != http.MethodGet && method != http.MethodHead
	switch {
	case passes:
		wait := min(max(known.RetryAfter, time.Second), time.Minute)
		h.Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	case waiting, e.Status == http.StatusConflict, e.Code == "InsufficientCapacity", e.Code == "Arrearage",
		write && e.Status >= http.StatusInternalServerError:
		h.Set("X-Should-Retry", "false")
	}
}

// readBody reads a body within its bound.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, berth.Errorf(berth.CodeTooLarge, "Payload Too Large. A body may have %d bytes.", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, berth.Errorf(berth.CodeInvalid, "The body did not arrive in time; send it again, faster.")
	case err != nil:
		return nil, &berth.Error{Code: berth.CodeInvalid, Message: "The body broke off; send it again.", Err: err}
	}
	return body, nil
}

// decode reads a body of our own API: one JSON object without unknown fields.
func decode[T any](r *http.Request) (T, error) {
	var v T
	body, err := readBody(r)
	if err != nil {
		return v, err
	}
	if !utf8.Valid(body) {
		return v, berth.Errorf(berth.CodeInvalid, "The body must be UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, berth.Errorf(berth.CodeInvalid, "The body is not a usable JSON object: %s.", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, berth.Errorf(berth.CodeInvalid, "The body must be exactly one JSON object.")
	}
	return v, nil
}

// number reads an integer query parameter within [low, high].
func number(r *http.Request, name string, fallback, low, high int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, berth.Errorf(berth.CodeInvalid, "Range of %s should be [%d, %d]", name, low, high)
	}
	return n, nil
}

// boolean reads a query parameter that is true or false, false when absent.
func boolean(r *http.Request, name string) (bool, error) {
	switch text := r.URL.Query().Get(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, berth.Errorf(berth.CodeInvalid, "The query parameter %s must be true or false, not %q.", name, text)
	}
}

// maxPage keeps page_no × page_size far from overflow.
const maxPage = 1 << 31

// page reads page_no and page_size (api.md 4.8, 4.9).
func page(r *http.Request, sizeMax int64) (berth.Page, error) { return pageOf(r, 50, sizeMax) }

// pageOf is page with another size when none is asked for.
func pageOf(r *http.Request, size, sizeMax int64) (berth.Page, error) {
	no, err := number(r, "page_no", 1, 1, maxPage)
	if err != nil {
		return berth.Page{}, err
	}
	size, err = number(r, "page_size", size, 1, sizeMax)
	return berth.Page{Number: no, Size: size}, err
}

// slice returns the part of a whole list that is on the page, never nil.
func slice[T any](all []T, p berth.Page) []T {
	from := min((p.Number-1)*p.Size, int64(len(all)))
	return append([]T{}, all[from:min(from+p.Size, int64(len(all)))]...)
}
