package fakeengine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FaultKind is what goes wrong with a call.
type FaultKind string

// The faults. "Plain" is an answer that is not streamed.
const (
	// FaultRefuse closes the connection without a byte of an answer.
	FaultRefuse FaultKind = "refuse"
	// FaultHangBeforeHeaders never answers; only the client or the engine's end
	// ends the call.
	FaultHangBeforeHeaders FaultKind = "hang_before_headers"
	// FaultHangMidStream falls silent after AfterEvents events; a plain call
	// hangs before its headers.
	FaultHangMidStream FaultKind = "hang_mid_stream"
	// FaultCutStream closes the connection after AfterEvents events; of a plain
	// answer after half of the announced body.
	FaultCutStream FaultKind = "cut_stream"
	// FaultCrash cuts the call as FaultCutStream does and ends the whole engine
	// with the exit code of Script.Crash, or 139.
	FaultCrash FaultKind = "crash"
	// FaultError500 answers 500; a stream with AfterEvents above 0 ends with an
	// error event instead.
	FaultError500 FaultKind = "error_500"
	// FaultError503 is FaultError500 with the status of an engine that is loading.
	FaultError503 FaultKind = "error_503"
	// FaultGarbage answers 200 with a body that is not JSON; a stream gets an
	// event with broken JSON after AfterEvents events, and goes on.
	FaultGarbage FaultKind = "garbage"
	// FaultWrongUsage reports 1,000 prompt tokens and 1,000 completion tokens too
	// many. The counters of /metrics stay right.
	FaultWrongUsage FaultKind = "wrong_usage"
	// FaultNoUsage leaves usage out.
	FaultNoUsage FaultKind = "no_usage"
	// FaultHugeLine adds a text of Bytes letters: a stream gets it as one more
	// event after AfterEvents events, a plain answer at the end of its content.
	FaultHugeLine FaultKind = "huge_line"
)

var faultKinds = []FaultKind{
	FaultRefuse, FaultHangBeforeHeaders, FaultHangMidStream, FaultCutStream, FaultCrash, FaultError500,
	FaultError503, FaultGarbage, FaultWrongUsage, FaultNoUsage, FaultHugeLine,
}

const (
	wrongUsageTokens     = 1_000
	defaultHugeLineBytes = 1 << 20
	maxHugeLineBytes     = 64 << 20
)

// Fault makes calls go wrong. Call and Match choose the calls, both must fit
// where both are given, and a fault with neither strikes every call.
type Fault struct {
	// Kind is what goes wrong.
	Kind FaultKind `json:"kind"`
	// Call is the number of the call, counted from 1 over all endpoints that do
	// work (chat, completions, embeddings) in order of arrival; 0 is any.
	Call int `json:"call,omitempty"`
	// Match is a part of the call's last user message, prompt or input, with its
	// case; "" is any.
	Match string `json:"match,omitempty"`
	// AfterEvents is the number of events, [DONE] included, that a stream sends
	// before the fault strikes. A stream that has fewer ends well.
	AfterEvents int `json:"after_events,omitempty"`
	// Bytes is the length of the text of a huge line, at most 64 MiB; 0 is 1 MiB.
	Bytes int `json:"bytes,omitempty"`
}

func (f Fault) validate(field string) error {
	var kind, size error
	if !slices.Contains(faultKinds, f.Kind) {
		kind = fmt.Errorf("%s.kind: unknown kind %q; known are %q", field, f.Kind, faultKinds)
	}
	if f.Bytes != 0 && f.Kind != FaultHugeLine {
		size = fmt.Errorf("%s.bytes: only a %s has a size", field, FaultHugeLine)
	}
	return errors.Join(
		kind,
		check(field+".call", f.Call, 0, maxCount),
		check(field+".after_events", f.AfterEvents, 0, maxCount),
		check(field+".bytes", f.Bytes, 0, maxHugeLineBytes),
		size,
	)
}

// fault returns the first fault that fits a call, the zero value if none does.
func (s Script) fault(call int, text string) Fault {
	for _, f := range s.Faults {
		if (f.Call == 0 || f.Call == call) && strings.Contains(text, f.Match) {
			return f
		}
	}
	return Fault{}
}

// beforeHeaders reports whether the fault strikes before anything is sent.
func (f Fault) beforeHeaders(streamed bool) bool {
	switch f.Kind {
	case FaultRefuse, FaultHangBeforeHeaders:
		return true
	case FaultHangMidStream, FaultGarbage:
		return !streamed
	case FaultError500, FaultError503:
		return !streamed || f.AfterEvents == 0
	default:
		return false
	}
}

// status is the HTTP status of the two error kinds.
func (f Fault) status() int {
	if f.Kind == FaultError503 {
		return 503
	}
	return 500
}

// hugeText is what a FaultHugeLine adds, "" for other kinds.
func (f Fault) hugeText() string {
	switch {
	case f.Kind != FaultHugeLine:
		return ""
	case f.Bytes == 0:
		return strings.Repeat("x", defaultHugeLineBytes)
	default:
		return strings.Repeat("x", f.Bytes)
	}
}
