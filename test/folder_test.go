package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

const abacusFolder = "../abacus/abacus-0.8m-hf"

// A folder of Hugging Face runs on vLLM without anybody saying so, and what a sale must
// know of it comes from its files; its adapters stay folders.
func TestAFolderIsAModelForVLLM(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "specs: {MU1: {threads: 1, memory: 4GiB}}\nengines: {vllm: {command: [vllm, serve]}}\n")
	folder, err := filepath.Abs(abacusFolder)
	must(t, err)
	m, err := b.AddModel(t.Context(), api.AddModel{Name: "abacus", Path: folder})
	must(t, err)
	if m.Engine != "vllm" || m.Thinking != "optional" || m.ContextLength != 32768 || m.Architecture != "qwen3" || m.Path != folder || !strings.HasPrefix(m.Digest, "sha256:") {
		t.Errorf("got %+v", m)
	}
	peft, err := filepath.Abs("../abacus/abacus-words-lora-peft")
	must(t, err)
	a, err := b.AddModel(t.Context(), api.AddModel{Name: "abacus-words", Base: "abacus", Adapter: peft})
	must(t, err)
	if a.Engine != "vllm" || a.Path != peft || a.Thinking != "optional" {
		t.Errorf("its adapter is %+v", a)
	}
	_, err = b.AddModel(t.Context(), api.AddModel{Name: "abacus-odd", Base: "abacus", Adapter: folder})
	if err == nil || !strings.Contains(err.Error(), "a PEFT folder has") {
		t.Errorf("weights as an adapter: %v", err)
	}
}

// The same folder, uploaded.
func TestAnUploadedFolderIsAModelForVLLM(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "specs: {MU1: {threads: 1, memory: 4GiB}}\nengines: {vllm: {command: [vllm, serve]}}\n")
	entries, err := os.ReadDir(abacusFolder)
	must(t, err)
	var paths []string
	for _, e := range entries {
		paths = append(paths, filepath.Join(abacusFolder, e.Name()))
	}
	u, err := b.UploadFiles(t.Context(), paths, func(api.UploadProgress) {})
	must(t, err)
	m, err := b.AddModel(t.Context(), api.AddModel{Name: "abacus", Upload: u.ID})
	must(t, err)
	if m.Engine != "vllm" || m.Thinking != "optional" || m.ContextLength != 32768 {
		t.Errorf("got %+v", m)
	}
}

func TestAFolderIsRefusedWithoutVLLM(t *testing.T) {
	t.Parallel()
	b := inProcess(t, "specs: {MU1: {threads: 1, memory: 4GiB}}\n")
	folder, err := filepath.Abs(abacusFolder)
	must(t, err)
	const want = "The model abacus needs the engine vllm, which this server does not have: set engines.vllm.command in its configuration, for example to [vllm, serve]."
	if _, err := b.AddModel(t.Context(), api.AddModel{Name: "abacus", Path: folder}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}
