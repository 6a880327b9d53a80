package test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
)

// The command line against a running server, as a person uses it.

// cli is the real binary beside a server of its own: it finds address and key in the
// data directory.
type cli struct {
	*program
	server *serving
}

func newCLI(t testing.TB, scripts map[string]string) *cli {
	t.Helper()
	p := newProgram(t)
	s := p.serve(t, fakeYAML(t, scripts))
	p.env = append(p.env, "BERTH_DATA="+s.data)
	return &cli{p, s}
}

// done runs a command that must succeed and returns its output.
func (c *cli) done(t testing.TB, args ...string) string {
	t.Helper()
	got := c.run(t, "", args...)
	if got.code != 0 {
		t.Fatalf("berth %s: code %d: %s", strings.Join(args, " "), got.code, got.err)
	}
	return got.out
}

// fails runs a command that must end with a code and say something.
func (c *cli) fails(t testing.TB, code int, say string, args ...string) {
	t.Helper()
	got := c.run(t, "", args...)
	if got.code != code || !strings.Contains(got.err, say) || !strings.HasPrefix(got.err, "berth: ") && code != 5 {
		t.Errorf("berth %s: code %d, want %d with %q: %s", strings.Join(args, " "), got.code, code, say, got.err)
	}
}

// read runs a command with -o json and reads what it prints.
func read[T any](t testing.TB, c *cli, args ...string) T {
	t.Helper()
	var v T
	out := c.done(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("berth %s -o json: %v in %s", strings.Join(args, " "), err, out)
	}
	return v
}

// wants fails for each piece that is not in the output.
func wants(t testing.TB, out string, pieces ...string) {
	t.Helper()
	for _, piece := range pieces {
		if !strings.Contains(out, piece) {
			t.Errorf("%q is missing in\n%s", piece, out)
		}
	}
}

