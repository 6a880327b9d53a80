package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berthhq/berth/api"
)

// answer is what goes back to the client: one JSON body, or events.
type answer struct {
	w         http.ResponseWriter
	control   *http.ResponseController
	requestID string
	patience  time.Duration // how long a client may take to read
	bounded   time.Time     // when the write deadline was set last
	started   bool
}

func newAnswer(w http.ResponseWriter, r *http.Request, requestID string, patience time.Duration) *answer {
	w.Header().Set("X-Request-Id", requestID)
	if api.IsAnthropic(r.URL.Path) {
		w.Header().Set("Request-Id", requestID) // the only place where its clients look
	}
	return &answer{w: w, control: http.NewResponseController(w), requestID: requestID, patience: patience}
}

func (a *answer) header() http.Header { return a.w.Header() }

// whole sends a JSON body.
func (a *answer) whole(status int, body []byte) error {
	h := a.header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.bound()
	a.started = true
	a.w.WriteHeader(status)
	_, err := a.w.Write(body)
	return err
}

// events sends event frames at once.
func (a *answer) events(frames []byte) error {
	if !a.started {
		h := a.header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no")
		a.started = true
	}
	a.bound()
	if _, err := a.w.Write(frames); err != nil {
		return err
	}
	return a.control.Flush()
}

// fail answers with a failure, unless something was sent already.
func (a *answer) fail(d dialect, f *failure) {
	if a.started {
		return
	}
	f.header(a.header())
	_ = a.whole(f.status, d.failure(nil, f, a.requestID)) // an error means the client has gone
}

// bound moves the write deadline on, so that a client that does not read cannot hold
// the call for ever. Four times per span is exact enough and costs little.
func (a *answer) bound() {
	now := time.Now()
	if now.Sub(a.bounded) > a.patience/4 {
		a.bounded = now
		_ = a.control.SetWriteDeadline(now.Add(a.patience)) // without deadlines the server's bounds remain
	}
}

// hurry leaves a moment for what remains to be written. Other than the rest it may be
// called while another goroutine writes.
func (a *answer) hurry() { _ = a.control.SetWriteDeadline(time.Now().Add(time.Second)) }

// close takes the deadline back, for the connection's next request.
func (a *answer) close() {
	if !a.bounded.IsZero() {
		_ = a.control.SetWriteDeadline(time.Time{})
	}
}

// requestID returns the id that the client gave the request, else a new one.
func requestID(h http.Header) string {
	if id := api.RequestID(h); id != "" {
		return id
	}
	return uuid.NewString()
}
