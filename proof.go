package berth

import "slices"

// Proof is what scratch runs on the hardware of a pool's replica have shown of one
// adapter: that it answers, or how often in a row it did not (design 2). It lives as
// long as its pool, since another pool has other weights, another spec or another
// engine.
type Proof struct {
	PoolID string
	// Adapter is the digest of the adapter, or [ProofOfWeights].
	Adapter  string
	Proved   bool
	Failures int64 // since it was proved last, or ever
}

// ProofOfWeights is the proof that the pool's weights answer without an adapter. Only
// then is a failure with one adapter the adapter's own.
const ProofOfWeights = "weights"

// ProofTries is how many scratch runs an adapter has before its deployments are given
// up.
const ProofTries = 3

// NextProof returns what a replica with these adapters must show in a scratch run
// before it is started with all of them: an adapter's digest, [ProofOfWeights], or ""
// when nothing is left to prove. An adapter alone needs no run of its own: the
// replica's first answer is the proof. Adapters that failed wait for those that did not.
func NextProof(adapters []AdapterRef, proofs []Proof) string {
	if len(adapters) < 2 {
		return ""
	}
	known := func(key string) Proof {
		i := slices.IndexFunc(proofs, func(p Proof) bool { return p.Adapter == key })
		if i < 0 {
			return Proof{Adapter: key}
		}
		return proofs[i]
	}
	var next Proof
	for _, a := range adapters {
		if p := known(a.Digest); !p.Proved && (next.Adapter == "" || p.Failures < next.Failures) {
			next = p
		}
	}
	if next.Adapter != "" && !known(ProofOfWeights).Proved {
		return ProofOfWeights
	}
	return next.Adapter
}

// Loads returns the adapters of the replica's present start, in the order of their
// numbers: all of them, or in a scratch run the one that is to be proved.
func (r *Replica) Loads() []AdapterRef {
	if r.Proving == "" {
		return r.Adapters
	}
	return slices.DeleteFunc(slices.Clone(r.Adapters), func(a AdapterRef) bool { return a.Digest != r.Proving })
}
