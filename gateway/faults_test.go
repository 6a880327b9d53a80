package gateway

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

// mouth is one way to ask: a dialect, plain or streamed.
type mouth struct {
	path    string
	body    func(text string) string
	headers []string
	streams bool
	says    string                     // in an answer to 37+85
	code    func(v map[string]any) any // of an error in this dialect
}

// last are the data of the last frame of a stream, or the whole body.
func (m *mouth) last(body string) string {
	if !m.streams {
		return body
	}
	all := frames(body)
	_, data, _ := strings.Cut(all[len(all)-1], "data:")
	return data
}

func openAICode(v map[string]any) any    { return at(v, "error", "code") }
func nativeCode(v map[string]any) any    { return v["code"] }
func anthropicCode(v map[string]any) any { return at(v, "error", "type") }

var mouths = map[string]mouth{
	"OpenAI":                   {path: chatPath, body: func(text string) string { return chat(text) }, code: openAICode, says: `"122"`},
	"OpenAI, two":              {path: chatPath, body: func(text string) string { return chat(text, `"n":2`) }, code: openAICode, says: `"122"`},
	"OpenAI stream":            {path: chatPath, body: func(text string) string { return chat(text, `"stream":true`) }, code: openAICode, streams: true, says: `"122"`},
	"native":                   {path: nativePath, body: func(text string) string { return generation(text) }, code: nativeCode, says: `"122"`},
	"native stream":            {path: nativePath, body: func(text string) string { return generation(text) }, headers: []string{"X-DashScope-SSE: enable"}, code: nativeCode, streams: true, says: `"122"`},
	"Anthropic":                {path: messagesPath, body: func(text string) string { return message(text) }, code: anthropicCode, says: `"122"`},
	"OpenAI completion":        {path: completionsPath, body: func(text string) string { return completion(strconv.Quote(text)) }, code: openAICode, says: `"122"`},
	"OpenAI completion stream": {path: completionsPath, body: func(text string) string { return completion(strconv.Quote(text), `"stream":true`) }, code: openAICode, streams: true, says: `"122"`},
	"OpenAI responses":         {path: responsesPath, body: func(text string) string { return respond(strconv.Quote(text)) }, code: openAICode, says: `"122"`},
	"OpenAI responses stream":  {path: responsesPath, body: func(text string) string { return respond(strconv.Quote(text), `"stream":true`) }, code: openAICode, streams: true, says: `"122"`},
	"Anthropic stream":         {path: messagesPath, body: func(text string) string { return message(text, `"stream":true`) }, code: anthropicCode, streams: true, says: `"122"`},
}

