package test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
)

// Backups under load, by the command beside the server and over the API: what was answered
// before one began is in it once, with the engine's figures, after a restore; so are
// deployments and keys, and what was RUNNING serves again.
func TestBackupsAreTakenUnderLoadAndRestored(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	e := newSurvivor(t, fakeengine.Script{TokensPerSecond: 300})
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	c := &caller{client: &http.Client{Transport: transport}, random: rand.New(rand.NewPCG(1, 2)), complete: map[string]told{}, made: map[string]bool{}}
	s := p.serve(t, e.yaml)
	c.model, c.key, c.url = s.berth.running(t, one("far")).DeployedModel, s.Key, s.BaseURL
	other := one("far")
	other.Suffix = "idle"
	idle := s.berth.running(t, other)
	_, err := s.StopDeployment(t.Context(), idle.DeployedModel)
	must(t, err)
	until(t, "one deployment is stopped", func() bool {
		d, err := s.GetDeployment(t.Context(), idle.DeployedModel)
		return err == nil && d.Status == api.StatusStopped
	})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { c.run(ctx, []string{"plain", "plain", "streamed", "streamed", "cancelled"}) })
	}
	until(t, "some calls were answered", func() bool { return len(c.snapshot()) > 10 })

	byCommand, byAPI := filepath.Join(p.dir, "command.tar.zst"), filepath.Join(p.dir, "api.tar.zst")
	beforeCommand := c.snapshot()
	got := p.run(t, "", "backup", "create", "--data", s.data, "--with-secrets", "--with-models", byCommand)
	if got.code != 0 || !strings.Contains(got.out, "verified") {
		t.Fatalf("backup create: %d %s%s", got.code, got.out, got.err)
	}
	if info, err := os.Stat(byCommand); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info, err)
	}
	beforeAPI := c.snapshot()
	f, err := os.Create(byAPI)
	must(t, err)
	must(t, s.CreateBackup(t.Context(), api.CreateBackup{}, f))
	must(t, f.Close())
	have := len(c.snapshot())
	until(t, "calls go on", func() bool { return len(c.snapshot()) > have })
	cancel()
	all.Wait()
	until(t, "all calls are recorded", func() bool { return recorded(s.allRecords(t), c.snapshot()) })
	made := maps.Clone(c.made)
	truth := map[string]api.UsageRecord{}
	for _, r := range s.allRecords(t) {
		truth[r.CallID] = r
	}
	if left, _ := filepath.Glob(filepath.Join(s.data, ".berth-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, wrong := range [][]string{
		{"backup", "create", "--data", s.data, byCommand},          // there already
		{"backup", "restore", byCommand, "--data", s.data},         // a server runs on it
		{"backup", "restore", byCommand, "--data", p.dir},          // not empty
		{"backup", "restore", byCommand},                           // to where?
		{"backup", "verify", filepath.Join(s.data, "berth.db")},    // no backup
		{"backup", "create", "--data", t.TempDir(), "new.tar.zst"}, // no data directory
	} {
		if got := p.run(t, "", wrong...); got.code == 0 || got.err == "" {
			t.Errorf("%v: %d %s%s", wrong, got.code, got.out, got.err)
		}
	}
	pepper, err := os.ReadFile(filepath.Join(s.data, "pepper.key"))
	must(t, err)
	// The server that was backed up goes on while the restored one starts.
	for name, test := range map[string]struct {
		file   string
		before map[string]told
	}{"command": {byCommand, beforeCommand}, "api": {byAPI, beforeAPI}} {
		data := filepath.Join(p.dir, "restored-"+name)
		got := p.run(t, "", "backup", "restore", test.file, "--data", data)
		if got.code != 0 {
			t.Fatalf("%s: restore: %d %s%s", name, got.code, got.out, got.err)
		}
		key := filepath.Join(data, "pepper.key")
		if _, err := os.Stat(key); (err == nil) != (name == "command") || strings.Contains(got.out, "pepper.key is missing") != (name == "api") {
			t.Errorf("%s: pepper.key: %v: %s", name, err, got.out)
		}
		if name == "api" {
			refused := p.run(t, "", "serve", "--data", data, "--listen", "127.0.0.1:0")
			if refused.code == 0 || !strings.Contains(refused.err, "pepper.key") {
				t.Errorf("without the pepper: %d %s", refused.code, refused.err)
			}
			must(t, os.WriteFile(key, pepper, 0o600))
			must(t, os.WriteFile(filepath.Join(data, "owner.key"), []byte(s.Key), 0o600))
		}
		r := p.serveOn(t, data, e.yaml)
		if r.Key != s.Key {
			t.Errorf("%s: another owner key", name)
		}
		r.berth.waitsFor(t, c.model)
		if d, err := r.GetDeployment(t.Context(), idle.DeployedModel); err != nil || d.Status != api.StatusStopped {
			t.Errorf("%s: the stopped deployment: %+v, %v", name, d, err)
		}
		var list []api.UsageRecord
		until(t, "what was answered before is recorded", func() bool {
			list = r.allRecords(t)
			return recorded(list, test.before)
		})
		compareRestored(t, name, list, truth, test.before, made)
		made["after-"+name] = true
		c.url = r.BaseURL
		if _, ok := c.call(t.Context(), "after-"+name, "plain", 7); !ok {
			t.Errorf("%s: the restored deployment does not answer", name)
		}
		until(t, "the new call is recorded", func() bool { return recorded(r.allRecords(t), map[string]told{"after-" + name: {}}) })
		if code := r.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
	}
}

// compareRestored holds restored records against those of the server that went on.
func compareRestored(t *testing.T, name string, list []api.UsageRecord, truth map[string]api.UsageRecord, before map[string]told, made map[string]bool) {
	t.Helper()
	seen := map[string]api.UsageRecord{}
	cut := 0
	for _, r := range list {
		if _, twice := seen[r.CallID]; twice {
			t.Errorf("%s: call %s has two records", name, r.CallID)
		}
		seen[r.CallID] = r
		if !made[r.CallID] {
			t.Errorf("%s: nobody made the call of %+v", name, r)
		}
		if r.End == "berth_crashed" {
			cut++
			continue
		}
		if was := truth[r.CallID]; fmt.Sprint(was) != fmt.Sprint(r) {
			t.Errorf("%s: restored %+v, was %+v", name, r, was)
		}
	}
	for id, got := range before {
		r := seen[id]
		if r.InputTokens != got.input || r.OutputTokens != got.output || r.Source != "engine" {
			t.Errorf("%s: the caller was told %+v, restored is %+v", name, got, r)
		}
	}
	t.Logf("%s: %d calls answered before, %d records restored, %d of them cut off at the backup's moment, %d in the end", name, len(before), len(list), cut, len(truth))
}
