package gateway

import (
	"cmp"
	"math"

	berth "github.com/berthhq/berth"
)

// defaultThinking is the mode of a call on a model that can do both, when neither the
// call nor the deployment says which. Our choice: the documents let it depend on the
// model; off is what costs nobody tokens that they did not ask for.
const defaultThinking = false

// request is what a client asked for, read from the body by its dialect and completed
// by decide. Its values are parts of the body.
type request struct {
	operation *operation
	model     value // as it was written, to be echoed
	stream    bool  // the client wants events
	collected bool  // it does not, but the engine is asked for a stream to make one body of
	prompt    prompt
	tools     value
	format    string // type of response_format
	fields    []berth.Field
	n         int64 // answers

	maxTokens  int64  // 0: not said; below: no number that it can be
	lengthName string // what the dialect calls it; "": max_tokens
	budget     int64  // thinking tokens; 0: not said; below: no number that it can be
	thinking   *bool  // nil: not said, and after decide: the model has no such mode

	wantsUsage bool // OpenAI: a usage chunk at the end of the stream

	dimensions int64 // of embeddings; 0: the model's own
	packed     bool  // embeddings in base64

	echo []byte // responses: members of the answer that repeat the request; a copy

	thinkingApart bool // native: max_tokens leaves thinking out
	textFormat    bool // native: output.text instead of output.choices
	incremental   *bool

	engineMax int64 // decided: largest output the engine may make, 0: its own ceiling
	declared  int64 // decided: what the call can use at most, 0: it does not say
}

func (r *request) thinks() bool { return r.thinking != nil && *r.thinking }

// common takes the members that both dialects know.
func (r *request) common(name string, v value) (err error) {
	switch name {
	case "stream":
		r.stream, _ = v.boolean()
	case "messages":
		r.prompt, err = readMessages(v)
	case "n":
		r.n, _ = v.integer()
		r.pass(name, v)
	case "max_tokens": // by either of its names; the smaller of two
		if n := positive(v); r.maxTokens == 0 || n < r.maxTokens {
			r.maxTokens = n
		}
	case "thinking_budget":
		r.budget = positive(v)
	case "enable_thinking":
		on, _ := v.boolean()
		r.thinking = &on
	case "tools":
		r.tools = v
		r.pass(name, v)
	case "response_format":
		r.format = member(v, "type").text()
		r.pass(name, v)
	}
	return err
}

// decide settles what the call leaves open and refuses what does not fit the route.
func (r *request) decide(route *berth.Route) error {
	ceiling := ceilingOf(route)
	switch {
	case r.prompt.count == 0:
		return invalid(`Either "prompt" or "messages" must exist and cannot both be none`)
	case r.maxTokens < 0 || r.maxTokens > ceiling:
		return invalid("Range of %s should be [1, %d]", cmp.Or(r.lengthName, "max_tokens"), ceiling)
	case r.budget < 0 || r.budget > ceiling:
		return invalid("The thinking_budget parameter must be a positive integer and not greater than %d", ceiling)
	}
	if err := r.checkTools(route); err != nil {
		return err
	}
	if err := r.decideThinking(route); err != nil {
		return err
	}
	r.decideOutput(ceiling)
	return r.checkFormat()
}

// positive returns a number from 1 on, -1 for any other value. The largest one depends on
// the deployment.
func positive(v value) int64 {
	if n, ok := v.integer(); ok && n > 0 {
		return n
	}
	return -1
}

// ceilingOf returns how many tokens a sequence of a deployment may have.
func ceilingOf(route *berth.Route) int64 {
	if route.ContextLength == 0 {
		return math.MaxInt32
	}
	return route.ContextLength
}

// decideThinking: a model's only mode and a deployment's fixed mode win, and a call
// that asks for the other one is refused (api.md 3.3).
func (r *request) decideThinking(route *berth.Route) error {
	only := route.FixedThinking
	switch route.Thinking {
	case berth.ThinkingAlways:
		only = new(true)
	case berth.ThinkingOptional:
	default:
		only = new(false)
	}
	switch {
	case only == nil && r.thinking == nil:
		r.thinking = new(defaultThinking)
	case only == nil:
	case r.thinks() && !*only:
		return fail(problemThinking).say("The model %s does not support enable_thinking.", route.DeployedModel)
	case r.thinking != nil && !*r.thinking && *only:
		return invalid("The value of the enable_thinking parameter is restricted to True.")
	default:
		r.thinking = only
	}
	if route.Thinking != berth.ThinkingAlways && route.Thinking != berth.ThinkingOptional {
		r.thinking = nil
	}
	return nil
}

// decideOutput finds the largest output of one answer. Where max_tokens leaves thinking
// out, the engine, which knows one sum only, is told both together, and the native
// writer cuts the content.
func (r *request) decideOutput(ceiling int64) {
	r.engineMax, r.declared = r.maxTokens, r.maxTokens
	if r.maxTokens == 0 || !r.thinks() || !r.thinkingApart {
		return
	}
	r.engineMax = r.maxTokens + r.budget
	r.declared = r.engineMax
	if r.budget == 0 || r.engineMax >= ceiling {
		r.engineMax, r.declared = 0, ceiling
	}
}

