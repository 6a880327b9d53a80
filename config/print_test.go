package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestPrintShowsEachValueWithItsSource(t *testing.T) {
	t.Parallel()
	cfg, err := load("berth.yaml", []byte(`
store: postgres://berth:hunter2@db/berth?sslpassword=hunter3
node: {accelerators: []}
models:
  m: {path: /m.gguf, description: "two words", plans: [mu, ptu]}
`), Source{
		Env:   []string{"BERTH_LIMITS_CALL=90s"},
		Flags: map[string]string{"listen": "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := cfg.Print(&out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"data: berth-data  # default",
		"listen: 127.0.0.1:0  # flag --listen",
		`store: "postgres://berth:xxxxx@db/berth?sslpassword=xxxxx"  # berth.yaml:2`,
		"node:\n  accelerators: []  # berth.yaml:3",
		"specs:\n  MU1:  # default\n",
		"models:\n  m:  # berth.yaml:5\n    path: /m.gguf  # berth.yaml:5",
		"    plans: [mu, ptu]  # berth.yaml:5",
		`    description: "two words"  # berth.yaml:5`,
		"  body: 8MiB  # default",
		"  call: 1m30s  # env BERTH_LIMITS_CALL",
	} {
		if !strings.Contains(squeeze(got), want) {
			t.Errorf("%q is missing from:\n%s", want, got)
		}
	}
	for _, never := range []string{"hunter", "thinking", "endpoints"} {
		if strings.Contains(got, never) {
			t.Errorf("%q stands in:\n%s", never, got)
		}
	}
}

// The keys of a store are never shown, nor is a wrong value of one.
func TestPrintHidesKeys(t *testing.T) {
	t.Parallel()
	c, err := Load(Source{
		File: write(t, "imports: {stores: {s: {path: 's3://b', access_key: hunter1, secret_key: hunter2}}}\n"),
		Env:  []string{"BERTH_IMPORTS_STORES_S_SECRET_KEY=hunter3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Imports.Stores[0]; s.AccessKey != "hunter1" || s.SecretKey != "hunter3" {
		t.Errorf("loaded %+v", s)
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Contains(got, "hunter") || !strings.Contains(got, "secret_key: xxxxx") {
		t.Errorf("printed\n%s", got)
	}
}

// squeeze undoes the alignment of remarks.
func squeeze(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if at := strings.LastIndex(l, "  # "); at >= 0 {
			lines[i] = strings.TrimRight(l[:at], " ") + l[at:]
		}
	}
	return strings.Join(lines, "\n")
}

// FuzzLoad: nothing crashes Load, and what it accepts is what Print shows.
func FuzzLoad(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nspecs: {A: {threads: 1, memory: 1MiB}}\n", "{m: {path: x}}")
	f.Add("node: {threads: 16, memory: 64GiB, accelerators: []}\n", "{m: {base: b, adapter: a}}")
	f.Add("data: &a x\nimports: {stores: {a: /b, c: {path: d, workspaces: [e]}}}\n", "{m: {engine: fake}}")
	f.Add("log: |\n  x\nbilling: {time_zone: UTC}\n", "[")
	f.Add("data: \"\\t\\u00e9#: '\"\n", "{m: {path: \"null\", description: \"a: b # c\"}}")
	f.Fuzz(func(t *testing.T, file, models string) {
		first, err := load("f.yaml", []byte(file), Source{Env: []string{"BERTH_MODELS=" + models}})
		if err != nil || strings.Contains(first.Store, "://") || strings.Contains(file+models, "~") {
			return // a masked password and a home folder are not printed as they were given
		}
		var out strings.Builder
		if err := first.Print(&out); err != nil {
			t.Fatal(err)
		}
		again, err := load("", []byte(out.String()), Source{})
		if err != nil {
			t.Fatalf("%v in:\n%s", err, out.String())
		}
		first.origins, again.origins = nil, nil
		if !reflect.DeepEqual(first, again) {
			t.Fatalf("%+v became %+v by:\n%s", first, again, out.String())
		}
	})
}
