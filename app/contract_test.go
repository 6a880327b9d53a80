package app

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/gateway"
	"github.com/berthhq/berth/server"
)

// contract is the part of api/openapi.yaml that says which operations there are.
type contract struct {
	Paths   map[string]map[string]any `yaml:"paths"`
	Aliases map[string]string         `yaml:"x-berth-aliases"`
}

// braces are path parameters, whose names are nobody's business.
var braces = regexp.MustCompile(`\{[^}]*\}`)

func normal(path string) string { return braces.ReplaceAllString(path, "{}") }

func (c contract) operations() (all []string) {
	for path, item := range c.Paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if _, ok := item[strings.ToLower(method)]; ok {
				all = append(all, method+" "+normal(path))
			}
		}
	}
	return all
}

// has reports that something at or below prefix is described.
func (c contract) has(prefix string) bool {
	for path := range c.Paths {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// stands returns the prefix of path in the list of aliases, and the path it stands for.
func (c contract) stands(path string) (alias, target string) {
	for prefix, instead := range c.Aliases {
		rest, ok := strings.CutPrefix(path, prefix)
		if ok && (rest == "" || rest[0] == '/') && len(prefix) > len(alias) {
			alias, target = prefix, instead+rest
		}
	}
	return alias, target
}

// What is served is what api/openapi.yaml describes, no more and no less, and so are the
// other paths under which clients look for it.
func TestTheContractDescribesEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	var c contract
	must(t, yaml.Unmarshal([]byte(api.OpenAPI), &c))
	described := c.operations()
	unused := map[string]bool{}
	for alias := range c.Aliases {
		unused[alias] = true
	}
	alias := func(path, want string) {
		found, target := c.stands(path)
		if target != want {
			t.Errorf("%s is served like %s; say so in x-berth-aliases of api/openapi.yaml", path, want)
		}
		delete(unused, found)
	}

	served := server.New(server.Options{Deployments: &berth.Deployments{}}).Routes()
	for prefix, instead := range server.Aliases() {
		if c.has(instead) {
			alias(prefix, instead)
		}
	}
	for _, r := range gateway.New(gateway.Options{}).Routes() {
		served = append(served, r.Method+" "+r.Bases[0]+r.Path)
		for _, base := range r.Bases[1:] {
			alias(base+r.Path, r.Bases[0]+r.Path)
		}
	}

	for i, route := range served {
		served[i] = normal(route)
		if !slices.Contains(described, served[i]) {
			t.Errorf("%s is served and not described; describe it in api/openapi.yaml", route)
		}
	}
	for _, operation := range described {
		if !slices.Contains(served, operation) {
			t.Errorf("%s is described in api/openapi.yaml and not served", operation)
		}
	}
	for prefix := range unused {
		t.Errorf("nothing is served below %s; take it out of x-berth-aliases of api/openapi.yaml", prefix)
	}
}
