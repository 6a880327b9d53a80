package test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// vendorTool puts a script of that name in front of PATH.
func vendorTool(t *testing.T, name, output string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "answer"), []byte(output), 0o600))
	script := fmt.Sprintf("#!/bin/sh\nexec cat %s\n", filepath.Join(dir, "answer"))
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700)) //nolint:gosec // to be run
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

const acceleratorsYAML = `
node: {threads: 8, memory: 4GiB}
specs:
  CPU: {threads: 1, memory: 256MiB}
  GPU: {threads: 1, memory: 256MiB, accelerators: 1}
models:
  plain: {engine: fake, plans: [mu], context: 32768}
`

// visibleTo returns what an engine's own environment says of accelerators.
func (b *berth) visibleTo(t *testing.T, d api.Deployment) []string {
	t.Helper()
	replicas, err := b.Replicas(t.Context(), d.DeployedModel)
	must(t, err)
	var seen []string
	for _, r := range replicas {
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.PID))
		must(t, err)
		for entry := range strings.SplitSeq(string(environment), "\x00") {
			if strings.Contains(entry, "VISIBLE_DEVICES") {
				seen = append(seen, entry)
			}
		}
	}
	slices.Sort(seen)
	return seen
}

func muOn(spec string, capacity int64, suffix string) api.CreateDeployment {
	return api.CreateDeployment{ModelName: "plain", Plan: api.PlanMU, DeploySpec: spec, Capacity: ptr(capacity), Suffix: suffix}
}

func TestAReplicaGetsItsAcceleratorsAndNoOther(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads the environment of a process in /proc")
	}
	vendorTool(t, "nvidia-smi", "GPU-aaaa, NVIDIA A100, 81920\nGPU-bbbb, NVIDIA A100, 81920\nGPU-cccc, NVIDIA L4, 23034\n")
	b := withProcesses(t, acceleratorsYAML)
	nodes, err := b.Nodes(t.Context())
	must(t, err)
	if ids := nodes[0].Accelerators; !slices.Equal(ids, []string{"GPU-aaaa", "GPU-bbbb", "GPU-cccc"}) {
		t.Errorf("the node has %v", ids)
	}
	if l4 := nodes[0].AcceleratorDetails[2]; l4 != (api.Accelerator{ID: "GPU-cccc", Vendor: "nvidia", Name: "NVIDIA L4", MemoryBytes: 23034 << 20}) {
		t.Errorf("of the third is known %+v", l4)
	}

	two := b.running(t, muOn("GPU", 2, "two"))
	if seen := b.visibleTo(t, two); !slices.Equal(seen, []string{"CUDA_VISIBLE_DEVICES=GPU-aaaa", "CUDA_VISIBLE_DEVICES=GPU-bbbb"}) {
		t.Errorf("two replicas see %v", seen)
	}
	none := b.running(t, muOn("CPU", 1, "none"))
	if seen := b.visibleTo(t, none); !slices.Equal(seen, []string{"CUDA_VISIBLE_DEVICES=", "HIP_VISIBLE_DEVICES=", "ROCR_VISIBLE_DEVICES="}) {
		t.Errorf("one without accelerators sees %v", seen)
	}
	_, err = b.CreateDeployment(t.Context(), muOn("GPU", 2, "more"))
	if err == nil || !strings.Contains(err.Error(), "GPU x 2 needs 2 x 1 accelerators; 1 of 3 are free") {
		t.Errorf("two of one: %v", err)
	}
	one := b.running(t, muOn("GPU", 1, "one"))
	if seen := b.visibleTo(t, one); !slices.Equal(seen, []string{"CUDA_VISIBLE_DEVICES=GPU-cccc"}) {
		t.Errorf("the third replica sees %v", seen)
	}
	_, err = b.DeleteDeployment(t.Context(), two.DeployedModel)
	must(t, err)
	until(t, "two accelerators are free again", func() bool {
		nodes, err := b.Nodes(t.Context())
		must(t, err)
		var held []string
		for _, h := range nodes[0].Held {
			held = append(held, h.Accelerators...)
		}
		return slices.Equal(held, []string{"GPU-cccc"})
	})
	again := b.running(t, muOn("GPU", 1, "again"))
	if seen := b.visibleTo(t, again); !slices.Equal(seen, []string{"CUDA_VISIBLE_DEVICES=GPU-aaaa"}) {
		t.Errorf("what is sold again is seen as %v", seen)
	}
}

func TestAReplicaGetsAcceleratorsOfAMD(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads the environment of a process in /proc")
	}
	vendorTool(t, "rocm-smi", `{"card0": {"Unique ID": "0x9246b1c2d3e4f5a6", "Card Series": "Navi 21", "VRAM Total Memory (B)": "17163091968"}}`)
	b := withProcesses(t, acceleratorsYAML)
	d := b.running(t, muOn("GPU", 1, ""))
	if seen := b.visibleTo(t, d); !slices.Equal(seen, []string{"ROCR_VISIBLE_DEVICES=GPU-9246b1c2d3e4f5a6"}) {
		t.Errorf("it sees %v", seen)
	}
}

func TestAQuotaOfAccelerators(t *testing.T) {
	t.Parallel()
	b := inProcess(t, strings.Replace(acceleratorsYAML, "memory: 4GiB", "memory: 4GiB, accelerators: [a, b, c]", 1))
	workspace, key := b.withStranger(t)
	_, err := b.UpdateWorkspace(t.Context(), workspace, api.UpdateWorkspace{Quota: &api.Quota{Accelerators: 1}})
	must(t, err)
	stranger := &berth{Client: &api.Client{BaseURL: b.BaseURL, Key: key, HTTP: b.HTTP}}
	stranger.running(t, muOn("GPU", 1, ""))
	_, err = stranger.CreateDeployment(t.Context(), muOn("GPU", 1, "more"))
	if want := "quota of 1 accelerators, of which 1 are in use and 1 more were asked for"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second one: %v", err)
	}
	stranger.running(t, muOn("CPU", 2, "cpu"))
}
