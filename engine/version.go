package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Version asks llama.cpp which build it is.
func (llamaCpp) Version(ctx context.Context, client *http.Client, e Endpoint) (string, error) {
	return versionAt(ctx, client, e, "/props", func(v versions) string { return v.BuildInfo })
}

// Version asks vLLM for its version.
func (vllm) Version(ctx context.Context, client *http.Client, e Endpoint) (string, error) {
	return versionAt(ctx, client, e, "/version", func(v versions) string { return v.Version })
}

type versions struct {
	BuildInfo string `json:"build_info"`
	Version   string `json:"version"`
}

func versionAt(ctx context.Context, client *http.Client, e Endpoint, path string, of func(versions) string) (string, error) {
	answer, err := ask(ctx, client, e, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	var v versions
	if err := json.Unmarshal(answer, &v); err != nil {
		return "", fmt.Errorf("read the engine's version: %w", err)
	}
	return of(v), nil
}
