package gateway

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
)

// Bounds of exact counts (design 6), per deployment.
const (
	countsAtOnce = 4
	countsKept   = 256 // results
	countWait    = 5 * time.Second
)

var (
	// errNoCount: the engine of the deployment cannot say how long a prompt is.
	errNoCount = errors.New("the engine cannot count a prompt")
	// errCountLate: the engine was slow, or busy counting other prompts of the deployment.
	errCountLate = errors.New("the prompt was not counted in time")
)

// counts are the exact counts of one deployment: how many may run, and what the last
// ones said. The zero value is ready; it is safe for concurrent use.
type counts struct {
	mu     sync.Mutex
	places chan struct{} // made by the first count
	known  map[promptHash]*list.Element
	recent list.List // of *counted, the latest used first
}

// promptHash stands for everything that decides how long a prompt is.
type promptHash [sha256.Size]byte

type counted struct {
	of     promptHash
	tokens int64
}

// countCall returns the exact number of tokens of the prompt of a parsed call, as one of
// its engines would report it as usage. The engine generates nothing, so no usage record
// is made. The error is [errNoCount] where no engine can tell, else a failure.
func (g *Gateway) countCall(ctx context.Context, c *call) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tried []string
	for {
		if err := g.enter(c, tried, func() { cancel(wasCut()) }); err != nil {
			return 0, err
		}
		tokens, err := g.count(ctx, c.live, c.route.DeploymentID, &c.request, c.target)
		c.lease.leave()
		if !notTaken(err) {
			return tokens, err
		}
		tried = append(tried, c.target.ReplicaID)
	}
}

// count asks the engine at target for the length of a prompt, unless it is known. At most
// countsAtOnce counts of a deployment run at once; others wait, all of them for countWait
// together with the asking.
func (g *Gateway) count(ctx context.Context, l *live, deploymentID string, r *request, target berth.Target) (int64, error) {
	ask, ok := g.engine(target.Engine).Count(r.engineCall(target, "", berth.ClassProbe))
	if !ok {
		return 0, errNoCount
	}
	hash := hashOf(r, target)
	if tokens, ok := l.counts.find(hash); ok {
		return tokens, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, countWait, fail(problemBusy).after(engineBusyWait).because(errCountLate))
	defer cancel()
	leave, err := l.counts.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	if tokens, ok := l.counts.find(hash); ok { // somebody asked meanwhile
		return tokens, nil
	}
	// Draining an engine waits for the count as for a call.
	lease := g.table.enter(deploymentID, target, cancel)
	defer lease.leave()
	tokens, err := g.askCount(ctx, r, target, ask)
	if err == nil {
		l.counts.keep(hash, tokens)
	}
	return tokens, err
}

// askCount sends the body of the call to where the engine counts.
func (g *Gateway) askCount(ctx context.Context, r *request, target berth.Target, ask berth.EngineCount) (int64, error) {
	buffer := g.bodies.take()
	defer buffer.free()
	if err := buffer.grow(r.engineBytes(ask.Fields)); err != nil {
		return 0, err
	}
	buffer.bytes = appendEngineBody(buffer.bytes, r, ask.Fields)
	response, err := g.engines.post(ctx, target.URL+ask.Path, target.Key, buffer)
	if err != nil {
		return 0, interrupted(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		return 0, engineRefusal(response, g.engine(target.Engine))
	}
	defer response.Body.Close()
	answer := g.bodies.take() // vLLM tells all tokens beside their number
	defer answer.free()
	if err := readWhole(answer, response); err != nil {
		return 0, interrupted(ctx, err)
	}
	return readCount(answer.bytes, ask.Member)
}

func readCount(answer []byte, name string) (int64, error) {
	object, ok := checkReply(answer)
	if !ok {
		return 0, fail(problemEngine).because(errGarbage)
	}
	tokens, ok := count(member(object, name))
	if !ok {
		return 0, fail(problemEngine).because(fmt.Errorf("the engine's count has no %s", name))
	}
	return tokens, nil
}

// shapesPrompt are the members a client may set that templates can turn into text.
var shapesPrompt = map[string]bool{
	"tools": true, "tool_choice": true, "parallel_tool_calls": true, "response_format": true,
}

// hashOf covers the model as the engine has it, the mode of thinking, the messages and
// whatever else reaches a template. Prompts of other deployments are never found: each
// has counts of its own, so that no workspace learns what another one asked.
func hashOf(r *request, target berth.Target) promptHash {
	h := sha256.New()
	thinking := byte('-')
	if r.thinking != nil {
		thinking = '0'
		if *r.thinking {
			thinking = '1'
		}
	}
	part := func(name string, bytes []byte) { // lengths keep parts from running together
		_, _ = fmt.Fprintf(h, "%s %d ", name, len(bytes)) // a hash never fails
		_, _ = h.Write(bytes)
	}
	part(target.Model, []byte{thinking})
	part("messages", r.prompt.content)
	for _, f := range r.fields {
		if shapesPrompt[f.Name] {
			part(f.Name, f.Value)
		}
	}
	return promptHash(h.Sum(nil))
}

// enter waits for a place to count and returns how to leave it.
func (c *counts) enter(ctx context.Context) (leave func(), err error) {
	c.mu.Lock()
	if c.places == nil {
		c.places = make(chan struct{}, countsAtOnce)
	}
	places := c.places
	c.mu.Unlock()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, interrupted(ctx, context.Cause(ctx))
	}
}

func (c *counts) find(hash promptHash) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[hash]
	if !ok {
		return 0, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*counted).tokens, true
}

// keep remembers a count in the place of the one that was not used for longest.
func (c *counts) keep(hash promptHash, tokens int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[promptHash]*list.Element{}
	}
	if _, ok := c.known[hash]; ok {
		return
	}
	if len(c.known) >= countsKept {
		oldest := c.recent.Back()
		delete(c.known, oldest.Value.(*counted).of)
		c.recent.Remove(oldest)
	}
	c.known[hash] = c.recent.PushFront(&counted{hash, tokens})
}
