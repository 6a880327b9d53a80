package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// house is a server whose handler at /call is the test's, and whose other server says what
// it was asked with the status 299.
type house struct {
	*Server
	t       *testing.T
	address string
	logged  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func open(t *testing.T, handler http.HandlerFunc, change ...func(*Options)) *house {
	t.Helper()
	h := &house{t: t, logged: &lockedBuffer{}}
	o := Options{
		Handlers: map[string]http.Handler{"/call": handler},
		Take:     func() bool { return true },
		Other: &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			w.WriteHeader(299)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, text)
		}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)},
		Idle: time.Minute, First: patience, Body: func(int64) time.Duration { return patience },
		Logger: slog.New(slog.NewTextHandler(h.logged, nil)),
	}
	for _, f := range change {
		f(&o)
	}
	h.Server = New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	t.Cleanup(func() {
		must(t, h.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client is one connection of a client.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (h *house) dial() *client {
	h.t.Helper()
	n, err := net.Dial("tcp", h.address)
	must(h.t, err)
	must(h.t, n.SetDeadline(time.Now().Add(patience)))
	h.t.Cleanup(func() { _ = n.Close() })
	return &client{n, h.t, bufio.NewReader(n)}
}

func (c *client) send(text string) {
	c.t.Helper()
	_, err := io.WriteString(c, text)
	must(c.t, err)
}

// answer reads one answer: "status body".
func (c *client) answer() string {
	c.t.Helper()
	r, err := http.ReadResponse(c.in, nil)
	must(c.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(c.t, err)
	return fmt.Sprint(r.StatusCode, " ", string(text))
}

func (c *client) closed() bool {
	_, err := c.in.ReadByte()
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func call(body string, lines ...string) string {
	head := "POST /call HTTP/1.1\r\nHost: berth\r\n"
	for _, line := range lines {
		head += line + "\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// echo answers with the body.
func echo(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = w.Write(text)
}

func TestPlainRequestsShareAConnection(t *testing.T) {
	t.Parallel()
	c := open(t, echo).dial()
	for _, body := range []string{"one", "", strings.Repeat("long ", 50_000), "two"} {
		c.send(call(body))
		if got := c.answer(); got != "200 "+body {
			t.Errorf("%.20q: %.40q", body, got)
		}
	}
	c.send(call("a") + call("b") + call("c")) // at once
	for _, want := range []string{"200 a", "200 b", "200 c"} {
		if got := c.answer(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestARequestIsWhatNetHTTPMakesOfIt(t *testing.T) {
	t.Parallel()
	var seen []*http.Request
	keep := func(w http.ResponseWriter, r *http.Request) {
		c := r.Clone(context.Background())
		c.RemoteAddr = ""
		seen = append(seen, c)
		echo(w, r)
	}
	text := call("{}", "content-type: application/json", "X-A: 1", "x-a:  2 ", "AUTHORIZATION: Bearer x", "Connection: Keep-Alive", "X-Empty:")
	c := open(t, keep).dial()
	c.send(text)
	c.answer()
	s := httptest.NewServer(http.HandlerFunc(keep))
	defer s.Close()
	n, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	defer func() { _ = n.Close() }()
	c = &client{n, t, bufio.NewReader(n)}
	c.send(text)
	c.answer()
	for _, r := range seen {
		if got, want := fmt.Sprint(r.Method, r.URL, r.Proto, r.Host, r.RequestURI, r.ContentLength, r.Header),
			fmt.Sprint(seen[1].Method, seen[1].URL, seen[1].Proto, seen[1].Host, seen[1].RequestURI, seen[1].ContentLength, seen[1].Header); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// What is not quite plain is served, or refused, by net/http.
func TestAllElseIsHandedOver(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(o *Options) { o.MostBody = 1000 })
	for name, s := range map[string]struct{ text, want string }{
		"another method":     {"GET /call HTTP/1.1\r\nHost: b\r\n\r\n", "299 GET /call "},
		"another path":       {"POST /other HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx", "299 POST /other x"},
		"a query":            {"POST /call?a=b HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx", "299 POST /call?a=b x"},
		"an escape":          {"POST /c%61ll HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx", "299 POST /c%61ll x"},
		"HTTP/1.0":           {"POST /call HTTP/1.0\r\nHost: b\r\nContent-Length: 1\r\n\r\nx", "299 POST /call x"},
		"chunks":             {"POST /call HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "299 POST /call x"},
		"both lengths":       {call("1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), "299 POST /call x"},
		"two lengths":        {call("x", "Content-Length: 2"), "400 400 Bad Request"},
		"a signed length":    {"POST /call HTTP/1.1\r\nHost: b\r\nContent-Length: +1\r\n\r\nx", "400 400 Bad Request"},
		"no length":          {"POST /call HTTP/1.1\r\nHost: b\r\n\r\n", "299 POST /call "},
		"no host":            {"POST /call HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "400 400 Bad Request"},
		"two hosts":          {call("x", "Host: c"), "400 400 Bad Request"},
		"a space in a name":  {call("x", "X-A : b"), "400 400 Bad Request"},
		"a folded line":      {call("x", "X-A: b", " c"), "299 POST /call x"},
		"a control":          {call("x", "X-A: b\x01"), "400 400 Bad Request"},
		"bare line feeds":    {"POST /call HTTP/1.1\nHost: b\nContent-Length: 1\n\nx", "299 POST /call x"},
		"to be closed":       {call("x", "Connection: close"), "299 POST /call x"},
		"a long body":        {call(strings.Repeat("x", 1001)), "299 POST /call " + strings.Repeat("x", 1001)},
		"a long header":      {call("x", "X-A: "+strings.Repeat("y", 6000)), "299 POST /call x"},
		"no HTTP":            {"hello\r\n\r\n", "400 400 Bad Request"},
		"an empty line more": {"\r\n" + call("x"), "400 400 Bad Request"},
	} {
		c := h.dial()
		c.send(s.text)
		r, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if got := fmt.Sprint(r.StatusCode, " ", string(text)); !strings.HasPrefix(got, s.want) {
			t.Errorf("%s: %.60q, want %.60q", name, got, s.want)
		}
	}
}

func TestAHandedConnectionStaysWhereItIs(t *testing.T) {
	t.Parallel()
	c := open(t, echo).dial()
	c.send(call("plain") + "GET / HTTP/1.1\r\nHost: b\r\n\r\n" + call("more"))
	for _, want := range []string{"200 plain", "299 GET / ", "299 POST /call more"} {
		if got := c.answer(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNothingIsTakenBeforeItsTime(t *testing.T) {
	t.Parallel()
	c := open(t, echo, func(o *Options) { o.Take = func() bool { return false } }).dial()
	c.send(call("x"))
	if got := c.answer(); got != "299 POST /call x" {
		t.Error(got)
	}
}

func TestEventsAreSentWhenFlushed(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 3 {
			_, _ = io.WriteString(w, "event")
			_, _ = w.Write(bytes.Repeat([]byte("x"), togetherBytes))
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-next
		}
	}).dial()
	for range 2 {
		c.send(call("x"))
		r, err := http.ReadResponse(c.in, nil)
		must(t, err)
		for range 3 {
			text := make([]byte, len("event")+togetherBytes)
			if _, err := io.ReadFull(r.Body, text); err != nil || !bytes.HasPrefix(text, []byte("eventx")) {
				t.Fatalf("%.10q %v", text, err)
			}
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(r.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	}
}

func TestAClientThatGoesIsNoticed(t *testing.T) {
	t.Parallel()
	for name, split := range map[string]bool{"body with the header": false, "body behind it": true} {
		begun, over := make(chan struct{}), make(chan time.Duration, 1)
		h := open(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(begun)
			since := time.Now()
			<-r.Context().Done()
			over <- time.Since(since)
			panic(http.ErrAbortHandler)
		})
		c := h.dial()
		text := call("body")
		if split {
			c.send(text[:len(text)-2])
			text = text[len(text)-2:]
		}
		c.send(text)
		<-begun
		must(t, c.Close())
		select {
		case <-over:
		case <-time.After(patience):
			t.Errorf("%s: it was not", name)
		}
	}
}

// A call that somebody looked after leaves the connection as it was.
func TestLongCallsShareAConnectionToo(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if string(text) == "long" {
			select {
			case <-time.After(3 * watchAfter):
			case <-r.Context().Done():
				t.Error("it was ended")
			}
		}
		_, _ = w.Write(text)
	})
	c := h.dial()
	for _, body := range []string{"short", "long", "short", "long", "long"} {
		c.send(call(body))
		if got := c.answer(); got != "200 "+body {
			t.Errorf("got %q", got)
		}
	}
	c.send(call("long")) // and one more, before its answer unless this machine is slow
	time.Sleep(2 * watchAfter)
	c.send(call("late"))
	if got := c.answer(); got != "200 long" {
		t.Errorf("got %q", got)
	}
	// It goes on elsewhere when its first byte was read while somebody looked.
	if got := c.answer(); got != "299 POST /call late" && got != "200 late" {
		t.Errorf("got %q", got)
	}
}

func TestARefusedBodyIsReadAway(t *testing.T) {
	t.Parallel()
	c := open(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }).dial()
	for range 2 {
		c.send(call(strings.Repeat("x", 500_000)))
		if got := c.answer(); got != "401 " {
			t.Error(got)
		}
	}
}

func TestABodyArrivesInTimeOrNotAtAll(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	short := func(o *Options) { o.Body = func(int64) time.Duration { return 20 * time.Millisecond } }
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
		w.WriteHeader(http.StatusBadRequest)
	}, short).dial()
	c.send("POST /call HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nab")
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if got := c.answer(); got != "400 " || !c.closed() {
		t.Error(got)
	}
}

func TestABodyCutShort(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	c := open(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
	}).dial()
	c.send("POST /call HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nab")
	must(t, c.Close())
	if err := <-failed; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// A connection that never says anything is not kept as long as one between two requests.
func TestASilentConnectionEnds(t *testing.T) {
	t.Parallel()
	c := open(t, echo, func(o *Options) { o.First = 20 * time.Millisecond }).dial()
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	if n, err := c.in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestAnIdleConnectionEnds(t *testing.T) {
	t.Parallel()
	c := open(t, echo, func(o *Options) { o.Idle = 20 * time.Millisecond }).dial()
	c.send(call("x"))
	if got := c.answer(); got != "200 x" || !c.closed() {
		t.Error(got)
	}
}

func TestAPanicEndsTheConnectionOnly(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if string(text) == "panic" {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic("of a programmer")
		}
		_, _ = w.Write(text)
	})
	c := h.dial()
	c.send(call("panic"))
	r, err := http.ReadResponse(c.in, nil)
	must(t, err)
	if text, err := io.ReadAll(r.Body); string(text) != "begun" || err == nil {
		t.Errorf("%q %v", text, err)
	}
	c = h.dial()
	c.send(call("x"))
	if got := c.answer(); got != "200 x" {
		t.Error(got)
	}
	h.logged.mu.Lock()
	defer h.logged.mu.Unlock()
	if !strings.Contains(h.logged.String(), "of a programmer") {
		t.Error(h.logged.String())
	}
}

func TestShutdownWaitsForAnswers(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-end
		echo(w, r)
	})
	idle, fresh, handed, busy := h.dial(), h.dial(), h.dial(), h.dial()
	_ = fresh
	handed.send("GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	handed.answer()
	idle.send("POST /call") // no request yet, so this one is handed over, too
	busy.send(call("x"))
	<-begun
	down := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { down <- h.Shutdown(ctx) }()
	if !fresh.closed() || !handed.closed() {
		t.Error("an idle connection is open")
	}
	select {
	case err := <-down:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	must(t, idle.Close())
	close(end)
	r, err := http.ReadResponse(busy.in, nil)
	must(t, err)
	text, _ := io.ReadAll(r.Body)
	if string(text) != "x" || !r.Close || !busy.closed() {
		t.Errorf("%q, to be closed %t", text, r.Close)
	}
	must(t, <-down)
}

func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	h := open(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(begun)
		<-r.Context().Done()
	})
	h.dial().send(call("x"))
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestHeadersCannotBeSplit(t *testing.T) {
	t.Parallel()
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-A", "b\r\nX-Evil: c")
		echo(w, r)
	}).dial()
	c.send(call("x"))
	r, err := http.ReadResponse(c.in, nil)
	must(t, err)
	defer r.Body.Close()
	if r.Header.Get("X-Evil") != "" || r.Header.Get("X-A") != "b  X-Evil: c" || r.Header.Get("Date") == "" {
		t.Error(r.Header)
	}
}

func TestAnAnswerThatIsTooShortEndsTheConnection(t *testing.T) {
	t.Parallel()
	c := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "abc")
		if _, err := io.WriteString(w, "def"); !errors.Is(err, http.ErrContentLength) {
			t.Error(err)
		}
	}).dial()
	c.send(call("x"))
	r, err := http.ReadResponse(c.in, nil)
	must(t, err)
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); string(text) != "abc" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", text, err)
	}
}

// FuzzHead holds what is taken for plain against what net/http reads.
func FuzzHead(f *testing.F) {
	f.Add(call("", "X-A: 1", "x-a: 2"))
	f.Add("POST /call HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 007\r\nConnection: keep-alive\r\n\r\n")
	s := New(Options{Handlers: map[string]http.Handler{"/call": http.NotFoundHandler()}})
	n, far := net.Pipe()
	f.Cleanup(func() { _, _ = n.Close(), far.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		end := strings.Index(text, "\r\n\r\n")
		if end < 0 {
			return
		}
		text = text[:end+4]
		c := newConn(s, n)
		if c.head([]byte(text)) == nil {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, r := range []*http.Request{c.request, want} {
			delete(r.Header, "Cache-Control") // which net/http makes of Pragma
		}
		if got, want := fmt.Sprint(c.request.URL, c.request.Host, c.request.ContentLength, c.request.Header),
			fmt.Sprint(want.URL, want.Host, want.ContentLength, want.Header); got != want {
			t.Fatalf("%q\ngot  %s\nwant %s", text, got, want)
		}
	})
}
