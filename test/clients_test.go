package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// clientPatience bounds one client's script; `dashscope deployments create` alone looks
// every 30 s whether a deployment is up.
const clientPatience = 5 * time.Minute

// clients is what the scripts of testdata's neighbour folder, clients, and the document
// about clients need: the official packages, a server and one deployment to call.
type clients struct {
	*berth
	dir   string // of the installed packages
	model string // Abacus under plan mu
}

// newClients starts a server with the real little model for official clients.
func newClients(t *testing.T) clients {
	t.Helper()
	dir, err := filepath.Abs("../.cache/clients")
	must(t, err)
	for _, name := range []string{"python", "python2", "node", "java"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("the official clients are not installed (%v): run .ci/tools test", err)
		}
	}
	b := withProcesses(t, abacusYAML(t))
	d := b.running(t, api.CreateDeployment{ModelName: "abacus", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(1))})
	return clients{berth: b, dir: dir, model: d.DeployedModel}
}

// Official clients, unmodified, are pointed at Berth by nothing but their environment.
// conformance 105
func TestOfficialClients(t *testing.T) {
	t.Parallel()
	c := newClients(t)
	scripts, err := filepath.Abs("clients")
	must(t, err)
	for name, command := range map[string][]string{
		"dashscope 1.26 for Python, classic": {"python/bin/python", "python/classic.py"},
		"dashscope 2.0 for Python, classic":  {"python2/bin/python", "python/classic.py"},
		"dashscope 2.0 for Python, Client":   {"python2/bin/python", "python2/client.py"},
		"dashscope 2.0, command line":        {"python2/bin/python", "python2/cli.py"},
		"openai for Python":                  {"python/bin/python", "python/openai_chat.py"},
		"anthropic for Python":               {"python/bin/python", "python/anthropic_messages.py"},
		"openai for Node":                    {"node", "node/chat.mjs"},
		"dashscope for Java":                 {"java", "java/Chat.java"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t, t.TempDir(), command[0], filepath.Join(scripts, command[1]))
		})
	}
}

// run runs a script in a folder with the interpreter and the packages of its language,
// and shows what it said when it fails.
func (c clients) run(t *testing.T, dir, interpreter, script string, environment ...string) string {
	t.Helper()
	args := []string{script}
	switch interpreter {
	case "java":
		args = []string{"-cp", filepath.Join(c.dir, "java", "*"), script}
	case "node": // finds packages beside the script only
		local := filepath.Join(dir, filepath.Base(script))
		if local != script {
			content, err := os.ReadFile(script)
			must(t, err)
			must(t, os.WriteFile(local, content, 0o600))
		}
		must(t, os.Symlink(filepath.Join(c.dir, "node", "node_modules"), filepath.Join(dir, "node_modules")))
		args = []string{local}
	default:
		interpreter = filepath.Join(c.dir, interpreter)
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, args...)
	cmd.Dir, cmd.Env = dir, append(c.environment(t), environment...)
	began := time.Now()
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(script), err, said)
	}
	t.Logf("%.1f s", time.Since(began).Seconds())
	return string(said)
}

// environment points every client at the server.
func (c clients) environment(t *testing.T) []string {
	t.Helper()
	scripts, err := filepath.Abs("clients/python")
	must(t, err)
	return append(
		c.bare(t), "PYTHONPATH="+scripts,
		"BERTH_URL="+c.BaseURL, "BERTH_CHAT_MODEL="+c.model,
		"DASHSCOPE_HTTP_BASE_URL="+c.BaseURL+"/api/v1", "DASHSCOPE_API_KEY="+c.Key,
		"OPENAI_BASE_URL="+c.BaseURL+"/compatible-mode/v1", "OPENAI_API_KEY="+c.Key,
		"ANTHROPIC_BASE_URL="+c.BaseURL+"/apps/anthropic", "ANTHROPIC_API_KEY="+c.Key,
	)
}

