package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

const both = `{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1}`

// receipts is the number of remembered creates of a workspace.
func (d *desk) receipts(workspaceID string) (n int64) {
	d.Helper()
	must(d, d.store.View(d.Context(), func(tx berth.Tx) (err error) {
		n, err = tx.Receipts().Count(d.Context(), workspaceID)
		return err
	}))
	return n
}

func (d *desk) deployments() int64 {
	d.Helper()
	return d.mustAsk(request{key: "owner", call: "GET /api/v1/deployments"}).integer("output", "total")
}

// losing creates with a client that is gone before the answer, and returns when the
// server has noticed.
func (d *desk) losing(body string) {
	d.Helper()
	d.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Receipts().Expire(ctx, d.now()) })
	before := d.receipts(home)
	d.slow.Store(true)
	conn, err := new(net.Dialer).DialContext(d.Context(), "tcp", strings.TrimPrefix(d.server.URL, "http://"))
	must(d, err)
	_, err = fmt.Fprintf(conn, "POST /api/v1/deployments HTTP/1.1\r\nHost: berth\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", d.keys["admin"], len(body), body)
	must(d, err)
	<-d.written
	must(d, conn.Close())
	for deadline := time.Now().Add(10 * time.Second); d.receipts(home) == before; {
		if time.Now().After(deadline) {
			d.Fatal("nobody noticed that the client had gone")
		}
	}
	d.slow.Store(false)
}

// conformance 146
func TestACreateWhoseAnswerDidNotArriveIsRepeatedOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	create := func(key, body string, header ...string) request {
		q := request{key: key, call: "POST /api/v1/deployments", body: body, header: map[string]string{}}
		for i := 0; i < len(header); i += 2 {
			q.header[header[i]] = header[i+1]
		}
		return q
	}
	d.losing(both)
	// Only the same key, workspace and body are a repeat.
	d.mustRefuse("other spaces", create("admin", both+" "), 409, "Conflict", "already exists")
	d.mustRefuse("another key", create("owner", both), 409, "Conflict", "already exists")
	if a := d.mustAsk(create("stranger", both)); a.string("output", "workspace_id") != away {
		t.Errorf("got %s", a.text)
	}
	first := d.mustAsk(create("admin", both))
	if name := first.string("output", "deployed_model"); name != "both-02f721c9" || d.deployments() != 1 {
		t.Errorf("%d deployments: %s", d.deployments(), first.text)
	}
	// conformance 32: the one after that is a new request.
	d.mustRefuse("a second repeat", create("admin", both), 409, "Conflict", "already exists")
	if n := d.receipts(home); n != 0 {
		t.Errorf("%d receipts are left", n)
	}

	// After ten minutes nobody remembers.
	other := strings.Replace(both, "}", `,"suffix":"late"}`, 1)
	d.losing(other)
	d.clock.Add(int64(10 * time.Minute))
	d.mustRefuse("late", create("admin", other), 409, "Conflict", "already exists")

	// What is being deleted is no answer.
	gone := strings.Replace(both, "}", `,"suffix":"gone"}`, 1)
	d.losing(gone)
	d.mustAsk(request{key: "admin", call: "DELETE /api/v1/deployments/both-02f721c9-gone"})
	d.mustRefuse("while it is deleted", create("admin", gone), 409, "Conflict", "already exists")
	d.losing(strings.Replace(both, "}", `,"suffix":"twice"}`, 1))
	d.move("both-02f721c9-twice", berth.StatusDeleted, 0, "Gone.")
	if a := d.create(strings.Replace(both, "}", `,"suffix":"twice"}`, 1)); a.string("output", "status") != "PENDING" {
		t.Errorf("got %s", a.text)
	}
	// A client's request id makes no create idempotent.
	d.mustRefuse("the same request id", create("admin", both, "X-Request-Id", "same"), 409, "Conflict", "")
}

