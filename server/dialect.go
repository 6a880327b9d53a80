package server

import (
	"net/http"
	"strings"

	"github.com/berthhq/berth/api"
)

// nativeBase is where the native resources are documented (api.md 1).
const nativeBase = "/api/v1"

// nativeServices stands in the paths of the native calls, whatever their base.
const nativeServices = "/services/"

// otherBases are the bases below which newer clients look for native resources too, the
// longest first (api.md 1, 10.7).
var otherBases = []string{"/compatible-mode/v1", "/apps/anthropic/v1", "/apps/anthropic", "/v1"}

// nativeResources are the first segments of native resource paths. The models below
// these bases are in the shape of the base's own protocol, but for the Anthropic base
// without /v1, where that protocol has nothing.
var nativeResources = map[string]bool{
	"deployments": true, "fine-tunes": true, "custom_models": true, "tokens": true, "tokenizer": true,
}

// Aliases returns the path prefixes that stand for a documented one, so that a test can
// hold them against the contract in api/openapi.yaml.
func Aliases() map[string]string {
	all := map[string]string{"/apps/anthropic/models": nativeBase + "/models"}
	for _, base := range otherBases {
		for resource := range nativeResources {
			all[base+"/"+resource] = nativeBase + "/" + resource
		}
	}
	return all
}

// nativePath returns a request for a native resource below another base as one for its
// documented path, any other as it is.
func nativePath(r *http.Request) *http.Request {
	for _, base := range otherBases {
		rest, ok := below(base, r.URL.Path)
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(rest[1:], "/")
		if !nativeResources[first] && (first != "models" || base != "/apps/anthropic") {
			return r
		}
		u := *r.URL
		u.Path = nativeBase + rest
		if raw, ok := below(base, u.RawPath); ok {
			u.RawPath = nativeBase + raw
		} else {
			u.RawPath = ""
		}
		clone := *r
		clone.URL = &u
		return &clone
	}
	return r
}

// below returns what stands behind base in path, beginning with a slash.
func below(base, path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, base)
	return rest, ok && len(rest) > 1 && rest[0] == '/'
}

// dialect is the shape of an error. It follows the operation, and the base only where
// there is no operation (api.md 1).
type dialect int

const (
	dialectNative dialect = iota
	dialectOpenAI
	dialectAnthropic
)

func dialectOf(path string) dialect {
	switch {
	case api.IsAnthropic(path):
		return dialectAnthropic
	case strings.HasPrefix(path, "/compatible-mode/"), strings.HasPrefix(path, "/v1/"):
		return dialectOpenAI
	}
	return dialectNative
}

// openAIError is the error of the OpenAI dialect.
type openAIError struct {
	Error struct {
		Message string    `json:"message"`
		Type    string    `json:"type"`
		Param   *struct{} `json:"param"`
		Code    string    `json:"code"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

// anthropicError is the error of the Anthropic dialect, with the native one beside it
// (api.md 9.7).
type anthropicError struct {
	Type  string `json:"type"`
	Inner struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	api.Error
}

// openAICodes are the codes that OpenAI's dialect spells otherwise (api.md 3.2).
var openAICodes = map[string]string{
	"InvalidApiKey": "invalid_api_key", "InvalidParameter": "invalid_parameter_error",
	"AccessDenied": "access_denied", "InternalError": "internal_error", "NotFound": "not_found",
}

// errorBody returns e, which has an HTTP status, in a dialect.
func errorBody(d dialect, e api.Error) any {
	switch d {
	case dialectOpenAI:
		code, ok := openAICodes[e.Code]
		if !ok {
			code = e.Code
		}
		body := openAIError{RequestID: e.RequestID}
		body.Error.Message, body.Error.Type, body.Error.Code = e.Message, "invalid_request_error", code
		return body
	case dialectAnthropic:
		body := anthropicError{Type: "error", Error: e}
		body.Inner.Type, body.Inner.Message = api.AnthropicErrorType(e.Status), e.Message
		return body
	}
	return e
}