// Whatever an engine does, in whatever dialect it is asked: the caller is told within the
// bounds, the reservation is settled once, the record says how it ended, and the next call
// of the same connections is answered.
func TestFaultsInEveryDialect(t *testing.T) {
	t.Parallel()
	const engine, hung, late, loading = "ModelServiceFailed", "ResponseTimeout", "RequestTimeOut", "ModelUnavailable"
	for name, fault := range map[string]struct {
		fault fakeengine.Fault
		plain string // code of a plain call; "": it is answered
		early string // of a stream that has not begun; "": it has
		event string // of a stream that has begun; "": it ends well
	}{
		"refused":           {fakeengine.Fault{Kind: fakeengine.FaultRefuse}, engine, engine, ""},
		"no header":         {fakeengine.Fault{Kind: fakeengine.FaultHangBeforeHeaders}, late, late, ""},
		"silent at once":    {fakeengine.Fault{Kind: fakeengine.FaultHangMidStream}, late, "", hung},
		"silent later":      {fakeengine.Fault{Kind: fakeengine.FaultHangMidStream, AfterEvents: 2}, late, "", hung},
		"cut at once":       {fakeengine.Fault{Kind: fakeengine.FaultCutStream}, engine, "", engine},
		"cut later":         {fakeengine.Fault{Kind: fakeengine.FaultCutStream, AfterEvents: 2}, engine, "", engine},
		"500":               {fakeengine.Fault{Kind: fakeengine.FaultError500}, engine, engine, ""},
		"500 later":         {fakeengine.Fault{Kind: fakeengine.FaultError500, AfterEvents: 2}, engine, "", engine},
		"503":               {fakeengine.Fault{Kind: fakeengine.FaultError503}, loading, loading, ""},
		"garbage":           {fakeengine.Fault{Kind: fakeengine.FaultGarbage}, engine, "", engine},
		"garbage later":     {fakeengine.Fault{Kind: fakeengine.FaultGarbage, AfterEvents: 2}, engine, "", engine},
		"a line too long":   {fakeengine.Fault{Kind: fakeengine.FaultHugeLine, AfterEvents: 2, Bytes: 2 << 20}, "", "", engine},
		"a line just right": {fakeengine.Fault{Kind: fakeengine.FaultHugeLine, AfterEvents: 2, Bytes: 1 << 19}, "", "", ""},
		"no usage":          {fakeengine.Fault{Kind: fakeengine.FaultNoUsage}, "", "", ""},
		"wrong usage":       {fakeengine.Fault{Kind: fakeengine.FaultWrongUsage}, "", "", ""},
	} {
		fault.fault.Match = "count"
		for mouthName, m := range mouths {
			t.Run(name+", "+mouthName, func(t *testing.T) {
				t.Parallel()
				limits, bounds := &fixedLimiter{}, Bounds{}
				if fault.plain == late {
					bounds = Bounds{StreamIdle: time.Second, Call: 2 * time.Second, NativeCall: 2 * time.Second}
				}
				h := open(t, plan{
					scripts: []fakeengine.Script{{Faults: []fakeengine.Fault{fault.fault}}}, limiter: limits, route: requestsPerMinute,
					bounds: bounds,
				})
				got := h.post(t, m.path, m.body("count to 5"), m.headers...)
				// What is not streamed to the client may be streamed by the engine.
				collected := !m.streams && strings.Contains(h.lastBody(t), `"stream":true`)
				code, status := fault.plain, 500
				switch {
				case m.streams && fault.early == "" && fault.event != "" && fault.fault.AfterEvents > 0:
					code, status = fault.event, 200
				case m.streams && fault.early == "", collected:
					code = fault.early + fault.event
				case m.streams:
					code = fault.early
				}
				switch code {
				case "":
					status = 200
				case loading:
					status = 503
					if got.header.Get("Retry-After") == "" {
						t.Error("nobody is told when to come again")
					}
				}
				if got.status != status {
					t.Fatalf("%d %.300s", got.status, got.body)
				}
				record := h.meter.wait(t, 1)[0]
				if code != "" {
					m.checkFailure(t, got, code)
					if record.Billable || record.End == berth.EndStop || record.End == berth.EndLength {
						t.Errorf("recorded %+v", record)
					}
				} else if record.End != berth.EndStop && record.End != berth.EndLength {
					t.Errorf("recorded %+v", record)
				}
				again := h.post(t, m.path, m.body("37+85"), m.headers...)
				if again.status != 200 || !strings.Contains(again.body, m.says) {
					t.Errorf("afterwards: %d %.300s", again.status, again.body)
				}
				h.Close()
				h.isIdle(t, 2)
			})
		}
	}
}

func (m *mouth) checkFailure(t *testing.T, got result, code string) {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(m.last(got.body)), &v); err != nil {
		if got.status == 200 || json.Unmarshal([]byte(got.body), &v) != nil {
			t.Fatalf("the failure is no JSON: %v in %.300s", err, got.body)
		}
	}
	if have := m.code(v); have != code && (v["type"] != "error" || v["code"] != code) {
		t.Errorf("code %v, want %s in %.300s", have, code, got.body)
	}
	if strings.Contains(got.body, "[DONE]") || strings.Contains(got.body, "message_stop") {
		t.Errorf("a failure looks like an end: %.300s", got.body)
	}
	if got.status != 200 && got.header.Get("Content-Type") != "application/json" {
		t.Errorf("content type %q", got.header.Get("Content-Type"))
	}
}

// lastBody is what the engine was asked last.
func (h *house) lastBody(t *testing.T) string {
	t.Helper()
	return string(h.engines[0].Stats().LastBody)
}

// isIdle holds a closed house to having given everything back after n calls.
func (h *house) isIdle(t *testing.T, n int) {
	t.Helper()
	h.limits.mu.Lock()
	defer h.limits.mu.Unlock()
	if len(h.limits.settled) != n {
		t.Errorf("%d of %d reservations are settled", len(h.limits.settled), n)
	}
	if held := h.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes of bodies are still held", held)
	}
	if inside := h.InFlight("", ""); inside != 0 {
		t.Errorf("%d calls are still in flight", inside)
	}
}
