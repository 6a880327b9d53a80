package test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// What was done is in the audit log with who did it, and nothing that was secret about it.
func TestWhatWasDoneIsInTheAuditLogWithoutSecrets(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "models:\n  m: {engine: fake, plans: [mu]}\n")
	ctx := t.Context()
	const endpointKey = "sk-of-somebody-else-4711"
	k, err := b.CreateKey(ctx, api.CreateKey{Role: api.RoleAdmin, Name: "robot"})
	must(t, err)
	_, err = b.AddModel(ctx, api.AddModel{Name: "far", URL: "https://models.example.com/v1", Key: endpointKey, Plans: []string{api.PlanMU}})
	must(t, err)
	robot := &api.Client{BaseURL: b.BaseURL, Key: k.Text, HTTP: b.HTTP}
	d, err := robot.CreateDeployment(ctx, api.CreateDeployment{ModelName: "m", Plan: api.PlanMU, DeploySpec: "MU1", Capacity: new(int64(1))})
	must(t, err)
	b.settled(t, d.DeployedModel)
	_, err = robot.DeleteDeployment(ctx, d.DeployedModel)
	must(t, err)
	if _, err := robot.CreateDeployment(ctx, api.CreateDeployment{ModelName: "nobody", Plan: api.PlanMU, DeploySpec: "MU1", Capacity: new(int64(1))}); err == nil {
		t.Error("an unknown model was deployed")
	}

	page, err := b.Audit(ctx, api.AuditFilter{KeyID: k.ID}, "")
	must(t, err)
	var did []string
	for _, e := range page.Entries {
		did = append(did, e.Action+" "+e.Target)
	}
	if want := []string{"deployment.delete " + d.DeployedModel, "deployment.create " + d.DeployedModel}; !slices.Equal(did, want) {
		t.Errorf("the robot did %q, want %q", did, want)
	}
	var all strings.Builder
	must(t, b.WriteAudit(ctx, &all, api.FormatNDJSON, api.AuditFilter{}))
	for _, secret := range []string{endpointKey, k.Text, b.Key, k.Text[5:20]} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("the audit log has %q", secret)
		}
	}
	for _, want := range []string{`"action":"model.add","target":"far"`, `"action":"key.create","target":"` + k.ID + `"`} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the audit log has no %s:\n%s", want, all.String())
		}
	}
}
