package gateway

import berth "github.com/berthhq/berth"

const bytesPerToken = 4 // for counting without an engine (design 8)

// usage is what is known of a call's tokens while it runs: the engine's figures as far
// as they came, else what was counted from the stream.
type usage struct {
	input, cached, output, thinking int64

	mostThinking int64 // by the call's budget; 0: no bound. The marks around it are none

	answers  map[int64]int64 // output by index, where several answers are told of one by one
	finals   int64           // output of those that were told of at the end
	running  bool            // input and output are the engine's
	reported bool            // so are they, and they are final
	told     bool            // the client was sent something that was generated
	finish   value
}

// estimate begins with the input as far as it is known without an engine.
func estimate(r *request) usage {
	return usage{input: (r.prompt.bytes + bytesPerToken - 1) / bytesPerToken, mostThinking: r.n * r.thinkingBudget()}
}

// observe takes in one chunk of a stream of n answers.
func (u *usage) observe(r *reply, n int64) {
	before := u.output
	switch {
	case r.usage.known && n == 1:
		u.take(r.usage)
	case r.usage.known && len(r.parts) == 0:
		u.takeFinal(r.usage)
	case r.running.known:
		u.takeRunning(r, n)
	case !u.running || n == 1 && !u.reported: // also behind figures that do not come with each chunk
		u.output += texts(r)
	}
	for i := range r.parts {
		p := &r.parts[i]
		if len(p.reasoning) > len(`""`) && r.usage.thinking <= 0 {
			u.thinking += max(u.output-before, 0)
		}
		if p.finish != nil && u.finish == nil {
			u.finish = append(value(nil), p.finish...)
		}
	}
	u.keepToBudget()
	u.reported = u.reported || r.usage.known && u.finish != nil
}

// keepToBudget: engines count the marks around the thinking, too, which no budget is for.
func (u *usage) keepToBudget() {
	if u.mostThinking > 0 {
		u.thinking = min(u.thinking, u.mostThinking)
	}
}

// texts counts the parts that carry something generated: a token each, as far as can be
// seen.
func texts(r *reply) (n int64) {
	for i := range r.parts {
		if r.parts[i].text() {
			n++
		}
	}
	return n
}

// takeFinal takes the figures that stand alone at the end of several answers: one chunk
// for all of them, or, by llama.cpp, one for each.
func (u *usage) takeFinal(f figures) {
	u.finals += f.output
	f.output = max(u.finals, u.output)
	u.take(f)
}

// takeRunning takes figures that are of the one answer the chunk is a part of.
func (u *usage) takeRunning(r *reply, n int64) {
	if n > 1 && len(r.parts) == 1 {
		if u.answers == nil {
			u.answers = map[int64]int64{}
		}
		u.answers[r.parts[0].index] = r.running.output
		r.running.output = 0
		for _, output := range u.answers {
			r.running.output += output
		}
	}
	u.take(r.running)
}

func (u *usage) take(f figures) {
	u.running = true
	u.input, u.output = f.input, f.output
	if f.cached >= 0 {
		u.cached = f.cached
	}
	if f.thinking > 0 {
		u.thinking = f.thinking
	}
	// What came earlier, or was counted, may be more than the whole is now said to be.
	u.cached, u.thinking = min(u.cached, u.input), min(u.thinking, u.output)
}

// whole takes in a whole answer.
func (u *usage) whole(r *reply) {
	if r.usage.known {
		u.take(r.usage)
		u.keepToBudget()
		u.reported = true
	}
	for i := range r.parts {
		if r.parts[i].finish != nil && u.finish == nil {
			u.finish = append(value(nil), r.parts[i].finish...)
		}
	}
}

// source says where the figures are from. A whole answer that came without any is
// counted by nobody.
func (u *usage) source() berth.Source {
	switch {
	case u.reported:
		return berth.SourceEngine
	case u.told && u.output > 0:
		return berth.SourceCounted
	}
	return berth.SourceUnknown
}

// used is what limits are corrected to.
func (u *usage) used() Tokens {
	return Tokens{Requests: 1, Input: u.input, Output: u.output, Thinking: u.thinking, Content: u.output - u.thinking}
}

// end maps a finish reason.
func (u *usage) end() berth.End {
	switch u.finish.text() {
	case "length":
		return berth.EndLength
	case "tool_calls":
		return berth.EndToolCalls
	}
	return berth.EndStop
}
