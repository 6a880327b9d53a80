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
	GPUs   []Accelerator
	Online bool
	// Held is what all holds on the node take together; the store keeps it.
	Held Resources
	// Version is raised by every hold on the node; two purchases that looked at the
	// same version cannot both be written.
	Version int64
}

// Accelerator is one of a node's, such as a GPU. Holds name it by its id.
type Accelerator struct {
	ID          string // as its vendor's runtime takes it in a list of visible devices
	Vendor      Vendor
	Name        string // as its vendor's tool prints it; "": unknown
	MemoryBytes int64  // 0: unknown
}

// Vendor says whose runtime drives an accelerator.
type Vendor string

// The vendors that engines can be bound to accelerators of.
const (
	VendorNVIDIA Vendor = "nvidia"
	VendorAMD    Vendor = "amd"
)

// Hold is hardware taken by one replica, from its purchase until the replica is
// measured gone, or by a calibration.
type Hold struct {
	ID            string // hold_ + UUIDv7
	NodeID        string
	ReplicaID     string // "" when a calibration holds it
	DeploymentID  string // "" when a pool or a calibration holds it
	PoolID        string
	CalibrationID string
	Held          Resources
	GPUs          []string
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
// [*Shortage]. taken has the ids of the accelerators in use, by node; it may be nil for a
// spec without accelerators.
func Place(nodes []Node, taken map[string][]string, spec ResolvedSpec, count int64) ([]Placement, error) {
	free := make(map[string]Resources, len(nodes))
	gpus := make(map[string][]string, len(nodes))
	for _, n := range nodes {
		if n.Online {
			free[n.ID] = n.Total.Sub(n.Held)
			gpus[n.ID] = without(n.GPUs, taken[n.ID])
		}
	}
	placed := make([]Placement, 0, min(count, 64))
	for range count {
		id, ok := emptiest(free, spec.Replica)
		if !ok {
			return nil, shortageOf(nodes, spec, count)
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

// without returns the ids of the accelerators that are not taken.
func without(all []Accelerator, taken []string) []string {
	ids := make([]string, 0, len(all))
	for _, a := range all {
		if !slices.Contains(taken, a.ID) {
			ids = append(ids, a.ID)
		}
	}
	return ids
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

// Shortage is the refusal of [Place]: a [CodeNoCapacity] whose sentence says what is
// missing. Who has it is read only when somebody is to be told.
type Shortage struct {
	missing string // "MU1 x 2 needs 2 x 2 threads; 1 of 4 are free"
	amount  func(Resources) int64
}

// Error implements error.
func (s *Shortage) Error() string { return s.Told(nil).Message }

// Unwrap returns the refusal without names.
func (s *Shortage) Unwrap() error { return s.Told(nil) }

// Told returns the refusal with the five who have most of what is missing.
func (s *Shortage) Told(holders []Holder) *Error {
	return Errorf(CodeNoCapacity, "%s%s. Delete a deployment, choose a smaller spec, or add hardware.", s.missing, s.heldSentence(holders))
}

func shortageOf(nodes []Node, spec ResolvedSpec, count int64) *Shortage {
	var total, held Resources
	for _, n := range nodes {
		if n.Online {
			total, held = total.Add(n.Total), held.Add(n.Held)
		}
	}
	free := total.Sub(held)
	dimension, amount := "threads", func(r Resources) int64 { return r.Threads }
	// Bounded, because a reservation may ask for more replicas than integers multiply.
	switch need := spec.Replica.Times(min(count, 1<<20)); {
	case need.Threads <= free.Threads && need.Accelerators > free.Accelerators:
		dimension, amount = "accelerators", func(r Resources) int64 { return r.Accelerators }
	case need.Threads <= free.Threads && need.MemoryBytes > free.MemoryBytes:
		dimension, amount = "MiB of memory", func(r Resources) int64 { return r.MemoryBytes >> 20 }
	}
	return &Shortage{amount: amount, missing: fmt.Sprintf("%s x %d needs %d x %d %s; %d of %d are free",
		spec.Name, count*spec.UnitsPerReplica, count, amount(spec.Replica), dimension, max(0, amount(free)), amount(total))}
}

// Holder is somebody who holds hardware: a pool, a deployment, a calibration, or without a
// name those whose names are not to be shown.
type Holder struct {
	PoolModel       string
	DeployedModel   string
	CalibratedModel string
	Held            Resources
}

func (h *Holder) name() string {
	switch {
	case h.PoolModel != "":
		return "pool of " + h.PoolModel
	case h.DeployedModel != "":
		return h.DeployedModel
	case h.CalibratedModel != "":
		return "calibration of " + h.CalibratedModel
	}
	return "another workspace"
}

// heldSentence lists the five largest holders.
func (s *Shortage) heldSentence(holders []Holder) string {
	holders = slices.DeleteFunc(slices.Clone(holders), func(h Holder) bool { return s.amount(h.Held) <= 0 })
	if len(holders) == 0 {
		return ""
	}
	slices.SortFunc(holders, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(s.amount(b.Held), s.amount(a.Held)), cmp.Compare(a.name(), b.name()))
	})
	parts := make([]string, 0, 6)
	for i, h := range holders {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("%d more", len(holders)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d", h.name(), s.amount(h.Held)))
	}
	return "; held: " + strings.Join(parts, ", ")
}
