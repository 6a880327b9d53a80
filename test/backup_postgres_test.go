package test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/store/pgtest"
)

// books is what a server says of usage and money.
type books struct {
	Records        []api.UsageRecord
	Usage          []api.UsageRow
	Statement      api.Statement
	Ledger         []api.Posting
	Payments       []api.Payment
	Balance        api.Balance
	Reconciliation []api.ReconciliationRow
}

func (b *berth) books(t testing.TB) (all books) {
	t.Helper()
	var err error
	all.Records, all.Reconciliation = b.allRecords(t), b.reconciled(t)
	all.Usage, err = b.Usage(t.Context(), api.UsageFilter{}, "day", "deployed_model", "class")
	must(t, err)
	all.Statement, err = b.Statement(t.Context(), api.StatementQuery{})
	must(t, err)
	for cursor := ""; ; {
		page, err := b.Client.Ledger(t.Context(), api.PostingFilter{}, cursor)
		must(t, err)
		all.Ledger = append(all.Ledger, page.Postings...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	payments, err := b.Client.Payments(t.Context(), all.Statement.AccountID, "")
	must(t, err)
	all.Payments = payments.Payments
	all.Balance, err = b.Client.Balance(t.Context(), all.Statement.AccountID)
	must(t, err)
	return all
}

// summed holds sums of usage against the records that they are of.
func (all *books) summed(t testing.TB, name string) {
	t.Helper()
	var calls, input, output int64
	for _, r := range all.Usage {
		calls, input, output = calls+r.Calls, input+r.InputTokens, output+r.OutputTokens
	}
	for _, r := range all.Records {
		calls, input, output = calls-1, input-r.InputTokens, output-r.OutputTokens
	}
	if calls != 0 || input != 0 || output != 0 {
		t.Errorf("%s: usage is not the sum of its records: %d calls, %d and %d tokens too many", name, calls, input, output)
	}
}

// With Postgres a backup is whole, too: under calls each record is there once after a restore
// to an empty Postgres and to a file, and at rest usage, statement, ledger and reconciliation
// are the same in both, with the old key.
func TestABackupOfPostgresGoesBackToEitherDatabase(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	fakes := fakeYAML(t, map[string]string{"plain": `{"tokens_per_second": 300}`})
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	c := &caller{client: &http.Client{Transport: transport}, random: rand.New(rand.NewPCG(1, 2)), complete: map[string]told{}, made: map[string]bool{}}
	s := p.serve(t, onPostgres(pgtest.Empty(t))+fakes)
	configuration := filepath.Join(p.dir, "berth.yaml")
	priced(t, s.Client)
	statement, err := s.Statement(t.Context(), api.StatementQuery{})
	must(t, err)
	_, err = s.AddPayment(t.Context(), statement.AccountID, api.AddPayment{AmountNano: 5_000_000_000, Reference: "transfer-1"})
	must(t, err)
	c.model, c.key, c.url = s.berth.running(t, one("plain")).DeployedModel, s.Key, s.BaseURL

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { c.run(ctx, []string{"plain", "plain", "streamed", "streamed", "cancelled"}) })
	}
	until(t, "some calls were answered", func() bool { return len(c.snapshot()) > 10 })
	file := func(name string) string { return filepath.Join(p.dir, name+".tar.zst") }
	backUp := func(name string, args ...string) (before map[string]told) {
		t.Helper()
		before = c.snapshot()
		got := p.run(t, "", append([]string{"backup", "create", file(name)}, args...)...)
		if got.code != 0 || !strings.Contains(got.out, "verified") {
			t.Fatalf("backup create %v: %d %s%s", args, got.code, got.out, got.err)
		}
		return before
	}
	before := map[string]map[string]told{
		"command": backUp("command", "--config", configuration, "--data", s.data, "--with-secrets"),
		"api":     backUp("api", "--url", s.BaseURL, "--key", s.Key),
	}
	have := len(c.snapshot())
	until(t, "calls go on", func() bool { return len(c.snapshot()) > have })
	cancel()
	all.Wait()
	until(t, "all calls are recorded", func() bool { return recorded(s.allRecords(t), c.snapshot()) })
	until(t, "the first minute is charged", func() bool { sums, _ := sides(t, s.Client); return sums["revenue"] > 0 })
	_, err = s.StopDeployment(t.Context(), c.model)
	must(t, err)
	until(t, "the deployment is stopped", func() bool {
		d, err := s.GetDeployment(t.Context(), c.model)
		return err == nil && d.Status == api.StatusStopped
	})
	_, err = s.DeleteDeployment(t.Context(), c.model) // so that no server goes on with it
	must(t, err)
	until(t, "engines and records agree", func() bool { return agrees(addUp(s.reconciled(t))) })
	var want books
	until(t, "all is at rest", func() bool {
		was := want
		want = s.berth.books(t)
		return reflect.DeepEqual(was, want)
	})
	want.summed(t, "the original")
	if len(want.Reconciliation) == 0 || len(want.Statement.Lines) == 0 || len(want.Payments) != 1 || len(want.Ledger) < 4 {
		t.Fatalf("there is little to compare: %+v", want)
	}
	before["rest"] = backUp("rest", "--config", configuration, "--data", s.data, "--with-secrets")
	truth := map[string]api.UsageRecord{}
	for _, r := range want.Records {
		truth[r.CallID] = r
	}
	pepper, err := os.ReadFile(filepath.Join(s.data, "pepper.key"))
	must(t, err)
	if code := s.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}

	for _, test := range []struct{ name, database string }{{"command", "postgres"}, {"api", "file"}, {"rest", "file"}, {"rest", "postgres"}} {
		name := test.name + " to " + test.database
		if got := p.run(t, "", "backup", "verify", file(test.name)); got.code != 0 {
			t.Errorf("%s: verify: %d %s%s", name, got.code, got.out, got.err)
		}
		data, yaml := filepath.Join(p.dir, "restored-"+test.name+"-"+test.database), fakes
		args := []string{"backup", "restore", file(test.name), "--data", data}
		if test.database == "postgres" {
			url := pgtest.Empty(t)
			args, yaml = append(args, "--store", url), onPostgres(url)+fakes
		}
		if got := p.run(t, "", args...); got.code != 0 {
			t.Fatalf("%s: restore: %d %s%s", name, got.code, got.out, got.err)
		}
		if test.name == "api" {
			must(t, os.WriteFile(filepath.Join(data, "pepper.key"), pepper, 0o600))
			must(t, os.WriteFile(filepath.Join(data, "owner.key"), []byte(s.Key), 0o600))
		}
		began := time.Now()
		r := p.serveOn(t, data, yaml)
		if r.Key != s.Key {
			t.Errorf("%s: another owner key", name)
		}
		if test.name == "rest" {
			got := r.berth.books(t)
			wanted, is := reflect.ValueOf(want), reflect.ValueOf(got)
			for i := range wanted.NumField() {
				if !reflect.DeepEqual(wanted.Field(i).Interface(), is.Field(i).Interface()) {
					t.Errorf("%s: %s is\n%+v, was\n%+v", name, wanted.Type().Field(i).Name, is.Field(i), wanted.Field(i))
				}
			}
		} else {
			var list []api.UsageRecord
			until(t, "what was answered before is recorded", func() bool {
				list = r.allRecords(t)
				return recorded(list, before[test.name])
			})
			compareRestored(t, name, list, truth, before[test.name], c.made)
			r.berth.waitsFor(t, c.model)
			c.url = r.BaseURL
			if _, ok := c.call(t.Context(), "after-"+test.name, "plain", 7); !ok {
				t.Errorf("%s: the restored deployment does not answer", name)
			}
			until(t, "the new call is recorded", func() bool { return recorded(r.allRecords(t), map[string]told{"after-" + test.name: {}}) })
			got := r.berth.books(t)
			got.summed(t, name)
		}
		if code := r.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		t.Logf("%s: compared in %s", name, time.Since(began).Round(time.Second))
	}
}
