package h1

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Idle connections are closed when their time is over, and the address is forgotten; a
// connection that is used in time is kept.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var opened, closed atomic.Int64
		c := New(Options{Keep: 4 * time.Second, Dial: func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			opened.Add(1)
			go func() {
				for requests := bufio.NewReader(theirs); ; {
					r, err := http.ReadRequest(requests)
					if err != nil {
						closed.Add(1)
						_ = theirs.Close()
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
			return ours, nil
		}})
		defer c.Close()
		for i, wait := range []time.Duration{0, 3900 * time.Millisecond, 3900 * time.Millisecond, 4 * time.Second} {
			time.Sleep(wait)
			synctest.Wait()
			if _, text, err := post(t.Context(), c, "engine:80", ""); err != nil || text != "ok" {
				t.Errorf("call %d: %q, %v", i, text, err)
			}
		}
		if opened.Load() != 2 {
			t.Errorf("%d connections for three calls in time and one that was late", opened.Load())
		}
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if closed.Load() != opened.Load() {
			t.Errorf("%d of %d connections are closed", closed.Load(), opened.Load())
		}
		for address := range c.pools() {
			t.Errorf("%s is remembered", address)
		}
	})
}

// No more connections are kept than may be, and none by a client that is closed.
func TestBoundOfIdleConnections(t *testing.T) {
	t.Parallel()
	e := listen(t, func(s *served) {
		for {
			if _, ok := s.request(); !ok {
				return
			}
			s.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	c := newClient(t)
	c.opt.MostIdle = 2
	var answers []*http.Response
	for range 4 {
		response, err := c.Post(within(t), requestTo(e.Addr().String(), ""))
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, response)
	}
	for i, response := range answers {
		if i == 3 {
			c.Close()
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if kept := len(c.poolOf(e.Addr().String()).idle); kept != []int{1, 2, 2, 0}[i] {
			t.Errorf("after call %d %d connections are kept", i, kept)
		}
	}
}
