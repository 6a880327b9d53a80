package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// step is a part of the way of a plain call.
type step struct {
	name string
	most float64 // allocations. Who needs more says why in the commit that raises it
	do   func()
}

// steps takes a call through the gateway once, so that each step can be done again and
// again with what those before it have made.
func steps(t testing.TB) []step {
	h := open(t, plan{limits: freeLimiter{}, dialect: uncounted{}, route: func(r *berth.Route) { r.Limits.Requests, r.Limits.Tokens = 1e9, 1e12 }})
	g := h.Gateway
	g.meter, g.logger = freeMeter{}, slog.New(discardJSON())
	g.engines = newEngines(inMemoryEngine)
	t.Cleanup(g.engines.close)
	ctx := t.Context()
	text := chat(words)
	sent := strings.NewReader(text)
	r := httptest.NewRequest(http.MethodPost, chatPath, nil)
	r.Header.Set("Authorization", "Bearer "+keyText)
	r.ContentLength, r.Body = int64(len(text)), io.NopCloser(sent)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}

	c := &call{id: "id", dialect: openAI{}, started: time.Now(), reservation: unlimited{}}
	object, err := g.arrive(c, r)
	must(err)
	t.Cleanup(func() { g.depart(c) })
	c.request, err = c.dialect.parse(object, r.Header, c.route)
	must(err)
	must(g.reserve(ctx, c))
	body := &body{bytes: slices.Clone(c.body.bytes), held: share{owner: &g.bodies}} // the call's own is freed by forward
	body.users.Store(1 << 30)
	asked := c.request
	asked.fields = slices.Clone(asked.fields)
	again := func() { c.body, c.request = body, asked }
	again()
	cut := func() {}
	forward := func() *http.Response {
		again()
		response, err := g.forward(ctx, c, cut)
		must(err)
		return response
	}
	answered := func(response *http.Response) {
		must(g.whole(ctx, c, response, newAnswer(discard{}, r, c.id, time.Minute)))
		must(response.Body.Close())
		c.leave()
	}
	answered(forward())
	streamed := *c
	streamed.request.stream = true
	w := c.dialect.writer(&streamed)
	var said reply
	var frames []byte
	event := []byte(`{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" token"}}],"created":1790000000,"id":"chatcmpl-0","model":"abacus","object":"chat.completion.chunk"}`)
	out := newAnswer(discard{}, r, c.id, time.Minute)
	usage := c.usage

	return []step{
		{"authenticate", 0, func() { _, err := g.authenticate(r); must(err) }},
		{"read the body", 0, func() {
			sent.Reset(text)
			b, err := g.bodies.read(r)
			must(err)
			b.free()
		}},
		{"check and parse", 5, func() {
			object, err := checkBody(body.bytes)
			must(err)
			_, err = c.dialect.parse(object, r.Header, c.route)
			must(err)
		}},
		{"reserve", 0, func() { again(); must(g.reserve(ctx, c)) }},
		{"mark", 0, func() { c.mark = berth.UsageMark{}; must(g.mark(c)) }},
		{"forward and answer", 34, func() { answered(forward()) }},
		{"an event", 0, func() {
			must(said.read(event, c.request.operation))
			g.observe(c, &said)
			frames = w.event(frames[:0], &said, &c.usage)
		}},
		{"settle", 5, func() { c.usage = usage; g.settle(c, out, nil) }},
	}
}

func TestAllocationsOfSteps(t *testing.T) { //nolint:paralleltest // others would be counted
	if raceDetector {
		t.Skip("the race detector allocates as well")
	}
	for _, s := range steps(t) {
		if got := testing.AllocsPerRun(200, s.do); got > s.most {
			t.Errorf("%s: %.0f allocations, more than %.0f", s.name, got, s.most)
		}
	}
}

// BenchmarkSteps is what each step of a plain call takes, without sockets, the journal and
// the turnstile, which have benchmarks of their own.
func BenchmarkSteps(b *testing.B) {
	for _, s := range steps(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.do()
			}
		})
	}
}

// discard is a client that takes everything.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// discardJSON does the work of a log line.
func discardJSON() slog.Handler { return slog.NewJSONHandler(nowhere{}, nil) }

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// freeMeter keeps nothing.
type freeMeter struct{}

func (freeMeter) Open(*berth.UsageMark) error { return nil }
func (freeMeter) Progress(*berth.UsageMark)   {}
func (freeMeter) Close(*berth.UsageMark)      {}
func (freeMeter) Beat() uint32                { return 0 }

// freeLimiter lets every call through.
type freeLimiter struct{}

func (freeLimiter) Reserve(time.Time, berth.Limits, Tokens, *Standing) (Reservation, *Refusal) {
	return unlimited{}, nil
}
func (freeLimiter) Standing(time.Time, berth.Limits) Standing { return Standing{} }
