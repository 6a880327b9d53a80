package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

func TestNamesOfLinesTellThemApart(t *testing.T) {
	t.Parallel()
	st := api.Statement{Month: "2026-09"}
	for i := range 20_000 {
		st.Lines = append(st.Lines, api.StatementLine{ID: fmt.Sprintf("2026-09-02.dep_%d.output.shared.0.price_1.CNY", i)})
	}
	names := lineNames(&st)
	seen := map[string]bool{}
	for i, name := range names {
		if seen[name] || len(name) < shortName {
			t.Fatalf("the name %q is nobody's own", name)
		}
		seen[name] = true
		if i%500 != 0 {
			continue
		}
		for _, text := range []string{name, strings.ToUpper(name), st.Lines[i].ID} {
			if id, err := lineNamed(&st, text); err != nil || id != st.Lines[i].ID {
				t.Errorf("%s is %s, %v", text, id, err)
			}
		}
	}
	if id, err := lineNamed(&st, names[7][:2]); err == nil || !strings.Contains(err.Error(), "lines of 2026-09 begin with "+names[7][:2]+"; write more") || !strings.HasSuffix(err.Error(), "…") {
		t.Errorf("two digits name %q, %v", id, err)
	}
	if id, err := lineNamed(&st, "xyz"); err == nil || !strings.Contains(err.Error(), "has no line xyz") {
		t.Errorf("no name at all names %q, %v", id, err)
	}
}

func TestAStatementIsWrittenWithItsLines(t *testing.T) {
	t.Parallel()
	f := furnished(t)
	dir := filepath.Join(t.TempDir(), "september")
	if r := f.run(t, "", "statement", "2026-09", "--html", "--dir", dir); r.code != 0 || r.out != "" || !strings.Contains(r.err, "5 pages") {
		t.Fatalf("got %+v", r)
	}
	long := september.Lines[2].ID
	for name, want := range map[string]string{
		"index.html": "html of \n",
		"lines/" + september.Lines[0].ID + ".html": "html of " + september.Lines[0].ID + " at  with files\n",
		"lines/" + long + ".html":                  "html of " + long + " at  with files\n",
		"lines/" + long + ".2.html":                "html of " + long + " at 1.5.x with files\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