func TestTheCommandLineFromDeployToDelete(t *testing.T) {
	t.Parallel()
	c := newCLI(t, map[string]string{"good": "", "broken": ""})
	must(t, os.Remove(modelPath(t, c.server.berth, "broken")))

	if got := c.run(t, "", "list"); got.code != 0 || !strings.Contains(got.out+got.err, "No deployments. Make one: berth deploy") {
		t.Errorf("%+v", got)
	}
	if empty := read[[]api.Deployment](t, c, "list"); empty == nil || len(empty) != 0 {
		t.Errorf("list is %v, want []", empty)
	}

	// deploy: what happens goes to stderr, the result to stdout
	made := c.run(t, "", "deploy", "good", "--plan", "mu", "--spec", "MU1", "--capacity", "2", "--name", "for tests", "--wait")
	if made.code != 0 {
		t.Fatalf("%+v", made)
	}
	wants(t, made.out, "RUNNING", "for tests", "2/2 MU1")
	wants(t, made.err, "PENDING", "The engine is starting.", "Serving on 2 of 2 replicas.")
	all := read[[]api.Deployment](t, c, "list")
	if len(all) != 1 || all[0].Status != api.StatusRunning || all[0].Capacity != 2 {
		t.Fatalf("list is %+v", all)
	}
	name := all[0].DeployedModel
	c.fails(t, 3, "Deployed model "+name+" already exists, please specify a suffix.", "deploy", "good", "--plan", "mu", "--spec", "MU1", "--capacity", "2")
	c.fails(t, 3, "Model: nobody not found!", "deploy", "nobody")
	c.fails(t, 3, "needs 99 x 1 threads", "deploy", "good", "--plan", "mu", "--spec", "MU1", "--capacity", "99", "--suffix", "big")
	c.fails(t, 5, "There is no file", "deploy", "broken", "--plan", "mu", "--spec", "MU1", "--capacity", "1", "--wait")
	c.fails(t, 2, "See: berth deploy --help", "deploy")
	c.fails(t, 2, "--capacity", "deploy", "good", "--capacity", "many")

	t.Run("list and get", func(t *testing.T) {
		wants(t, c.done(t, "list"), "DEPLOYED MODEL", name, "RUNNING", "FAILED")
		wants(t, c.done(t, "get", name), name, "RUNNING", "good", "mu")
		wants(t, c.done(t, "get", name, "-o", "yaml"), "deployed_model: "+name)
		if d := read[api.Deployment](t, c, "get", name); d.DeployedModel != name || d.ReadyCapacity != 2 {
			t.Errorf("got %+v", d)
		}
		replicas := read[[]api.Replica](t, c, "get", name, "--replicas")
		if len(replicas) != 2 || replicas[0].PID == 0 || replicas[0].State != "ready" {
			t.Errorf("replicas %+v", replicas)
		}
		if events := read[[]api.Event](t, c, "events", name); len(events) < 3 {
			t.Errorf("events %+v", events)
		}
		wants(t, c.done(t, "events", name), "Bought; the hardware is held.")
		wants(t, c.done(t, "logs", name), "fake engine listening on")
		read[any](t, c, "logs", name)
		wants(t, c.done(t, "node", "list"), "local", name, "(free)")
		read[any](t, c, "node", "list")
		c.fails(t, 3, "Model: nobody not found!", "get", "nobody")
		c.fails(t, 2, "it is table, json or yaml", "list", "-o", "xml")
	})
	t.Run("chat", func(t *testing.T) {
		if out := c.done(t, "chat", name, "37+85"); out != "122\n" {
			t.Errorf("one answer is %q", out)
		}
		if answer := read[api.Answer](t, c, "chat", name, "count", "to", "3"); answer.Text != "1 2 3" || answer.Usage.CompletionTokens != 3 {
			t.Errorf("answer %+v", answer)
		}
		// a conversation through pipes: each line is a turn
		got := c.run(t, "37+85\n\ncount to 3\nrepeat: blue cat", "chat", name)
		if got.code != 0 || got.out != "122\n1 2 3\nblue cat\n" {
			t.Errorf("a conversation is %+v", got)
		}
		c.fails(t, 3, "nobody", "chat", "nobody", "37+85")
		c.fails(t, 2, "See: berth chat --help", "chat")
		if got := c.run(t, "", "chat", name, "count to 5", "--max-tokens", "2"); got.out != "1 2\n" || !strings.Contains(got.err, "cut at the largest length") {
			t.Errorf("a short answer is %+v", got)
		}
	})
	t.Run("usage", func(t *testing.T) {
		var rows []api.UsageRow
		until(t, "the calls are recorded", func() bool {
			rows = read[[]api.UsageRow](t, c, "usage")
			return len(rows) == 1 && rows[0].Calls == 6
		})
		if len(rows) != 1 || rows[0].Group["deployed_model"] != name || rows[0].Calls != 6 || rows[0].OutputTokens != 1+3+1+3+2+2 {
			t.Errorf("usage %+v", rows)
		}
		wants(t, c.done(t, "usage"), "DEPLOYED MODEL", name)
		wants(t, c.done(t, "usage", "--records"), "dedicated", "stop", "length")
		if records := read[[]api.UsageRecord](t, c, "usage", "--records", "--from", "1h"); len(records) != 6 {
			t.Errorf("%d records", len(records))
		}
		wants(t, c.done(t, "usage", "--group-by", "month,class", "-o", "csv"), "month,class,calls,input_tokens", ",dedicated,6,")
		if lines := strings.Split(strings.TrimSpace(c.done(t, "usage", "--records", "-o", "ndjson", "--workspace", "all")), "\n"); len(lines) != 6 {
			t.Errorf("%d lines of records", len(lines))
		}
		c.fails(t, 2, "csv is for usage, audit", "list", "-o", "csv")
		c.fails(t, 2, "--from", "usage", "--from", "yesterday-ish")
		c.fails(t, 3, "group_by", "usage", "--by", "colour")
	})

	wants(t, c.done(t, "delete", name), name, "DELETING")
	until(t, "it is gone", func() bool { return len(read[[]api.Deployment](t, c, "list")) == 1 })
	c.fails(t, 3, "delete nobody: Model: nobody not found!", "delete", "nobody")
	c.fails(t, 3, "Not found.", "get", name)
}

