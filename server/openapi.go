package server

import (
	"net/http"
	"sync"

	"github.com/goccy/go-yaml"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// contract is [api.OpenAPI] as JSON, in the order in which it is written.
var contract = sync.OnceValues(func() ([]byte, error) { return yaml.YAMLToJSON([]byte(api.OpenAPI)) })

// openAPI answers with the contract, for which no key is needed (design 10).
func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) {
	text, err := contract()
	if err != nil {
		s.refuse(w, r, berth.Errorf(berth.CodeInternal, "write the contract as JSON: %v", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // a client that has gone is no concern of ours
}
