package api

import (
	"net"
	"net/http"
	"strings"
)

// WorkspaceID returns the workspace that a request names, "" when it names none: by its
// header, else, below domain, by the first label of its host, as clients do that make
// their host of a workspace and a region (api.md 1, 2.1). domain "" stands for none, so
// that no host name is taken for a workspace by chance. Servers call it.
func WorkspaceID(r *http.Request, domain string) string {
	if id := r.Header.Get("X-Dashscope-Workspace"); id != "" || domain == "" {
		return id
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	labels, ok := strings.CutSuffix(host, "."+strings.ToLower(domain))
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(labels, ".")
	return first
}
