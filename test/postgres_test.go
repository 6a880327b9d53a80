package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/fakeengine"
	"github.com/berthhq/berth/store/pgtest"
)

func onPostgres(url string) string { return "store: '" + url + "'\n" }

// The real program on a real Postgres: what was deployed is there after kill -9, and every
// call that was answered has its record.
func TestOnPostgresNothingIsLostByAKill(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	e := newSurvivor(t, fakeengine.Script{TokensPerSecond: 300})
	yaml := onPostgres(pgtest.Empty(t)) + e.yaml
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	c := &caller{
		client: &http.Client{Transport: transport}, random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)),
		complete: map[string]told{}, made: map[string]bool{},
	}
	s := p.serve(t, yaml)
	d := s.berth.running(t, one("far"))
	c.model, c.key = d.DeployedModel, s.Key
	for range 2 {
		c.during(t, s.berth, func() { s.signal(t, syscall.SIGKILL) })
		s = p.serve(t, yaml)
		s.waitsFor(t, c.model)
	}
	until(t, "the calls are recorded", func() bool { return recorded(s.allRecords(t), c.complete) })
	second := newProgram(t)
	config := filepath.Join(second.dir, "berth.yaml")
	must(t, os.WriteFile(config, []byte(yaml), 0o600))
	if got := second.run(t, "", "serve", "--config", config, "--data", filepath.Join(second.dir, "data"), "--listen", "127.0.0.1:0"); got.code == 0 || !strings.Contains(got.err, "Another berth serve") {
		t.Errorf("a second server on the database: %+v", got)
	}
	// a clean stop has written the calls that were cut off, too
	if code := s.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s = p.serve(t, yaml)
	c.judge(t, s.allRecords(t), e.engine.Stats())
}

// during makes calls of all kinds until some were answered and what is given has returned.
func (c *caller) during(t testing.TB, b *berth, do func()) {
	t.Helper()
	c.url = b.BaseURL
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { c.run(ctx, []string{"plain", "streamed", "cancelled"}) })
	}
	have := len(c.snapshot())
	until(t, "some calls were answered", func() bool { return len(c.snapshot()) > have+3 })
	do()
	cancel()
	all.Wait()
}

// holder stands before an engine and holds answers back behind their first kilobyte, while
// there is something to wait for.
type holder struct {
	http.Handler
	until atomic.Pointer[chan struct{}]
}

func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if until := h.until.Load(); until != nil {
		w = &heldAnswer{ResponseWriter: w, until: *until}
	}
	h.Handler.ServeHTTP(w, r)
}

type heldAnswer struct {
	http.ResponseWriter
	until   chan struct{}
	written int
}

func (h *heldAnswer) Write(b []byte) (int, error) {
	if h.written > 1<<10 {
		<-h.until
	}
	h.written += len(b)
	return h.ResponseWriter.Write(b)
}

// Unwrap lets the engine flush.
func (h *heldAnswer) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// A database that is gone for a while costs no call that runs, no new call and no record;
// what needs it says so, and no engine is touched.
func TestOnPostgresTheDatabaseGoesAwayUnderCalls(t *testing.T) {
	t.Parallel()
	database := pgtest.Start(t)
	far := &holder{Handler: fakeengine.New(fakeengine.Script{}, fakeengine.Options{})}
	server := httptest.NewServer(far)
	t.Cleanup(server.Close)
	b := inProcess(t, onPostgres(database.URL("postgres"))+fakeYAML(t, map[string]string{"quick": ""})+
		fmt.Sprintf("  far: {url: %q, remote_name: fake, plans: [mu], context: 32768}\n", server.URL+"/v1"))
	quick, long := b.running(t, one("quick")), b.running(t, one("far"))
	engine := b.replica(t, quick.DeployedModel)

	over := make(chan struct{})
	far.until.Store(&over)
	streamed, begun := make(chan api.Answer, 1), make(chan struct{})
	go func() {
		begin := sync.OnceFunc(func() { close(begun) })
		answer, err := b.Chat(t.Context(), api.ChatRequest{
			Model: long.DeployedModel, Messages: []api.Message{{Role: "user", Content: "count to 600"}},
		}, func(string, string) error { begin(); return nil })
		if err != nil {
			t.Error(err)
		}
		begin()
		streamed <- answer
	}()
	<-begun

	database.Kill(t)
	calls := 0
	ask := func() { b.ask(t, quick.DeployedModel, "hello"); calls++ }
	said := func(text string) func() bool {
		return func() bool { ask(); return strings.Contains(b.log.String(), text) }
	}
	until(t, "the server says that records wait", said("usage records are not written; they wait in the journal"))
	_, err := b.GetDeployment(t.Context(), quick.DeployedModel)
	if refused, ok := errors.AsType[*api.Error](err); !ok || refused.Status != http.StatusServiceUnavailable || !strings.Contains(refused.Message, "The database cannot be reached; try again shortly.") {
		t.Errorf("got %v", err)
	}
	until(t, "the reconciler has looked in vain", said("cannot be reached"))
	if len(streamed) > 0 {
		t.Error("the stream ended before the outage did")
	}

	database.Start(t)
	until(t, "records are written again", said("usage records are written again"))
	close(over)
	stream := <-streamed
	if stream.FinishReason != "stop" || stream.Usage.CompletionTokens < 600 {
		t.Errorf("the stream ended with %+v", stream.Usage)
	}
	until(t, "every call has one record", func() bool {
		list, byCall := b.allRecords(t), map[string]int{}
		var output int64
		for _, r := range list {
			if r.Class == "probe" {
				continue
			}
			if byCall[r.CallID]++; r.DeployedModel == long.DeployedModel {
				output += r.OutputTokens
			}
		}
		return len(byCall) == calls+1 && output == stream.Usage.CompletionTokens
	})
	if now := b.replica(t, quick.DeployedModel); now.StartedAt != engine.StartedAt || now.ID != engine.ID {
		t.Errorf("the engine was %+v, it is %+v", engine, now)
	}
	more := one("quick")
	more.Suffix = "more"
	b.running(t, more) // and what is bought comes up
}

// replica returns the only one of a deployment.
func (b *berth) replica(t testing.TB, deployedModel string) api.Replica {
	t.Helper()
	list, err := b.Replicas(t.Context(), deployedModel)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("there are %+v", list)
	}
	return list[0]
}
