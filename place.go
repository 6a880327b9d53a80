package berth

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Node is one machine's inventory.
type Node struct {
	ID     string
	Total  Resources
	GPUs   []string // accelerator ids as their vendor's tool prints them
	Online bool
	// Version is raised by every hold on the node; two purchases that looked at the
	// same version cannot both be written.
	Version int64
}

// Hold is hardware taken by one replica, from its purchase until the replica is
// measured gone.
type Hold struct {
	ID           string // hold_ + UUIDv7
	NodeID       string
	ReplicaID    string
	DeploymentID string // "" when a pool holds it
	PoolID       string
	Held         Resources
	GPUs         []string
}

// Placement is the node chosen for one replica.
type Placement struct {
	NodeID string
	Held   Resources
	GPUs   []string
}

// Place finds nodes for count replicas that each need the same resources: first come,
// first served, the emptiest node first so that load spreads, ties by id so that the
// same question has the same answer. It places all of them or none; the error is a
// [CodeNoCapacity] whose sentence names what is missing and who holds it.
// heldBy names the owner of a hold for that sentence.
func Place(nodes []Node, holds []Hold, spec ResolvedSpec, count int64, heldBy func(Hold) string) ([]Placement, error) {
	free := make(map[string]Resources, len(nodes))
	gpus := make(map[string][]string, len(nodes))
	for _, n := range nodes {
		if n.Online {
			free[n.ID] = n.Total
			gpus[n.ID] = n.GPUs
		}
	}
	for _, h := range holds {
		if f, ok := free[h.NodeID]; ok {
			free[h.NodeID] = f.Sub(h.Held)
			gpus[h.NodeID] = without(gpus[h.NodeID], h.GPUs)
		}
	}
	placed := make([]Placement, 0, min(count, 64))
	for range count {
		id, ok := emptiest(free, spec.Replica)
		if !ok {
			return nil, noCapacity(nodes, holds, spec, count, heldBy)
		}
		p := Placement{NodeID: id, Held: spec.Replica}
		free[id] = free[id].Sub(spec.Replica)
		if n := int(spec.Replica.Accelerators); n > 0 {
			p.GPUs, gpus[id] = slices.Clone(gpus[id][:n]), gpus[id][n:]
		}
		placed = append(placed, p)
	}
	return placed, nil
}

func without(all, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(g string) bool { return slices.Contains(taken, g) })
}

func emptiest(free map[string]Resources, need Resources) (string, bool) {
	best, found := "", false
	for id, f := range free {
		if !need.Within(f) {
			continue
		}
		if !found || f.Threads > free[best].Threads || f.Threads == free[best].Threads && id < best {
			best, found = id, true
		}
	}
	return best, found
}

// noCapacity says what is missing: "MU1 x 2 needs 2 x 2 threads; 1 is free; held: …".
func noCapacity(nodes []Node, holds []Hold, spec ResolvedSpec, count int64, heldBy func(Hold) string) error {
	var total, held Resources
	for _, n := range nodes {
		if n.Online {
			total = total.Add(n.Total)
		}
	}
	byOwner := map[string]int64{}
	dimension, unit := "threads", int64(1)
	for _, h := range holds {
		held = held.Add(h.Held)
	}
	free := total.Sub(held)
	pick := func(r Resources) int64 { return r.Threads }
	// Bounded, because a reservation may ask for more replicas than integers multiply.
	switch need := spec.Replica.Times(min(count, 1<<20)); {
	case need.Threads <= free.Threads && need.Accelerators > free.Accelerators:
		dimension, pick = "accelerators", func(r Resources) int64 { return r.Accelerators }
	case need.Threads <= free.Threads && need.MemoryBytes > free.MemoryBytes:
		dimension, unit = "MiB of memory", 1<<20
		pick = func(r Resources) int64 { return r.MemoryBytes }
	}
	for _, h := range holds {
		byOwner[heldBy(h)] += pick(h.Held) / unit
	}
	return Errorf(CodeNoCapacity, "%s x %d needs %d x %d %s; %d of %d are free%s. Delete a deployment, choose a smaller spec, or add hardware.",
		spec.Name, count*spec.UnitsPerReplica, count, pick(spec.Replica)/unit, dimension,
		max(0, pick(free)/unit), pick(total)/unit, heldSentence(byOwner))
}

// heldSentence lists the five largest holders.
func heldSentence(byOwner map[string]int64) string {
	type share struct {
		owner  string
		amount int64
	}
	shares := make([]share, 0, len(byOwner))
	for o, a := range byOwner {
		if a > 0 {
			shares = append(shares, share{o, a})
		}
	}
	if len(shares) == 0 {
		return ""
	}
	slices.SortFunc(shares, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.amount, a.amount), cmp.Compare(a.owner, b.owner))
	})
	parts := make([]string, 0, 6)
	for i, s := range shares {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("%d more", len(shares)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d", s.owner, s.amount))
	}
	return "; held: " + strings.Join(parts, ", ")
}
