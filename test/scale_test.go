package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// On the real engine: while units are added and taken away again, calls and a stream
// that began before go on.
func TestCallsGoOnWhileADeploymentIsScaled(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, abacusYAML(t))
	d := b.running(t, api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		calls := 0
		defer func() { done <- calls }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			// conformance 69
			answer := b.send(t, "POST", "/v1/chat/completions", `{"model":"`+d.DeployedModel+`","messages":[{"role":"user","content":"37+85"}],"temperature":0}`)
			if answer.status != 200 || !strings.Contains(answer.body, `"122"`) {
				t.Errorf("call %d: %d %s", calls, answer.status, answer.body)
				return
			}
			calls++
		}
	}()
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
	close(stop)
	if calls := <-done; calls < 10 {
		t.Errorf("only %d calls ran meanwhile", calls)
	}
	if held := b.heldThreads(t); held != 1 {
		t.Errorf("%d threads are held", held)
	}
}
