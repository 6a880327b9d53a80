// Package front answers the plainest kind of HTTP/1.1 request, a POST with a
// Content-Length to a known path, with one goroutine per connection and few allocations.
// A connection that says anything else, however slightly, is handed with all it said to
// net/http, which serves it to its end: what is not read here cannot be misread here.
package front
