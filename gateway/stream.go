package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/internal/sse"
)

const (
	maxEventBytes = 1 << 20
	maxWholeBytes = 64 << 20
	// togetherBytes is how much is written at once of events that are here already.
	togetherBytes = 8 << 10
	// drainWait is how long an engine may take to end its stream after the last event;
	// one that has ended leaves its connection for the next call.
	drainWait = time.Second
)

var (
	errCutShort = errors.New("the engine's stream ended before its answer")
	errTooLarge = errors.New("the engine's answer is larger than 64 MiB")
)

// scratch is what reading a stream needs, used again by later ones.
type scratch struct {
	events *sse.Reader
	reply  reply
	spaces margins
	frames []byte // made for the client and not yet sent
}

var scratches = sync.Pool{New: func() any {
	return &scratch{events: sse.NewReader(nil, maxEventBytes)}
}}

// stream passes a stream on in the client's dialect, event by event. What is on the stack
// while a stream waits, here and below, is there for each of thousands: what is not needed
// then is done by functions of their own.
func (g *Gateway) stream(ctx context.Context, cancel context.CancelCauseFunc, c *call, response *http.Response, out *answer) error {
	space := takeScratch(response.Body)
	defer space.free()
	idle := newIdleTimer(g.bounds.StreamIdle, cancel)
	defer idle.stop()

	w := c.dialect.writer(c)
	err := g.pump(ctx, c, space, w, out, idle)
	return g.endStream(c, space, w, out, idle, err)
}

//go:noinline
func takeScratch(from io.Reader) *scratch {
	space := scratches.Get().(*scratch)
	space.events.Reset(from)
	space.frames, space.spaces = space.frames[:0], space.spaces[:0]
	return space
}

func (space *scratch) free() {
	space.events.Reset(nil)
	scratches.Put(space)
}

// endStream tells the client how the stream ended, err or well.
//
//go:noinline
func (g *Gateway) endStream(c *call, space *scratch, w writer, out *answer, idle *idleTimer, err error) error {
	if err != nil && !w.canEnd(failureOf(err)) {
		return c.tellFailure(space, w, out, failureOf(err))
	}
	space.frames = w.end(space.frames, &c.usage)
	g.progress(c) // who has the whole answer has a record with the engine's figures
	if sendErr := c.send(space, out); sendErr != nil {
		return sendErr
	}
	if err == nil && !w.full() {
		idle.hurry(drainWait)
		_, _ = space.events.Next() // the end; anything else closes the connection
	}
	return err
}

// pump reads events until the engine, or the writer, has all it wants to say. Before it
// waits for the engine it sends what there is: no event is held back, but those that
// came together go out together. What came last is left for the end.
func (g *Gateway) pump(ctx context.Context, c *call, space *scratch, w writer, out *answer, idle *idleTimer) error {
	for waited := true; !w.full(); {
		here := space.events.Buffered()
		if !here || len(space.frames) > togetherBytes {
			if err := c.send(space, out); err != nil {
				return err
			}
			g.marksProgress(c)
		}
		if !here {
			waited = true
			space.events.Wait()
		}
		said, done, err := g.step(ctx, c, space, w)
		if done || err != nil {
			return err
		}
		if said && waited {
			idle.allow(g.bounds.StreamIdle)
			waited = false
		}
	}
	return nil
}

// step takes in the event that has come. said: it was no heartbeat. done: it was the last.
//
//go:noinline
func (g *Gateway) step(ctx context.Context, c *call, space *scratch, w writer) (said, done bool, err error) {
	event, err := space.events.Next()
	end := err == nil && string(event.Data) == "[DONE]" || errors.Is(err, io.EOF)
	switch {
	case end && c.usage.finish != nil:
		return true, true, nil
	case end:
		return false, false, interrupted(ctx, errCutShort)
	case err != nil:
		return false, false, interrupted(ctx, err)
	case event.Data == nil:
		return false, false, nil
	}
	if err := space.reply.read(event.Data, c.request.operation); err != nil {
		return false, false, interrupted(ctx, err)
	}
	g.observe(c, &space.reply)
	space.spaces.trim(&space.reply)
	space.frames = w.event(space.frames, &space.reply, &c.usage)
	return true, false, nil
}

func (g *Gateway) observe(c *call, r *reply) {
	c.usage.observe(r, c.request.n)
	if !c.firstToken.IsZero() {
		return
	}
	for i := range r.parts {
		if r.parts[i].text() {
			c.firstToken = g.now()
			return
		}
	}
}

// send gives the client the frames that a writer made.
func (c *call) send(space *scratch, out *answer) error {
	made := space.frames
	space.frames = made[:0]
	return c.deliver(made, out)
}

// deliver gives the client what a writer made: events as they come, a whole answer when
// it is complete.
func (c *call) deliver(made []byte, out *answer) error {
	if len(made) == 0 {
		return nil
	}
	deliver := out.events
	if !c.request.stream {
		deliver = func(body []byte) error { return out.whole(http.StatusOK, body) }
	}
	if err := deliver(made); err != nil {
		return fail(problemGone).because(err).ending(berth.EndClientGone)
	}
	c.usage.told = c.usage.told || !c.firstToken.IsZero()
	return nil
}

// tellFailure sends the error event of a stream that has begun, and returns f.
func (c *call) tellFailure(space *scratch, w writer, out *answer, f *failure) error {
	if f.problem != problemGone && (out.started || len(space.frames) > 0) {
		space.frames = w.fail(space.frames, f)
		_ = c.send(space, out) // an error means the client has gone as well
	}
	return f
}

// whole passes on an answer that the engine made in one piece.
func (g *Gateway) whole(ctx context.Context, c *call, response *http.Response, out *answer) error {
	buffer := g.bodies.take()
	defer buffer.free()
	if err := readWhole(buffer, response); err != nil {
		return interrupted(ctx, err)
	}
	var r reply
	if err := r.read(buffer.bytes, c.request.operation); err != nil {
		return interrupted(ctx, err)
	}
	if err := c.request.suits(&r); err != nil {
		return err
	}
	c.usage.whole(&r)
	new(margins).trim(&r)
	c.firstToken = g.now()
	made := g.bodies.take()
	defer made.free()
	made.bytes = c.dialect.writer(c).event(made.bytes, &r, &c.usage)
	g.progress(c)
	return c.deliver(made.bytes, out)
}

// readWhole reads an engine's answer up to its bound.
func readWhole(b *body, response *http.Response) error {
	if response.ContentLength > 0 && response.ContentLength < maxWholeBytes && int64(cap(b.bytes)) <= response.ContentLength {
		b.bytes = make([]byte, 0, response.ContentLength+1)
	}
	for {
		if len(b.bytes) == cap(b.bytes) {
			b.bytes = append(b.bytes, 0)[:len(b.bytes)]
		}
		n, err := response.Body.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(b.bytes) > maxWholeBytes:
			return errTooLarge
		}
	}
}
