package api

import (
	"net/http"
	"strings"
)

// anthropicBase is where Anthropic's protocol is documented (api.md 1).
const anthropicBase = "/apps/anthropic/"

// anthropicElsewhere are its operations below the other bases, where newer clients look
// for them (api.md 1 and 10.7).
var anthropicElsewhere = map[string]bool{
	"/v1/messages": true, "/v1/messages/count_tokens": true,
	"/api/v1/v1/messages": true, "/api/v1/v1/messages/count_tokens": true,
	"/compatible-mode/v1/v1/messages": true, "/compatible-mode/v1/v1/messages/count_tokens": true,
}

// IsAnthropic reports whether a path is of Anthropic's protocol. Servers call it to choose
// the shape of an error and the place of the key.
func IsAnthropic(path string) bool {
	return strings.HasPrefix(path, anthropicBase) || anthropicElsewhere[strings.TrimSuffix(path, "/")]
}

// KeyText returns the text of the key that a request carries, "" when it carries none: the
// Bearer token of Authorization or, on the paths of Anthropic's protocol, x-api-key
// (api.md 2.1). Servers call it.
func KeyText(r *http.Request) string {
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		if token = strings.TrimSpace(token); token != "" {
			return token
		}
	}
	if IsAnthropic(r.URL.Path) {
		return strings.TrimSpace(r.Header.Get("X-Api-Key"))
	}
	return ""
}

// AnthropicErrorType returns the type that Anthropic's protocol gives to errors of an HTTP
// status (api.md 9.7).
func AnthropicErrorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if status >= http.StatusInternalServerError {
		return "api_error"
	}
	return "invalid_request_error"
}
