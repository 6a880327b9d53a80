package berth_test

import (
	"reflect"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

var noon = time.Date(2026, 10, 2, 12, 0, 0, 0, time.UTC)

// running is routing state in which every ready replica has an address.
func running(r berth.Routing) *berth.Snapshot {
	r.Address = func(p *berth.Replica) (string, string, bool) {
		return "http://" + p.ID, "key of " + p.ID, p.State == berth.ReplicaReady && p.Nonce != "lost"
	}
	return r.Snapshot(noon)
}

func replica(id, owner string, lane berth.Lane, adapters ...berth.AdapterRef) berth.Replica {
	return berth.Replica{
		ID: id, PoolID: owner, Lane: lane, Adapters: adapters, State: berth.ReplicaReady, Engine: "llamacpp", ModelName: "base",
		Spec: berth.ResolvedSpec{Slots: 4},
	}
}

func TestTargetsByLane(t *testing.T) {
	t.Parallel()
	ptu := berth.Deployment{ID: "p", DeployedModel: "p", Plan: berth.PlanPTU, PoolID: "pool"}
	lora := func(id string) berth.Deployment {
		return berth.Deployment{ID: id, DeployedModel: id, Plan: berth.PlanLoRA, PoolID: "pool"}
	}
	own := replica("own", "", berth.LaneDedicated)
	own.DeploymentID = "m"
	tuned := replica("tuned", "", berth.LaneDedicated, words)
	tuned.DeploymentID = "t"
	starting, lost := replica("starting", "pool", berth.LaneBase), replica("lost", "pool", berth.LaneBase)
	starting.State, lost.Nonce = berth.ReplicaStarting, "lost"
	s := running(berth.Routing{
		Deployments: []berth.Deployment{
			ptu, lora("w"), lora("s"), lora("x"),
			{ID: "m", DeployedModel: "m", Plan: berth.PlanMU}, {ID: "t", DeployedModel: "t", Plan: berth.PlanMU},
		},
		Members: []berth.Member{
			{DeploymentID: "p", Plan: berth.PlanPTU}, adapter("w", words), adapter("s", shout), adapter("x", berth.AdapterRef{Digest: "sha256:x"}),
		},
		Replicas: []berth.Replica{
			replica("base", "pool", berth.LaneBase), replica("lane", "pool", berth.LaneLoRA, shout, words),
			replica("mixed", "pool", berth.LaneMixed, words), own, tuned, starting, lost, replica("other", "another pool", berth.LaneBase),
		},
	})
	type numbers map[string]int // adapter's number by replica
	for name, want := range map[string]numbers{
		"p": {"base": -1, "mixed": -1},
		"w": {"lane": 1, "mixed": 0},
		"s": {"lane": 0},
		"x": {},
		"m": {"own": -1},
		"t": {"tuned": 0},
	} {
		got := numbers{}
		for _, target := range s.Routes[name].Targets {
			got[target.ReplicaID] = target.Adapter
			if target.URL != "http://"+target.ReplicaID || target.Key != "key of "+target.ReplicaID || target.Slots != 4 || target.Engine != "llamacpp" {
				t.Errorf("%s: %+v", name, target)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestARouteSaysWhatTheGatewayMustKnow(t *testing.T) {
	t.Parallel()
	far := berth.Model{Name: "far", Kind: berth.ModelKindEndpoint, RemoteName: "gpt", Thinking: berth.ThinkingAlways}
	p := replica("r", "", berth.LaneDedicated)
	p.DeploymentID, p.ModelName = "d", "far"
	s := running(berth.Routing{
		Version: 7,
		Models:  []berth.Model{far, {Name: "base", ContextLength: 500}, {Name: "tuned", Thinking: berth.ThinkingOptional, PTU: berth.PTUTerms{MaxInput: 3}}},
		Deployments: []berth.Deployment{
			{ID: "d", DeployedModel: "far", WorkspaceID: home, ModelName: "far", BaseModel: "far", Plan: berth.PlanMU, Status: berth.StatusUpdating,
				RPMLimit: 5, TPMLimit: 6, EnableThinking: yes(true), Spec: berth.ResolvedSpec{ContextLength: 100}, CreatedAt: noon},
			{ID: "t", DeployedModel: "tuned", ModelName: "tuned", BaseModel: "base", Plan: berth.PlanPTU, Spec: berth.ResolvedSpec{ContextLength: 1000},
				PTU: berth.PTUCapacity{InputTPM: 1, OutputTPM: 2}, Overflow: berth.OverflowDisable},
			{ID: "g", DeployedModel: "gone model", ModelName: "gone", BaseModel: "gone"},
		},
		Replicas: []berth.Replica{p},
	})
	want := &berth.Route{
		DeploymentID: "d", DeployedModel: "far", WorkspaceID: home, ModelName: "far", Plan: berth.PlanMU, Status: berth.StatusUpdating,
		Thinking: berth.ThinkingAlways, FixedThinking: s.Routes["far"].FixedThinking, ContextLength: 100, CreatedAt: noon,
		Limits: berth.Limits{Requests: 5, Tokens: 6},
		// A remote engine is asked by the name that it knows.
		Targets: []berth.Target{{ReplicaID: "r", Engine: "llamacpp", URL: "http://r", Key: "key of r", Model: "gpt", Adapter: -1, Slots: 4}},
	}
	if got := s.Routes["far"]; !reflect.DeepEqual(got, want) || !*got.FixedThinking {
		t.Errorf("got %+v", got)
	}
	tuned := s.Routes["tuned"]
	if tuned.ContextLength != 500 || tuned.Thinking != berth.ThinkingOptional || !tuned.Limits.IsMetered || tuned.Limits.Overflow != berth.OverflowDisable || tuned.Terms.MaxInput != 3 {
		t.Errorf("got %+v", tuned)
	}
	if s.Version != 7 || s.Routes["gone model"].Thinking != berth.ThinkingNone {
		t.Errorf("got version %d, %+v", s.Version, s.Routes["gone model"])
	}
}

func TestOnlyLiveKeysOpen(t *testing.T) {
	t.Parallel()
	key := func(id string) berth.Key {
		return berth.Key{ID: id, WorkspaceID: home, Role: berth.RoleAdmin, Hash: hashOf(id), Deployments: []string{"dep_1"}}
	}
	revoked, expired, ending := key("revoked"), key("expired"), key("ending")
	revoked.RevokedAt, expired.ExpiresAt, ending.ExpiresAt = noon.Add(-1), noon, noon.Add(1)
	s := running(berth.Routing{
		Keys:       []berth.Key{key("live"), revoked, expired, ending},
		Workspaces: []berth.Workspace{{ID: home, AccountID: payer}},
	})
	if len(s.Keys) != 2 || s.Keys[hashOf("ending")] == nil {
		t.Fatalf("got %v", s.Keys)
	}
	want := &berth.KeyEntry{
		Caller: berth.Caller{KeyID: "live", WorkspaceID: home, AccountID: payer, Role: berth.RoleAdmin},
		Hash:   hashOf("live"), Deployments: []string{"dep_1"},
	}
	if got := s.Keys[hashOf("live")]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestPoolsOfASnapshot(t *testing.T) {
	t.Parallel()
	starting := replica("starting", "pool", berth.LaneBase)
	starting.State = berth.ReplicaStarting
	r := berth.Routing{
		Deployments: []berth.Deployment{{ID: "p", DeployedModel: "p", Plan: berth.PlanPTU, PoolID: "pool"}, {ID: "w", DeployedModel: "w", Plan: berth.PlanLoRA, PoolID: "pool"}},
		Members:     []berth.Member{{PoolID: "pool", DeploymentID: "p", Plan: berth.PlanPTU, LoadPPM: 50_000}, {PoolID: "pool", DeploymentID: "w", Plan: berth.PlanLoRA, Adapter: words}},
		Replicas:    []berth.Replica{replica("lane", "pool", berth.LaneLoRA, words), replica("base", "pool", berth.LaneBase), starting, replica("idle", "unsold", berth.LaneBase)},
	}
	s := running(r)
	base := berth.PoolReplica{ID: "base", Lane: berth.LaneBase, Slots: 4, Guaranteed: 2}
	lane := berth.PoolReplica{ID: "lane", Lane: berth.LaneLoRA, Slots: 4, Adapters: []berth.AdapterRef{words}}
	want := map[string]*berth.PoolRoute{
		"pool":   {ID: "pool", SoldPPM: 50_000, Replicas: []berth.PoolReplica{base, lane}},
		"unsold": {ID: "unsold", Replicas: []berth.PoolReplica{{ID: "idle", Lane: berth.LaneBase, Slots: 4}}},
	}
	if !reflect.DeepEqual(s.Pools, want) {
		t.Errorf("pools %+v", s.Pools)
	}
	if p, w := s.Routes["p"], s.Routes["w"]; p.PoolID != "pool" || p.Adapter != "" || w.PoolID != "pool" || w.Adapter != words.Digest {
		t.Errorf("routes %+v and %+v", p, w)
	}

	r.Replicas[0].State = berth.ReplicaDraining
	next := berth.Routing{Replicas: r.Replicas[:3], SoldPPM: map[string]int64{"pool": 900_000}, Address: func(*berth.Replica) (string, string, bool) { return "", "", true }}
	base.Guaranteed = 3
	got := next.Update(s, noon)
	if p := got.Pools["pool"]; len(p.Replicas) != 1 || !reflect.DeepEqual(p.Replicas[0], base) {
		t.Errorf("more sold, the lane drains: %+v", p)
	}
	if got.Pools["unsold"] != s.Pools["unsold"] || s.Pools["pool"].SoldPPM != 50_000 {
		t.Error("another pool, or the old snapshot, was changed")
	}
	if same := next.Update(got, noon); same.Pools["pool"] != got.Pools["pool"] {
		t.Error("nothing changed, and the pool is another")
	}
	next.Replicas = nil
	if gone := next.Update(got, noon); gone.Pools["pool"] != nil || gone.Pools["unsold"] == nil {
		t.Errorf("without replicas: %+v", gone.Pools)
	}
}
