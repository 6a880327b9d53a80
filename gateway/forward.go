package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
)

const (
	maxErrorBytes  = 64 << 10 // of an engine's error body
	engineBusyWait = time.Second
)

// forward sends the call to the chosen engine (pick.go) and returns the answer when its
// header has come. It goes on to another engine only where this one has certainly not
// taken the call, so that no engine works for a call that another one answers. cut is what
// [Gateway.Cut] does to the call. The caller gives the lease back.
func (g *Gateway) forward(ctx context.Context, c *call, cut func()) (*http.Response, error) {
	var tried []string
	for {
		if err := g.enterInTurn(ctx, c, tried, cut); err != nil {
			return nil, err
		}
		if err := g.mark(c); err != nil {
			return nil, err // the caller gives the lease back
		}
		response, err := g.send(ctx, c)
		g.judge(c, err, false)
		if err == nil {
			c.freeBody()
			c.usage = estimate(&c.request)
			return response, nil
		}
		c.leave()
		if !notTaken(err) {
			return nil, err
		}
		c.taken = false
		tried = append(tried, c.target.ReplicaID)
	}
}

// enterInTurn takes a place for the call when it has slots of its pool, at once where
// there is none. What changed while it waited is looked at again.
func (g *Gateway) enterInTurn(ctx context.Context, c *call, tried []string, cut func()) error {
	for {
		s := g.Snapshot()
		route, err := g.again(s, c)
		if err != nil {
			return err
		}
		if c.route = route; route.PoolID != "" && g.pools.open != nil {
			if err := g.turn(ctx, c, s, tried, cut); err != nil {
				return err
			}
		}
		if err := g.enter(c, tried, cut); !errors.Is(err, errSlotsGone) {
			return err
		}
		if g.Snapshot() == s { // the replica takes no calls of this deployment
			tried = append(tried, c.place.turn.ReplicaID)
		}
		c.giveBack()
	}
}

// errSlotsGone: the replica that a call got slots of has gone since.
var errSlotsGone = errors.New("the replica has gone")

// enter takes a place at an engine for the call. The snapshot that the engine was
// chosen from must still be the present one afterwards: then whoever swaps it in the
// next moment sees the call.
func (g *Gateway) enter(c *call, tried []string, cut func()) error {
	for {
		s := g.Snapshot()
		route, err := g.again(s, c)
		if err != nil {
			return err
		}
		c.route = route
		target, err := g.target(c, tried)
		if err != nil {
			return err
		}
		c.target = target
		c.lease = g.table.enter(route.DeploymentID, target, cut)
		switch {
		case g.closing.Load(): // and Close may have looked before the call was there
			c.lease.leave()
			return wasCut()
		case g.Snapshot() == s:
			return nil
		}
		c.lease.leave()
	}
}

// again resolves a call once more, which must lead to the same deployment.
func (g *Gateway) again(s *berth.Snapshot, c *call) (*berth.Route, error) {
	route, err := resolve(s, c.key, c.model)
	if err == nil && route.DeploymentID != c.live.deploymentID {
		err = fail(problemUnavailable).after(comingUpWait)
	}
	return route, err
}

// target is where the call goes: the replica that it has slots of, or the chosen one.
func (g *Gateway) target(c *call, tried []string) (berth.Target, error) {
	if c.place == nil {
		var key uint64
		if len(c.route.Targets) > 1 {
			key = affinity(c)
		}
		if t, ok := g.table.pick(c.live, c.route.Targets, tried, key, g.now); ok {
			return t, nil
		}
		return berth.Target{}, refusedEverywhere()
	}
	for _, t := range c.route.Targets {
		if t.ReplicaID == c.place.turn.ReplicaID {
			return t, nil
		}
	}
	return berth.Target{}, errSlotsGone
}

// send makes one attempt. A refused connection is returned as it is, for another try.
func (g *Gateway) send(ctx context.Context, c *call) (*http.Response, error) {
	buffer := g.bodies.take()
	defer buffer.free()
	dialect := g.engine(c.target.Engine)
	if err := c.compose(buffer, dialect); err != nil {
		return nil, err
	}
	c.taken, c.sent = true, g.now()
	response, err := g.engines.post(ctx, c.request.operation.url(c.target.URL), c.target.Key, buffer)
	switch {
	case err != nil && notTaken(err) && ctx.Err() == nil:
		return nil, err
	case err != nil:
		return nil, interrupted(ctx, err)
	case response.StatusCode != http.StatusOK:
		c.taken = false
		return nil, engineRefusal(response, dialect)
	}
	return response, nil
}

// compose writes the engine's body. It stands by itself for the stack's sake, see run.
//
//go:noinline
func (c *call) compose(to *body, dialect Dialect) error {
	call := c.request.engineCall(c.target, c.route.WorkspaceID, c.class)
	if sentence := dialect.Refuses(call, c.request.fields); sentence != "" {
		return invalid("%s", sentence)
	}
	ours := dialect.Fields(call)
	if err := to.grow(c.request.engineBytes(ours)); err != nil {
		return err
	}
	to.bytes = appendEngineBody(to.bytes, &c.request, ours)
	return nil
}

// interrupted says why a call to an engine broke off: because the gateway or the client
// ended it, else because of the engine.
func interrupted(ctx context.Context, err error) *failure {
	var ours *failure
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &ours):
		return ours
	case cause != nil:
		return fail(problemGone).because(cause).ending(berth.EndClientGone)
	}
	return fail(problemEngine).because(err).ending(berth.EndEngineFailed)
}

// engineRefusal maps an answer other than 200. What the engine says of the request is
// for the client; what it says of itself is for operators.
func engineRefusal(response *http.Response, dialect Dialect) *failure {
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes)) // a part is as good
	said := errorMessage(text)
	cause := fmt.Errorf("the engine answered %d", response.StatusCode) // its words may quote the prompt
	if sentence := dialect.Blames(response.StatusCode, said); sentence != "" {
		return invalid("%s", sentence).because(cause)
	}
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return invalid("The engine refused the request.").because(cause)
	case http.StatusServiceUnavailable:
		cause = fmt.Errorf("%w: it answered %d", errNotServing, response.StatusCode)
	case http.StatusTooManyRequests:
		return fail(problemBusy).after(engineBusyWait).because(cause)
	}
	return fail(problemEngine).because(cause).ending(berth.EndEngineFailed)
}

// errorMessage finds the sentence in an engine's error body, "" when there is none.
func errorMessage(body []byte) string {
	object, ok := checkReply(body)
	if !ok {
		return ""
	}
	inside := member(object, "error")
	if inside.isObject() {
		return member(inside, "message").text()
	}
	return member(object, "message").text()
}
