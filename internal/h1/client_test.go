package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; a test that needs it has failed.
const patience = 10 * time.Second

// engine is a listener whose connections do what a script says.
type engine struct {
	net.Listener
	accepted atomic.Int64
	served   sync.WaitGroup
}

// served is one connection of an engine.
type served struct {
	net.Conn
	requests *bufio.Reader
	number   int64 // from 1
}

// request reads one request; false: the client has closed the connection.
func (s *served) request() (body string, ok bool) {
	r, err := http.ReadRequest(s.requests)
	if err != nil {
		return "", false
	}
	text, err := io.ReadAll(r.Body)
	return string(text), err == nil
}

func (s *served) say(text string) { _, _ = io.WriteString(s, text) }

// gone waits until the client has closed the connection.
func (s *served) gone() { _, _ = io.Copy(io.Discard, s) }

func listen(t testing.TB, script func(*served)) *engine {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{Listener: listener}
	e.served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			number := e.accepted.Add(1)
			e.served.Go(func() {
				defer func() { _ = conn.Close() }()
				script(&served{conn, bufio.NewReader(conn), number})
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		e.served.Wait()
	})
	return e
}

func newClient(t testing.TB) *Client {
	c := New(Options{Dial: func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}})
	t.Cleanup(c.Close)
	return c
}

func requestTo(address, body string) *Request {
	return &Request{Address: address, Head: "POST /v1/x HTTP/1.1\r\nHost: engine\r\n", Secret: "s", Body: []byte(body)}
}

