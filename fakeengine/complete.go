package fakeengine

import (
	"context"
	"net/http"
	"strconv"
)

// generation is one call that produces text, from its slot to its last token.
type generation struct {
	job
	engine  *Engine
	dialect dialect
	answer  answer
	pace    *pace
	made    *int64 // tokens
}

// complete answers the calls of one dialect.
func (e *Engine) complete(d dialect) func(context.Context, http.ResponseWriter, job) error {
	return func(ctx context.Context, w http.ResponseWriter, j job) error {
		a, err := e.script.answer(j.request)
		if err != nil {
			writeError(w, http.StatusBadRequest, "exceed_context_size_error", err.Error())
			return nil
		}
		release, err := e.takeSlot(ctx)
		if err != nil {
			return err
		}
		defer release()
		g := generation{job: j, engine: e, dialect: d, answer: a, pace: e.newPace(), made: new(int64)}
		if err := e.readPrompt(ctx, g.pace, j, a.prompt, a.cached); err != nil {
			return err
		}
		if j.request.Stream {
			return g.stream(ctx, w)
		}
		return g.plain(ctx, w)
	}
}

// readPrompt takes the time of a prompt and counts it.
func (e *Engine) readPrompt(ctx context.Context, p *pace, j job, prompt, cached int) error {
	if err := p.tokens(ctx, prompt-cached, e.script.PromptTokensPerSecond); err != nil {
		return err
	}
	e.note(j, int64(prompt), 0)
	e.tally.update(func(s *Stats) {
		s.PromptTokens += int64(prompt)
		s.CachedTokens += int64(cached)
	})
	return nil
}

// step produces the next token of every choice.
func (g generation) step(ctx context.Context) error {
	if err := g.pace.tokens(ctx, 1, g.engine.script.TokensPerSecond); err != nil {
		return err
	}
	*g.made += int64(g.request.choices())
	g.engine.note(g.job, int64(g.answer.prompt), *g.made)
	g.engine.tally.update(func(s *Stats) { s.OutputTokens += int64(g.request.choices()) })
	return nil
}

// plain produces the whole answer and sends it in one piece.
func (g generation) plain(ctx context.Context, w http.ResponseWriter) error {
	for range g.answer.outputTokens() {
		if err := g.step(ctx); err != nil {
			return err
		}
	}
	out := g.envelope(false)
	for i := range g.request.choices() {
		c := g.dialect.whole(g.answer, g.fault.hugeText())
		c.Index, c.FinishReason = i, &g.answer.finish
		out.Choices = append(out.Choices, c)
	}
	out.Usage = g.usage(g.answer.outputTokens())
	return g.engine.writePlain(w, g.fault, out)
}

// writePlain sends a plain answer, half of it if the fault says so.
func (e *Engine) writePlain(w http.ResponseWriter, f Fault, v any) error {
	if f.Kind != FaultCutStream && f.Kind != FaultCrash {
		writeJSON(w, http.StatusOK, v)
		return nil
	}
	body := encode(v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush() // whoever cannot flush has it all the same
	return e.cut(f)
}

// cut ends a call whose answer breaks off, and the engine if the fault says so.
func (e *Engine) cut(f Fault) error {
	if f.Kind == FaultCrash {
		e.crash()
	}
	return errCut
}

// envelope is an answer or chunk of this call without choices.
func (g generation) envelope(streamed bool) completion {
	object, idPrefix := g.dialect.object(streamed)
	return completion{
		ID:      idPrefix + strconv.Itoa(g.number),
		Object:  object,
		Created: g.engine.now().Unix(),
		Model:   g.request.Model,
		Choices: []choice{},
	}
}

// usage is what is reported after the given number of tokens per choice.
func (g generation) usage(outputTokens int) *usage {
	return g.answer.usage(outputTokens, g.request.choices(), g.fault)
}
