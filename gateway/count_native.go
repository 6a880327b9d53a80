package gateway

import (
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

// tokenized is the native tokenizer's answer.
func tokenized(dst []byte, tokens int64, id string) []byte {
	dst = appendFigure(dst, `{"output":{},"usage":{"input_tokens":`, tokens)
	return append(append(append(dst, `},"request_id":"`...), id...), `"}`...)
}
