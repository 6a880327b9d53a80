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
	taken       bool  // the engine has the call
	usage       usage // stream
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
func (g *Gateway) run(c *call, r *http.Request, out *answer) (err error) {
	defer func() { caught(recover(), &err) }()
	defer g.depart(c)
	object, err := g.arrive(c, r)
	if err != nil {
		return err
	}
	defer func() { g.settle(c, out, err) }()
	defer func() { caught(recover(), &err) }() // what panics is settled, too
	if c.request, err = c.dialect.parse(object, r.Header, c.route); err != nil {
		return err
	}
	answer := c.dialect.bound(&c.request, g.bounds)
	if c.patience, err = patienceOf(r.Header, g.bounds, answer); err != nil {
		return err
	}
	if err = c.request.checkBudget(g.engine(c.route.Targets[0].Engine).Traits()); err != nil {
		return err
	}
	err = g.reserve(r.Context(), c)
	c.standing.header(out.header())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer time.AfterFunc(answer, func() { cancel(timedOut()) }).Stop()

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
		return g.stream(ctx, cancel, c, reply, out)
	}
	return g.whole(ctx, c, reply, out)
}

// arrive takes a request as far as the deployment that it is for, and returns its body.
// depart must be called afterwards, whatever arrive returns.
func (g *Gateway) arrive(c *call, r *http.Request) (object value, err error) {
	if r.Method != http.MethodPost {
		return nil, invalid("Request method '%s' is not supported.", r.Method)
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
	if c.route, err = resolve(g.Snapshot(), c.key, c.model); err != nil {
		return nil, err
	}
	c.live = g.table.live(c.route.DeploymentID)
	return object, nil
}

func (g *Gateway) depart(c *call) {
	c.freeBody()
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
	return fail(problemUnavailable).finally().ending(berth.EndEngineFailed).
		say("The deployment was taken down while the call was running.")
}
