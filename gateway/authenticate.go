package gateway

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// Authenticate returns the entry of the key whose text is token, or a [berth.Error] of
// CodeUnauthenticated: default is deny. The entry is shared and must not be changed.
func (g *Gateway) Authenticate(token string) (*berth.KeyEntry, error) {
	entry, problem := lookUp(g.Snapshot(), g.hash, token, g.now())
	if problem != nil {
		return nil, berth.Errorf(berth.CodeUnauthenticated, "%s", problem.message)
	}
	return entry, nil
}

// authenticate finds the key of a request and checks that it may call models in the
// workspace that the request names.
func (g *Gateway) authenticate(h http.Header) (*berth.KeyEntry, error) {
	entry, problem := lookUp(g.Snapshot(), g.hash, bearer(h), g.now())
	if problem != nil {
		return nil, fail(problem)
	}
	asked := h.Get("X-Dashscope-Workspace")
	if !entry.Caller.May(berth.RoleInference) || asked != "" && asked != entry.Caller.WorkspaceID {
		return nil, fail(problemWorkspace)
	}
	return entry, nil
}

func lookUp(s *berth.Snapshot, hash func(string) berth.KeyHash, token string, now time.Time) (*berth.KeyEntry, *problem) {
	if token == "" {
		return nil, problemNoKey
	}
	sum := hash(token)
	entry := s.Keys[sum]
	if entry == nil || subtle.ConstantTimeCompare(entry.Hash[:], sum[:]) == 0 {
		return nil, problemBadKey
	}
	if !entry.ExpiresAt.IsZero() && !now.Before(entry.ExpiresAt) {
		return nil, problemBadKey
	}
	return entry, nil
}

// bearer returns the key's text in the Authorization header, "" without one.
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
