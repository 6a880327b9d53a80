package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/berthhq/berth/api"
)

// conformance 147, 148
func TestTheStreamFollowsADeploymentToItsEnd(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"plain": ""}))
	d, err := b.CreateDeployment(t.Context(), api.CreateDeployment{ModelName: "plain", Plan: api.PlanMU, DeploySpec: "MU1", Capacity: ptr(int64(2))})
	must(t, err)
	follow := func() []api.DeploymentEvent {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var seen []api.DeploymentEvent
		must(t, b.StreamDeployment(ctx, d.DeployedModel, func(e api.DeploymentEvent) error {
			seen = append(seen, e)
			return nil
		}))
		return seen
	}
	seen := follow()
	last := seen[len(seen)-1]
	if last.Status != api.StatusRunning || last.ReadyCapacity != 2 || last.Capacity != 2 || last.DeployedModel != d.DeployedModel || last.Message == "" {
		t.Errorf("the last is %+v", last)
	}
	if first := seen[0].Status; !first.ComingUp() && len(seen) > 1 {
		t.Errorf("the first is %s", first)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i].Status == seen[i-1].Status && seen[i].ReadyCapacity == seen[i-1].ReadyCapacity {
			t.Errorf("%+v was told twice", seen[i])
		}
	}
	_, err = b.DeleteDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	ended := make(chan error, 1)
	var statuses []api.Status
	go func() {
		ended <- b.StreamDeployment(t.Context(), d.DeployedModel, func(e api.DeploymentEvent) error {
			statuses = append(statuses, e.Status)
			return nil
		})
	}()
	err = <-ended
	var gone *api.Error
	switch {
	case errors.As(err, &gone) && gone.Status == http.StatusNotFound: // it was faster
	case err != nil || !slices.Equal(statuses, []api.Status{api.StatusDeleting, api.StatusDeleted}):
		t.Errorf("%v: %v", statuses, err)
	}
}

// conformance 149: and a stop of the server ends streams at once, with a reason.
func TestAStopOfTheServerEndsStreams(t *testing.T) {
	t.Parallel()
	b := inProcess(t, fakeYAML(t, map[string]string{"slow": `{"start_delay_ms": 3600000}`}))
	d, err := b.CreateDeployment(t.Context(), api.CreateDeployment{ModelName: "slow", Plan: api.PlanMU, DeploySpec: "MU1", Capacity: ptr(int64(1))})
	must(t, err)
	opened, ended := make(chan struct{}, 10), make(chan error, 1)
	go func() {
		ended <- b.StreamDeployment(t.Context(), d.DeployedModel, func(api.DeploymentEvent) error {
			opened <- struct{}{}
			return nil
		})
	}()
	<-opened
	b.stop()
	var refused *api.Error
	if err := <-ended; !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.RequestID == "" {
		t.Errorf("got %v", fmt.Sprint(err))
	}
}