func TestTheCommandLineKeepsKeysAndModels(t *testing.T) {
	t.Parallel()
	c := newCLI(t, map[string]string{"good": ""})

	t.Run("keys", func(t *testing.T) {
		made := c.run(t, "", "key", "create", "--role", "inference", "--name", "phone", "--expires", "30d")
		key := strings.TrimSpace(made.out)
		if made.code != 0 || len(key) != len("sk-")+43 || !strings.Contains(made.err, "not shown again") {
			t.Fatalf("%+v", made)
		}
		keys := read[[]api.Key](t, c, "key", "list")
		if len(keys) != 2 || keys[1].Name != "phone" || keys[1].Role != "inference" || keys[1].Text != "" {
			t.Fatalf("keys %+v", keys)
		}
		wants(t, c.done(t, "key", "list"), "phone", "inference", keys[1].ID)
		wants(t, c.done(t, "list", "--key", key), "")
		c.fails(t, 3, "Access denied", "key", "list", "--key", key)
		c.done(t, "key", "revoke", keys[1].ID)
		c.fails(t, 3, "Invalid API-key provided.", "list", "--key", key)
		c.fails(t, 3, "Not found!", "key", "revoke", "key_nobody")
		c.fails(t, 3, "The role \"king\" is not known", "key", "create", "--role", "king")
		c.fails(t, 2, "--expires", "key", "create", "--expires", "soon")
		c.fails(t, 2, "there is no command berth key creat; did you mean create?", "key", "creat")
	})
	t.Run("models", func(t *testing.T) {
		files, err := abacus.Extract(c.dir)
		must(t, err)
		// A path is relative to where the command is run.
		wants(t, c.done(t, "model", "add", "mine", "--path", filepath.Base(files.Base), "--description", "My own."), "mine", "qwen3", files.Base, "My own.")
		wants(t, c.done(t, "model", "add", "mine-words", "--base", "mine", "--adapter", files.Words), "adapter", "lora")
		wants(t, c.done(t, "model", "list"), "NAME", "mine", "mine-words", "good")
		if m := read[api.Model](t, c, "model", "show", "mine"); m.Name != "mine" || m.Kind != "base" || !strings.HasPrefix(m.Digest, "sha256:") {
			t.Errorf("got %+v", m)
		}
		if all := read[[]api.Model](t, c, "model", "list"); len(all) != 3 {
			t.Errorf("%d models", len(all))
		}
		keyFile := filepath.Join(c.dir, "far.key")
		must(t, os.WriteFile(keyFile, []byte("sk-far\n"), 0o600))
		far := c.done(t, "model", "add", "far", "--endpoint", "http://127.0.0.1:1/v1", "--key-file", keyFile, "--remote-name", "big")
		wants(t, far, "endpoint", "http://127.0.0.1:1/v1", "big")
		if strings.Contains(far, "sk-far") {
			t.Errorf("the key is shown: %s", far)
		}
		c.fails(t, 3, "is not a GGUF file", "model", "add", "new", "--path", "berth.yaml")
		c.fails(t, 3, "There is no file", "model", "add", "new", "--path", "/nowhere.gguf")
		c.fails(t, 3, "The model name mine is taken; choose another.", "model", "add", "mine", "--path", files.Base)
		c.fails(t, 3, "The adapter mine-words is on base mine; delete it first.", "model", "delete", "mine")
		c.fails(t, 2, "name exactly one of --path, --adapter and --endpoint", "model", "add", "new")
		c.fails(t, 2, "--base and --adapter belong together", "model", "add", "new", "--adapter", files.Words)
		c.fails(t, 1, "no such file", "model", "add", "new", "--endpoint", "http://127.0.0.1:1/v1", "--key-file", "none")
		c.done(t, "model", "delete", "mine-words")
		c.done(t, "model", "delete", "mine")
		c.fails(t, 3, "Model: mine not found!", "model", "show", "mine")
	})
	t.Run("doctor", func(t *testing.T) {
		got := c.run(t, "", "doctor")
		wants(t, got.out, "berth", "llamacpp", "threads", "memory", "accelerators", "port", "data")
		if got.code != 0 {
			t.Errorf("code %d: %s%s", got.code, got.out, got.err)
		}
		// what is wrong is said with what to do about it
		p := &program{dir: c.dir, path: c.path, env: append(c.env, "BERTH_ENGINES_DIR="+filepath.Join(c.dir, "none"), "PATH="+c.dir,
			"BERTH_LISTEN="+strings.TrimPrefix(c.server.BaseURL, "http://"))}
		got = p.run(t, "", "doctor")
		wants(t, got.out, "berth engine install llamacpp", "is in use")
		if got.code != 1 || !strings.Contains(got.err, "checks failed; take the advice above") {
			t.Errorf("code %d: %s", got.code, got.err)
		}
	})
	t.Run("engine list", func(t *testing.T) {
		wants(t, c.done(t, "engine", "list"), "llamacpp")
		c.fails(t, 2, "", "engine", "install", "steam")
	})
	t.Run("help and completion", func(t *testing.T) {
		wants(t, c.done(t), "deploy", "chat", "serve", "demo", "doctor", "Exit codes")
		for _, command := range []string{"deploy", "serve", "demo", "model", "key", "chat"} {
			wants(t, c.done(t, command, "--help"), "Usage:")
		}
		wants(t, c.done(t, "completion", "bash"), "berth")
		wants(t, c.done(t, "--version"), "dev")
		c.fails(t, 2, "there is no command berth deplyo; did you mean deploy?", "deplyo")
	})

	// A server that is not there.
	if code := c.server.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.fails(t, 4, "nothing answers at "+c.server.BaseURL+"; start it with: berth serve", "list")
	c.fails(t, 1, "no key", "list", "--data", filepath.Join(c.dir, "nowhere"))
	c.fails(t, 1, "no key for http://models.example.com", "list", "--url", "http://models.example.com")

	// Another program that answers.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	c.fails(t, 4, "broke", "list", "--url", "http://"+l.Addr().String())
	must(t, l.Close())
}
