package berth

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Snapshot is everything the gateway needs to decide about calls: one plain, immutable
// value that knows nothing of the store, swapped whole. Keys and routes are separate
// maps, so that what did not change is carried over.
type Snapshot struct {
	// Version is the routing version of the store that the snapshot contains: every
	// transaction up to it has taken effect.
	Version    int64
	Keys       map[KeyHash]*KeyEntry
	Workspaces map[string]string // their accounts, by id
	// Stopped are the workspaces whose budget is spent, with the end of its month.
	Stopped map[string]time.Time
	Routes  map[string]*Route     // by deployed model
	Pools   map[string]*PoolRoute // by id; those with ready replicas
}

// Enter returns a live key's entry as it acts in the workspace that a request names, ""
// for the key's own: that one or, for an owner, any that there is. Everything else is
// [CodeWorkspaceDenied], whether it exists or not (statement 11).
func (s *Snapshot) Enter(key *KeyEntry, workspaceID string) (*KeyEntry, error) {
	if workspaceID == "" || workspaceID == key.Caller.WorkspaceID {
		return key, nil
	}
	account, ok := s.Workspaces[workspaceID]
	if !ok || !key.Caller.May(RoleOwner) {
		return nil, workspaceDenied()
	}
	there := *key
	there.Caller.WorkspaceID, there.Caller.AccountID = workspaceID, account
	return &there, nil
}

// KeyEntry is a live key. What a temporary token does is booked on its parent.
type KeyEntry struct {
	Caller      Caller
	Hash        KeyHash
	Deployments []string // inner ids; empty: all of the workspace
	ExpiresAt   time.Time
}

// MayCall reports whether the key's list of deployments, if it has one, names this one of
// its workspace.
func (k *KeyEntry) MayCall(deploymentID string) bool {
	return len(k.Deployments) == 0 || slices.Contains(k.Deployments, deploymentID)
}

// Route is what the gateway knows of one deployment.
type Route struct {
	DeploymentID  string
	DeployedModel string
	WorkspaceID   string
	ModelName     string
	Plan          Plan
	Status        Status
	Thinking      Thinking
	// FixedThinking, when set, is the mode of every call.
	FixedThinking *bool
	// NoTools: the model's chat template would drop tools.
	NoTools       bool
	ContextLength int64 // tokens of prompt and answer together; 0: unknown
	Limits        Limits
	Terms         PTUTerms // of a ptu deployment
	CreatedAt     time.Time
	PoolID        string   // "": replicas of its own
	Adapter       string   // digest of what its calls in the pool use; "": the base
	Targets       []Target // ready replicas
}

// Limits of a deployment per 60 s; 0 means none.
type Limits struct {
	Requests  int64
	Tokens    int64
	PTU       PTUCapacity
	Overflow  OverflowStrategy
	IsMetered bool // PTU applies
}

// Target is one replica that calls can be sent to.
type Target struct {
	ReplicaID string
	Nonce     string // of the engine that runs now
	Engine    string // driver name
	URL       string // scheme, host and port
	Key       string // bearer key of the engine, never logged
	Model     string // the model's name there
	Adapter   int    // number of the adapter in the engine, −1 for none
	// AdapterDigest is the adapter's, "" for none.
	AdapterDigest string
	Slots         int64
}

// Operation is one kind of work that engines do.
type Operation string

// The operations, by OpenAI's names of their answers.
const (
	OperationChat       Operation = "chat"
	OperationCompletion Operation = "completion"
	OperationEmbedding  Operation = "embedding"
)

// EngineCall is what the gateway decided about one call, for a driver to say it in its
// engine's words.
type EngineCall struct {
	Operation Operation
	Model     string
	Adapter   int // −1: none
	// AdapterDigest is the adapter's, for engines that know it by name; "": none.
	AdapterDigest string
	// Workspace is whose call it is; "": nobody's.
	Workspace string
	Thinking  *bool
	// ThinkingBudget is the most tokens of thinking in one answer; 0: no bound. Only an
	// engine with that trait is ever given one.
	ThinkingBudget int64
	// MaxTokens is the largest output, thinking included; 0: the engine's own ceiling.
	MaxTokens int64
	Stream    bool
	Class     Class
	// Answers is how many are wanted (n); 0 counts as 1.
	Answers int64
	// Greedy: the client asked for temperature 0.
	Greedy bool
}

