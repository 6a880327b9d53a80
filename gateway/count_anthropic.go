package gateway

import (
	"context"
	"errors"
	"net/http"
)

// countTokens answers Anthropic's count_tokens: what usage would say of the prompt of the
// same body, because the engine counts the body that it would get (statement 165). There
// is no usage record, and limits have nothing to do with it.
func (g *Gateway) countTokens(w http.ResponseWriter, r *http.Request) {
	d := anthropic{counting: true}
	c := &call{id: requestID(r.Header), dialect: d, started: g.now()}
	out := newAnswer(w, r, c.id, g.bounds.StreamIdle)
	defer out.close()
	tokens, err := g.countPrompt(r.Context(), c, r)
	if err != nil {
		if errors.Is(err, errPanic) {
			g.logger.Error("count panicked", "request_id", c.id, "cause", failureOf(err).cause)
		}
		out.fail(d, failureOf(err))
		return
	}
	_ = out.whole(http.StatusOK, append(appendFigure(nil, `{"input_tokens":`, tokens), '}')) // an error means the client has gone
}

func (g *Gateway) countPrompt(ctx context.Context, c *call, r *http.Request) (tokens int64, err error) {
	defer func() { caught(recover(), &err) }()
	defer g.depart(c)
	object, err := g.arrive(c, r)
	if err != nil {
		return 0, err
	}
	if c.request, err = c.dialect.parse(object, r.Header, c.route); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.bounds.NativeCall, timedOut())
	defer cancel()
	tokens, err = g.countCall(ctx, c)
	if errors.Is(err, errNoCount) {
		return 0, fail(problemNoCount).finally()
	}
	return tokens, err
}
