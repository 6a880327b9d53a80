// Package h1 is the client's side of HTTP/1.1 as the gateway speaks it to engines: one
// POST, one answer, over kept connections. Everything happens on the caller's goroutine:
// one write for a request, buffered reads for its answer, and a context that closes the
// connection. Next to net/http's client, which hands every call to two further
// goroutines, that is less than half of the work (docs/performance.md).
//
// It knows no proxies, redirects, cookies, compression, TLS and trailers (which are read
// and forgotten), and of an answer's header only what says where its body ends. Every
// length has a bound, so that an engine which talks nonsense costs one connection.
package h1
