package api

import (
	"net/http"
	"testing"
)

func TestTheWorkspaceThatARequestNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ header, host, domain, want string }{
		"nothing":                            {"", "berth.example.com", "berth.example.com", ""},
		"the header":                         {"llm-a", "berth.example.com", "", "llm-a"},
		"the first label":                    {"", "llm-a.berth.example.com", "berth.example.com", "llm-a"},
		"the first label, before a region":   {"", "llm-a.cn-beijing.berth.example.com", "berth.example.com", "llm-a"},
		"the first label, with a port":       {"", "LLM-A.Berth.example.com:8443", "berth.EXAMPLE.com", "llm-a"},
		"the first label, with a final dot":  {"", "llm-a.berth.example.com.", "berth.example.com", "llm-a"},
		"the header wins":                    {"llm-b", "llm-a.berth.example.com", "berth.example.com", "llm-b"},
		"another domain":                     {"", "llm-a.elsewhere.com", "berth.example.com", ""},
		"a domain that only ends alike":      {"", "llm-a.notberth.example.com", "berth.example.com", ""},
		"no domain: a name says nothing":     {"", "llm-a.berth.example.com", "", ""},
		"an address":                         {"", "[::1]:7700", "berth.example.com", ""},
		"no host at all, as HTTP/1.0 allows": {"", "", "berth.example.com", ""},
	} {
		r := &http.Request{Host: c.host, Header: http.Header{}}
		if c.header != "" {
			r.Header.Set("X-DashScope-WorkSpace", c.header)
		}
		if got := WorkspaceID(r, c.domain); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
