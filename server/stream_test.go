package server_test

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/server"
)

// listener reads one event stream.
type listener struct {
	testing.TB
	response *http.Response
	lines    *bufio.Reader
	leave    func()
}

// listen opens a stream that must be accepted.
func (d *desk) listen(path string, header ...string) *listener {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 20*time.Second)
	d.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.URL+path, nil)
	must(d, err)
	r.Header.Set("Authorization", "Bearer "+d.keys["admin"])
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := d.server.Client().Do(r)
	must(d, err)
	d.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("X-Request-Id") == "" {
		d.Fatalf("%s: %d %v", path, response.StatusCode, response.Header)
	}
	return &listener{TB: d, response: response, lines: bufio.NewReader(response.Body), leave: cancel}
}

// frame reads up to the next blank line; "" is the end of the stream.
func (l *listener) frame() string {
	l.Helper()
	var frame strings.Builder
	for {
		line, err := l.lines.ReadString('\n')
		if frame.WriteString(line); err != nil || line == "\n" {
			return strings.TrimSuffix(frame.String(), "\n\n")
		}
	}
}

func (l *listener) must(want ...string) {
	l.Helper()
	for _, w := range want {
		if got := l.frame(); got != w {
			l.Fatalf("got  %q\nwant %q", got, w)
		}
	}
}

// move changes a deployment as the reconciler does, without waking anybody.
func (d *desk) move(name string, status berth.Status, ready int64, reason string) {
	d.Helper()
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		all, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(d, err)
		for _, dep := range all {
			if dep.DeployedModel != name {
				continue
			}
			dep.Status, dep.ReadyCapacity, dep.ModifiedAt = status, ready, d.now()
			if status == berth.StatusDeleted {
				dep.DeletedAt = d.now()
			}
			must(d, tx.Deployments().Update(ctx, dep))
			return tx.Events().Append(ctx, dep.Event(d.newID("evt_"), d.now(), reason))
		}
		d.Fatalf("%s is not there", name)
		return nil
	})
}

func frameOf(n int, status string, ready int, message string) string {
	return `id:` + strconv.Itoa(n) + "\nevent:result\n" + `data:{"deployed_model":"both-02f721c9","status":"` + status +
		`","capacity":2,"ready_capacity":` + strconv.Itoa(ready) + `,"gmt_modified":"2026-10-02T09:00:00.512","message":"` + message + `"}`
}

const bought = "Bought; the hardware is held."

func (d *desk) two() (path, name string) {
	d.Helper()
	name = d.create(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":2}`).string("output", "deployed_model")
	return "/api/v1/deployments/" + name, name
}

// conformance 147, 148
func TestTheStreamTellsEveryChangeOnceAndEndsWhenNothingIsUnderWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	path, name := d.two()
	for _, c := range []struct {
		path   string
		header []string
	}{
		{path + "/stream", []string{"Accept", "application/json; charset=utf-8"}},
		{path + "/events", []string{"Accept", "*/*"}},
		{strings.Replace(path, "/api/v1", "/compatible-mode/v1", 1) + "/stream", []string{"Accept", "text/event-stream"}},
	} {
		l := d.listen(c.path, c.header...)
		l.must(frameOf(1, "PENDING", 0, bought))
		l.leave()
	}
	l := d.listen(path + "/stream")
	l.must(frameOf(1, "PENDING", 0, bought))
	d.move(name, berth.StatusDeploying, 0, "An engine is starting.")
	d.changed <- struct{}{}
	l.must(frameOf(2, "DEPLOYING", 0, "An engine is starting."))
	// What changes neither status nor ready capacity is no frame; what changes twice
	// between two looks is two.
	d.move(name, berth.StatusDeploying, 0, "A replica failed.")
	d.move(name, berth.StatusDeploying, 1, "1 of 2 replicas answer.")
	d.move(name, berth.StatusDeploying, 0, "1 replica was lost.")
	d.changed <- struct{}{}
	l.must(frameOf(4, "DEPLOYING", 1, "1 of 2 replicas answer."), frameOf(5, "DEPLOYING", 0, "1 replica was lost."))
	d.changed <- struct{}{} // for nothing
	d.move(name, berth.StatusRunning, 2, "2 of 2 replicas answer.")
	d.changed <- struct{}{}
	l.must(frameOf(6, "RUNNING", 2, "2 of 2 replicas answer."), "")

	// A settled one is told and left; who names an event gets what came after it.
	d.listen(path+"/stream").must(frameOf(6, "RUNNING", 2, "2 of 2 replicas answer."), "")
	d.listen(path+"/stream", "Last-Event-ID", "2").must(
		frameOf(4, "DEPLOYING", 1, "1 of 2 replicas answer."), frameOf(5, "DEPLOYING", 0, "1 replica was lost."),
		frameOf(6, "RUNNING", 2, "2 of 2 replicas answer."), "")
	for _, strange := range []string{"6", "7", "0", "-1", "x", "99999999999999999999"} {
		d.listen(path+"/stream", "Last-Event-ID", strange).must(frameOf(6, "RUNNING", 2, "2 of 2 replicas answer."), "")
	}
	// Reasons are for admins, as the list of events is.
	d.listen(path+"/stream", "Authorization", "Bearer "+d.keys["guest"]).must(frameOf(6, "RUNNING", 2, ""), "")
	if a := d.listen(path + "/stream"); a.response.Header.Get("Cache-Control") != "no-cache" {
		t.Error("the stream may be cached")
	}
}

