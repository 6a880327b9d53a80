package berth_test

import (
	"slices"
	"testing"

	berth "github.com/berthhq/berth"
)

var (
	words = berth.AdapterRef{Digest: "sha256:w", Path: "w"}
	shout = berth.AdapterRef{Digest: "sha256:s", Path: "s"}
)

func sale(id string, ppm int64) berth.Member {
	return berth.Member{DeploymentID: id, Plan: berth.PlanPTU, LoadPPM: ppm}
}

func adapter(id string, a berth.AdapterRef) berth.Member {
	return berth.Member{DeploymentID: id, Plan: berth.PlanLoRA, Adapter: a}
}

func TestLanesFollowTheMembers(t *testing.T) {
	t.Parallel()
	lanes := berth.EngineTraits{Adapters: true}
	mixed := berth.EngineTraits{Adapters: true, MixedAdapters: true}
	loading := berth.EngineTraits{Adapters: true, MixedAdapters: true, MixNeedsAccelerator: true, LoadsAdapters: true}
	for name, c := range map[string]struct {
		engine  berth.EngineTraits
		min     int
		members []berth.Member
		want    []berth.LaneWant
	}{
		"nobody":                             {lanes, 1, nil, nil},
		"a sale needs the base lane":         {lanes, 0, []berth.Member{sale("a", 10)}, []berth.LaneWant{{Lane: berth.LaneBase, Replicas: 1}}},
		"a sale of exactly what may be sold": {lanes, 0, []berth.Member{sale("a", 900_000)}, []berth.LaneWant{{Lane: berth.LaneBase, Replicas: 1}}},
		"one millionth more is a second one": {lanes, 0, []berth.Member{sale("a", 900_000), sale("b", 1)}, []berth.LaneWant{{Lane: berth.LaneBase, Replicas: 2}}},
		"the entry's minimum":                {lanes, 3, []berth.Member{sale("a", 1)}, []berth.LaneWant{{Lane: berth.LaneBase, Replicas: 3}}},
		"adapters share one lora lane": {lanes, 1, []berth.Member{adapter("a", words), adapter("b", shout), adapter("c", words)},
			[]berth.LaneWant{{Lane: berth.LaneLoRA, Replicas: 1, Adapters: []berth.AdapterRef{shout, words}}}},
		"an engine that mixes has one lane": {mixed, 1, []berth.Member{adapter("a", words), sale("b", 1)},
			[]berth.LaneWant{{Lane: berth.LaneMixed, Replicas: 1, Adapters: []berth.AdapterRef{words}}}},
		"an engine that mixes on accelerators only": {loading, 0, []berth.Member{sale("a", 10), adapter("b", words)},
			[]berth.LaneWant{{Lane: berth.LaneBase, Replicas: 1}, {Lane: berth.LaneLoRA, Replicas: 1, Adapters: []berth.AdapterRef{words}, Loads: true}}},
	} {
		got := (&berth.Pool{Min: c.min}).Lanes(berth.DemandOf(c.members), c.engine)
		same := slices.EqualFunc(got, c.want, func(a, b berth.LaneWant) bool {
			return a.Lane == b.Lane && a.Replicas == b.Replicas && a.Loads == b.Loads && slices.Equal(a.Adapters, b.Adapters)
		})
		if !same {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestWhatMixesDependsOnTheSpec(t *testing.T) {
	t.Parallel()
	engine := berth.EngineTraits{Adapters: true, MixedAdapters: true, MixNeedsAccelerator: true}
	with := berth.Pool{Spec: berth.ResolvedSpec{Replica: berth.Resources{Accelerators: 1}}}
	d := berth.DemandOf([]berth.Member{sale("a", 10), adapter("b", words)})
	if got := with.Lanes(d, engine); len(got) != 1 || got[0].Lane != berth.LaneMixed {
		t.Errorf("on an accelerator: %+v", got)
	}
	if got := new(berth.Pool).Lanes(d, engine); len(got) != 2 {
		t.Errorf("on a CPU: %+v", got)
	}
}

// A lora lane is rolled: the new replica is missing until it exists, the old one is
// superfluous only when the new one is ready.
func TestALaneIsRolledWithoutAGap(t *testing.T) {
	t.Parallel()
	old := berth.Replica{ID: "old", Lane: berth.LaneLoRA, State: berth.ReplicaReady, Adapters: []berth.AdapterRef{words}}
	want := (&berth.Pool{}).Lanes(berth.DemandOf([]berth.Member{adapter("a", words), adapter("b", shout)}), berth.EngineTraits{})

	missing := berth.Missing(want, []berth.Replica{old})
	if len(missing) != 1 || missing[0].Replicas != 1 || len(missing[0].Adapters) != 2 {
		t.Fatalf("missing %+v", missing)
	}
	fresh := berth.Replica{ID: "new", Lane: berth.LaneLoRA, State: berth.ReplicaStarting, Adapters: missing[0].Adapters}
	if gone := berth.Superfluous(want, []berth.Replica{old, fresh}); len(gone) != 0 {
		t.Fatalf("superfluous while the new one starts: %+v", gone)
	}
	if missing := berth.Missing(want, []berth.Replica{old, fresh}); len(missing) != 0 {
		t.Fatalf("missing a second one: %+v", missing)
	}
	fresh.State = berth.ReplicaReady
	if gone := berth.Superfluous(want, []berth.Replica{old, fresh}); len(gone) != 1 || gone[0].ID != "old" {
		t.Fatalf("superfluous after the roll: %+v", gone)
	}
}

// What was sold and deleted again does not keep its hardware.
func TestALaneShrinksToWhatIsSold(t *testing.T) {
	t.Parallel()
	want := []berth.LaneWant{{Lane: berth.LaneBase, Replicas: 1}}
	replica := func(id string, s berth.ReplicaState) berth.Replica {
		return berth.Replica{ID: id, Lane: berth.LaneBase, State: s}
	}
	names := func(rs []berth.Replica) (ids string) {
		for _, r := range rs {
			ids += r.ID
		}
		return ids
	}
	for name, c := range map[string]struct {
		have []berth.Replica
		want string
	}{
		"ready ones stay":                     {[]berth.Replica{replica("a", "starting"), replica("b", "ready"), replica("c", "pending")}, "ac"},
		"nothing goes while none is ready":    {[]berth.Replica{replica("a", "starting"), replica("b", "starting")}, ""},
		"of equals the first":                 {[]berth.Replica{replica("a", "ready"), replica("b", "ready")}, "b"},
		"what goes already is not counted":    {[]berth.Replica{replica("a", "draining"), replica("b", "ready")}, ""},
		"a lane that nobody needs goes whole": {[]berth.Replica{{ID: "l", Lane: berth.LaneLoRA, State: "ready"}, replica("b", "ready")}, "l"},
	} {
		if got := names(berth.Superfluous(want, c.have)); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestLoadIsTheLargerShareRoundedUp(t *testing.T) {
	t.Parallel()
	cal := berth.Calibration{InputTPM: 600_000, OutputTPM: 60_000}
	for want, c := range map[int64]berth.PTUCapacity{
		16_667:    {InputTPM: 10_000, OutputTPM: 1_000},
		1_000_000: {InputTPM: 1, OutputTPM: 30_000, ThinkingTPM: 30_000},
		500_000:   {InputTPM: 300_000, OutputTPM: 1},
	} {
		if got := (berth.Yield{Declared: cal}).LoadPPM(c); got != want {
			t.Errorf("%+v: got %d, want %d", c, got, want)
		}
	}
}

// Two names of the same weights share a pool; another spec or engine does not.
func TestPoolKey(t *testing.T) {
	t.Parallel()
	spec := berth.ResolvedSpec{Name: "MU1", UnitsPerReplica: 1}
	key := berth.PoolKey("sha256:a", spec, "llamacpp")
	if key != berth.PoolKey("sha256:a", spec, "llamacpp") {
		t.Error("the same weights have two keys")
	}
	larger := spec
	larger.UnitsPerReplica = 2
	if key == berth.PoolKey("sha256:a", larger, "llamacpp") || key == berth.PoolKey("sha256:a", spec, "vllm") {
		t.Error("another spec or engine shares the pool")
	}
}
