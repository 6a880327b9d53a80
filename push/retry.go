package push

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// The pauses before another try. Those after what may pass by itself grow from the first
// to the last; after an answer that says that the request is wrong there is no hurry.
const (
	pauseFirst = time.Second
	pauseLast  = 5 * time.Minute
	// pauseMost bounds what a receiver asks for (Retry-After).
	pauseMost = time.Hour
)

// answered is an answer other than 2xx.
type answered struct {
	status int
	after  time.Duration // that it asks to wait; 0: it does not say
	said   string        // the beginning of its body
}

func (a *answered) Error() string {
	text := fmt.Sprintf("it answered %d %s", a.status, http.StatusText(a.status))
	if a.said != "" {
		text += ": " + a.said
	}
	switch {
	case a.status/100 == 3:
		text += " (redirects are not followed; correct push.url)"
	case a.status == http.StatusRequestEntityTooLarge:
		text += " (lower push.batch)"
	}
	return text
}

// lasting reports whether trying again soon is of no use.
func (a *answered) lasting() bool {
	return a.status/100 != 5 && a.status != http.StatusRequestTimeout && a.status != http.StatusTooManyRequests
}

// pause returns how long to wait after the n-th failure in a row, from 1; random is in
// [0, 1), so that many senders do not come back at once.
func pause(err error, n int, random float64) time.Duration {
	wait := pauseLast
	var a *answered
	if !errors.As(err, &a) || !a.lasting() {
		wait = min(pauseFirst<<min(n-1, 16), pauseLast)
	}
	wait = wait/2 + time.Duration(random*float64(wait/2))
	if a != nil {
		wait = max(wait, min(a.after, pauseMost))
	}
	return wait
}

// retryAfter reads the header of that name, in either form; 0 for none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
