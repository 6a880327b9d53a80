package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// closedPort is an address at which nothing answers.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return "http://" + l.Addr().String()
}

func TestTheDataDirectoryLeadsToItsServer(t *testing.T) {
	t.Parallel()
	f, dir := newFake(t), t.TempDir()
	var key string
	f.on("GET /berth/v1/nodes", func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Authorization")
		fmt.Fprint(w, `{"nodes":[]}`)
	})
	mustWrite(t, dir, "lock", "4711\n"+f.URL+"\n")
	mustWrite(t, dir, "owner.key", "sk-owner\n")
	for name, env := range map[string]map[string]string{
		"by flag":        {},
		"by environment": {"BERTH_DATA": dir},
	} {
		args := []string{"node", "list"}
		if name == "by flag" {
			args = append(args, "--data", dir)
		}
		if r := run(t, "", env, args...); r.code != exitDone || key != "Bearer sk-owner" {
			t.Errorf("%s: got %+v with %q", name, r, key)
		}
	}
}

func TestFlagsBeatTheEnvironmentWhichBeatsTheDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, dir, "lock", "1\nhttp://127.0.0.1:7001\n")
	mustWrite(t, dir, "owner.key", "sk-owner")
	env := map[string]string{"BERTH_URL": "http://127.0.0.1:7002", "BERTH_API_KEY": "sk-env"}
	for want, p := range map[string]program{
		"http://127.0.0.1:7003 sk-flag":  {Options: Options{Env: func(n string) string { return env[n] }}, data: dir, url: "http://127.0.0.1:7003", key: "sk-flag"},
		"http://127.0.0.1:7002 sk-env":   {Options: Options{Env: func(n string) string { return env[n] }}, data: dir},
		"http://127.0.0.1:7001 sk-owner": {Options: Options{Env: func(string) string { return "" }}, data: dir},
	} {
		c, err := p.client()
		if err != nil || c.BaseURL+" "+c.Key != want {
			t.Errorf("got %+v, %v, want %s", c, err, want)
		}
	}
}

func TestWithoutLockTheDefaultAddressIsAsked(t *testing.T) {
	t.Parallel()
	p := program{Options: Options{Env: func(string) string { return "" }}, data: t.TempDir(), key: "sk"}
	if c, err := p.client(); err != nil || c.BaseURL != defaultURL {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestConnectionsThatFailSayWhy(t *testing.T) {
	t.Parallel()
	dir, empty, closed := t.TempDir(), t.TempDir(), closedPort(t)
	mustWrite(t, dir, "owner.key", "sk-owner")
	for name, c := range map[string]struct {
		args []string
		want result
	}{
		"nothing answers": {
			[]string{"list", "--url", closed, "--key", "k"},
			result{exitUnreachable, "", "berth: nothing answers at " + closed + "; start it with: berth serve\n"},
		},
		"no key anywhere": {
			[]string{"list", "--data", empty},
			result{exitFailed, "", "berth: no key: looked at --key, BERTH_API_KEY and " + filepath.Join(empty, "owner.key") + "; name the server's directory with --data, or a key\n"},
		},
		"the owner's key is not shown to a named server elsewhere": {
			[]string{"list", "--data", dir, "--url", "https://berth.example.com"},
			result{exitFailed, "", "berth: no key for https://berth.example.com; set BERTH_API_KEY or --key\n"},
		},
		"no URL": {
			[]string{"list", "--url", "localhost", "--key", "k"},
			result{exitFailed, "", "berth: the address \"localhost\" is no URL; it looks like http://127.0.0.1:7700\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := run(t, "", nil, c.args...); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestExitCodesAndSentences(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET /api/v1/deployments/refused", refuse(404, "NotFound", "Model: refused not found!"))
	f.on("GET /api/v1/deployments/broken", refuse(500, "InternalError", "Something broke."))
	f.on("GET /api/v1/deployments/busy", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "12")
		refuse(429, "Throttling", "Requests throttling triggered.")(w, r)
	})
	f.on("GET /api/v1/deployments/cut", func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := w.(http.Hijacker).Hijack()
		_ = connection.Close()
	})
	for commandLine, want := range map[string]result{
		"get refused":        {exitRefused, "", "berth: Model: refused not found! (NotFound, request r-9)\n"},
		"get broken":         {exitUnreachable, "", "berth: Something broke. (InternalError, request r-9)\n"},
		"get busy":           {exitRefused, "", "berth: Requests throttling triggered. (Throttling, request r-9) Try again in 12 s.\n"},
		"get":                {exitUsage, "", "berth: wrong arguments; write: berth get DEPLOYED_MODEL [flags]\nSee: berth get --help\n"},
		"get x --frobnicate": {exitUsage, "", "berth: unknown flag: --frobnicate\nSee: berth get --help\n"},
		"list -o xml":        {exitUsage, "", "berth: invalid argument \"xml\" for \"-o, --output\" flag: it is table, json or yaml\nSee: berth list --help\n"},
		"lst":                {exitUsage, "", "berth: there is no command berth lst; did you mean list or get?\nSee: berth --help\n"},
		"key craete":         {exitUsage, "", "berth: there is no command berth key craete; did you mean create?\nSee: berth key --help\n"},
		"usage --from soon":  {exitUsage, "", "berth: --from: \"soon\" is neither a day (2026-10-02) nor a time (2026-10-02T15:00:00Z) nor how long ago (90m, 7d)\nSee: berth usage --help\n"},
		"model add m":        {exitUsage, "", "berth: name exactly one of --path, --adapter and --endpoint\nSee: berth model add --help\n"},
		"model add m --path f --long-input 32:1.33": {exitUsage, "", "berth: --long-input 32:1.33 is not like 32768:1.33:1.17, which is a length in tokens, what tokens of the input beyond it count, and tokens of the answer\nSee: berth model add --help\n"},
		"model add m --adapter f":                   {exitUsage, "", "berth: --base and --adapter belong together\nSee: berth model add --help\n"},
		"key create --expires next":                 {exitUsage, "", "berth: --expires: \"next\" is neither a day (2027-01-01) nor a time (2027-01-01T08:00:00Z) nor how long from now (12h, 30d)\nSee: berth key create --help\n"},
	} {
		if got := f.run(t, "", strings.Fields(commandLine)...); got != want {
			t.Errorf("%s: got\n%+v\nwant\n%+v", commandLine, got, want)
		}
	}
	if got := f.run(t, "", "get", "cut"); got.code != exitUnreachable || !strings.Contains(got.err, "the connection to "+f.URL+" broke") {
		t.Errorf("got %+v", got)
	}
}

func TestAnInterruptHasItsOwnExitCode(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.on("GET /berth/v1/nodes", func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	var errs strings.Builder
	root := New(Options{Env: os.Getenv, Out: io.Discard, Err: &errs})
	root.SetArgs([]string{"node", "list", "--url", f.URL, "--key", "k"})
	if code := Execute(ctx, root); code != exitInterrupted || errs.String() != "berth: interrupted\n" {
		t.Errorf("got %d, %q", code, errs.String())
	}
}

func TestTheShellIsOfferedDeployments(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET /api/v1/deployments", output(api.DeploymentList{Deployments: []api.Deployment{dedicated}}))
	r := f.run(t, "", "__complete", "get", "")
	if !strings.HasPrefix(r.out, "abacus-1f0c77aa\tRUNNING\n") {
		t.Errorf("got %+v", r)
	}
}