// bare is the environment without whatever the tester's clients are told, with a home
// of its own, since some keep a key there.
func (c clients) bare(t *testing.T) []string {
	t.Helper()
	var env []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		switch prefix, _, _ := strings.Cut(name, "_"); prefix {
		case "BERTH", "DASHSCOPE", "OPENAI", "ANTHROPIC", "PYTHONPATH", "CLASSPATH", "HOME":
		default:
			env = append(env, pair)
		}
	}
	return append(env, "HOME="+t.TempDir(), "NO_PROXY=127.0.0.1")
}

// packagesOf is where the programs of a section of docs/clients.md are found.
var packagesOf = map[string]string{
	"DashScope SDK for Python 1.26": "python/bin",
	"DashScope SDK for Python 2.0":  "python2/bin",
	"The dashscope command line":    "python2/bin",
	"DashScope SDK for Java":        "java",
	"openai for Python":             "python/bin",
	"openai for Node":               "node",
	"anthropic for Python":          "python/bin",
	"curl":                          "",
}

// What docs/clients.md tells people to paste is pasted, section by section: its shell
// lines into bash, its other blocks into a file that is run after them. Each line under
// text must be in the output.
func TestDocumentedClients(t *testing.T) {
	t.Parallel()
	c := newClients(t)
	c.running(t, api.CreateDeployment{ModelName: "abacus-words", Plan: "lora", Suffix: "lora", Capacity: ptr(int64(1))})
	for title, blocks := range sections(t, "../docs/clients.md") {
		packages, known := packagesOf[title]
		if !known {
			t.Errorf("the test does not know what %q needs", title)
			continue
		}
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lines, want := pasted(t, dir, blocks)
			if packages == "node" {
				must(t, os.Symlink(filepath.Join(c.dir, "node", "node_modules"), filepath.Join(dir, "node_modules")))
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-euc", lines)
			cmd.Dir, cmd.Env = dir, append(c.bare(t),
				"BERTH_URL="+c.BaseURL, "BERTH_API_KEY="+c.Key, "CLASSPATH="+filepath.Join(c.dir, "java", "*"),
				"COLUMNS=200", "PATH="+filepath.Join(c.dir, packages)+":"+os.Getenv("PATH"))
			said, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, line := range want {
				if !strings.Contains(string(said), line) {
					t.Errorf("it does not say %q:\n%s", line, said)
				}
			}
		})
	}
}

// codeBlock is a fenced block of a document.
type codeBlock struct{ language, text string }

// sections returns the fenced blocks of a document by the title above them.
func sections(t *testing.T, file string) map[string][]codeBlock {
	t.Helper()
	found := map[string][]codeBlock{}
	title, inside := "", false
	for _, line := range lines(t, file) {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !inside:
			found[title] = append(found[title], codeBlock{language: fence})
			inside = true
		case isFence:
			inside = false
		case inside:
			found[title][len(found[title])-1].text += line + "\n"
		case strings.HasPrefix(line, "## "):
			title = line[len("## "):]
		}
	}
	return found
}

// pasted writes blocks into files and returns the shell's lines that run them, and the
// lines that they must print.
func pasted(t *testing.T, dir string, blocks []codeBlock) (shell string, want []string) {
	t.Helper()
	for _, b := range blocks {
		file, command := "", ""
		switch b.language {
		case "sh":
			shell += b.text
			continue
		case "text":
			want = append(want, strings.Split(strings.TrimSpace(b.text), "\n")...)
			continue
		case "python":
			file, command = "chat.py", "python chat.py"
		case "js":
			file, command = "chat.mjs", "node chat.mjs"
		case "java":
			file, command = "Chat.java", "java Chat.java"
		default:
			t.Fatalf("the test cannot run blocks of %q", b.language)
		}
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(b.text), 0o600))
		shell += command + "\n"
	}
	if shell == "" || len(want) == 0 {
		t.Fatal("nothing to run, or nothing to see")
	}
	return shell, want
}
