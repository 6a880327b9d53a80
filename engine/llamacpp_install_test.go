package engine

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakePython is a python3 whose pip "downloads" what the test put beside it and whose
// launcher prints a version.
const fakePython = `#!/bin/sh
here=$(dirname "$0")
if [ "$1" = -m ]; then
	if [ -e "$here/pip-says" ]; then cat "$here/pip-says"; exit 1; fi
	while [ "$1" != -d ]; do shift; done
	echo run >> "$here/pip-runs"
	cp "$here"/*.whl "$2"
	exit
fi
cat "$here/engine-says"
`

// machine is a PATH with a python3, or without.
type machine struct {
	path   string
	engine string // engines directory
}

func newMachine(t *testing.T, wheelContent []byte) machine {
	t.Helper()
	m := machine{path: t.TempDir(), engine: filepath.Join(t.TempDir(), "engines")}
	m.mustWrite(t, "python3", fakePython, 0o755)
	m.mustWrite(t, "engine-says", "xllamacpp "+llamaCppVersion+"\n", 0o644)
	m.mustWrite(t, wheels[platform()].file(), string(wheelContent), 0o644)
	t.Setenv("PATH", m.path+":/usr/bin:/bin")
	return m
}

func (m machine) mustWrite(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.path, name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// mustWheel makes a small wheel and has Berth expect its hash until the test ends.
func mustWheel(t *testing.T) []byte {
	t.Helper()
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	file, err := archive.Create("xllamacpp/__init__.py")
	if err == nil {
		_, err = file.Write([]byte("x = 1\n"))
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wheel")
	if err := os.WriteFile(path, buffer.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := fileSHA256(path)
	if err != nil {
		t.Fatal(err)
	}
	real := wheels[platform()]
	t.Cleanup(func() { wheels[platform()] = real })
	wheels[platform()] = wheel{real.platform, sum}
	return buffer.Bytes()
}

func TestInstallLlamaCpp(t *testing.T) {
	m := newMachine(t, mustWheel(t))
	if _, err := FindLlamaCpp(LlamaCppConfig{Dir: m.engine}); !errors.Is(err, ErrNoLlamaCpp) {
		t.Fatalf("before: %v, want ErrNoLlamaCpp", err)
	}
	if err := os.MkdirAll(filepath.Join(m.engine, temporaryPrefix+"of-one-that-was-killed"), 0o755); err != nil {
		t.Fatal(err)
	}
	var lines []string
	found, err := InstallLlamaCpp(t.Context(), InstallConfig{Dir: m.engine, Progress: func(line string) { lines = append(lines, line) }})
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(m.engine, "xllamacpp-"+llamaCppVersion)
	want := []string{filepath.Join(m.path, "python3"), "-I", filepath.Join(home, launcherName())}
	if !slices.Equal(found.Command, want) || found.How != "installed" || found.Version != "xllamacpp "+llamaCppVersion {
		t.Errorf("found %+v, want the command %q", found, want)
	}
	if len(lines) < 4 || lines[len(lines)-1] != "Installed in "+home {
		t.Errorf("progress was %q", lines)
	}
	entries, err := filepath.Glob(filepath.Join(m.engine, "*"))
	if err != nil || !slices.Equal(entries, []string{filepath.Join(m.engine, ".lock"), home}) {
		t.Errorf("the directory has %q, %v", entries, err)
	}

	// Again, with a pip that would fail.
	m.mustWrite(t, "pip-says", "ERROR", 0o644)
	if again, err := InstallLlamaCpp(t.Context(), InstallConfig{Dir: m.engine}); err != nil || again.Command[2] != found.Command[2] {
		t.Errorf("again: %+v, %v", again, err)
	}

	// A newer Berth brings another launcher.
	if err := os.Remove(found.Command[2]); err != nil {
		t.Fatal(err)
	}
	if again, err := FindLlamaCpp(LlamaCppConfig{Dir: m.engine}); err != nil || again.How != "installed" {
		t.Errorf("found %+v, %v", again, err)
	}
	if _, err := os.Stat(found.Command[2]); err != nil {
		t.Errorf("the launcher was not written again: %v", err)
	}
}

func TestInstallLlamaCppAtOnce(t *testing.T) {
	m := newMachine(t, mustWheel(t))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := InstallLlamaCpp(t.Context(), InstallConfig{Dir: m.engine}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if runs, err := os.ReadFile(filepath.Join(m.path, "pip-runs")); err != nil || string(runs) != "run\n" {
		t.Errorf("pip ran %q, %v; want once", runs, err)
	}
}

func TestInstallLlamaCppSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, m machine)
		want    string
	}{
		"no python3": {
			func(t *testing.T, _ machine) { t.Setenv("PATH", t.TempDir()) },
			"python3 was not found on PATH: install Python 3.10 or newer, or " + byHand,
		},
		"no pip": {
			func(t *testing.T, m machine) {
				m.mustWrite(t, "pip-says", "/usr/bin/python3: No module named pip\n", 0o644)
			},
			"python3 has no pip: install it (Debian: apt install python3-pip)",
		},
		"no network": {
			func(t *testing.T, m machine) {
				m.mustWrite(t, "pip-says", "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for xllamacpp\n", 0o644)
			},
			"pip cannot reach the package index: check network and proxy, or set PIP_INDEX_URL to a mirror",
		},
		"not for this Python": {
			func(t *testing.T, m machine) {
				m.mustWrite(t, "pip-says", "ERROR: No matching distribution found for xllamacpp\n", 0o644)
			},
			"pip finds no xllamacpp " + llamaCppVersion + " for this machine and Python",
		},
		"pip fails otherwise": {
			func(t *testing.T, m machine) { m.mustWrite(t, "pip-says", "ERROR: disk quota exceeded\n", 0o644) },
			"ERROR: disk quota exceeded; install llama.cpp yourself",
		},
		"another file": {
			func(t *testing.T, m machine) {
				if err := os.Rename(filepath.Join(m.path, wheels[platform()].file()), filepath.Join(m.path, "xllamacpp-musl.whl")); err != nil {
					t.Fatal(err)
				}
			},
			"pip chose another file than xllamacpp-",
		},
		"a changed file": {
			func(t *testing.T, m machine) { m.mustWrite(t, wheels[platform()].file(), "changed", 0o644) },
			"so it was changed on its way and was not installed",
		},
		"an engine that does not run": {
			func(t *testing.T, m machine) {
				m.mustWrite(t, "engine-says", "Traceback\nImportError: GLIBC_2.38 not found\n", 0o644)
			},
			"does not run here (it needs Python 3.10 or newer): ImportError: GLIBC_2.38 not found",
		},
		"a directory that cannot be": {
			func(t *testing.T, m machine) {
				if err := os.WriteFile(m.engine, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			"choose another with engines.dir",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, mustWheel(t))
			c.prepare(t, m)
			_, err := InstallLlamaCpp(t.Context(), InstallConfig{Dir: m.engine})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(m.engine, temporaryPrefix+"*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestInstallLlamaCppWaitsNoLongerThanItsContext(t *testing.T) {
	m := newMachine(t, mustWheel(t))
	if err := os.MkdirAll(m.engine, 0o755); err != nil {
		t.Fatal(err)
	}
	first := install{InstallConfig: InstallConfig{Dir: m.engine}}
	unlock, err := first.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	waits := func(string) { cancel() }
	if _, err := InstallLlamaCpp(ctx, InstallConfig{Dir: m.engine, Progress: waits}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestFindLlamaCpp(t *testing.T) {
	m := newMachine(t, nil)
	m.mustWrite(t, "llama-server", "#!/bin/sh\necho 'version: 9093 (1a2b3c)' >&2\necho built >&2\n", 0o755)
	m.mustWrite(t, "own", "#!/bin/sh\necho own build\n", 0o755)
	for name, c := range map[string]struct {
		command []string
		want    Found
		err     string
	}{
		"on PATH":              {nil, Found{[]string{filepath.Join(m.path, "llama-server")}, "9093 (1a2b3c)", "on PATH"}, ""},
		"configured":           {[]string{"own", "-x"}, Found{[]string{"own", "-x"}, "own build", "configured"}, ""},
		"configured, not here": {[]string{"nowhere"}, Found{}, "engines.llamacpp.command: "},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := FindLlamaCpp(LlamaCppConfig{Command: c.command, Dir: m.engine})
			if fmt.Sprint(found) != fmt.Sprint(c.want) {
				t.Errorf("found %+v, want %+v", found, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}
