package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExpositionEscapesLabels(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	m := &exposition{w: &text}
	m.one("a", "gauge", "One.", 1.5)
	m.family("b_total", "counter", "Two.")
	m.sample("b_total", 12_000_000, "x", "a\"b\\c\nd", "y", "z")
	want := "# HELP a One.\n# TYPE a gauge\na 1.5\n# HELP b_total Two.\n# TYPE b_total counter\n" + `b_total{x="a\"b\\c\nd",y="z"} 1.2e+07` + "\n"
	if text.String() != want || m.err != nil {
		t.Errorf("got %s, want %s", text.String(), want)
	}
}

func TestScrapeKey(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ path, want, err string }{
		"none":      {"", "", ""},
		"a line":    {file("0123456789abcdef\n"), "0123456789abcdef", ""},
		"too short": {file("secret\n"), "", "use at least 16"},
		"no file":   {file("") + "-not", "", "metrics.key_file: "},
	} {
		got, err := scrapeKey(c.path)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
