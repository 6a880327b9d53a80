package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// write puts text into berth.yaml in a folder of its own and returns its name.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWithoutAnythingTheDefaultsHold(t *testing.T) {
	t.Parallel()
	cfg, err := Load(Source{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg.Specs, []Spec{{
		Name: "MU1", Threads: 1, Memory: 256 << 20, Slots: 4, Context: 32768, Units: 1, Type: "COUPLED",
	}}) {
		t.Errorf("Specs = %+v", cfg.Specs)
	}
	if want := (Limits{8 << 20, 65536, 2 * time.Minute, 30 * time.Minute, 100_000, Queue{4096, 256, time.Minute, 2 * time.Minute}}); cfg.Limits != want {
		t.Errorf("Limits = %+v, want %+v", cfg.Limits, want)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(home, ".cache/berth/engines"); cfg.Engines.Dir != want {
		t.Errorf("Engines.Dir = %q, want %q", cfg.Engines.Dir, want)
	}
	if cfg.Node.Accelerators != nil || cfg.Node.Threads != 0 {
		t.Errorf("Node = %+v, want nothing given", cfg.Node)
	}
	if cfg.Data != "berth-data" || cfg.Listen != "127.0.0.1:7700" || cfg.Engines.StartTimeout != 5*time.Minute {
		t.Errorf("cfg = %+v", cfg)
	}
}

func TestFileEnvironmentAndFlagsOverrideInThatOrder(t *testing.T) {
	t.Parallel()
	name := write(t, `
listen: 127.0.0.1:1
data: here
limits: {body: 1MiB, calls: 7}
specs:
  B-1: {threads: 2, memory: 1GiB}
  A: {threads: 1, memory: 1GiB}
`)
	cfg, err := Load(Source{
		File: name,
		Env: []string{
			"BERTH_LISTEN=127.0.0.1:2", "BERTH_LIMITS_BODY=2MiB", "BERTH_SPECS_B_1_MEMORY=2GiB",
			"BERTH_NODE={threads: 3, accelerators: []}", "BERTH_ENDPOINTS_ALLOW=10.1.2.3/8, 192.168.0.0/16",
			"BERTH_ENGINES_LLAMACPP_COMMAND=[llama-server, \"a,b\"]", "BERTH_IMPORTS_STORES={x: /srv/x}",
			"BERTH_LOG_LEVEL=", "BERTH_URL=http://elsewhere", "PATH=/bin",
		},
		Flags: map[string]string{"listen": "127.0.0.1:3", "models": "{m: {engine: fake}}", "data": "there"},
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, want %v", what, got, want)
		}
	}
	check("flag over environment over file", cfg.Listen, "127.0.0.1:3")
	check("environment over file", cfg.Limits.Body, int64(2<<20))
	check("file over default", cfg.Limits.Calls, 7)
	check("default", cfg.Log.Level, "info")
	check("one value of an entry", cfg.Specs[0].Memory, int64(2<<30))
	check("order of entries", cfg.Specs[0].Name+cfg.Specs[1].Name, "B-1A")
	check("a mapping", cfg.Node, Node{Threads: 3, Accelerators: []string{}})
	check("a list with commas", cfg.Endpoints.Allow,
		[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16")})
	check("a list in brackets", cfg.Engines.LlamaCpp.Command, []string{"llama-server", "a,b"})
	check("a short form", cfg.Imports.Stores, []ImportStore{{Name: "x", Path: "/srv/x"}})
	check("an entry by flag", cfg.Models, []Model{{Name: "m", Engine: "fake"}})
	check("a flag's file", cfg.Data, "there")
}

func TestNamesOfFilesAreRelativeToTheFileTheyStandIn(t *testing.T) {
	t.Parallel()
	name := write(t, `
data: d
models: {m: {path: m.gguf}}
imports: {stores: {a: s3://bucket, b: /abs, c: rel}}
`)
	cfg, err := Load(Source{File: name})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(name)
	got := []string{cfg.Data, cfg.Models[0].Path, cfg.Imports.Stores[0].Path, cfg.Imports.Stores[1].Path, cfg.Imports.Stores[2].Path}
	want := []string{filepath.Join(dir, "d"), filepath.Join(dir, "m.gguf"), "s3://bucket", "/abs", filepath.Join(dir, "rel")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheEngineOfAModelFollowsItsKind(t *testing.T) {
	t.Parallel()
	cfg, err := Load(Source{File: write(t, `
models:
  base: {path: b.gguf}
  vllm: {path: dir, engine: vllm}
  adapter: {base: base, adapter: a.gguf}
  remote: {url: "https://host/v1"}
`)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "vllm", "", "endpoint"} {
		if got := cfg.Models[i].Engine; got != want {
			t.Errorf("%s runs on %q, want %q", cfg.Models[i].Name, got, want)
		}
	}
}

func TestTheExampleHasEveryKey(t *testing.T) {
	t.Parallel()
	cfg, err := Load(Source{File: "../docs/berth.example.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range schemaKeys(reflect.TypeFor[Config](), "") {
		if !givenSomewhere(cfg.origins, key) {
			t.Errorf("the example lacks %s", key)
		}
	}
}

// schemaKeys returns the dotted keys of all plain values and lists; * stands for the
// name of an entry.
func schemaKeys(t reflect.Type, key string) []string {
	switch shapeOf(t) {
	case shapeStruct:
		var keys []string
		for _, f := range fieldsOf(t) {
			keys = append(keys, schemaKeys(t.Field(f.index).Type, join(key, f.name))...)
		}
		return keys
	case shapeEntries:
		return schemaKeys(t.Elem(), join(key, "*"))
	}
	return []string{key}
}

func givenSomewhere(origins map[string]origin, pattern string) bool {
	for key := range origins {
		if ok, _ := filepath.Match(strings.ReplaceAll(pattern, ".", "/"), strings.ReplaceAll(key, ".", "/")); ok {
			return true
		}
	}
	return false
}
