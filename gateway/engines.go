package gateway

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/internal/h1"
)

const (
	dialTimeout       = 5 * time.Second
	idleConnections   = 4096            // kept to one engine
	connectionsLinger = 4 * time.Second // llama.cpp and uvicorn close theirs after 5 s
	mostPlaces        = 4096            // URLs remembered as read
)

// engines is how the gateway reaches engines: directly, without proxies, redirects and
// compression, and nothing link-local. Plain HTTP goes by [h1.Client], on the goroutine
// of the call; what needs more, such as TLS, by net/http.
type engines struct {
	plain  *h1.Client
	other  *http.Client
	places atomic.Pointer[map[string]*place] // by URL; never changed, but replaced
}

// place is where an operation of an engine is, made from its URL once.
type place struct {
	address string // host and port; "": not for the plain client
	head    string // request line and header of every call
}

// newEngines returns what reaches engines through dial, nil: a dialer of its own.
func newEngines(dial func(ctx context.Context, network, address string) (net.Conn, error)) *engines {
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, Control: berth.RefuseLinkLocal}).DialContext
	}
	e := &engines{
		plain: h1.New(h1.Options{
			Dial: func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, "tcp", address) },
			Keep: connectionsLinger, MostIdle: idleConnections,
		}),
		other: &http.Client{
			Transport: &http.Transport{
				DialContext:         dial,
				MaxIdleConns:        idleConnections,
				MaxIdleConnsPerHost: idleConnections,
				IdleConnTimeout:     connectionsLinger,
				TLSHandshakeTimeout: dialTimeout,
				DisableCompression:  true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	e.places.Store(&map[string]*place{})
	return e
}

// post sends a body of JSON to an engine's operation and returns its answer, whose body
// the caller closes, when the header has come. The error of a refused connection is
// syscall.ECONNREFUSED: the engine has not seen the call. The answer may lack a header.
func (e *engines) post(ctx context.Context, to, key string, b *body) (*http.Response, error) {
	p := e.place(to)
	if p.address == "" {
		return e.postOther(ctx, to, key, b)
	}
	return e.plain.Post(ctx, &h1.Request{Address: p.address, Head: p.head, Secret: key, Body: b.bytes})
}

func (e *engines) postOther(ctx context.Context, to, key string, b *body) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	// With this key, which is not sent, net/http repeats a call on another connection if a
	// used one turns out to be closed before it answers.
	request.Header["Idempotency-Key"] = nil
	request.ContentLength = int64(len(b.bytes))
	request.Body = b.upload()
	request.GetBody = b.again
	return e.other.Do(request)
}

// close closes idle connections, and the others when their calls end.
func (e *engines) close() {
	e.plain.Close()
	e.other.CloseIdleConnections()
}

func (e *engines) place(to string) *place {
	known := *e.places.Load()
	if p, ok := known[to]; ok {
		return p
	}
	next := map[string]*place{}
	if len(known) < mostPlaces { // else most are of engines that have gone
		maps.Copy(next, known)
	}
	next[to] = newPlace(to)
	e.places.Store(&next) // of two at once one is lost, and made again
	return next[to]
}

// newPlace reads a URL. What is not quite plain is left to net/http.
func newPlace(to string) *place {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Hostname() == "" || !printable(u.Host) || strings.Contains(u.Host, "%") {
		return &place{}
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	uri := u.RequestURI()
	if !printable(uri) {
		return &place{}
	}
	return &place{
		address: net.JoinHostPort(u.Hostname(), port),
		head: "POST " + uri + " HTTP/1.1\r\nHost: " + u.Host +
			"\r\nUser-Agent: berth\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\n",
	}
}

// printable reports whether text can stand in a request line and means the same there.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return true
}
