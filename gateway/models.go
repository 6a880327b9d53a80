package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"

	berth "github.com/berthhq/berth"
)

// modelEntry is a model in OpenAI's list. Model repeats the id for clients that read
// the native list's name (api.md 8.4).
type modelEntry struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // Unix seconds
	OwnedBy string `json:"owned_by"`
	Model   string `json:"model"`
}

type modelList struct {
	Object string       `json:"object"`
	Data   []modelEntry `json:"data"`
}

// catalogue is how a protocol shows the models that can be called.
type catalogue struct {
	dialect dialect
	list    func([]*berth.Route) any
	entry   func(*berth.Route) any
}

var (
	openAICatalogue    = catalogue{openAI{}, listOf, entryOf}
	anthropicCatalogue = catalogue{anthropic{}, anthropicListOf, anthropicModelOf}
)

// serveModels answers with the deployments that the key may call now, or with one.
func (g *Gateway) serveModels(c catalogue) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out := newAnswer(w, r, requestID(r.Header), g.bounds.StreamIdle)
		defer out.close()
		found, err := g.findModels(c, r)
		if err == nil {
			body, encodeErr := json.Marshal(found)
			if err = encodeErr; err == nil {
				_ = out.whole(http.StatusOK, body) // an error means the client has gone
				return
			}
		}
		out.fail(c.dialect, failureOf(err))
	}
}

func (g *Gateway) findModels(c catalogue, r *http.Request) (any, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, wrongMethod(r.Method, http.MethodGet)
	}
	key, err := g.authenticate(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if id == "" {
		return c.list(callableBy(g.Snapshot(), key)), nil
	}
	route := g.Snapshot().Routes[id]
	if route == nil || !listed(key, route) {
		f := fail(problemUnknown)
		f.compatibleSentence = unknownModel(id)
		return nil, f
	}
	return c.entry(route), nil
}

// callableBy returns the routes that the key may call now, by name.
func callableBy(s *berth.Snapshot, key *berth.KeyEntry) []*berth.Route {
	var routes []*berth.Route
	for _, route := range s.Routes {
		if listed(key, route) {
			routes = append(routes, route)
		}
	}
	slices.SortFunc(routes, func(a, b *berth.Route) int { return cmp.Compare(a.DeployedModel, b.DeployedModel) })
	return routes
}

func listOf(routes []*berth.Route) any {
	list := modelList{Object: "list", Data: []modelEntry{}}
	for _, route := range routes {
		list.Data = append(list.Data, entryOf(route).(modelEntry))
	}
	return list
}

func listed(key *berth.KeyEntry, route *berth.Route) bool {
	return mayCall(key, route) && route.Status.Callable()
}

func entryOf(route *berth.Route) any {
	return modelEntry{
		ID: route.DeployedModel, Object: "model", Created: route.CreatedAt.Unix(),
		OwnedBy: route.WorkspaceID, Model: route.DeployedModel,
	}
}

// unknownModel is the documented sentence of the OpenAI dialect.
func unknownModel(name string) string {
	return "The model " + name + " does not exist or you do not have access to it."
}
