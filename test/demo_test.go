package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// `berth demo` on the real engine, as somebody runs it who has just cloned the
// repository, on a machine whose preferred port is taken.
func TestTheDemo(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the lines that the demo prints need %s; install it", tool)
		}
	}
	p := newProgram(t)
	busy := occupied(t)
	demo := p.begin(t, "demo", "--listen", "127.0.0.1:"+strconv.Itoa(busy))

	// what it prints for each plan
	var shown []string
	read := func(text string) string {
		line := demo.line(t, text)
		shown = append(shown, line)
		return line
	}
	read("Port " + strconv.Itoa(busy) + " is busy; using ")
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(read("Berth serves at "))
	read("PLAN")
	for _, row := range []string{
		`^mu +abacus-[0-9a-f]{8}-mu +122 +17 \+ 4 +\d+\.\d\d s$`,
		`^lora +abacus-words-lora +The answer is 122\. +17 \+ \d+ +\d+\.\d\d s$`,
		`^ptu +abacus-[0-9a-f]{8}-ptu +122 +17 \+ 4 +\d+\.\d\d s$`,
	} {
		plan, _, _ := strings.Cut(row[1:], " ")
		if line := read(plan + " "); !regexp.MustCompile(row).MatchString(line) {
			t.Errorf("printed %q, want %s", line, row)
		}
	}
	read("Berth stays up at " + url + " until Ctrl-C.")
	if line := read("URL "); !strings.HasSuffix(line, " "+url) {
		t.Errorf("printed %q", line)
	}
	if line := read("key "); !regexp.MustCompile(`sk-[\w-]{43}$`).MatchString(line) {
		t.Errorf("printed %q", line)
	}

	// the three lines work when pasted, each alone
	for _, want := range []string{
		`"deployed_model":"qwen-flash-2025-07-28-`, `"content":"122"`, `"content":"The answer is 122."`,
	} {
		curl := demo.line(t, "  curl ")
		shell := exec.Command("bash", "-c", curl)
		shell.Env = p.env
		answer, err := shell.CombinedOutput()
		if err != nil || !strings.Contains(string(answer), want) {
			t.Errorf("%v, %s\nafter %s", err, answer, curl)
		}
	}
	tmp := filepath.Join(p.dir, "tmp")
	if made, err := os.ReadDir(tmp); err != nil || len(made) == 0 {
		t.Errorf("the demo keeps its files elsewhere: %v", err)
	}

	// Ctrl-C ends it, and nothing is left
	if code := demo.signal(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := p.processes(t); len(left) != 0 {
		t.Errorf("the processes %v are left", left)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("the files %v are left, %v", left, err)
	}
	if t.Failed() {
		t.Logf("it printed:\n%s", strings.Join(shown, "\n"))
	}
}

// Interrupted while it still deploys, the demo leaves nothing either.
func TestTheDemoInterruptedEarly(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	demo := p.begin(t, "demo", "--listen", "127.0.0.1:"+strconv.Itoa(occupied(t)))
	demo.line(t, "PLAN")
	until(t, "an engine starts", func() bool { return len(p.processes(t)) >= 3 })
	if code := demo.signal(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if said := demo.errOut.String(); strings.Contains(said, "demo:") {
		t.Errorf("it complains: %s", said)
	}
	if left := p.processes(t); len(left) != 0 {
		t.Errorf("the processes %v are left", left)
	}
	if left, err := os.ReadDir(filepath.Join(p.dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("the files %v are left, %v", left, err)
	}
}
