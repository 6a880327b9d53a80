package berth

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Turn is one call's place in the line of a pool, from its arrival until it is done. The
// gateway fills in what the call is; the scheduler, what became of it.
type Turn struct {
	DeploymentID string
	// Class: [ClassReserved] is guaranteed, everything else best effort (design 2).
	Class   Class
	Adapter string // digest; "" for a call of the base
	Slots   int64  // parallel sequences of the engine, at least 1
	Tokens  int64  // expected, of the prompt and all answers
	// Wait is the longest time in the line; 0 means that the call is served now or not.
	Wait time.Duration
	// Prefer names a replica to be chosen when it is not more loaded than others.
	Prefer string
	// Tried are replicas that did not take the call and are not chosen again.
	Tried []string

	State     TurnState
	ReplicaID string        // running: where
	ArrivedAt time.Time     // set by the scheduler unless it is set already
	After     time.Duration // refused: when it makes sense to come again
}

// TurnState says where a turn stands.
type TurnState int

// The states of a turn. All but the first two are ends.
const (
	TurnWaiting   TurnState = iota
	TurnRunning             // it has slots of ReplicaID until it is done
	TurnDone                // it gave them back
	TurnLeft                // it left the line
	TurnFull                // refused: the line is full, or the call would not wait
	TurnTooLate             // refused: it waited as long as it may
	TurnNoReplica           // refused: no replica serves it
)

// Guaranteed reports whether calls of the class are taken before all others of a pool.
func (c Class) Guaranteed() bool { return c == ClassReserved }

// PoolRoute is what the gateway knows of one pool.
type PoolRoute struct {
	ID       string
	SoldPPM  int64 // what reservations need, in millionths of a replica
	Replicas []PoolReplica
}

// PoolReplica is one ready replica of a pool.
type PoolReplica struct {
	ID    string
	Lane  Lane
	Slots int64
	// Guaranteed are the slots that best effort leaves free, below Slots.
	Guaranteed int64
	Adapters   []AdapterRef
	Trust      Trust
}

// Trust says whether calls go to a replica of a pool. Where no other one serves a call, it
// makes no difference.
type Trust int

// The degrees of trust.
const (
	Trusted Trust = iota
	OnTrial       // it failed, and gets one call at a time to see whether it works again
	Ejected       // it failed, and gets no calls
)

// Serves reports whether calls with the adapter, "" for none, can go to the replica.
func (r *PoolReplica) Serves(adapter string) bool {
	switch {
	case r.Lane == LaneBase:
		return adapter == ""
	case r.Lane == LaneMixed && adapter == "":
		return true
	}
	for i := range r.Adapters {
		if r.Adapters[i].Digest == adapter {
			return true
		}
	}
	return false
}

// pools returns the pools that r knows in place of what was there before. One that did
// not change stays the same value.
func (r *Routing) pools(old map[string]*PoolRoute) map[string]*PoolRoute {
	ready := map[string][]*Replica{}
	for i := range r.Replicas {
		have := &r.Replicas[i]
		if have.PoolID == "" || have.State != ReplicaReady {
			continue
		}
		if _, _, ok := r.Address(have); ok {
			ready[have.PoolID] = append(ready[have.PoolID], have)
		}
	}
	sold := r.SoldPPM
	if sold == nil {
		sold = make(map[string]int64, len(ready))
		for id := range ready {
			sold[id] = 0
		}
		for i := range r.Members {
			sold[r.Members[i].PoolID] += r.Members[i].LoadPPM
		}
	}
	if len(sold) == 0 && old != nil {
		return old
	}
	pools := copied(old, len(sold))
	for id := range sold {
		switch p := newPoolRoute(id, sold[id], ready[id]); {
		case len(p.Replicas) == 0:
			delete(pools, id)
		case pools[id] == nil || !pools[id].equal(p):
			pools[id] = p
		}
	}
	return pools
}