// checkTools refuses tools, and turns of a conversation that called some, of a model
// whose chat template would drop them.
func (r *request) checkTools(route *berth.Route) error {
	if route.NoTools && (r.prompt.calls || hasElements(r.tools)) {
		return invalid("The tool call is not supported.")
	}
	for _, f := range r.fields {
		if f.Name == "tool_choice" && value(f.Value).isObject() && !hasElements(r.tools) {
			return invalid("'tool_choice' asks for a function, and there are no tools; send them, or leave tool_choice out.")
		}
	}
	return nil
}

func (r *request) checkFormat() error {
	switch {
	case r.format != "json_object":
		return nil
	case r.thinks():
		return invalid("Json mode response is not supported when enable_thinking is true")
	case !r.prompt.says("json"):
		return invalid("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
	}
	return nil
}

// ask is what the call reserves: bounds, except for an output that it does not declare.
func (r *request) ask(input int64, past *history) Tokens {
	output := r.declared
	if output == 0 {
		output = past.expect()
	}
	if !r.operation.writes {
		output = 0
	}
	content, thinking := output, int64(0)
	if r.thinks() {
		thinking = output
		if r.budget > 0 {
			thinking = min(thinking, r.budget)
		}
		if r.thinkingApart && r.maxTokens > 0 {
			content = min(output, r.maxTokens)
		}
	}
	return Tokens{Requests: 1, Input: input, Output: r.n * output, Thinking: r.n * thinking, Content: r.n * content}
}

// thinkingBudget is the most tokens of thinking in one answer; 0: no bound.
func (r *request) thinkingBudget() int64 {
	if !r.thinks() {
		return 0
	}
	return r.budget
}

// checkBudget refuses a bound of the thinking that the engine would not keep to.
func (r *request) checkBudget(engine berth.EngineTraits) error {
	if r.thinkingBudget() == 0 || engine.ThinkingBudgets {
		return nil
	}
	return invalid("The parameter thinking_budget (thinking.budget_tokens) is not supported by this deployment, whose engine cannot end the thinking of a call; leave it out and bound the whole answer with max_tokens.")
}

// engineCall says the call to a driver, for target.
func (r *request) engineCall(target berth.Target, workspace string, class berth.Class) berth.EngineCall {
	return berth.EngineCall{
		Operation: r.operation.name, Model: target.Model, Adapter: target.Adapter, Thinking: r.thinking,
		AdapterDigest: target.AdapterDigest, Workspace: workspace,
		ThinkingBudget: r.thinkingBudget(), MaxTokens: r.engineMax, Stream: r.engineStreams(), Class: class,
		Answers: r.n, Greedy: r.n > 1 && r.greedy(),
	}
}

// greedy reports whether the client wants no chance in its answers.
func (r *request) greedy() bool {
	for _, f := range r.fields {
		if f.Name == "temperature" {
			t, ok := value(f.Value).number()
			return ok && t == 0
		}
	}
	return false
}

func (r *request) engineStreams() bool { return r.stream || r.collected }

// copied is how many bytes the request holds beside the body that it was read from.
func (r *request) copied(body value) int64 {
	bytes := int64(cap(r.echo))
	if !r.prompt.content.within(body) {
		bytes += int64(cap(r.prompt.content))
	}
	for _, f := range r.fields { // tools are one of them
		if v := value(f.Value); !v.within(body) {
			bytes += int64(cap(v))
		}
	}
	return bytes
}

// engineBytes is how long the body for an engine is at most.
func (r *request) engineBytes(ours []berth.Field) int64 {
	bytes := len(r.operation.opening) + len(r.prompt.content) + len("}")
	for _, list := range [][]berth.Field{r.fields, ours} {
		for _, f := range list {
			bytes += len(`,"":`) + len(f.Name) + len(f.Value) // no name has anything to escape
		}
	}
	return int64(bytes)
}

// appendEngineBody appends the body for an engine: what the client may say as it was
// written, then what the gateway says, which wins.
func appendEngineBody(dst []byte, r *request, ours []berth.Field) []byte {
	dst = append(dst, r.operation.opening...)
	dst = append(dst, r.prompt.content...)
	for _, f := range r.fields {
		if !named(ours, f.Name) {
			dst = appendField(dst, f)
		}
	}
	for _, f := range ours {
		dst = appendField(dst, f)
	}
	return append(dst, '}')
}

func named(list []berth.Field, name string) bool {
	for _, f := range list {
		if f.Name == name {
			return true
		}
	}
	return false
}

func appendField(dst []byte, f berth.Field) []byte {
	dst = append(dst, ',')
	dst = appendString(dst, f.Name)
	dst = append(dst, ':')
	return append(dst, f.Value...)
}
