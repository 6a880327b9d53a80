package test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/berthhq/berth/api"
)

// On the real engine: while units are added and taken away again, calls and a stream
// that began before go on.
func TestCallsGoOnWhileADeploymentIsScaled(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	d := b.running(t, api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	stop := b.keepAsking(t, d.DeployedModel, `"122"`) // conformance 69
	before := d
	for _, capacity := range []int64{3, 1} {
		// conformance 68
		answer := b.send(t, "PUT", "/api/v1/deployments/"+d.DeployedModel+"/scale", fmt.Sprintf(`{"capacity":%d}`, capacity))
		var envelope api.Envelope[api.Deployment]
		if err := json.Unmarshal([]byte(answer.body), &envelope); err != nil || answer.status != 200 {
			t.Fatalf("scale to %d: %d %s", capacity, answer.status, answer.body)
		}
		changed := envelope.Output
		if changed.Status != api.StatusUpdating || changed.Capacity != capacity || changed.ReadyCapacity != before.ReadyCapacity {
			t.Errorf("scale to %d answers %+v", capacity, changed)
		}
		// conformance 74
		if changed.GMTCreate != d.GMTCreate || changed.GMTModified <= before.GMTModified {
			t.Errorf("times %s, %s after %s, %s", changed.GMTCreate, changed.GMTModified, before.GMTCreate, before.GMTModified)
		}
		before = b.settled(t, d.DeployedModel)
		if before.Status != api.StatusRunning || before.Capacity != capacity || before.ReadyCapacity != capacity {
			t.Errorf("scaled to %d it is %+v", capacity, before)
		}
		until(t, "the engines are as many as were sold", func() bool {
			replicas, err := b.Replicas(t.Context(), d.DeployedModel)
			must(t, err)
			return len(replicas) == int(capacity)
		})
	}
	if calls := stop(); calls < 10 {
		t.Errorf("only %d calls ran meanwhile", calls)
	}
	if held := b.heldThreads(t); held != 1 {
		t.Errorf("%d threads are held", held)
	}
}
