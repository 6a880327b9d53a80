package berth

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Workspace is where deployments, keys and custom models live and are visible.
type Workspace struct {
	ID        string // llm- + 8 characters
	AccountID string
	Name      string // for people, unique among workspaces that are not deleted
	CreatedAt time.Time
	// Models are the only models of the catalogue that the workspace may deploy; nil:
	// any. Its own models are always its to deploy (api.md 2.2, 9.2).
	Models    []string
	Quota     Quota
	Budget    Budget
	DeletedAt time.Time // zero while it is there
}

// MayDeploy reports whether the workspace has deployment privilege for a model that it
// can see.
func (w *Workspace) MayDeploy(m *Model) bool {
	return m.WorkspaceID == w.ID || w.Models == nil || slices.Contains(w.Models, m.Name)
}

// Quota bounds what the deployments of a workspace may have at a time; 0 in a field: no
// bound. Replicas of pools are the operator's and count for nobody.
type Quota struct {
	Resources
	Deployments int64 // however stopped or failed; 0: the server's default
}

// check refuses more hardware than the quota leaves, with a sentence that says quota,
// used and asked.
func (q Quota) check(workspaceID string, held, asked Resources) error {
	var short []string
	miss := func(noun string, quota, held, asked, unit int64) {
		if quota > 0 && asked > 0 && asked > quota-held {
			short = append(short, fmt.Sprintf("%d %s, of which %d are in use and %d more were asked for", quota/unit, noun, held/unit, asked/unit))
		}
	}
	miss("threads", q.Threads, held.Threads, asked.Threads, 1)
	miss("MiB of memory", q.MemoryBytes, held.MemoryBytes, asked.MemoryBytes, 1<<20)
	miss("accelerators", q.Accelerators, held.Accelerators, asked.Accelerators, 1)
	if len(short) == 0 {
		return nil
	}
	return Errorf(CodeNoCapacity, "The workspace %s has a quota of %s. Delete a deployment, choose a smaller spec, or ask an owner for a larger quota.",
		workspaceID, strings.Join(short, "; and of "))
}