func TestAnIdempotencyKeyMakesCreatesOne(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	create := func(key, once, body string) request {
		return request{key: key, call: "POST /api/v1/deployments", body: body, header: map[string]string{"Idempotency-Key": once}}
	}
	mine := "3a8f7c1e-order_7.1:x"
	first := d.mustAsk(create("admin", mine, both))
	again := d.mustAsk(create("admin", mine, both))
	if first.string("output", "deployed_model") != again.string("output", "deployed_model") || d.deployments() != 1 {
		t.Errorf("got %s and %s", first.text, again.text)
	}
	// The key is the workspace's, whoever of it sends it.
	if a := d.mustAsk(create("owner", mine, both)); a.string("output", "creator") != first.string("output", "creator") {
		t.Errorf("got %s", a.text)
	}
	if a := d.mustAsk(create("stranger", mine, both)); a.string("output", "workspace_id") != away {
		t.Errorf("got %s", a.text)
	}
	a := d.mustRefuse("another body", create("admin", mine, strings.Replace(both, "}", `,"suffix":"x"}`, 1)), 409, "Conflict", "used in the last 24 h with another body")
	if a.header.Get("X-Should-Retry") != "false" {
		t.Error("a conflict that clients repeat")
	}
	d.mustRefuse("a guest", create("guest", mine, both), 403, "AccessDenied", "")
	// It is answered with what has become of the deployment.
	d.move("both-02f721c9", berth.StatusDeleted, 0, "Gone.")
	if a := d.mustAsk(create("admin", mine, both)); a.string("output", "status") != "DELETED" {
		t.Errorf("got %s", a.text)
	}
	// What was refused is not remembered.
	big := strings.Replace(both, `"capacity":1`, `"capacity":999`, 1)
	d.mustRefuse("too much", create("admin", "big", big), 400, "InsufficientCapacity", "")
	d.mustRefuse("too much, again", create("admin", "big", big), 400, "InsufficientCapacity", "")
	d.mustAsk(create("admin", "big", strings.Replace(both, "}", `,"suffix":"big"}`, 1)))
	if n := d.receipts(home); n != 2 {
		t.Errorf("%d receipts", n)
	}
	// A day later it is a new key, and what has ended is removed.
	d.clock.Add(int64(24 * time.Hour))
	if a := d.mustAsk(create("admin", mine, both)); a.string("output", "status") != "PENDING" {
		t.Errorf("got %s", a.text)
	}
	if n := d.receipts(home); n != 1 {
		t.Errorf("%d receipts a day later", n)
	}
	for _, bad := range []string{"", " ", "a b", "ä", strings.Repeat("x", 256), "a\tb", "a/b", `"a"`} {
		d.mustRefuse(bad, create("admin", bad, both), 400, "InvalidParameter", "The Idempotency-Key must be 1 to 255 characters")
	}
	d.mustAsk(create("admin", strings.Repeat("x", 255), strings.Replace(both, "}", `,"suffix":"long"}`, 1)))

	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.server.URL+"/api/v1/deployments", strings.NewReader(both))
	must(t, err)
	r.Header = http.Header{"Authorization": {"Bearer " + d.keys["admin"]}, "Idempotency-Key": {"a", "b"}}
	response, err := d.server.Client().Do(r)
	must(t, err)
	must(t, response.Body.Close())
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("two keys: %d", response.StatusCode)
	}
}

func TestCreatesWithOneKeyAtTheSameTimeMakeOne(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const at = 8
	names := make(chan string, at)
	for range at {
		go func() {
			a := d.ask(request{key: "admin", call: "POST /api/v1/deployments", body: `{"model_name":"both","plan":"ptu"}`, header: map[string]string{"Idempotency-Key": "one"}})
			names <- fmt.Sprint(a.status, a.string("output", "deployed_model"))
		}()
	}
	for range at {
		if got := <-names; got != "200both-02f721c9" {
			t.Errorf("got %s", got)
		}
	}
	if n := d.deployments(); n != 1 {
		t.Errorf("%d deployments", n)
	}
}

func TestRememberedCreatesAreBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.create(both)
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		made, err := tx.Deployments().ByName(ctx, "both-02f721c9")
		for i := range 10_000 {
			err = errors.Join(err, tx.Receipts().Put(ctx, berth.Receipt{
				WorkspaceID: home, Name: fmt.Sprint("key:", i), DeploymentID: made.ID, ExpiresAt: d.now().Add(time.Hour),
			}))
		}
		return err
	})
	ask := request{key: "admin", call: "POST /api/v1/deployments", body: `{"model_name":"both","plan":"ptu","suffix":"x"}`, header: map[string]string{"Idempotency-Key": "more"}}
	a := d.mustRefuse("one more", ask, 429, "Throttling", "used 10000 Idempotency-Keys")
	if a.header.Get("X-Should-Retry") != "false" || d.deployments() != 1 {
		t.Errorf("%d deployments, %v", d.deployments(), a.header)
	}
	d.clock.Add(int64(time.Hour))
	d.mustAsk(ask)
}
