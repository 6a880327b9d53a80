package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	berth "github.com/berthhq/berth"
)

const (
	maxErrorBytes  = 64 << 10 // of an engine's error body
	oursBytes      = 512      // room for what the gateway adds to a body
	engineBusyWait = time.Second
)

// forward sends the call to the least loaded engine and returns the answer when its
// header has come. It goes on to another engine only where the connection was refused,
// so that no engine works for a call that another one answers. cut is what
// [Gateway.Cut] does to the call. The caller gives the lease back.
func (g *Gateway) forward(ctx context.Context, c *call, cut func()) (*http.Response, error) {
	var tried []string
	for {
		if err := g.enter(c, tried, cut); err != nil {
			return nil, err
		}
		if err := g.mark(c); err != nil {
			return nil, err // the caller gives the lease back
		}
		response, err := g.send(ctx, c)
		if err == nil {
			c.freeBody()
			c.usage = estimate(&c.request.prompt)
			return response, nil
		}
		c.lease.leave()
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		c.taken = false
		tried = append(tried, c.target.ReplicaID)
	}
}

// enter takes a place at an engine for the call. The snapshot that the engine was
// chosen from must still be the present one afterwards: then whoever swaps it in the
// next moment sees the call.
func (g *Gateway) enter(c *call, tried []string, cut func()) error {
	for {
		s := g.Snapshot()
		route, err := resolve(s, c.key, c.model)
		if err != nil {
			return err
		}
		if route.DeploymentID != c.route.DeploymentID {
			return fail(problemUnavailable).after(comingUpWait)
		}
		target, ok := g.table.pick(c.live, route.Targets, tried)
		if !ok {
			return fail(problemEngine).because(errors.New("every engine refuses connections")).ending(berth.EndEngineFailed)
		}
		c.route, c.target = route, target
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

// send makes one attempt. A refused connection is returned as it is, for another try.
func (g *Gateway) send(ctx context.Context, c *call) (*http.Response, error) {
	buffer := g.bodies.take()
	defer buffer.free()
	if err := buffer.grow(int64(len(c.body.bytes)) + oursBytes); err != nil {
		return nil, err
	}
	dialect, call := g.engine(c.target.Engine), c.request.engineCall(c.target, c.route.WorkspaceID, c.class)
	if sentence := dialect.Refuses(call, c.request.fields); sentence != "" {
		return nil, invalid("%s", sentence)
	}
	ours := dialect.Fields(call)
	buffer.bytes = appendEngineBody(buffer.bytes, &c.request, ours)

	c.taken = true
	response, err := g.engines.post(ctx, c.request.operation.url(c.target.URL), c.target.Key, buffer)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, err
	case err != nil:
		return nil, interrupted(ctx, err)
	case response.StatusCode != http.StatusOK:
		c.taken = false
		return nil, engineRefusal(response, dialect)
	}
	return response, nil
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
