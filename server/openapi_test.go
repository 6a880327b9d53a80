package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/server"
)

// A contract that is written wrong, such as with a path that stands there twice, must
// not get as far as a client.
func TestTheContractIsAnsweredWithoutAKey(t *testing.T) {
	t.Parallel()
	s := server.New(server.Options{Deployments: &berth.Deployments{}, NewUUID: func() string { return "r" }})
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.json", nil))
	var contract struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Request-Id") != "r" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if err := json.Unmarshal(w.Body.Bytes(), &contract); err != nil || contract.OpenAPI != "3.1.0" || contract.Paths["/api/v1/deployments"] == nil {
		t.Errorf("%v: %+v", err, contract)
	}
}
