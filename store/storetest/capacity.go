package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

var capacity = []promise{
	{"a hold raises the version of its nodes by one each", func(s suite) {
		s.settle()
		s.write(func(tx berth.Tx) error { return tx.Nodes().Put(s.Context(), berth.Node{ID: "node-other"}) })
		s.write(func(tx berth.Tx) error {
			return tx.Nodes().Hold(s.Context(), map[string]int64{nodeID: nodeVersion, "node-other": 0},
				[]berth.Hold{{ID: "hold", NodeID: nodeID, ReplicaID: replicaID}})
		})
		versions := map[string]int64{}
		for _, n := range view(s, func(tx berth.Tx) ([]berth.Node, error) { return tx.Nodes().List(s.Context()) }) {
			versions[n.ID] = n.Version
		}
		s.same("versions", versions, map[string]int64{nodeID: nodeVersion + 1, "node-other": 1})
	}},
	{"what is held of a node is always the sum of its holds", func(s suite) {
		s.settle()
		rapid.Check(s.T, func(t *rapid.T) {
			node := view(s, func(tx berth.Tx) (berth.Node, error) {
				nodes, err := tx.Nodes().List(s.Context())
				return pick(nodes, err, func(n berth.Node) bool { return n.ID == nodeID })
			})
			id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "replica")
			s.write(func(tx berth.Tx) error {
				ctx := s.Context()
				if _, err := tx.Nodes().HoldOf(ctx, id); err == nil {
					return first(tx.Nodes().Release(ctx, id), tx.Replicas().Delete(ctx, id))
				}
				held := filled[berth.Resources]()
				held.Threads += rapid.Int64Range(0, 9).Draw(t, "threads")
				return first(
					tx.Replicas().Insert(ctx, berth.Replica{ID: id, NodeID: nodeID}),
					tx.Nodes().Hold(ctx, map[string]int64{nodeID: node.Version}, []berth.Hold{{ID: id, NodeID: nodeID, ReplicaID: id, Held: held}}),
					tx.Nodes().Put(ctx, berth.Node{ID: nodeID, Online: true, Held: berth.Resources{Threads: 7}}),
				)
			})
			view(s, func(tx berth.Tx) (struct{}, error) {
				nodes, err := tx.Nodes().List(s.Context())
				after, err2 := sumsOfHolds(s, tx)
				s.same("held", nodes[0].Held, after[nodeID])
				return struct{}{}, first(err, err2)
			})
		})
	}},
	{"taken accelerators are listed by node, and holders by name as a workspace may see them", func(s suite) {
		s.settle()
		ctx := s.Context()
		hold := func(id, deployment, pool string, threads int64, gpus ...string) berth.Hold {
			return berth.Hold{
				ID: id, NodeID: nodeID, ReplicaID: id, DeploymentID: deployment, PoolID: pool, GPUs: gpus,
				Held: berth.Resources{Threads: threads, MemoryBytes: 10, Accelerators: int64(len(gpus))},
			}
		}
		stranger := deployment("dep_stranger", 1)
		stranger.WorkspaceID = otherSpaceID
		second := stranger
		second.ID, second.DeployedModel = "dep_second", "second"
		s.write(func(tx berth.Tx) error {
			err := first(tx.Deployments().Insert(ctx, stranger), tx.Deployments().Insert(ctx, second))
			holds := []berth.Hold{
				hold("a", deploymentID, "", 1), hold("b", deploymentID, "", 2, "g1", "g2"), hold("c", stranger.ID, "", 4, "g3"),
				hold("d", second.ID, "", 8), hold("e", "", poolID, 16),
			}
			for _, h := range holds {
				err = first(err, tx.Replicas().Insert(ctx, berth.Replica{ID: h.ReplicaID, NodeID: nodeID}))
			}
			pool, perr := tx.Pools().Get(ctx, poolID)
			pool.ModelName = "shared"
			holds = append(holds, berth.Hold{ID: "f", NodeID: nodeID, CalibrationID: calibrationID, Held: berth.Resources{Threads: 32}})
			err = first(err, tx.Models().Insert(ctx, berth.Model{Name: "shared"}), tx.Models().Insert(ctx, berth.Model{Name: "measured", WorkspaceID: workspaceID}))
			return first(err, perr, tx.Pools().Update(ctx, pool), tx.Nodes().Hold(ctx, map[string]int64{nodeID: nodeVersion}, holds))
		})
		gpus := view(s, func(tx berth.Tx) (map[string][]string, error) { return tx.Nodes().HeldGPUs(ctx) })
		s.same("accelerators", gpus, map[string][]string{nodeID: {"g1", "g2", "g3"}})
		holders := view(s, func(tx berth.Tx) ([]berth.Holder, error) { return tx.Nodes().Holders(ctx, workspaceID) })
		slices.SortFunc(holders, func(a, b berth.Holder) int { return cmp.Compare(a.Held.Threads, b.Held.Threads) })
		s.same("holders", holders, []berth.Holder{
			{DeployedModel: deployment(deploymentID, 0).DeployedModel, Held: berth.Resources{Threads: 3, MemoryBytes: 20, Accelerators: 2}},
			{Held: berth.Resources{Threads: 12, MemoryBytes: 20, Accelerators: 1}},
			{PoolModel: "shared", Held: berth.Resources{Threads: 16, MemoryBytes: 10}},
			{CalibratedModel: "measured", Held: berth.Resources{Threads: 32}},
		})
		// Another workspace sees the catalogue's models only.
		others := view(s, func(tx berth.Tx) ([]berth.Holder, error) { return tx.Nodes().Holders(ctx, otherSpaceID) })
		for _, h := range others {
			if h.CalibratedModel != "" {
				s.Errorf("another workspace is told of %+v", h)
			}
		}
		s.same("holders with a name there", len(others), 4)
		s.write(func(tx berth.Tx) error { return tx.Nodes().Release(ctx, calibrationID) })
		left := view(s, func(tx berth.Tx) ([]berth.Node, error) { return tx.Nodes().List(ctx) })
		s.same("held without the calibration", left[0].Held.Threads, int64(31))
	}},
	{"a hold on an older version of a node is refused and takes nothing", func(s suite) {
		s.settle()
		for _, version := range []int64{nodeVersion - 1, nodeVersion + 1} {
			s.refuse(berth.CodeConflict, func(tx berth.Tx) error {
				return tx.Nodes().Hold(s.Context(), map[string]int64{nodeID: version},
					[]berth.Hold{{ID: "hold", NodeID: nodeID, ReplicaID: replicaID}})
			})
		}
		holds := view(s, func(tx berth.Tx) ([]berth.Hold, error) { return tx.Nodes().Holds(s.Context()) })
		s.same("holds", len(holds), 0)
	}},
	{"a hold on a node whose version is not given is refused", func(s suite) {
		s.settle()
		s.refuse(berth.CodeInternal, func(tx berth.Tx) error {
			return tx.Nodes().Hold(s.Context(), nil, []berth.Hold{{ID: "hold", NodeID: nodeID, ReplicaID: replicaID}})
		})
	}},
	{"purchases that race never oversell and never leave room that was asked for", func(s suite) {
		round := 0
		rapid.Check(s.T, func(t *rapid.T) {
			round++
			m := market{s: s, node: numbered("node-", round), total: rapid.Int64Range(0, 12).Draw(t, "threads")}
			wishes := rapid.SliceOfN(rapid.Int64Range(1, 5), 1, 6).Draw(t, "wishes")
			m.open()
			bought := m.race(wishes)
			free := m.total - m.held()
			if free < 0 {
				t.Fatalf("%d threads sold out of %d", m.total-free, m.total)
			}
			for i, wish := range wishes {
				if bought[i] {
					free += wish
				}
			}
			if free != m.total {
				t.Fatalf("the holds differ by %d from what was bought", m.total-free)
			}
			for i, wish := range wishes {
				if !bought[i] && wish <= m.total-m.held() {
					t.Fatalf("%d threads were refused while %d are free", wish, m.total-m.held())
				}
			}
		})
	}},
}

