package berth

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Pool is the replicas that ptu and lora deployments of the same weights share.
type Pool struct {
	ID        string // pool_ + UUIDv7
	Key       string // digest of weights, resolved spec and engine; unique
	ModelName string // the base model whose entry made the pool
	Engine    string
	Spec      ResolvedSpec
	Max       int // replicas; 0: whatever fits
	Min       int // replicas of the lane that serves the base
	// IdleSince is when the last member left; the pool ends 60 s later.
	IdleSince time.Time
	CreatedAt time.Time
}

// PoolLinger is how long a pool outlives its last member.
const PoolLinger = 60 * time.Second

// PoolKey makes two names of the same weights share a pool (design 1).
func PoolKey(digest string, spec ResolvedSpec, engine string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%+v\x00%s", digest, spec, engine))
	return hex.EncodeToString(sum[:])
}

// Member is a deployment's place in a pool: a sale row for ptu, a membership row for
// lora.
type Member struct {
	PoolID       string
	DeploymentID string
	Plan         Plan
	// Load is the sold share of one replica in millionths, by calibration, the larger
	// of input and output; 0 for lora.
	LoadPPM int64
	Adapter AdapterRef // lora
}

// SoldShare is the largest part of the calibrated throughput that is sold, in
// millionths (design 2).
const SoldShare = 900_000

// LoadPPM returns the share of one calibrated replica that c reserves, in millionths
// rounded up. Thinking tokens are output to an engine.
func LoadPPM(c PTUCapacity, cal Calibration) int64 {
	share := func(tpm, capacity int64) int64 {
		return (tpm*1_000_000 + capacity - 1) / capacity
	}
	return max(share(c.InputTPM, cal.InputTPM), share(c.OutputTPM+c.ThinkingTPM, cal.OutputTPM))
}

// LaneWant is what a lane of a pool should look like.
type LaneWant struct {
	Lane     Lane
	Replicas int64
	Adapters []AdapterRef // every one on every replica
}

// Lanes returns the lanes that the members need: enough replicas for what was sold
// (design 2), one for adapters, none when there is no member for them.
func (p *Pool) Lanes(members []Member, engine EngineTraits) []LaneWant {
	var sold int64
	var sales, loras bool
	adapters := map[string]AdapterRef{}
	for _, m := range members {
		if m.Plan == PlanPTU {
			sales, sold = true, sold+m.LoadPPM
			continue
		}
		loras = true
		adapters[m.Adapter.Digest] = m.Adapter
	}
	base := max(int64(p.Min), 1, (sold+SoldShare-1)/SoldShare)
	if engine.MixedAdapters {
		if !sales && !loras {
			return nil
		}
		return []LaneWant{{LaneMixed, base, sortedAdapters(adapters)}}
	}
	var want []LaneWant
	if sales {
		want = append(want, LaneWant{Lane: LaneBase, Replicas: base})
	}
	if loras {
		want = append(want, LaneWant{LaneLoRA, 1, sortedAdapters(adapters)})
	}
	return want
}

func sortedAdapters(set map[string]AdapterRef) []AdapterRef {
	all := make([]AdapterRef, 0, len(set))
	for _, a := range set {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b AdapterRef) int { return cmp.Compare(a.Digest, b.Digest) })
	return all
}

// Missing returns how many replicas each lane lacks, given those that exist. A lane
// of an engine that cannot load adapters while running lacks a replica when none has
// all of them: it is rolled, the new replica up before the old one goes.
func Missing(want []LaneWant, have []Replica) []LaneWant {
	var missing []LaneWant
	for _, w := range want {
		fit := int64(0)
		for i := range have {
			if r := &have[i]; r.Lane == w.Lane && r.Live() && r.Covers(w.Adapters) {
				fit++
			}
		}
		if fit < w.Replicas {
			missing = append(missing, LaneWant{w.Lane, w.Replicas - fit, w.Adapters})
		}
	}
	return missing
}

// Superfluous returns the live replicas that no lane needs any more: lanes without
// members, and replicas whose place ready ones with all adapters have taken. The ones
// that cover least go first.
func Superfluous(want []LaneWant, have []Replica) []Replica {
	var out []Replica
	for i := range have {
		r := &have[i]
		if !r.Live() {
			continue
		}
		w := slices.IndexFunc(want, func(w LaneWant) bool { return w.Lane == r.Lane })
		if w < 0 {
			out = append(out, *r)
			continue
		}
		if r.Covers(want[w].Adapters) {
			continue
		}
		ready := int64(0)
		for j := range have {
			if o := &have[j]; o.Lane == r.Lane && o.State == ReplicaReady && o.Covers(want[w].Adapters) {
				ready++
			}
		}
		if ready >= want[w].Replicas {
			out = append(out, *r)
		}
	}
	return out
}
