// Package gateway is the guests' door: an http.Handler for inference. A call goes one
// way, which call.go shows on one page:
//
//	authenticate → resolve → parse → reserve → mark → forward → stream → settle
//
// # Who knows what
//
// The gateway decides from one immutable [berth.Snapshot], swapped whole; it knows no
// store. What outlives a swap (calls in flight, limiters, the length of past answers)
// stands in a live value per deployment. No lock is shared by all calls.
//
// A call counts itself into its deployment and replica first and looks at the snapshot
// again afterwards; if that was swapped in between it starts over from the new one. So
// after [Gateway.Swap] has returned, every call that uses the old routes is seen by
// [Gateway.InFlight] and reached by [Gateway.Cut].
//
// # Two dialects, one engine
//
// Engines speak OpenAI's chat completions. The body that goes to one is edited, not
// re-encoded: members on the dialect's list keep their bytes, the ones the gateway
// decides about come from the engine's [Dialect]. An answer is read into a reply of
// raw pieces and composed anew from them, so nothing that an engine adds reaches a
// client. JSON is checked by jsontext once on the way in and then walked by json.go,
// which trusts it.
package gateway
