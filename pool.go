package berth

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
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
	// GrewAt is when the reconciler last tried to make up for replicas that were given up.
	GrewAt time.Time
	// GrownBase and GrownLoRA are the replicas that the lanes for the base and for adapters
	// have grown to because calls queued; 0: none beyond what members need. A mixed lane
	// goes by GrownBase.
	GrownBase, GrownLoRA int64
	// RatedBy is the yield by which the loads of the members were written last.
	RatedBy   string
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
	// LoadPPM is the sold share of one replica in millionths ([Yield.LoadPPM]); 0 for lora.
	LoadPPM int64
	Adapter AdapterRef // lora
}

// LaneWant is what a lane of a pool should look like.
type LaneWant struct {
	Lane     Lane
	Replicas int64
	Adapters []AdapterRef // every one on every replica
	// Loads: replicas that run are given the adapters they lack.
	Loads bool
}

// fits reports whether a live replica of the lane need not be replaced.
func (w *LaneWant) fits(r *Replica) bool { return w.Loads || r.Covers(w.Adapters) }

// Lacking returns the adapters that a replica of the lane is to load while it runs, and
// Spare those that it is to give up.
func (w *LaneWant) Lacking(r *Replica) []AdapterRef {
	return slices.DeleteFunc(slices.Clone(w.Adapters), func(a AdapterRef) bool { return r.HasAdapter(a.Digest) >= 0 })
}

// Spare is the counterpart of Lacking.
func (w *LaneWant) Spare(r *Replica) []AdapterRef {
	return slices.DeleteFunc(slices.Clone(r.Adapters), func(a AdapterRef) bool {
		return slices.ContainsFunc(w.Adapters, func(b AdapterRef) bool { return a.Digest == b.Digest })
	})
}

// Demand is what the members of a pool need together.
type Demand struct {
	Sales, LoRAs int64        // members of each plan
	SoldPPM      int64        // their load, in millionths of a replica
	Adapters     []AdapterRef // each digest once, in that order; of two files the last by name
}

// Members is how many there are.
func (d *Demand) Members() int64 { return d.Sales + d.LoRAs }

// DemandOf sums members up, as [PoolStore].Demand does.
func DemandOf(members []Member) Demand {
	var d Demand
	var adapters []AdapterRef
	seen := map[AdapterRef]bool{}
	for i := range members {
		m := &members[i]
		if m.Plan == PlanPTU {
			d.Sales, d.SoldPPM = d.Sales+1, d.SoldPPM+m.LoadPPM
			continue
		}
		d.LoRAs++
		if !seen[m.Adapter] {
			seen[m.Adapter] = true
			adapters = append(adapters, m.Adapter)
		}
	}
	d.Adapters = DistinctAdapters(adapters)
	return d
}

// DistinctAdapters returns each digest once, in order, with the last of its files by name.
func DistinctAdapters(all []AdapterRef) []AdapterRef {
	slices.SortFunc(all, func(a, b AdapterRef) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(b.Path, a.Path))
	})
	return slices.CompactFunc(all, func(a, b AdapterRef) bool { return a.Digest == b.Digest })
}

// Lanes returns the lanes that there should be: what is needed, and what the pool has
// grown to beyond it while calls queued, within its Max.
func (p *Pool) Lanes(d Demand, engine EngineTraits) []LaneWant {
	want := p.Needs(d, engine)
	room := int64(math.MaxInt64)
	if p.Max > 0 {
		room = int64(p.Max)
		for _, w := range want {
			room -= w.Replicas
		}
	}
	for i := range want {
		w := &want[i]
		more := min(p.Grown(w.Lane)-w.Replicas, room)
		if more > 0 {
			w.Replicas, room = w.Replicas+more, room-more
		}
	}
	return want
}

// Needs returns the lanes that are needed: enough replicas for what was sold (design 2),
// one for adapters, none when there is no member for them.
func (p *Pool) Needs(d Demand, engine EngineTraits) []LaneWant {
	base := max(int64(p.Min), 1, (d.SoldPPM+SoldShare-1)/SoldShare)
	if engine.Mixes(p.Spec) {
		if d.Members() == 0 {
			return nil
		}
		return []LaneWant{{LaneMixed, base, d.Adapters, engine.LoadsAdapters}}
	}
	var want []LaneWant
	if d.Sales > 0 {
		want = append(want, LaneWant{Lane: LaneBase, Replicas: base})
	}
	if d.LoRAs > 0 {
		want = append(want, LaneWant{Lane: LaneLoRA, Replicas: 1, Adapters: d.Adapters, Loads: engine.LoadsAdapters})
	}
	return want
}

// Missing returns how many replicas each lane lacks, given those that exist. A lane
// of an engine that cannot load adapters while running lacks a replica when none has
// all of them: it is rolled, the new replica up before the old one goes.
func Missing(want []LaneWant, have []Replica) []LaneWant {
	var missing []LaneWant
	for _, w := range want {
		fit := int64(0)
		for i := range have {
			if r := &have[i]; r.Lane == w.Lane && r.Live() && w.fits(r) {
				fit++
			}
		}
		if fit < w.Replicas {
			missing = append(missing, LaneWant{w.Lane, w.Replicas - fit, w.Adapters, w.Loads})
		}
	}
	return missing
}

// Superfluous returns the live replicas that no lane needs any more: those of lanes
// without members and, once enough ready ones have every adapter, those beside them.
// Ready ones stay before others, older ones before younger.
func Superfluous(want []LaneWant, have []Replica) []Replica {
	var out []Replica
	for _, lane := range []Lane{LaneBase, LaneLoRA, LaneMixed, LaneDedicated, LanePrefill, LaneDecode} {
		var covering, others []Replica
		i := slices.IndexFunc(want, func(w LaneWant) bool { return w.Lane == lane })
		for _, r := range have {
			switch {
			case r.Lane != lane || !r.Live():
			case i >= 0 && want[i].fits(&r):
				covering = append(covering, r)
			default:
				others = append(others, r)
			}
		}
		if i < 0 {
			out = append(out, others...)
			continue
		}
		ready := slices.DeleteFunc(slices.Clone(covering), func(r Replica) bool { return r.State != ReplicaReady })
		if int64(len(ready)) < want[i].Replicas {
			continue
		}
		slices.SortStableFunc(covering, func(a, b Replica) int {
			return cmp.Or(boolOrder(a.State == ReplicaReady, b.State == ReplicaReady), a.CreatedAt.Compare(b.CreatedAt))
		})
		out = append(append(out, covering[want[i].Replicas:]...), others...)
	}
	return out
}

// whole reports whether every lane has as many ready replicas as it should.
func whole(want []LaneWant, have []Replica) bool {
	for _, w := range want {
		ready := int64(0)
		for i := range have {
			if have[i].Lane == w.Lane && have[i].State == ReplicaReady {
				ready++
			}
		}
		if ready < w.Replicas {
			return false
		}
	}
	return true
}

// boolOrder puts true first.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Serves reports whether calls of the member go to the replica's lane.
func (r *Replica) Serves(m Member) bool {
	switch r.Lane {
	case LaneBase:
		return m.Plan == PlanPTU
	case LaneLoRA:
		return m.Plan == PlanLoRA && r.HasAdapter(m.Adapter.Digest) >= 0
	case LaneMixed:
		return m.Plan == PlanPTU || r.HasAdapter(m.Adapter.Digest) >= 0
	}
	return false
}
