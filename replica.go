package berth

import (
	"slices"
	"time"
)

// Lane says which calls a replica takes. Engines that run adapters side by side have
// only [LaneMixed] (design 2).
type Lane string

// The lanes.
const (
	LaneDedicated Lane = "dedicated" // one mu deployment's own
	LanePrefill   Lane = "prefill"   // the same, reads prompts for those that decode; takes no calls itself
	LaneDecode    Lane = "decode"    // the same, answers calls
	LaneBase      Lane = "base"      // a pool's calls without adapter
	LaneLoRA      Lane = "lora"      // a pool's calls with adapters
	LaneMixed     Lane = "mixed"     // a pool's calls of both kinds
)

// TakesAdapters reports whether replicas of the lane run the adapters of a pool's members.
func (l Lane) TakesAdapters() bool { return l == LaneMixed || l == LaneLoRA }

// BestEffort reports whether replicas of the lane take no reserved calls and are nobody's own:
// calls of the plan lora run there and nothing else. Of a mixed lane that cannot be said.
func (l Lane) BestEffort() bool { return l == LaneLoRA }

// ReplicaState is where a replica stands; the reconciler alone writes it.
type ReplicaState string

// The states of a replica.
const (
	ReplicaPending  ReplicaState = "pending"  // to be started, at RestartAt at the earliest
	ReplicaStarting ReplicaState = "starting" // the engine runs and does not answer yet
	ReplicaReady    ReplicaState = "ready"    // answered one token
	ReplicaDraining ReplicaState = "draining" // takes no new calls
	ReplicaStopping ReplicaState = "stopping" // told to end
	ReplicaFailed   ReplicaState = "failed"   // given up; its hardware is released
)

// AdapterRef is an adapter as a replica has it loaded.
type AdapterRef struct {
	Digest string
	Path   string
}

// Replica is one engine: a process, a Pod or a remote URL, owned by a deployment or
// by a pool.
type Replica struct {
	ID           string // rep_ + UUIDv7
	DeploymentID string // "" when a pool owns it
	PoolID       string // "" when a deployment owns it
	NodeID       string
	Lane         Lane
	Engine       string // driver name
	ModelName    string // whose files it runs
	Spec         ResolvedSpec
	// Adapters in the order the engine got them: an adapter's place is its number
	// there.
	Adapters []AdapterRef
	// Proving, when set, makes the present start a scratch run that takes no calls: the
	// digest of the adapter that is to answer, or [ProofOfWeights].
	Proving string
	State   ReplicaState
	// Reason explains the last failure in words a person understands.
	Reason string
	// Nonce names this start of the engine; a process with another nonce is not ours.
	Nonce     string
	PID       int64 // the engine's
	StartTime int64 // of the process, in clock ticks since boot: pid and start time name a process for ever
	URL       string
	Failures  []time.Time // newest last; at most MaxFailures are kept
	RestartAt time.Time
	StartedAt time.Time // of this nonce
	ReadyAt   time.Time // of its last first answer; zero until it answered once, in any nonce
	DrainFrom time.Time
	CreatedAt time.Time
}

// Owned reports whether the replica is one of a deployment's own and takes calls.
func (l Lane) Owned() bool { return l == LaneDedicated || l == LaneDecode }

// Live reports whether the replica is or may come into service.
func (r *Replica) Live() bool {
	return r.State == ReplicaPending || r.State == ReplicaStarting || r.State == ReplicaReady
}

// HasAdapter returns the number of the adapter in the engine, or −1.
func (r *Replica) HasAdapter(digest string) int {
	return slices.IndexFunc(r.Adapters, func(a AdapterRef) bool { return a.Digest == digest })
}

// Covers reports whether every one of the wanted adapters is loaded.
func (r *Replica) Covers(want []AdapterRef) bool {
	return !slices.ContainsFunc(want, func(a AdapterRef) bool { return r.HasAdapter(a.Digest) < 0 })
}

// Giving a replica up (design 4).
const (
	MaxFailures   = 5
	FailureWindow = 10 * time.Minute
)

// Backoff returns the wait before start number failures+1: doubling from base, at
// most 60 times base (design 4: 1 s … 60 s).
func Backoff(failures int, base time.Duration) time.Duration {
	if failures <= 0 {
		return 0
	}
	return min(base<<min(failures-1, 10), 60*base)
}

// Fail books a failure of the engine at now. The fifth within ten minutes, or without
// an answer in between, gives the replica up, and so does a permanent one of an engine
// that never answered; otherwise it is to be restarted after a backoff.
func (r *Replica) Fail(now time.Time, base time.Duration, permanent bool, reason string) {
	r.Failures = slices.DeleteFunc(r.Failures, func(t time.Time) bool {
		return now.Sub(t) > FailureWindow && t.Before(r.ReadyAt)
	})
	r.Failures = append(r.Failures, now)
	r.Reason, r.PID, r.StartTime, r.URL, r.Nonce = reason, 0, 0, "", ""
	if permanent && r.ReadyAt.IsZero() || len(r.Failures) >= MaxFailures {
		r.State = ReplicaFailed
		return
	}
	r.State = ReplicaPending
	r.RestartAt = now.Add(Backoff(len(r.Failures), base))
}
