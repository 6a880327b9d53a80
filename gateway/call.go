package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
)

// call is one inference call on its way. The steps of run fill it in from top to
// bottom; settle makes a usage record of it.
type call struct {
	id      string // the request id, a label
	dialect dialect
	started time.Time

	key         *berth.KeyEntry // authenticate
	body        *body           // read; nil when it is not needed any more
	copies      share           // what is held beside it: parts that the dialect wrote anew
	inside      bool            // counted by the doors
	model       string          // resolve
	route       *berth.Route
	live        *live
	request     request     // parse
	class       berth.Class // reserve
	asked       Tokens      // as they are, without factors
	reservation Reservation
	standing    Standing      // of the limits, after the reservation
	patience    time.Duration // forward: how long it waits for its turn, at most
	arrived     time.Time     // when it began to
	place       *turnPlace    // its turn, in a pool
	target      berth.Target
	mark        berth.UsageMark
	beat        uint32 // of the last mark
	lease       *lease
	sent        time.Time // to the engine, the last time
	taken       bool      // the engine has the call
	usage       usage     // stream
	firstToken  time.Time
}

// serve answers the calls of one operation.
func (g *Gateway) serve(d dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: requestID(r.Header), dialect: d, started: g.now(), reservation: unlimited{}}
		out := newAnswer(w, r, c.id, g.bounds.StreamIdle)
		defer out.close()
		err := g.run(c, r, out)
		if err == nil {
			return
		}
		f, panicked := failureOf(err), errors.Is(err, errPanic)
		if panicked {
			g.logger.Error("call panicked", "request_id", c.id, "cause", f.cause)
		}
		if panicked && out.started || f.problem == problemGone {
			panic(http.ErrAbortHandler) // a clean end would look like a whole answer
		}
		out.fail(d, f)
	}
}

// run takes a call all the way. The error it returns is for the client, unless events
// were sent already: then the client has been told by one more of them.
//
// What is on the stack of run, of converse and of stream is there for as long as a stream
// lasts, and a stack of 8 KiB does for all of them together with net/http and what they
// call, if barely. So each has few defers and ways out, for which the compiler needs no
// records on the stack, and what needs much has a function of its own.
func (g *Gateway) run(c *call, r *http.Request, out *answer) (err error) {
	defer func() { caught(recover(), &err) }()
	defer g.depart(c)
	object, err := g.arrive(c, r)
	if err != nil {
		return err
	}
	defer func() { g.settle(c, out, err) }()
	defer func() { caught(recover(), &err) }() // what panics is settled, too
	within, err := g.understand(c, object, r.Header)
	if err != nil {
		return err
	}
	return g.converse(r.Context(), c, within, out)
}

// converse has an engine answer the call within the given time.
//
//go:noinline
func (g *Gateway) converse(ctx context.Context, c *call, within time.Duration, out *answer) error {
	err := g.reserve(ctx, c)
	c.standing.header(out.header())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(within, func() { cancel(timedOut()) }).Stop()

	defer c.leave()
	reply, err := g.forward(ctx, c, func() { out.hurry(); cancel(wasCut()) })
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if c.class == berth.ClassOverflow {
		out.header().Set("X-Dashscope-Ptu-Overflow", "true")
	}
	if c.request.engineStreams() {
		err = g.stream(ctx, cancel, c, reply, out)
	} else {
		err = g.whole(ctx, c, reply, out)
	}
	g.judge(c, err, true)
	return err
}

// understand reads the body, and how long the call may take. It stands by itself so that
// what it needs of the stack is given back: a stream keeps all of run's for its whole time.
//
//go:noinline
func (g *Gateway) understand(c *call, object value, h http.Header) (within time.Duration, err error) {
	if err = g.parse(c, object, h); err != nil {
		return 0, err
	}
	within = c.dialect.bound(&c.request, g.bounds)
	if c.patience, err = patienceOf(h, g.bounds, within); err != nil {
		return 0, err
	}
	return within, c.request.checkBudget(g.engine(c.route.Targets[0].Engine).Traits())
}

// parse reads the request. What the dialect writes anew of the body is counted with it: as
// much as that may be before it is made, as much as it is from then on.
func (g *Gateway) parse(c *call, object value, h http.Header) (err error) {
	c.copies.owner = &g.bodies
	if !c.copies.set(c.dialect.copies(object)) {
		return bodiesFull()
	}
	if c.request, err = c.dialect.parse(object, h, c.route); err != nil {
		return err
	}
	if !c.copies.set(c.request.copied(object)) {
		return bodiesFull()
	}
	return nil
}

// arrive takes a request as far as the deployment that it is for, and returns its body.
// depart must be called afterwards, whatever arrive returns.
func (g *Gateway) arrive(c *call, r *http.Request) (object value, err error) {
	if r.Method != http.MethodPost {
		return nil, wrongMethod(r.Method, http.MethodPost)
	}
	if c.key, err = g.authenticate(r); err != nil {
		return nil, err
	}
	if c.body, err = g.bodies.read(r); err != nil {
		return nil, err
	}
	if err = g.doors.enter(); err != nil {
		return nil, err
	}
	c.inside = true
	if object, err = checkBody(c.body.bytes); err != nil {
		return nil, err
	}
	if c.model, err = modelOf(object); err != nil {
		return nil, err
	}
	s := g.Snapshot()
	if c.route, err = resolve(s, c.key, c.model); err != nil {
		return nil, err
	}
	if err = withinBudget(s, c.route, c.started); err != nil {
		return nil, err
	}
	c.live = g.table.live(c.route.DeploymentID)
	return object, nil
}

func (g *Gateway) depart(c *call) {
	c.freeBody()
	c.copies.set(0)
	if c.inside {
		g.doors.leave()
	}
}

// freeBody gives the request's body back; what was read from it must not be used
// afterwards. It may be called again.
func (c *call) freeBody() {
	if c.body != nil {
		c.body.free()
		c.body = nil
		c.request.prompt.content, c.request.tools, c.request.fields = nil, nil, nil
		c.copies.set(c.request.copied(nil))
	}
}

// leave gives the place at an engine back, if the call has one, and then its turn. It
// may be called again.
func (c *call) leave() {
	if c.lease != nil {
		c.lease.leave()
	}
	c.giveBack()
}

// The causes for which the gateway ends a call by itself.

func timedOut() *failure { return fail(problemTimeout).ending(berth.EndTimeout) }

func wentIdle() *failure { return fail(problemIdle).ending(berth.EndEngineFailed) }

func wasCut() *failure {
	return fail(problemUnavailable).finally().ending(berth.EndStopped).
		say("The deployment was taken down while the call was running.")
}
