package fakeengine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// maxBodyBytes bounds the body of a call, 64 MiB; a larger one is a 413.
const maxBodyBytes = 64 << 20

// job is one call that does work: its number, counted from 1 over all of them,
// what it asks for, and the fault that strikes it (zero: none).
type job struct {
	number  int
	request request
	fault   Fault
}

// work makes a handler of calls that are numbered and counted and that faults can
// strike. answer writes the answer; it returns errClientGone, errEngineDied or
// errCut if it could not.
func (e *Engine) work(check func(request) error, answer func(context.Context, http.ResponseWriter, job) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := readBody(w, r)
		if !ok {
			return
		}
		number := e.begin(r, body)
		err := errCut // stays if answer panics
		defer func() { e.end(err) }()
		err = e.serve(r.Context(), w, body, number, check, answer)
		if errors.Is(err, errCut) || errors.Is(err, errEngineDied) {
			panic(http.ErrAbortHandler)
		}
	}
}

func (e *Engine) serve(ctx context.Context, w http.ResponseWriter, body []byte, number int,
	check func(request) error, answer func(context.Context, http.ResponseWriter, job) error,
) error {
	var asked request
	err := json.Unmarshal(body, &asked)
	if err == nil {
		err = check(asked)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return nil
	}
	if e.lora.lacks(asked.Model) {
		writeError(w, http.StatusNotFound, "NotFoundError", "The model `"+asked.Model+"` does not exist.")
		return nil
	}
	if asked.Model == "" {
		asked.Model = e.script.model()
	}
	j := job{number: number, request: asked, fault: e.script.fault(number, asked.lastText())}
	if j.fault.beforeHeaders(asked.Stream) {
		return e.failEarly(ctx, w, j.fault)
	}
	return answer(ctx, w, j)
}

// failEarly lets a fault strike instead of an answer.
func (e *Engine) failEarly(ctx context.Context, w http.ResponseWriter, f Fault) error {
	switch f.Kind {
	case FaultError500, FaultError503:
		writeError(w, f.status(), "server_error", "scripted error")
		return nil
	case FaultGarbage:
		w.Header().Set("Content-Type", "application/json")
		writeBody(w, http.StatusOK, []byte(`{"id":"garbage","choices":[{"index`))
		return nil
	case FaultRefuse:
		return errCut
	default:
		return e.hang(ctx)
	}
}

// begin counts a call in and returns its number.
func (e *Engine) begin(r *http.Request, body []byte) int {
	return e.tally.update(func(s *Stats) {
		s.Calls++
		s.InFlight++
		s.LastPath, s.LastHeader, s.LastBody = r.URL.Path, r.Header.Clone(), body
	}).Calls
}

// end counts a call out and lets the engine crash if it was the last one that the
// script allows.
func (e *Engine) end(err error) {
	ended := e.tally.update(func(s *Stats) {
		s.InFlight--
		s.Ended++
		if errors.Is(err, errClientGone) {
			s.Cancelled++
		}
	}).Ended
	if crash := e.script.Crash; crash != nil && ended >= crash.AfterCalls {
		e.crash()
	}
}

// takeSlot waits for a free slot, if the script bounds them. The returned function
// gives it back; it is nil if the call ended before.
func (e *Engine) takeSlot(ctx context.Context) (release func(), err error) {
	if e.slots == nil {
		return func() {}, e.alive(ctx)
	}
	e.tally.update(func(s *Stats) { s.Waiting++ })
	defer e.tally.update(func(s *Stats) { s.Waiting-- })
	select {
	case e.slots <- struct{}{}:
		return func() { <-e.slots }, nil
	case <-e.died:
		return nil, errEngineDied
	case <-ctx.Done():
		return nil, errClientGone
	}
}

// readBody returns the whole body, or answers the error and returns false.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err == nil {
		return body, true
	}
	status := http.StatusBadRequest
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	writeError(w, status, "invalid_request_error", err.Error())
	return nil, false
}
