package gateway

import (
	"strings"

	berth "github.com/berthhq/berth"
)

// operation is one kind of work of an engine: where it takes it, how the body for it
// begins, and what its reply is made of. Dialects choose one per request.
type operation struct {
	name berth.Operation
	path string // below an engine's base URL
	// opening is the body up to the value that the engine is given to read.
	opening string
	// list is the member of a reply that has one element per answer.
	list string
	// writes: the engine generates tokens.
	writes bool
}

var (
	chatting   = &operation{berth.OperationChat, "/chat/completions", `{"messages":`, "choices", true}
	completing = &operation{berth.OperationCompletion, "/completions", `{"prompt":`, "choices", true}
	embedding  = &operation{berth.OperationEmbedding, "/embeddings", `{"input":`, "data", false}
)

// url returns where an engine takes the operation. An engine's URL has no path; one with
// a path is the base URL of an endpoint model, which ends before the operation's.
func (o *operation) url(base string) string {
	base = strings.TrimSuffix(base, "/")
	_, host, _ := strings.Cut(base, "://")
	if strings.Contains(host, "/") {
		return base + o.path
	}
	return base + "/v1" + o.path
}
