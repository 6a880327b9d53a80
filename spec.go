package berth

import "cmp"

// Resources are amounts of a node's hardware.
type Resources struct {
	Threads      int64
	MemoryBytes  int64
	Accelerators int64
}

// Add returns r + o.
func (r Resources) Add(o Resources) Resources {
	return Resources{r.Threads + o.Threads, r.MemoryBytes + o.MemoryBytes, r.Accelerators + o.Accelerators}
}

// Sub returns r − o.
func (r Resources) Sub(o Resources) Resources {
	return Resources{r.Threads - o.Threads, r.MemoryBytes - o.MemoryBytes, r.Accelerators - o.Accelerators}
}

// Times returns n × r.
func (r Resources) Times(n int64) Resources {
	return Resources{r.Threads * n, r.MemoryBytes * n, r.Accelerators * n}
}

// Within reports whether r fits into o in every dimension.
func (r Resources) Within(o Resources) bool {
	return r.Threads <= o.Threads && r.MemoryBytes <= o.MemoryBytes && r.Accelerators <= o.Accelerators
}

// SpecType says which roles a replica has (api.md 4.9; the second one's spelling is
// part of the wire format).
type SpecType string

// The types of specs.
const (
	SpecTypeCoupled   SpecType = "COUPLED"   // one role: unified
	SpecTypeSeparated SpecType = "SEPERATED" // two roles: prefill and decode
)

// Spec is the hardware of one model unit, such as MU1. Clients see specs as
// templates.
type Spec struct {
	Name string
	Type SpecType
	Unit Resources
	// Slots are the parallel sequences that one unit carries.
	Slots int64
	// ContextLength is the number of tokens of each slot, not multiplied by units.
	ContextLength int64
	// UnitsPerReplica is the base capacity: capacity units that one replica takes.
	UnitsPerReplica int64
}

// SpecOverride is a model's entry for one spec. Zero fields mean: units × spec.
type SpecOverride struct {
	Spec            string
	UnitsPerReplica int64
	Threads         int64
	MemoryBytes     int64
	Slots           int64
	ContextLength   int64
}

// ResolvedSpec is the hardware of one replica, frozen into a deployment when it is
// bought, so that a later change of a spec does not change what was sold.
type ResolvedSpec struct {
	Name            string
	Type            SpecType
	UnitsPerReplica int64
	Replica         Resources
	Slots           int64 // parallel sequences of the replica
	ContextLength   int64 // tokens of each slot
}

// Resolve applies a model's override to a spec.
func (s Spec) Resolve(o SpecOverride) ResolvedSpec {
	units := cmp.Or(o.UnitsPerReplica, s.UnitsPerReplica, 1)
	hardware := s.Unit.Times(units)
	hardware.Threads = cmp.Or(o.Threads, hardware.Threads)
	hardware.MemoryBytes = cmp.Or(o.MemoryBytes, hardware.MemoryBytes)
	return ResolvedSpec{
		Name:            s.Name,
		Type:            cmp.Or(s.Type, SpecTypeCoupled),
		UnitsPerReplica: units,
		Replica:         hardware,
		Slots:           cmp.Or(o.Slots, s.Slots*units, 1),
		ContextLength:   cmp.Or(o.ContextLength, s.ContextLength),
	}
}

// EngineTraits are what the domain must know of an engine to sell it. The drivers
// state them; the wiring hands them over.
type EngineTraits struct {
	Name string
	// MixedAdapters: calls with different adapters run side by side in one replica.
	// Without it a replica is a lane (design 2).
	MixedAdapters bool
	// MixNeedsAccelerator: they do so only where replicas have accelerators.
	MixNeedsAccelerator bool
	// Adapters: LoRA adapters can be applied at all.
	Adapters bool
	// LoadsAdapters: a replica takes adapters and gives them up while it runs. Without it
	// one that lacks an adapter is replaced.
	LoadsAdapters bool
	// SeparatesRoles: prefill and decode can run in replicas of their own.
	SeparatesRoles bool
	// ThinkingBudgets: the engine ends the thinking of a call after as many tokens as it
	// is told, and goes on with the answer.
	ThinkingBudgets bool
	// Remote: no process of ours; replicas hold no hardware.
	Remote bool
	// Missing says what to do before the engine can run here, "" when it can.
	Missing string
	// OverheadBytes is the memory of a replica beside weights and context.
	OverheadBytes int64
}

// Mixes reports whether replicas of a spec run calls with different adapters, and without,
// side by side.
func (e *EngineTraits) Mixes(spec ResolvedSpec) bool {
	return e.MixedAdapters && (spec.Replica.Accelerators > 0 || !e.MixNeedsAccelerator)
}

// MemoryNeed returns the bytes that a replica needs for the weights, the context of
// all slots and the engine itself.
func MemoryNeed(file ModelFile, engine EngineTraits, slots, contextLength int64) int64 {
	return file.Stat.SizeBytes + file.KVBytesPerToken*slots*contextLength + engine.OverheadBytes
}