func newPoolRoute(id string, soldPPM int64, ready []*Replica) *PoolRoute {
	p := &PoolRoute{ID: id, SoldPPM: soldPPM}
	shared := int64(0) // replicas that reserved calls go to
	for _, have := range ready {
		p.Replicas = append(p.Replicas, PoolReplica{ID: have.ID, Lane: have.Lane, Slots: max(have.Spec.Slots, 1), Adapters: have.Adapters})
		if have.Lane != LaneLoRA {
			shared++
		}
	}
	for i := range p.Replicas {
		if have := &p.Replicas[i]; have.Lane != LaneLoRA {
			have.Guaranteed = GuaranteedSlots(have.Slots, soldPPM, shared)
		}
	}
	slices.SortFunc(p.Replicas, func(a, b PoolReplica) int { return cmp.Compare(a.ID, b.ID) })
	return p
}

func (p *PoolRoute) equal(o *PoolRoute) bool {
	return p.SoldPPM == o.SoldPPM && slices.EqualFunc(p.Replicas, o.Replicas, func(a, b PoolReplica) bool {
		return a.ID == b.ID && a.Lane == b.Lane && a.Slots == b.Slots && a.Guaranteed == b.Guaranteed && slices.Equal(a.Adapters, b.Adapters)
	})
}

// The part of reserved calls that may find all guaranteed slots taken, and the mean
// number of them from which a normal distribution is close enough.
const (
	guaranteedMiss  = 0.05
	guaranteedSigma = 1.645 // standard deviations that 5 % lie beyond
	manySlots       = 64
)

// GuaranteedSlots returns how many of a replica's slots best effort leaves to what was
// sold, soldPPM millionths of a replica on so many of them. By calibration reservations
// keep slots × share of them busy on the average; calls that come at random find that
// many taken every other time. So there are as many as 19 of 20 such calls find one free
// of (a Poisson distribution), at most all but one. 0 when nothing was sold.
func GuaranteedSlots(slots, soldPPM, replicas int64) int64 {
	if soldPPM <= 0 || replicas <= 0 || slots <= 1 {
		return 0
	}
	mean := float64(slots) * float64(soldPPM) / 1e6 / float64(replicas)
	if mean > manySlots {
		return min(int64(math.Ceil(mean+guaranteedSigma*math.Sqrt(mean))), slots-1)
	}
	most := slots - 1
	term := math.Exp(-mean) // of exactly n calls
	below := term           // of n or fewer
	n := int64(1)
	for ; n < most && 1-below > guaranteedMiss; n++ {
		term *= mean / float64(n)
		below += term
	}
	return min(n, most)
}

// PoolDemand says that best effort waits in a pool: what makes it grow.
type PoolDemand struct {
	PoolID  string
	Lane    Lane      // that lacks slots
	Since   time.Time // somebody has been waiting all the time
	Waiting int64     // calls
}

// PoolState is what a pool's scheduler is doing.
type PoolState struct {
	PoolID     string
	Replicas   []LaneState
	Guaranteed LineState
	BestEffort LineState
	// Counts since the pool's first call in this process.
	Granted, Waited, Full, TooLate int64
}

// LaneState is one replica of a pool.
type LaneState struct {
	ReplicaID  string
	Lane       Lane
	Slots      int64
	Guaranteed int64 // left free by best effort
	Busy       int64
	BestEffort int64 // of those busy
	// Adapter is what a lane that takes adapters in turns is at, since GroupSince;
	// Group are the calls of its closed group that still wait.
	Adapter    string
	GroupSince time.Time
	Group      int64
	Trust      Trust
}

// LineState is a class of a pool's calls, or one deployment's part of it.
type LineState struct {
	Waiting int64 // calls
	Tokens  int64 // that they are expected to use
	Tenants int64 // deployments with waiting calls
	Since   time.Time
	// Expected is how long a call that comes now waits, at the pace of the last seconds.
	Expected time.Duration
}
