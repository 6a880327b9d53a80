package test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// conformance 8, 141, 142: whatever is asked of whatever path, the answer is no
// redirect and no success without a meaning, and says which request it is for.
func TestEveryAnswerIsNamedAndNoneIsARedirect(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"plain": ""}))
	b.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var paths []string
	for _, base := range []string{"/api/v1", "/compatible-mode/v1", "/v1", "/apps/anthropic", "/apps/anthropic/v1", "/berth/v1"} {
		for _, rest := range []string{
			"", "/", "/deployments", "/deployments/", "//deployments", "/deployments/models", "/deployments/x", "/deployments/x/",
			"/deployments/x/events", "/deployments/x/stream", "/deployments/../deployments", "/deployments/a%2Fb", "/deployments/%2e%2e", "/models", "/models/", "/models/a%2Fb",
			"/fine-tunes", "/fine-tunes/x", "/custom_models/import", "/custom_models/import/x", "/tokens", "/tokenizer",
			"/chat/completions", "/embeddings", "/responses", "/messages", "/v1/messages", "/nothing", "/deploymentsx",
			"/services/aigc/text-generation/generation/",
		} {
			paths = append(paths, base+rest)
		}
	}
	seen := map[string]bool{}
	for _, path := range append(paths, "/", "/x", "/openapi") {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
			for _, key := range []string{"Bearer " + b.Key, ""} {
				got := b.send(t, method, path, "{", "Authorization", key)
				id := got.header.Get("X-Request-Id")
				switch {
				case got.status/100 == 3, got.status >= 500, got.status == http.StatusMethodNotAllowed:
					t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
				case id == "" || seen[id]:
					t.Errorf("%s %s: the request id is %q", method, path, id)
				case got.header.Get("Content-Type") != "application/json":
					t.Errorf("%s %s: content type %s", method, path, got.header.Get("Content-Type"))
				case method == "HEAD" && got.body != "":
					t.Errorf("%s %s has a body", method, path)
				case method != "HEAD" && got.status != http.StatusOK && !strings.Contains(got.body, `"request_id":"`+id+`"`):
					t.Errorf("%s %s: the id %s is not in %s", method, path, id, got.body)
				case key == "" && got.status == http.StatusOK:
					t.Errorf("%s %s: served without a key", method, path)
				}
				seen[id] = true
			}
		}
	}
	if slices.Contains(paths, "") || len(seen) < 1000 {
		t.Errorf("%d requests were tried", len(seen))
	}
}