// EngineCount is how an engine is asked for the exact number of tokens of a prompt. The
// body is that of the call, with these fields instead; the engine generates nothing.
type EngineCount struct {
	Path   string // below the engine's URL, such as "/tokenize"
	Fields []Field
	Member string // of the answer, where the number stands
}

// Field is one member of the JSON body that goes to an engine; Value is raw JSON.
type Field struct {
	Name  string
	Value []byte
}

// Routing is what a snapshot is made of.
type Routing struct {
	Version     int64
	Keys        []Key
	Workspaces  []Workspace
	Models      []Model
	Deployments []Deployment
	Members     []Member
	Replicas    []Replica
	// SoldPPM are the loads of the pools whose replicas are all here. nil: that is every
	// pool, and the members say.
	SoldPPM map[string]int64
	// Address returns how the running engine of a replica is reached.
	Address func(r *Replica) (url, key string, ok bool)
}

// Snapshot is a pure function of the routing state and the moment.
func (r *Routing) Snapshot(now time.Time) *Snapshot { return r.Update(&Snapshot{}, now) }

// Update returns old with what r knows in place of what was there before, and without
// what r says is deleted, revoked or expired; r may be a part of the state, in which a
// token comes with its parent and a key with its workspace. A map is copied only when
// something in it changes: 10,000 entries take some 0.1 ms.
func (r *Routing) Update(old *Snapshot, now time.Time) *Snapshot {
	s := &Snapshot{Version: r.Version, Keys: old.Keys, Workspaces: old.Workspaces, Stopped: old.Stopped, Routes: old.Routes, Pools: r.pools(old.Pools)}
	if len(r.Workspaces) > 0 || s.Workspaces == nil {
		s.Workspaces, s.Stopped = r.accounts(old.Workspaces), r.stopped(old.Stopped)
	}
	if len(r.Keys) > 0 || s.Keys == nil {
		s.Keys = r.keys(old.Keys, s.Workspaces, now)
	}
	if len(r.Deployments) > 0 || s.Routes == nil {
		s.Routes = r.routes(old.Routes)
	}
	return s
}

// copied returns a map that may be changed, with room for more.
func copied[K comparable, V any](old map[K]V, more int) map[K]V {
	if old == nil {
		return make(map[K]V, more)
	}
	return maps.Clone(old)
}

func (r *Routing) routes(old map[string]*Route) map[string]*Route {
	routes := copied(old, len(r.Deployments))
	models := make(map[string]*Model, len(r.Models))
	for i := range r.Models {
		models[r.Models[i].Name] = &r.Models[i]
	}
	members := make(map[string]Member, len(r.Members))
	for _, m := range r.Members {
		members[m.DeploymentID] = m
	}
	owned := map[string][]*Replica{}
	for i := range r.Replicas {
		if p := &r.Replicas[i]; p.State == ReplicaReady {
			owner := p.DeploymentID + p.PoolID
			owned[owner] = append(owned[owner], p)
		}
	}
	for i := range r.Deployments {
		if d := &r.Deployments[i]; !d.DeletedAt.IsZero() && routes[d.DeployedModel] != nil && routes[d.DeployedModel].DeploymentID == d.ID {
			delete(routes, d.DeployedModel)
		}
	}
	for i := range r.Deployments {
		d := &r.Deployments[i]
		if !d.DeletedAt.IsZero() {
			continue
		}
		route := newRoute(d, models[d.ModelName], models[d.BaseModel])
		owner := d.PoolID
		if owner == "" {
			owner = d.ID
		}
		if d.PoolID != "" {
			route.PoolID, route.Adapter = d.PoolID, members[d.ID].Adapter.Digest
		}
		for _, p := range owned[owner] {
			if t, ok := r.target(p, members[d.ID], models[p.ModelName]); ok {
				route.Targets = append(route.Targets, t)
			}
		}
		routes[d.DeployedModel] = route
	}
	return routes
}

