package app

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// slowly sends the beginning of a request to a handler behind inTime and returns what the
// handler reports and the connection.
func slowly(t *testing.T, handler http.HandlerFunc, begins string) net.Conn {
	t.Helper()
	s := httptest.NewServer(inTime(handler, 1<<20, 50*time.Millisecond))
	t.Cleanup(s.Close)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(c, begins)
	must(t, err)
	return c
}

func TestABodyArrivesInTimeOrNotAtAll(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	slowly(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}, "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nabc")
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestARefusedBodyIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	c := slowly(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n")
	if _, err := io.ReadAll(c); err != nil { // until the server closes the connection
		t.Error(err)
	}
}

func TestABodyThatHasArrivedEndsNoCall(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodPost, http.MethodGet} { // the body of a GET is nobody's
		c := slowly(t, func(w http.ResponseWriter, r *http.Request) {
			if method == http.MethodPost {
				_, err := io.ReadAll(r.Body)
				must(t, err)
			}
			must(t, http.NewResponseController(w).Flush())
			select {
			case <-r.Context().Done():
			case <-time.After(200 * time.Millisecond): // well behind the body's deadline
				_, _ = io.WriteString(w, "done")
			}
		}, method+" / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc")
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if text, err := io.ReadAll(answer.Body); string(text) != "done" || err != nil {
			t.Errorf("%s: %q, %v", method, text, err)
		}
		_ = answer.Body.Close()
	}
}
