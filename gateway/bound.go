package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/text/unicode/norm"

	berth "github.com/berthhq/berth"
)

// The upper bound of a prompt's tokens that needs no engine (design 7). Tokenizers make
// no token of less than a byte, so it is the bytes of what the template writes: the
// texts, and what it adds to them.
const (
	// Templates write tools and tool calls as JSON of their own: with spaces, and "<" or
	// a letter of two bytes as \u003c.
	renderedFactor = 6
	// Tokenizers may normalize (NFC); no text becomes longer than thrice. An escape in
	// JSON, \u0958 for example, is shorter than what it stands for by less than half.
	escapedFactor = 2
	foreignFactor = 3
)

// overhead is what a model's template adds to texts, in tokens and at most.
type overhead struct {
	call    int64
	message int64 // each
	tools   int64 // when there are any
}

// guessed is taken where the engine cannot count: more than any template is known to add.
var guessed = overhead{call: 1024, message: 128, tools: 2048}

// untemplated is for texts that go to the model as they are: what tokenizers put around
// each, such as a mark of its begin and one of its end.
var untemplated = overhead{message: 4}

// overheads are those of one deployment by the mode of thinking: none, off, on.
type overheads [3]atomic.Pointer[overhead]

func modeOf(thinking *bool) int {
	switch {
	case thinking == nil:
		return 0
	case *thinking:
		return 2
	}
	return 1
}

// boundInput returns an upper bound of the call's input. What the template adds is
// measured by the first call of a deployment that needs it, and guessed where no engine
// can tell.
func (g *Gateway) boundInput(ctx context.Context, c *call) int64 {
	if c.request.operation != chatting {
		return c.request.bound(&untemplated)
	}
	added := c.live.added[modeOf(c.request.thinking)].Load()
	if added == nil {
		var err error
		switch added, err = g.measure(ctx, c); {
		case errors.Is(err, errNoCount):
			added = &guessed
		case err != nil:
			return c.request.bound(&guessed)
		}
		c.live.added[modeOf(c.request.thinking)].Store(added)
	}
	return c.request.bound(added)
}

// bound is an upper bound of the input.
func (r *request) bound(added *overhead) int64 {
	tokens := r.prompt.bytes*textFactor(r.prompt.content) + r.prompt.rendered*renderedFactor
	tokens += added.call + added.message*r.prompt.count
	if r.tools != nil {
		tokens += int64(len(r.tools))*renderedFactor + added.tools
	}
	return tokens
}

// most is what the call can make an engine read and write, whatever becomes of it: a bound
// that is wider than bound and costs no look at the texts.
func (r *request) most(ceiling int64) berth.Tokens {
	m := berth.Tokens{Input: guessed.call + guessed.message*r.prompt.count + r.prompt.bytes*foreignFactor + r.prompt.rendered*renderedFactor}
	if r.tools != nil {
		m.Input += int64(len(r.tools))*renderedFactor + guessed.tools
	}
	if r.operation.writes {
		m.Output = max(r.n, 1) * cmp.Or(r.engineMax, ceiling)
	}
	return m
}

func textFactor(text []byte) int64 {
	switch {
	case !norm.NFC.IsNormal(text):
		return foreignFactor
	case bytes.Contains(text, []byte(`\u`)):
		return escapedFactor
	}
	return 1
}

// The prompts whose lengths tell what a template adds. Each text is one byte long.
const (
	sampleUser   = `{"role":"user","content":"a"}`
	sampleSystem = `{"role":"system","content":"a"}`
	sampleAnswer = `{"role":"assistant","content":"a"}`
	sampleCall   = `{"role":"assistant","content":"","tool_calls":[{"id":"aaaaaaaaa","type":"function","function":{"name":"a","arguments":"{}"}}]}`
	sampleResult = `{"role":"tool","tool_call_id":"aaaaaaaaa","content":"a"}`
	sampleTools  = `[{"type":"function","function":{"name":"a","description":"a","parameters":{"type":"object","properties":{}}}}]`

	// spare is for tokens that a lone letter hides, such as a space that a tokenizer puts
	// before a text.
	spare = 2
)

// asking is a call of the same caller that is counted and not made, so that nothing of it
// shows in c.
func (c *call) asking(r request) *call {
	return &call{key: c.key, model: c.model, route: c.route, live: c.live, request: r}
}

// measure asks an engine what the template adds, in the call's mode of thinking. What a
// template refuses, such as a message of the system, it refuses of calls as well.
func (g *Gateway) measure(ctx context.Context, c *call) (*overhead, error) {
	count := func(tools, messages string) (int64, error) {
		r := request{prompt: prompt{content: value("[" + messages + "]")}, thinking: c.request.thinking, n: 1, operation: chatting}
		if tools != "" {
			r.fields = []berth.Field{{Name: "tools", Value: []byte(tools)}}
		}
		return g.countCall(ctx, c.asking(r))
	}
	plain, err := count("", sampleUser)
	if err != nil {
		return nil, err
	}
	most := func(than, least int64, tools, messages string) int64 {
		tokens, err := count(tools, messages)
		if err != nil {
			return least
		}
		return max(least, tokens-than)
	}
	o := overhead{call: plain + spare, message: 1}
	o.message = most(plain, o.message, "", sampleSystem+","+sampleUser)
	o.message = most(plain, o.message, "", sampleUser+","+sampleAnswer+","+sampleUser)
	if tools, err := count(sampleTools, sampleUser); err == nil {
		o.tools = max(0, tools-plain) + spare
		o.message = most(tools, o.message, sampleTools, sampleUser+","+sampleCall+","+sampleResult)
	}
	o.message += spare
	return &o, nil
}