// post makes a call and reads its answer.
func post(ctx context.Context, c *Client, address, body string) (status int, text string, err error) {
	response, err := c.Post(ctx, requestTo(address, body))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	return response.StatusCode, string(all), err
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// What an engine may say, what becomes of it, and whether the next call uses the same
// connection. Each engine says text to the first request of its first connection, then
// hangs up if it says so; to all other requests it says "fine".
func TestAnswers(t *testing.T) {
	t.Parallel()
	const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
	long := strings.Repeat("x", 100_000)
	for name, s := range map[string]struct {
		text   string
		hangUp bool
		want   string
		status int   // 0: 200
		err    error // of Post or of the body
		again  bool  // the connection is used again
	}{
		"a length":                          {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "hello", again: true},
		"a long body":                       {text: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), want: long, again: true},
		"no body":                           {text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", again: true},
		"no content":                        {text: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, again: true},
		"line feeds alone":                  {text: "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", want: "hello", again: true},
		"no reason":                         {text: "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", want: "hello", again: true},
		"an error":                          {text: "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", want: "busy", status: 503, again: true},
		"chunks":                            {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\n\r\n", want: "hello world", again: true},
		"chunks with trailers":              {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00a \r\nhelloworld\r\n0\r\nX-Late: yes\r\nY: z\r\n\r\n", want: "helloworld", again: true},
		"a long chunk":                      {text: fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(long), long), want: long, again: true},
		"up to the end of the connection":   {text: "HTTP/1.1 200 OK\r\n\r\nhello", hangUp: true, want: "hello"},
		"of HTTP/1.0":                       {text: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "hello"},
		"of HTTP/1.0, kept":                 {text: "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello", want: "hello", again: true},
		"the last of its connection":        {text: "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", want: "hello"},
		"informational ones before it":      {text: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "hello", again: true},
		"more than its length":              {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", want: "hello"},
		"both a length and chunks":          {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", want: "hi"},
		"the same length twice":             {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length:5\r\n\r\nhello", want: "hello", again: true},
		"a body cut short":                  {text: "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", hangUp: true, want: "hello", err: io.ErrUnexpectedEOF},
		"a chunk cut short":                 {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello", hangUp: true, want: "hello", err: io.ErrUnexpectedEOF},
		"no last chunk":                     {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", hangUp: true, want: "hello", err: io.ErrUnexpectedEOF},
		"a last chunk cut short":            {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", hangUp: true, want: "hello", err: io.ErrUnexpectedEOF},
		"a header cut short":                {text: "HTTP/1.1 200 OK\r\nConte", hangUp: true, err: io.ErrUnexpectedEOF},
		"nothing":                           {hangUp: true, err: io.EOF},
		"garbage":                           {text: "\x16\x03\x01\x02 hello there\r\n\r\n", err: ErrMalformed},
		"HTTP/2":                            {text: "HTTP/2 200 OK\r\n\r\n", err: ErrMalformed},
		"a status that is none":             {text: "HTTP/1.1 2x0 OK\r\n\r\n", err: ErrMalformed},
		"a long status":                     {text: "HTTP/1.1 2000 OK\r\n\r\n", err: ErrMalformed},
		"another protocol":                  {text: "HTTP/1.1 101 Switching Protocols\r\n\r\n", err: ErrMalformed},
		"informational ones without end":    {text: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), err: ErrMalformed},
		"a header line without a colon":     {text: "HTTP/1.1 200 OK\r\nhello\r\n\r\n", err: ErrMalformed},
		"a folded header line":              {text: "HTTP/1.1 200 OK\r\nX: y\r\n z: w\r\n\r\n", err: ErrMalformed},
		"a space before the colon":          {text: "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", err: ErrMalformed},
		"two lengths":                       {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", err: ErrMalformed},
		"a length with a sign":              {text: "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", err: ErrMalformed},
		"a length too large to count":       {text: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", err: ErrMalformed},
		"an encoding that was not asked":    {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", err: ErrMalformed},
		"a large header":                    {text: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20_000) + "\r\nContent-Length: 5\r\n\r\nhello", want: "hello", again: true},
		"a header without end":              {text: "HTTP/1.1 200 OK\r\nX: " + long, err: ErrMalformed},
		"header lines without end":          {text: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 10_000), err: ErrMalformed},
		"a chunk size that is none":         {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n", err: ErrMalformed},
		"an empty chunk size":               {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n", err: ErrMalformed},
		"a chunk size too large to count":   {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000000000000000\r\nhello\r\n", err: ErrMalformed},
		"a chunk longer than it says":       {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n", want: "hell", err: ErrMalformed},
		"a chunk line without end":          {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + long, err: ErrMalformed},
		"trailers without end":              {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X: y\r\n", 20_000), err: ErrMalformed},
		"a trailer line longer than it may": {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:" + long, err: ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := listen(t, func(s2 *served) {
				for first := s2.number == 1; ; first = false {
					if _, ok := s2.request(); !ok {
						return
					}
					if !first {
						s2.say(fine)
						continue
					}
					if s2.say(s.text); s.hangUp {
						return
					}
				}
			})
			c, address, ctx := newClient(t), e.Addr().String(), within(t)
			status, text, err := post(ctx, c, address, "body")
			if !errors.Is(err, s.err) || (err == nil) != (s.err == nil) {
				t.Errorf("error %v, wanted %v", err, s.err)
			}
			if text != s.want {
				t.Errorf("got %.100q", text)
			}
			if wanted := max(s.status, 200); err == nil && status != wanted {
				t.Errorf("status %d", status)
			}
			for range 2 {
				if _, text, err := post(ctx, c, address, "next"); err != nil || text != "fine" {
					t.Errorf("the next call got %q, %v", text, err)
				}
			}
			if again := e.accepted.Load() == 1; again != s.again {
				t.Errorf("%d connections", e.accepted.Load())
			}
		})
	}
}

// A request arrives as it was said, whatever its size, and bytes of the answer that come
// one by one make the same answer.
func TestRequest(t *testing.T) {
	t.Parallel()
	said := make(chan string, 1)
	e := listen(t, func(s *served) {
		for {
			r, err := http.ReadRequest(s.requests)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			said <- fmt.Sprintf("%s %s %s %s %d %s", r.Method, r.RequestURI, r.Host, r.Header.Get("Authorization"), r.ContentLength, body)
			for _, b := range []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") {
				s.say(string(b))
			}
		}
	})
	c := newClient(t)
	for _, size := range []int{0, 1, 1000, 64 << 10, 64<<10 + 1, 8 << 20} {
		body := strings.Repeat("y", size)
		if _, text, err := post(within(t), c, e.Addr().String(), body); err != nil || text != "abc" {
			t.Fatalf("%d bytes: %q, %v", size, text, err)
		}
		if got, want := <-said, fmt.Sprintf("POST /v1/x engine Bearer s %d %s", size, body); got != want {
			t.Errorf("the engine got %.200s", got)
		}
	}
	if n := e.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A secret cannot add lines to a request, or a request behind it.
func TestSecretsThatAreNone(t *testing.T) {
	t.Parallel()
	e := listen(t, func(s *served) { _, _ = s.request() })
	c := newClient(t)
	for _, secret := range []string{"a\r\nX: y", "a\nb", "a\x00", "a\x7f"} {
		r := &Request{Address: e.Addr().String(), Head: "POST /v1/x HTTP/1.1\r\nHost: engine\r\n", Secret: secret}
		if _, err := c.Post(within(t), r); !errors.Is(err, errSecret) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	if n := e.accepted.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// Reading gives what is there, of several chunks if they are, and does not wait for more.
func TestReadingDoesNotWait(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	e := listen(t, func(s *served) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n5\r\ngh")
		<-more
		s.say("ijk\r\n0\r\n\r\n")
		s.gone()
	})
	response, err := newClient(t).Post(within(t), requestTo(e.Addr().String(), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text string
	buffer := make([]byte, 100)
	for text != "abcdefgh" {
		n, err := response.Body.Read(buffer)
		if text += string(buffer[:n]); err != nil {
			t.Fatalf("%q, %v", text, err)
		}
	}
	close(more)
	rest, err := io.ReadAll(response.Body)
	if string(rest) != "ijk" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// A call that is cancelled, at any moment, ends at once with the cause, and the engine
// sees its connection closed.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"before the header": "",
		"in the header":     "HTTP/1.1 200 OK\r\nConte",
		"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"in a stream":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, gone := make(chan struct{}), make(chan struct{})
			e := listen(t, func(s *served) {
				s.request()
				s.say(text)
				close(said)
				s.gone()
				close(gone)
			})
			ctx, cancel := context.WithCancelCause(within(t))
			why := errors.New("enough")
			go func() {
				<-said
				cancel(why)
			}()
			_, _, err := post(ctx, newClient(t), e.Addr().String(), "body")
			if !errors.Is(context.Cause(ctx), why) || err == nil {
				t.Errorf("ended with %v", err)
			}
			began := time.Now()
			<-gone
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("the engine was told after %s", took)
			}
		})
	}
}

// The connection is closed at once even when nobody reads at the moment.
func TestCancelBetweenReads(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	e := listen(t, func(s *served) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		s.gone()
		close(gone)
	})
	ctx, cancel := context.WithCancel(within(t))
	response, err := newClient(t).Post(ctx, requestTo(e.Addr().String(), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	cancel()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the engine was not told")
	}
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("the body could be read to its end")
	}
}

// A body that is closed before its end takes the connection with it.
func TestClosedEarly(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	e := listen(t, func(s *served) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
		s.gone()
		close(gone)
	})
	response, err := newClient(t).Post(within(t), requestTo(e.Addr().String(), ""))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	<-gone
}

// An engine that closes a kept connection, before the next call or in the moment in which
// it comes, costs no call.
func TestKeptConnectionsThatAreClosed(t *testing.T) {
	t.Parallel()
	e := listen(t, func(s *served) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
		if s.number%2 == 0 {
			s.request() // and no answer
		}
	})
	c := newClient(t)
	for range 6 {
		if _, text, err := post(within(t), c, e.Addr().String(), "x"); err != nil || text != "fine" {
			t.Errorf("%q, %v", text, err)
		}
	}
}

// A call is made again once, and not at all when the engine has begun to answer or has
// worked on it.
func TestNoCallIsMadeTwiceForNothing(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]string{
		"half a header": "HTTP/1.1 2", "an informational answer": "HTTP/1.1 100 Continue\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			e := listen(t, func(s *served) {
				s.request()
				s.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
				if _, ok := s.request(); ok {
					asked.Add(1)
					s.say(second)
				}
			})
			c := newClient(t)
			if _, _, err := post(within(t), c, e.Addr().String(), "first"); err != nil {
				t.Fatal(err)
			}
			if _, text, err := post(within(t), c, e.Addr().String(), "second"); err == nil {
				t.Errorf("got %q", text)
			}
			if asked.Load() != 1 || e.accepted.Load() != 1 {
				t.Errorf("%d connections, asked %d times", e.accepted.Load(), asked.Load())
			}
		})
	}
}

// A connection that is refused is told as such, on the first call and on one that met a
// closed connection: the engine is not there.
func TestRefused(t *testing.T) {
	t.Parallel()
	e := listen(t, func(s *served) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
	})
	c, address := newClient(t), e.Addr().String()
	if _, _, err := post(within(t), c, address, ""); err != nil {
		t.Fatal(err)
	}
	_ = e.Close()
	e.served.Wait()
	for range 2 {
		if _, _, err := post(within(t), c, address, ""); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
	}
}

// An engine may answer before it has read a large body, and hang up.
func TestAnswerBeforeTheBodyIsSent(t *testing.T) {
	t.Parallel()
	e := listen(t, func(s *served) {
		_, _ = s.requests.ReadString('\n')
		s.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_ = s.Conn.(*net.TCPConn).CloseWrite()
		s.gone()
	})
	status, text, err := post(within(t), newClient(t), e.Addr().String(), strings.Repeat("x", 8<<20))
	if err != nil || status != 413 || text != "big" {
		t.Errorf("%d %q %v", status, text, err)
	}
}

// Many calls at once share connections and never answers.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	e := listen(t, func(s *served) {
		for i := 0; ; i++ {
			body, ok := s.request()
			if !ok || i%7 == 6 {
				return // now and then it hangs up
			}
			s.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
		}
	})
	c, ctx := newClient(t), within(t)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for j := range 50 {
				said := fmt.Sprintf("%d of %d", j, i)
				if _, text, err := post(ctx, c, e.Addr().String(), said); err != nil || text != said {
					t.Errorf("%q said, %q heard, %v", said, text, err)
				}
			}
		})
	}
	callers.Wait()
}
