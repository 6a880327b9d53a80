package gateway

import (
	"crypto/subtle"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// Authenticate returns the entry of the key whose text is token, as it acts in the
// workspace that the request names, "" for the key's own; or a [berth.Error] of
// CodeUnauthenticated or CodeWorkspaceDenied: default is deny. The entry may be shared
// and must not be changed.
func (g *Gateway) Authenticate(token, workspaceID string) (*berth.KeyEntry, error) {
	s := g.Snapshot()
	entry, problem := lookUp(s, g.hash, token, g.now())
	if problem != nil {
		return nil, berth.Errorf(berth.CodeUnauthenticated, "%s", problem.message)
	}
	return s.Enter(entry, workspaceID)
}

// authenticate finds the key of a request and checks that it may call models in the
// workspace that the request names.
func (g *Gateway) authenticate(r *http.Request) (*berth.KeyEntry, error) {
	s := g.Snapshot()
	entry, problem := lookUp(s, g.hash, api.KeyText(r), g.now())
	if problem != nil {
		return nil, fail(problem)
	}
	entry, err := s.Enter(entry, api.WorkspaceID(r, g.domain))
	if err != nil || !entry.Caller.May(berth.RoleInference) {
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
