package berth

import "time"

// Explanation is what a gateway would do with calls of a deployment now.
type Explanation struct {
	Limits []LimitState
	Terms  PTUTerms // how tokens count against Limits
	// ExpectedOutput is what a call reserves for each answer that declares no largest
	// output, in tokens.
	ExpectedOutput int64
	Replicas       []ReplicaLoad
	Queue          *Queue // nil of a deployment with replicas of its own
	// Refusals are sentences, one for each reason for which a call would be refused now.
	Refusals []string
}

// LimitState is how far one limit per minute is used.
type LimitState struct {
	Dimension       string // "requests", "tokens", "input", "output" or "thinking"
	Limit           int64
	Used, Remaining int64
	Reset           time.Duration // until nothing of it is used, if nothing else comes
}

// Queue is how calls of a deployment wait in the pool that it shares.
type Queue struct {
	PoolID   string
	Lines    []QueueLine // guaranteed first
	Replicas []LaneState
	Adapter  string // of the deployment; "" for the base
}

// QueueLine is one class of a pool's calls, and what of it is the deployment's.
type QueueLine struct {
	Guaranteed bool
	All, Own   LineState // Own.Expected is what a call of the deployment waits that comes now
}

// ReplicaLoad is how many calls a replica has; those of other deployments count, too.
type ReplicaLoad struct {
	ReplicaID       string
	Slots, InFlight int64
}
