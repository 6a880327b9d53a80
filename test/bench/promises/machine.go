//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berthhq/berth/abacus"
)

// machine is an engine that is measured.
type machine struct {
	name, title string
	missing     string // why it cannot be measured; "": it can
	replicas    int64  // of the pool: one where adapters mix with the base, else a lane for each
	// yaml is the configuration of its server, with files in dir. Models are "base", and
	// "words" and "shout", adapters of it.
	yaml func(dir string) (string, error)
}

// batching is the fake engine's script: with all slots busy a prompt of 100 tokens and an
// answer of 20 take 0.36 s.
const batching = `{"slots": 8, "tokens_per_second": 100, "prompt_tokens_per_second": 1000, "slowdown": 0.03}`

func machines(o options) []machine {
	vllm := machine{
		name: "vllm", title: "vLLM on a CPU", replicas: 2,
		yaml: func(string) (string, error) {
			var paths [3]string
			for i, name := range []string{"abacus-0.8m-hf", "abacus-words-lora-peft", "abacus-shout-lora-peft"} {
				var err error
				if paths[i], err = filepath.Abs(filepath.Join("abacus", name)); err != nil {
					return "", err
				}
			}
			engines := fmt.Sprintf("engines: {vllm: {command: [%s, serve], args: [--dtype, float32, --enforce-eager]}}\nimports: {ranks: [8]}\n", o.vllm)
			return engines + models("threads: 1, memory: 4GiB, slots: 8, context: 2048", "max: 2", paths[0], paths[1], paths[2]), nil
		},
	}
	if _, err := os.Stat(o.vllm); err != nil {
		vllm.missing = fmt.Sprintf("there is no %s; make test-vllm installs it", o.vllm)
	}
	return []machine{
		{
			name: "fake", title: "a fake engine that batches", replicas: 1,
			yaml: func(dir string) (string, error) {
				files := map[string]string{"base.json": batching, "words.json": `{"model": "words"}`, "shout.json": `{"model": "shout"}`}
				for name, text := range files {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						return "", err
					}
				}
				return models("threads: 1, memory: 256MiB, slots: 8, context: 2048", "max: 1", "base.json, engine: fake", "words.json", "shout.json"), nil
			},
		},
		{
			name: "llamacpp", title: "llama.cpp", replicas: 2,
			yaml: func(dir string) (string, error) {
				f, err := abacus.Extract(dir)
				return models("threads: 1, memory: 512MiB, slots: 8, context: 2048", "max: 2", f.Base, f.Words, f.Shout), err
			},
		},
		vllm,
	}
}

func models(spec, pool, base, words, shout string) string {
	return strings.NewReplacer("{{spec}}", spec, "{{pool}}", pool, "{{base}}", base, "{{words}}", words, "{{shout}}", shout).Replace(`
node: {threads: 4, memory: 16GiB} # a lane gets its second adapter in a new engine beside the old one
specs: {MU1: {{{spec}}}}
models:
  base: {path: {{base}}, context: 2048, pool: {spec: MU1, {{pool}}}}
  words: {base: base, adapter: {{words}}}
  shout: {base: base, adapter: {{shout}}}
`)
}
