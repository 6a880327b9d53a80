package front

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a [Server]; all but MostBody are required.
type Options struct {
	// Handlers answer plain requests, by path. They must not use the request or the writer
	// after they have returned, and may set write deadlines.
	Handlers map[string]http.Handler
	// Take reports whether plain requests are taken now; else Other has them.
	Take  func() bool
	Other *http.Server
	// MostBody is the longest body of a plain request; 1 MiB.
	MostBody int64
	// Idle is how long a connection may be without a request; it ends after three quarters
	// of it at the earliest.
	Idle time.Duration
	// First is how long a new connection may be without the first byte of one.
	First time.Duration
	// Body is how long a body of so many bytes may take.
	Body   func(length int64) time.Duration
	Logger *slog.Logger
}

// Server serves connections.
type Server struct {
	opt  Options
	down atomic.Bool
	work sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	conns    map[*conn]struct{}
	others   *handed
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	if o.MostBody == 0 {
		o.MostBody = 1 << 20
	}
	return &Server{opt: o, conns: map[*conn]struct{}{}}
}

// Serve accepts connections until Shutdown or Close, and then returns
// http.ErrServerClosed. It is called once.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listener, s.others = l, &handed{conns: make(chan net.Conn), closed: make(chan struct{}), address: l.Addr()}
	down := s.down.Load()
	s.mu.Unlock()
	if down {
		_ = l.Close()
		return http.ErrServerClosed
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.opt.Other.Serve(s.others) // ends when we close what it listens to
	}()
	err := s.accept(l)
	_ = l.Close()
	if s.down.Load() {
		err = http.ErrServerClosed
	}
	_ = s.others.Close()
	<-over
	return err
}

// accept takes connections until the listener fails for good.
func (s *Server) accept(l net.Listener) error {
	pause := time.Duration(0)
	for {
		n, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(n)
			continue
		}
		var passing net.Error
		if s.down.Load() || !errors.As(err, &passing) || !passing.Temporary() { //nolint:staticcheck // as net/http: out of files
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		time.Sleep(pause)
	}
}

func (s *Server) start(n net.Conn) {
	c := newConn(s, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down.Load() {
		_ = n.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.work.Go(func() {
		over := c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		if over || !c.state.CompareAndSwap(waiting, closed) {
			_ = n.Close()
			return
		}
		_ = n.SetReadDeadline(time.Time{}) // an error comes again with the next read
		s.others.take(&begun{Conn: n, read: c.buf[c.start:c.end]})
	})
}

// Shutdown takes no more connections, ends those without a request, and returns when the
// others have had their answers, or with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(func(c *conn) bool { return c.state.CompareAndSwap(waiting, closed) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.work.Wait()
	}()
	err := s.opt.Other.Shutdown(ctx)
	select {
	case <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends all connections and returns when nobody works at them.
func (s *Server) Close() error {
	s.stop(func(*conn) bool { return true })
	err := s.opt.Other.Close()
	s.work.Wait()
	return err
}

// stop takes no more connections and closes those that which names.
func (s *Server) stop(which func(*conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down.Store(true)
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for c := range s.conns {
		if which(c) {
			_ = c.net.Close()
		}
	}
}

// handed is where the other server accepts connections.
type handed struct {
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
	address net.Addr
}

func (h *handed) take(n net.Conn) {
	select {
	case h.conns <- n:
	case <-h.closed:
		_ = n.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case n := <-h.conns:
		return n, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return h.address }

// begun is a connection of which something was read.
type begun struct {
	net.Conn
	read []byte
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) > 0 {
		n := copy(p, b.read)
		if b.read = b.read[n:]; len(b.read) == 0 {
			b.read = nil
		}
		return n, nil
	}
	return b.Conn.Read(p)
}

// CloseWrite lets net/http end its half first, so that a client can read the last answer.
func (b *begun) CloseWrite() error {
	if half, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