// conformance 148
func TestTheStreamOfADeletedDeploymentEndsWithDELETED(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	path, name := d.two()
	d.move(name, berth.StatusDeleting, 0, "Deletion was accepted.")
	l := d.listen(path + "/stream")
	l.must(frameOf(2, "DELETING", 0, "Deletion was accepted."))
	d.move(name, berth.StatusDeleted, 0, "The last replica is gone.")
	d.changed <- struct{}{}
	l.must(frameOf(3, "DELETED", 0, "The last replica is gone."), "")
}

// conformance 148
func TestASilentStreamBeats(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	o := d.options
	o.Heartbeat = 20 * time.Millisecond
	d.server.Config.Handler = server.New(o)
	path, _ := d.two()
	l := d.listen(path + "/stream")
	l.must(frameOf(1, "PENDING", 0, bought), ":alive", ":alive")
	// conformance 149: a key that is revoked ends its streams at the next beat.
	for _, name := range []string{"admin", "guest"} {
		d.mustAsk(request{key: "owner", call: "DELETE /berth/v1/keys/" + d.keyID(name)})
	}
	frame := ":alive"
	for frame == ":alive" {
		frame = l.frame()
	}
	if want := "event:error\nstatus:401\ndata:{\"request_id\":\"" + l.response.Header.Get("X-Request-Id") + "\",\"code\":\"InvalidApiKey\",\"message\":\"Invalid API-key provided.\"}"; frame != want {
		t.Errorf("got %q, want %q", frame, want)
	}
	l.must("")
}

func TestNoStreamIsSilentFor15Seconds(t *testing.T) {
	t.Parallel()
	if server.LongestSilence >= 15*time.Second { // conformance 148
		t.Errorf("a stream may be silent for %s", server.LongestSilence)
	}
}

// conformance 149
func TestWhatGoesWrongWithAStream(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	path, name := d.two()
	d.mustRefuse("an unknown id", request{key: "admin", call: "GET /api/v1/deployments/none/stream"}, 404, "NotFound", "Model: none not found!")
	d.mustRefuse("another workspace's", request{key: "stranger", call: "GET " + path + "/stream"}, 404, "NotFound", "not found!")
	d.mustRefuse("no key", request{call: "GET " + path + "/stream"}, 401, "InvalidApiKey", "")
	d.mustRefuse("a write", request{key: "admin", call: "POST " + path + "/stream"}, 400, "InvalidParameter", "'POST'")

	l := d.listen(path + "/stream")
	l.must(frameOf(1, "PENDING", 0, bought))
	d.broken.Store(true)
	d.changed <- struct{}{}
	l.must("event:error\nstatus:500\ndata:{\"request_id\":\""+l.response.Header.Get("X-Request-Id")+
		"\",\"code\":\"InternalError\",\"message\":\"An internal error has occured, please try again later or contact service support.\"}", "")
	d.broken.Store(false)

	l = d.listen(path + "/stream")
	l.must(frameOf(1, "PENDING", 0, bought))
	close(d.stopping)
	if frame := l.frame(); !strings.HasPrefix(frame, "event:error\nstatus:503\ndata:{") || !strings.Contains(frame, "Berth is stopping") {
		t.Errorf("got %q", frame)
	}
	l.must("")
	d.move(name, berth.StatusDeleted, 0, "Gone.")
	d.mustRefuse("a deleted one", request{key: "admin", call: "GET " + path + "/stream"}, 404, "NotFound", "Not found.")
}

// conformance 144
func TestOpenStreamsAreCounted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	path, _ := d.two()
	var all []*listener
	for range server.StreamsPerWorkspace {
		all = append(all, d.listen(path+"/stream"))
	}
	a := d.mustRefuse("one too many", request{key: "guest", call: "GET " + path + "/stream"}, 429, "Throttling", "Too many event streams are open")
	if a.header.Get("Retry-After") != "10" {
		t.Errorf("retry-after %q", a.header.Get("Retry-After"))
	}
	// Another workspace has its own, and an end makes room.
	d.mustRefuse("a stranger's", request{key: "stranger", call: "GET /api/v1/deployments/none/stream"}, 404, "NotFound", "")
	all[0].leave()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if a := d.streamStatus(path); a == http.StatusOK {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("still %d", a)
		}
	}
}

// streamStatus opens a stream and leaves it.
func (d *desk) streamStatus(path string) int {
	d.Helper()
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.URL+path+"/stream", nil)
	must(d, err)
	r.Header.Set("Authorization", "Bearer "+d.keys["guest"])
	response, err := d.server.Client().Do(r)
	must(d, err)
	defer response.Body.Close()
	return response.StatusCode
}
