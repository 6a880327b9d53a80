package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// schemathesisPatience bounds the run, whose length its configuration decides.
const schemathesisPatience = 4 * time.Minute

// Schemathesis reads /openapi.json of a live server and sends what it allows and what it
// does not: nothing may be answered with a 5xx or in a way that is not described.
func TestSchemathesis(t *testing.T) {
	t.Parallel()
	tool, err := filepath.Abs("../.cache/clients/schemathesis/bin/schemathesis")
	must(t, err)
	if _, err := os.Stat(tool); err != nil {
		t.Fatalf("Schemathesis is not installed (%v): run .ci/tools test", err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "engine.json")
	must(t, os.WriteFile(script, []byte("{}"), 0o600))
	b := inProcess(t, strings.ReplaceAll(`
node: {threads: 64, memory: 64GiB}
specs: {MU1: {threads: 1, memory: 64MiB, slots: 4, context: 32768}}
models:
  abacus: {engine: fake, path: "{{script}}", plans: [mu, ptu], thinking: optional, context: 8192, calibration: {input_tpm: 600000, output_tpm: 60000}}
  abacus-words: {base: abacus, adapter: "{{script}}"}
`, "{{script}}", script))
	one := api.CreateDeployment{ModelName: "abacus", Plan: api.PlanMU, DeploySpec: "MU1", Capacity: ptr(int64(1))}
	d := b.running(t, one)
	one.Suffix = "spare"
	spare := b.running(t, one)

	text, err := os.ReadFile("schemathesis/schemathesis.toml")
	must(t, err)
	config := filepath.Join(dir, "schemathesis.toml")
	must(t, os.WriteFile(config, []byte(strings.NewReplacer(
		"{{key}}", b.Key, "{{deployed}}", d.DeployedModel, "{{spare}}", spare.DeployedModel, "{{workspace}}", d.WorkspaceID).Replace(string(text))), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), schemathesisPatience)
	defer cancel()
	run := exec.CommandContext(ctx, tool, "--config-file", config, "run", b.BaseURL+"/openapi.json", "--no-color")
	run.Dir = dir
	said, err := run.CombinedOutput()
	if err != nil {
		t.Errorf("schemathesis: %v\n%s", err, said)
	}
}
