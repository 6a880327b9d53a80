// Package sse reads and writes server-sent event streams.
//
// A gateway reads what an engine streams and writes it on in the client's
// dialect, once per token, so both directions work on reused buffers and
// allocate nothing per event. Reader takes what any engine may send: LF, CR and
// CRLF line ends, "data:x" as well as "data: x", several data lines, comments,
// and a last event without a blank line. The Append functions write frames
// exactly as the clients of each dialect expect them.
//
// Unlike a browser, Reader also returns blocks that carry no data (heartbeat
// comments, a lone "event:" line), because a gateway passes those on too.
package sse
