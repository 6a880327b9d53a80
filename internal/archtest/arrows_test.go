package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/berthhq/berth"

// listed is one package as `go list` tells it.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestEveryArrowIsListedWithItsReason(t *testing.T) {
	t.Parallel()
	for _, p := range modulePackages(t) {
		path := below(p.ImportPath)
		r := roomOf(path)
		if r == nil {
			t.Errorf("%s is no room of this house; list it in internal/archtest/rooms.go with what it may import and why", path)
			continue
		}
		for _, name := range p.Imports {
			if ours(name) && !slices.Contains(r.may, below(name)) {
				t.Errorf("%s must not import %s: %s", path, below(name), r.reason)
			}
			if path == "." && !standard(name) {
				t.Errorf("the root package must not import %s: %s", name, r.reason)
			}
		}
		for _, name := range slices.Concat(p.TestImports, p.XTestImports) {
			if to := below(name); ours(name) && to != path && !slices.Contains(r.may, to) && !lent(to) {
				t.Errorf("tests of %s must not import %s; list it in forTests or in the room", path, to)
			}
		}
	}
}

func TestTheListIsInOrder(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range rooms {
		if seen[r.path] {
			t.Errorf("%s is listed twice", r.path)
		}
		seen[r.path] = true
	}
	for _, r := range slices.Concat(rooms, forTests) {
		if r.reason == "" {
			t.Errorf("%s has no reason", r.path)
		}
		for _, to := range append(r.may, r.path) {
			if !seen[to] {
				t.Errorf("%s names %s, which is no room", r.path, to)
			}
		}
	}
}

// modulePackages returns the packages of the module, broken ones too: an arrow shows
// before the code compiles.
func modulePackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// standard reports whether a package is the standard library's: its path has no host.
func standard(importPath string) bool {
	host, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(host, ".")
}

// below returns a package's path below the module, "." for the root package.
func below(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// roomOf returns the row of a package, nil if there is none.
func roomOf(path string) *room {
	for i, r := range rooms {
		under, all := strings.CutSuffix(r.path, "/...")
		if r.path == path || all && (path == under || strings.HasPrefix(path, under+"/")) {
			return &rooms[i]
		}
	}
	return nil
}

func lent(path string) bool {
	return slices.ContainsFunc(forTests, func(r room) bool { return r.path == path })
}