// accounts returns the account of each workspace.
func (r *Routing) accounts(old map[string]string) map[string]string {
	accounts := copied(old, len(r.Workspaces))
	for _, w := range r.Workspaces {
		if w.DeletedAt.IsZero() {
			accounts[w.ID] = w.AccountID
		} else {
			delete(accounts, w.ID)
		}
	}
	return accounts
}

// stopped returns until when workspaces are stopped whose budget is spent.
func (r *Routing) stopped(old map[string]time.Time) map[string]time.Time {
	stopped := copied(old, 0)
	for _, w := range r.Workspaces {
		if w.DeletedAt.IsZero() && !w.Budget.StoppedUntil.IsZero() {
			stopped[w.ID] = w.Budget.StoppedUntil
		} else {
			delete(stopped, w.ID)
		}
	}
	return stopped
}

// keys returns what is live: a key whose workspace is gone is not, nor a token whose
// parent is not.
func (r *Routing) keys(old map[KeyHash]*KeyEntry, accounts map[string]string, now time.Time) map[KeyHash]*KeyEntry {
	live := make(map[string]bool, len(r.Keys))
	for i := range r.Keys {
		_, housed := accounts[r.Keys[i].WorkspaceID]
		live[r.Keys[i].ID] = housed && r.Keys[i].Live(now)
	}
	keys := make(map[KeyHash]*KeyEntry, len(old)+len(r.Keys))
	for hash, k := range old {
		if k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt) {
			keys[hash] = k
		}
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if !live[k.ID] || k.ParentID != "" && !live[k.ParentID] {
			delete(keys, k.Hash)
			continue
		}
		keys[k.Hash] = &KeyEntry{
			Caller: Caller{
				KeyID: cmp.Or(k.ParentID, k.ID), WorkspaceID: k.WorkspaceID, AccountID: accounts[k.WorkspaceID], Role: k.Role,
				Temporary: k.ParentID != "",
			},
			Hash: k.Hash, Deployments: k.Deployments, ExpiresAt: k.ExpiresAt,
		}
	}
	return keys
}

func newRoute(d *Deployment, m, base *Model) *Route {
	route := &Route{
		DeploymentID: d.ID, DeployedModel: d.DeployedModel, WorkspaceID: d.WorkspaceID, ModelName: d.ModelName,
		Plan: d.Plan, Status: d.Status, Thinking: ThinkingNone, FixedThinking: d.EnableThinking, CreatedAt: d.CreatedAt,
		Limits: Limits{Requests: d.RPMLimit, Tokens: d.TPMLimit, PTU: d.EffectivePTU(), Overflow: d.Overflow, IsMetered: d.Plan == PlanPTU},
	}
	route.ContextLength = d.Spec.ContextLength
	if m != nil {
		route.Thinking = m.Thinking
		if d.Plan == PlanPTU {
			route.Terms = m.PTU
		}
	}
	route.NoTools = base != nil && base.LacksTools()
	if base != nil && base.ContextLength > 0 && (route.ContextLength == 0 || base.ContextLength < route.ContextLength) {
		route.ContextLength = base.ContextLength
	}
	return route
}

// target says whether calls of a member, or of the deployment that owns p, may go to p,
// and how.
func (r *Routing) target(p *Replica, m Member, weights *Model) (Target, bool) {
	url, key, ok := r.Address(p)
	if !ok {
		return Target{}, false
	}
	t := Target{ReplicaID: p.ID, Nonce: p.Nonce, Engine: p.Engine, URL: url, Key: key, Model: p.ModelName, Adapter: -1, Slots: p.Spec.Slots}
	if weights != nil && weights.RemoteName != "" {
		t.Model = weights.RemoteName
	}
	switch {
	case p.Lane.Owned() && len(p.Adapters) > 0:
		t.Adapter = 0
	case m.Plan == PlanLoRA:
		t.Adapter = p.HasAdapter(m.Adapter.Digest)
	}
	if t.Adapter >= 0 {
		t.AdapterDigest = p.Adapters[t.Adapter].Digest
	}
	return t, p.Lane.Owned() || p.Serves(m)
}
