package gateway

import (
	"errors"
	"net/http"

	berth "github.com/berthhq/berth"
)

// tokenizer is the native dialect of counting (api.md 8.4): the body of a generation,
// whose prompt the engine counts as it would be read. Token ids are not told; engines
// have them in ways of their own.
type tokenizer struct{ native }

func (tokenizer) parse(body value, h http.Header, route *berth.Route) (request, error) {
	r, err := native{}.parse(body, h, route)
	r.stream = false
	return r, err
}

// tokenize answers the native tokenizer. There is no usage record, and limits have
// nothing to do with it.
func (g *Gateway) tokenize(w http.ResponseWriter, r *http.Request) {
	c := &call{id: requestID(r.Header), dialect: tokenizer{}, started: g.now()}
	out := newAnswer(w, r, c.id, g.bounds.StreamIdle)
	defer out.close()
	tokens, err := g.countPrompt(r.Context(), c, r)
	if err != nil {
		if errors.Is(err, errPanic) {
			g.logger.Error("count panicked", "request_id", c.id, "cause", failureOf(err).cause)
		}
		out.fail(c.dialect, failureOf(err))
		return
	}
	body := appendFigure(nil, `{"output":{},"usage":{"input_tokens":`, tokens)
	_ = out.whole(http.StatusOK, append(append(append(body, `},"request_id":"`...), c.id...), `"}`...)) // an error means the client has gone
}