// sumsOfHolds adds the holds up, by node.
func sumsOfHolds(s suite, tx berth.Tx) (map[string]berth.Resources, error) {
	holds, err := tx.Nodes().Holds(s.Context())
	sums := map[string]berth.Resources{}
	for _, h := range holds {
		sums[h.NodeID] = sums[h.NodeID].Add(h.Held)
	}
	return sums, err
}

// market is one node and the buyers that fight for it.
type market struct {
	s     suite
	node  string
	total int64
}

func (m market) open() {
	m.s.write(func(tx berth.Tx) error {
		return tx.Nodes().Put(m.s.Context(), berth.Node{ID: m.node, Online: true, Total: berth.Resources{Threads: m.total}})
	})
}

// race lets every wish be bought in a goroutine of its own and says which were.
func (m market) race(wishes []int64) []bool {
	bought := make([]bool, len(wishes))
	var wg sync.WaitGroup
	for i, threads := range wishes {
		wg.Go(func() {
			id := fmt.Sprintf("%s-%d", m.node, i)
			for {
				version, free := m.look()
				if free < threads {
					return
				}
				switch err := m.buy(id, version, threads); berth.CodeOf(err) {
				case "":
					bought[i] = true
					return
				case berth.CodeConflict: // somebody was faster: look again
				default:
					m.s.Errorf("buy: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return bought
}

// look returns the version of the node and the threads that are free on it.
func (m market) look() (version, free int64) {
	err := m.s.store.View(m.s.Context(), func(tx berth.Tx) error {
		nodes, err := tx.Nodes().List(m.s.Context())
		if err != nil {
			return err
		}
		node, err := pick(nodes, nil, func(n berth.Node) bool { return n.ID == m.node })
		if err != nil {
			return err
		}
		held, err := m.heldIn(tx)
		version, free = node.Version, node.Total.Threads-held
		return err
	})
	if err != nil {
		m.s.Errorf("look: %v", err)
	}
	return version, free
}

func (m market) buy(id string, version, threads int64) error {
	ctx := m.s.Context()
	return m.s.store.Tx(ctx, func(tx berth.Tx) error {
		return first(
			tx.Replicas().Insert(ctx, berth.Replica{ID: id, NodeID: m.node}),
			tx.Nodes().Hold(ctx, map[string]int64{m.node: version},
				[]berth.Hold{{ID: id, NodeID: m.node, ReplicaID: id, Held: berth.Resources{Threads: threads}}}),
		)
	})
}

func (m market) held() int64 { return view(m.s, m.heldIn) }

func (m market) heldIn(tx berth.Tx) (threads int64, err error) {
	holds, err := tx.Nodes().Holds(m.s.Context())
	for _, h := range holds {
		if h.NodeID == m.node {
			threads += h.Held.Threads
		}
	}
	return threads, err
}
