package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/berthhq/berth/api"
)

// conformance 157
func TestKeyText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, bearer, key, want string }{
		{"/api/v1/deployments", "Bearer sk-1", "", "sk-1"},
		{"/api/v1/deployments", "bearer  sk-1 ", "", "sk-1"},
		{"/api/v1/deployments", "", "sk-2", ""}, // conformance 1
		{"/api/v1/deployments", "Basic sk-1", "", ""},
		{"/v1/chat/completions", "", "sk-2", ""},
		{"/apps/anthropic/v1/messages", "", "sk-2", "sk-2"},
		{"/apps/anthropic/v1/messages", "Bearer sk-1", "sk-2", "sk-1"},
		{"/apps/anthropic/v1/messages", "Bearer ", "sk-2", "sk-2"},
		{"/apps/anthropic/deployments", "", "sk-2", "sk-2"},
		{"/api/v1/v1/messages", "", "sk-2", "sk-2"},
		{"/compatible-mode/v1/v1/messages/", "", "sk-2", "sk-2"},
		{"/v1/messages/count_tokens", "", "sk-2", "sk-2"},
		{"/v1/messages/batches", "", "sk-2", ""},
	} {
		r := httptest.NewRequest(http.MethodPost, c.path, nil)
		r.Header.Set("Authorization", c.bearer)
		r.Header.Set("X-Api-Key", c.key)
		if got := api.KeyText(r); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// conformance 164
func TestAnthropicErrorType(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		409: "invalid_request_error", 413: "request_too_large", 429: "rate_limit_error",
		500: "api_error", 502: "api_error", 503: "overloaded_error", 504: "timeout_error",
	} {
		if got := api.AnthropicErrorType(status); got != want {
			t.Errorf("%d: %s", status, got)
		}
	}
}
