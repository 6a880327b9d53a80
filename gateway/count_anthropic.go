package gateway

import (
	"context"
	"errors"
	"net/http"
)

// countedTokens is the answer of Anthropic's count_tokens: what usage would say of the prompt
// of the same body, because the engine counts the body that it would get (statement 165).
func countedTokens(dst []byte, tokens int64, _ string) []byte {
	return append(appendFigure(dst, `{"input_tokens":`, tokens), '}')
}

// serveCount makes a handler that counts the prompt of a dialect's calls and answers with what
// body makes of it. There is no usage record, and limits have nothing to do with it.
func (g *Gateway) serveCount(d dialect, body func(dst []byte, tokens int64, id string) []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
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
		_ = out.whole(http.StatusOK, body(nil, tokens, c.id)) // an error means the client has gone
	}
}

func (g *Gateway) countPrompt(ctx context.Context, c *call, r *http.Request) (tokens int64, err error) {
	defer func() { caught(recover(), &err) }()
	defer g.depart(c)
	object, err := g.arrive(c, r)
	if err != nil {
		return 0, err
	}
	if err = g.parse(c, object, r.Header); err != nil {
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
