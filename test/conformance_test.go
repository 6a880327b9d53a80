package test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestConformance fails when a statement of the API contract has neither a test that
// names it nor an entry in docs/compatibility.md; -v shows where each one is held.
func TestConformance(t *testing.T) {
	t.Parallel()
	statements := parseStatements(t, "testdata/statements.md")
	places := markers(t, "..")
	argued := entries(t, "../docs/compatibility.md")
	for _, s := range statements {
		held := places[s.number]
		switch {
		case len(held) > 0:
		case argued[s.number]:
			held = []string{"docs/compatibility.md"}
		case s.later:
			held = []string{"not yet"}
		default:
			t.Errorf("statement %d (%s) has no test, and no entry in docs/compatibility.md", s.number, s.words)
		}
		t.Logf("%3d %-72s %s", s.number, s.words, strings.Join(held, " "))
	}
	for n := range places {
		if n < 1 || n > len(statements) {
			t.Errorf("%s: there is no statement %d", places[n][0], n)
		}
	}
	for n := range argued {
		if n < 1 || n > len(statements) {
			t.Errorf("docs/compatibility.md: there is no statement %d", n)
		}
	}
}

// statement is one line of testdata/statements.md.
type statement struct {
	number int
	words  string
	later  bool // is not promised yet
}

var statementLine = regexp.MustCompile(`^(\d+)\. (.+)$`)

// parseStatements reads the list and makes sure that it counts from 1 without a gap.
func parseStatements(t *testing.T, file string) []statement {
	t.Helper()
	var all []statement
	later := false
	for _, line := range lines(t, file) {
		if strings.HasPrefix(line, "## ") {
			later = strings.HasSuffix(line, "(later)")
		}
		m := statementLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		words, inWork := strings.CutSuffix(m[2], " (in work)")
		all = append(all, statement{words: words, later: later || inWork})
		s := &all[len(all)-1]
		s.number, _ = strconv.Atoi(m[1])
		if s.number != len(all) {
			t.Fatalf("%s: statement %d stands at place %d", file, s.number, len(all))
		}
	}
	return all
}

var marker = regexp.MustCompile(`(?://|#) conformance (` + numbers + `)`)

// numbers are those of statements: "13", "13, 15", "88-93, and 95".
const numbers = `\d+(?:[-–]\d+)?(?:(?:, and |, | and )\d+(?:[-–]\d+)?)*`

// markers finds what names a statement: in Go tests, in scenarios and in the scripts of
// clients, by statement.
func markers(t *testing.T, root string) map[int][]string {
	t.Helper()
	found := map[int][]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && len(name) > 2 && name[0] == '.' {
			return filepath.SkipDir
		}
		if d.IsDir() || !holdsMarkers(path) {
			return nil
		}
		for i, line := range lines(t, path) {
			for _, m := range marker.FindAllStringSubmatch(line, -1) {
				at := fmt.Sprintf("%s:%d", strings.TrimPrefix(path, root+"/"), i+1)
				for _, n := range expandNumbers(m[1]) {
					found[n] = append(found[n], at)
				}
			}
		}
		return nil
	}))
	return found
}

func holdsMarkers(path string) bool {
	switch filepath.Ext(path) {
	case ".go":
		return strings.HasSuffix(path, "_test.go") && filepath.Base(path) != "conformance_test.go"
	case ".txt":
		return filepath.Base(filepath.Dir(path)) == "testdata"
	case ".py", ".mjs", ".java":
		return strings.Contains(path, "test/clients/")
	}
	return false
}

var numberOrRange = regexp.MustCompile(`(\d+)(?:[-–](\d+))?`)

// expandNumbers returns what a marker names.
func expandNumbers(text string) []int {
	var all []int
	for _, m := range numberOrRange.FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(m[1])
		last := first
		if m[2] != "" {
			last, _ = strconv.Atoi(m[2])
		}
		for n := first; n <= last; n++ {
			all = append(all, n)
		}
	}
	return all
}

var entry = regexp.MustCompile(`^### (` + numbers + `)\.`)

// entries returns the statements that the document about compatibility argues about.
func entries(t *testing.T, file string) map[int]bool {
	t.Helper()
	argued := map[int]bool{}
	all := lines(t, file)
	for i, line := range all {
		m := entry.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if rest := all[i+1:]; len(rest) < 2 || strings.TrimSpace(rest[1]) == "" {
			t.Errorf("%s:%d: an entry without an argument", file, i+1)
		}
		for _, n := range expandNumbers(m[1]) {
			argued[n] = true
		}
	}
	return argued
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	var all []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		all = append(all, scanner.Text())
	}
	must(t, scanner.Err())
	return all
}

func TestMarkersAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]int{
		"// conformance 13":                         {13},
		"\t\t// conformance 26, 31: the first name": {26, 31},
		"# conformance 88-90, 93":                   {88, 89, 90, 93},
		"// conformance 59, and 60: not offered":    {59, 60},
		"// conformance 38 and api.md 4.4: a plan":  {38},
		"x() // conformance 7":                      {7},
		"no conformance 7":                          nil,
	} {
		var got []int
		for _, m := range marker.FindAllStringSubmatch(text, -1) {
			got = append(got, expandNumbers(m[1])...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q names %v, want %v", text, got, want)
		}
	}
}
