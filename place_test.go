package berth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// For any nodes, holds and question: placements never exceed what is free, and a
// refusal means that the replicas cannot all fit.
func TestPlaceNeverOversells(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := make([]berth.Node, rapid.IntRange(0, 4).Draw(t, "nodes"))
		free := map[string]berth.Resources{}
		for i := range nodes {
			nodes[i] = berth.Node{
				ID: string(rune('a' + i)), Online: rapid.IntRange(0, 5).Draw(t, "online") > 0,
				Total: berth.Resources{Threads: rapid.Int64Range(0, 16).Draw(t, "threads"), MemoryBytes: rapid.Int64Range(0, 64).Draw(t, "memory") << 20},
			}
			if nodes[i].Online {
				free[nodes[i].ID] = nodes[i].Total
			}
		}
		for range rapid.IntRange(0, 6).Draw(t, "holds") {
			id := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "node")
			held := berth.Resources{Threads: rapid.Int64Range(0, 4).Draw(t, "held threads"), MemoryBytes: rapid.Int64Range(0, 8).Draw(t, "held memory") << 20}
			if f, ok := free[id]; ok && held.Within(f) {
				free[id] = f.Sub(held)
				i := slices.IndexFunc(nodes, func(n berth.Node) bool { return n.ID == id })
				nodes[i].Held = nodes[i].Held.Add(held)
			}
		}
		spec := berth.ResolvedSpec{Name: "MU1", UnitsPerReplica: 1, Replica: berth.Resources{
			Threads: rapid.Int64Range(1, 6).Draw(t, "need threads"), MemoryBytes: rapid.Int64Range(1, 16).Draw(t, "need memory") << 20,
		}}
		count := rapid.Int64Range(1, 8).Draw(t, "count")

		placed, err := berth.Place(nodes, nil, spec, count)

		var room int64
		for _, f := range free {
			room += min(f.Threads/spec.Replica.Threads, f.MemoryBytes/spec.Replica.MemoryBytes)
		}
		if (err == nil) != (room >= count) {
			t.Fatalf("room for %d, asked %d: %v", room, count, err)
		}
		if err != nil {
			if berth.CodeOf(err) != berth.CodeNoCapacity {
				t.Fatalf("code %s", berth.CodeOf(err))
			}
			return
		}
		if int64(len(placed)) != count {
			t.Fatalf("placed %d of %d", len(placed), count)
		}
		for _, p := range placed {
			left := free[p.NodeID].Sub(p.Held)
			if left.Threads < 0 || left.MemoryBytes < 0 {
				t.Fatalf("node %s is oversold by %+v", p.NodeID, left)
			}
			free[p.NodeID] = left
		}
	})
}

func TestPlaceSaysWhatIsMissingAndWhoHasIt(t *testing.T) {
	t.Parallel()
	nodes := []berth.Node{{ID: "a", Online: true, Total: berth.Resources{Threads: 4, MemoryBytes: 1 << 30}, Held: berth.Resources{Threads: 3, MemoryBytes: 256 << 20}}}
	holders := []berth.Holder{{DeployedModel: "x", Held: nodes[0].Held}}
	for name, c := range map[string]struct {
		need berth.Resources
		want string
	}{
		"threads": {berth.Resources{Threads: 2, MemoryBytes: 1 << 20}, "MU1 x 2 needs 2 x 2 threads; 1 of 4 are free; held: x 3."},
		"memory":  {berth.Resources{Threads: 0, MemoryBytes: 600 << 20}, "MU1 x 2 needs 2 x 600 MiB of memory; 768 of 1024 are free; held: x 256."},
	} {
		_, err := berth.Place(nodes, nil, berth.ResolvedSpec{Name: "MU1", UnitsPerReplica: 1, Replica: c.need}, 2)
		var short *berth.Shortage
		if !errors.As(err, &short) || !strings.HasPrefix(short.Told(holders).Message, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAcceleratorsAreGivenOnce(t *testing.T) {
	t.Parallel()
	nodes := []berth.Node{{ID: "a", Online: true, GPUs: []berth.Accelerator{{ID: "0"}, {ID: "1"}, {ID: "2"}}, Total: berth.Resources{Threads: 8, MemoryBytes: 1 << 30, Accelerators: 3}}}
	nodes[0].Held = berth.Resources{Threads: 1, Accelerators: 1}
	taken := map[string][]string{"a": {"1"}}
	spec := berth.ResolvedSpec{Name: "G", UnitsPerReplica: 1, Replica: berth.Resources{Threads: 1, Accelerators: 1}}
	placed, err := berth.Place(nodes, taken, spec, 2)
	if err != nil || placed[0].GPUs[0] != "0" || placed[1].GPUs[0] != "2" {
		t.Fatalf("got %+v, %v", placed, err)
	}
	if _, err := berth.Place(nodes, taken, spec, 3); berth.CodeOf(err) != berth.CodeNoCapacity {
		t.Fatalf("three of two free accelerators: %v", err)
	}
}
