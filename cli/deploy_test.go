package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

func TestFlagsBecomeFieldsOnlyWhenGiven(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "weights.gguf")
	mustWrite(t, filepath.Dir(file), "weights.gguf", "")
	mustWrite(t, filepath.Dir(file), "key", "sk-remote\n")
	for commandLine, want := range map[string]string{
		"deploy m": `POST /api/v1/deployments {"model_name":"m"}`,
		"deploy m --plan mu --spec MU1 --capacity 2 --thinking=false --context 4096 --rpm 10 --tpm 1000 --suffix s --name n": `POST /api/v1/deployments {"model_name":"m","plan":"mu","name":"n","capacity":2,"deploy_spec":"MU1","suffix":"s","enable_thinking":false,"max_context_length":4096,"rpm_limit":10,"tpm_limit":1000}`,
		"deploy m --plan ptu --input-tpm 500":                `POST /api/v1/deployments {"model_name":"m","plan":"ptu","ptu_capacity":{"input_tpm":500,"output_tpm":1000}}`,
		"list --plan ptu":                                    `GET /api/v1/deployments?page_no=1&page_size=100&plan=ptu`,
		"logs abacus-1f0c77aa -n 5":                          `GET /berth/v1/deployments/abacus-1f0c77aa/logs?lines=5`,
		"usage --from 2026-10-01 --to 90m --deployment poet": `GET /berth/v1/usage?deployed_model=poet&from=2026-10-01&group_by=deployed_model&to=2026-10-02T10%3A30%3A00Z`,
		"usage --month 2026-12 --group-by day,class --class shared --of-key key_1 --workspace all": `GET /berth/v1/usage?class=shared&from=2026-12-01&group_by=day%2Cclass&key_id=key_1&to=2027-01-01&workspace_id=%2A`,
		"usage --records --unbilled --end client_gone --source unknown":                            `GET /berth/v1/usage/records?billable=false&end=client_gone&source=unknown`,
		"usage --records -o ndjson": `GET /berth/v1/usage/records?format=ndjson`,
		"usage -o csv":              `GET /berth/v1/usage?format=csv&group_by=deployed_model`,
		"key create --name n --workspace llm-1 --expires 30d":                                                             `POST /berth/v1/keys {"workspace_id":"llm-1","role":"inference","name":"n","expires_at":"2026-11-01T12:00:00Z"}`,
		"key create --role admin --expires 2027-01-01":                                                                    `POST /berth/v1/keys {"role":"admin","expires_at":"2027-01-01T00:00:00Z"}`,
		"model add m --path " + file + " --on-server --plans mu,ptu --specs MU1 --stand-in":                               `POST /berth/v1/models {"name":"m","path":"` + file + `","plans":["mu","ptu"],"specs":["MU1"],"stand_in":true}`,
		"model add m --path " + file + " --on-server --cache-factor 0.2 --max-input 900 --long-input 32:1.33:1.17,64:2:2": `POST /berth/v1/models {"name":"m","path":"` + file + `","ptu":{"cache_factor":0.2,"max_input":900,"long_input":[{"above":32,"input":1.33,"output":1.17},{"above":64,"input":2,"output":2}]}}`,
		"model add m --base b --adapter /elsewhere/a.gguf":                                                                `POST /berth/v1/models {"name":"m","base":"b","adapter":"/elsewhere/a.gguf"}`,
		"model add m --endpoint https://x/v1 --remote-name r --key-file " + filepath.Join(filepath.Dir(file), "key"):      `POST /berth/v1/models {"name":"m","url":"https://x/v1","key":"sk-remote","remote_name":"r"}`,
	} {
		f := furnished(t)
		if r := f.run(t, "", strings.Fields(commandLine)...); r.code != exitDone || !reflect.DeepEqual(f.calls(), []string{want}) {
			t.Errorf("%s: %+v\ngot  %q\nwant %q", commandLine, r, f.calls(), want)
		}
	}
}

// The server names a missing field as it is written on the wire; people write flags.
func TestAMissingFieldIsSaidAsAFlag(t *testing.T) {
	t.Parallel()
	for field, flag := range map[string]string{"deploy_spec": "--spec", "capacity": "--capacity"} {
		f := newFake(t)
		f.on("POST /api/v1/deployments", refuse(400, "InvalidParameter", "Field required: "+field))
		if r := f.run(t, "", "deploy", "m", "--plan", "mu"); r.code != exitRefused || !strings.Contains(r.err, flag) {
			t.Errorf("%s: %+v", field, r)
		}
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("DELETE /api/v1/deployments/x/capacity-instances/cap_1", refuse(400, "PREPAID_UNSUBSCRIBE_REQUIRED", "It is paid in advance."))
	if r := f.run(t, "", "capacity", "delete", "x", "cap_1"); r.code != exitRefused || !strings.Contains(r.err, "--unsubscribe") {
		t.Errorf("a term paid in advance: %+v", r)
	}
	if r := f.run(t, "", "scale"); r.code != exitUsage || !strings.Contains(r.err, "write: berth scale DEPLOYED_MODEL") {
		t.Errorf("nothing named: %+v", r)
	}
}

func TestARelativePathMeansTheSameToTheServer(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got := absolute("doc.go"); got != filepath.Join(here, "doc.go") {
		t.Errorf("got %s", got)
	}
	if got := absolute("nowhere.gguf"); got != "nowhere.gguf" {
		t.Errorf("got %s", got)
	}
}

func at(d api.Deployment, s api.Status, reason string) api.Deployment {
	d.Status, d.FailReason = s, reason
	return d
}

func TestDeployWaitsAndTellsEachEventOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("POST /api/v1/deployments", output(at(dedicated, api.StatusPending, "")))
	f.on("GET /api/v1/deployments/abacus-1f0c77aa",
		output(at(dedicated, api.StatusPending, "")), output(at(dedicated, api.StatusDeploying, "")), output(dedicated))
	f.on("GET /berth/v1/deployments/abacus-1f0c77aa/events",
		refuse(403, "AccessDenied", "Events are for others."), bare(api.EventList{Events: eventList[:1]}), bare(api.EventList{Events: eventList}))
	r := f.run(t, "", "deploy", "abacus", "--wait")
	if want := "11:56:59  PENDING    Bought: MU1 x 4.\n11:57:02  RUNNING    2 of 2 replicas answer.\n"; r.code != exitDone || r.err != want {
		t.Errorf("got %+v, want %s", r, want)
	}
	if !strings.Contains(r.out, "Status:          RUNNING\n") {
		t.Errorf("got %s", r.out)
	}
}

func TestADeploymentThatDoesNotComeUpIsAnError(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		end    api.Deployment
		events []api.Event
	}{
		"abacus-1f0c77aa is FAILED: out of memory": {at(dedicated, api.StatusFailed, "out of memory"), nil},
		"abacus-1f0c77aa is FAILED: bad weights": {
			at(dedicated, api.StatusFailed, ""), []api.Event{{At: noon, Status: api.StatusFailed, Reason: "bad weights"}},
		},
		"abacus-1f0c77aa is DELETING": {at(dedicated, api.StatusDeleting, ""), nil},
	} {
		f := newFake(t)
		f.on("POST /api/v1/deployments", output(dedicated))
		f.on("GET /api/v1/deployments/abacus-1f0c77aa", output(c.end))
		f.on("GET /berth/v1/deployments/abacus-1f0c77aa/events", bare(api.EventList{Events: c.events}))
		r := f.run(t, "", "deploy", "abacus", "--wait")
		if r.code != exitNotDeployed || r.out != "" || !strings.HasSuffix(r.err, "berth: "+want+"\n") {
			t.Errorf("got %+v, want %s", r, want)
		}
	}
}

func TestProgressOnATerminalIsOneLineThatGoesAway(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	now := noon
	g := progress{
		p:       &program{Options: Options{Err: &screen, Now: func() time.Time { return now }}},
		events:  func() ([]api.Event, error) { return eventList[:1], nil },
		live:    true,
		started: noon,
	}
	g.seen(at(dedicated, api.StatusPending, ""))
	now = now.Add(3 * time.Second)
	g.events = func() ([]api.Event, error) { return nil, errors.New("not now") }
	g.seen(at(dedicated, api.StatusDeploying, ""))
	g.seen(dedicated)
	want := "\r\x1b[K⠋ abacus-1f0c77aa  PENDING  0s  Bought: MU1 x 4." +
		"\r\x1b[K⠙ abacus-1f0c77aa  DEPLOYING  3s  Bought: MU1 x 4." +
		"\r\x1b[K"
	if screen.String() != want {
		t.Errorf("got %q\nwant %q", screen.String(), want)
	}
}

func TestListReadsEveryPage(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET /api/v1/deployments", func(w http.ResponseWriter, r *http.Request) {
		n := map[string]int{"1": 100, "2": 100, "3": 1}[r.URL.Query().Get("page_no")]
		output(api.DeploymentList{Deployments: make([]api.Deployment, n)})(w, r)
	})
	if r := f.run(t, "", "list"); r.code != exitDone || strings.Count(r.out, "\n") != 202 {
		t.Errorf("got %d lines, %s", strings.Count(r.out, "\n"), r.err)
	}
}

func TestRecordsAndEventsFollowTheirCursors(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET /berth/v1/usage/records", func(w http.ResponseWriter, r *http.Request) {
		page := api.UsageRecords{Records: records}
		if r.URL.Query().Get("cursor") == "" {
			page.Next = "use_2"
		}
		bare(page)(w, r)
	})
	f.on("GET /berth/v1/deployments/x/events", bare(api.EventList{Events: eventList, Next: "evt_2"}), bare(api.EventList{Events: eventList}))
	for commandLine, want := range map[string]int{
		"usage --records": 5, "usage --records --limit 0": 5, "usage --records --limit 3": 4, "usage --records --limit 4": 5, "events x": 5,
	} {
		if r := f.run(t, "", strings.Fields(commandLine)...); strings.Count(r.out, "\n") != want {
			t.Errorf("%s: got %s", commandLine, r.out)
		}
	}
}

func TestEventsAreFollowedToTheEnd(t *testing.T) {
	t.Parallel()
	frame := func(s api.Status) string {
		return fmt.Sprintf("id:1\nevent:result\ndata:{\"deployed_model\":\"x\",\"status\":%q,\"capacity\":4,\"message\":\"gone\"}\n\n", s)
	}
	stream := func(frames ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ":alive\n\n"+strings.Join(frames, ":alive\n\n"))
		}
	}
	pages := []http.HandlerFunc{
		bare(api.EventList{Events: eventList[:1], Next: "evt_1"}), bare(api.EventList{}), bare(api.EventList{Events: eventList[1:]}),
		refuse(404, "NotFound", "Not found."),
	}
	bought, answers := "11:56:59  PENDING            0/4  Bought: MU1 x 4.\n", "11:57:02  RUNNING            4/4  2 of 2 replicas answer.\n"
	for name, c := range map[string]struct {
		output string
		stream http.HandlerFunc
		want   result
	}{
		"to RUNNING": {"table", stream(frame(api.StatusPending), frame(api.StatusRunning)), result{exitDone, bought + answers, ""}},
		"to DELETED": {"table", stream(frame(api.StatusDeleting), frame(api.StatusDeleting), frame(api.StatusDeleted)),
			result{exitDone, bought + answers + "12:00:00  DELETED            0/4  gone\n", ""}},
		"as objects": {"json", stream(frame(api.StatusRunning)),
			result{exitDone, `{"id":"evt_1","at":"2026-10-02T11:56:59Z","status":"PENDING","capacity":4,"ready_capacity":0,"reason":"Bought: MU1 x 4."}` + "\n", ""}},
		"as YAML": {"yaml", stream(frame(api.StatusRunning)),
			result{exitDone, "- id: evt_1\n  at: \"2026-10-02T11:56:59Z\"\n  status: PENDING\n  capacity: 4\n  ready_capacity: 0\n  reason: \"Bought: MU1 x 4.\"\n", ""}},
		"to an error": {"table", stream(frame(api.StatusPending), "event:error\nstatus:503\ndata:{\"code\":\"ModelUnavailable\",\"message\":\"Berth is stopping.\",\"request_id\":\"r-7\"}\n\n"),
			result{exitUnreachable, bought, "Berth is stopping."}},
		"to a cut": {"table", stream(frame(api.StatusPending)), result{exitFailed, bought, "cut off"}},
	} {
		f := newFake(t)
		f.on("GET /api/v1/deployments/x/stream", c.stream)
		f.on("GET /berth/v1/deployments/x/events", pages...)
		r := f.run(t, "", "events", "x", "--follow", "-o", c.output)
		if r.code != c.want.code || r.out != c.want.out || !strings.Contains(r.err, c.want.err) {
			t.Errorf("%s: got %+v", name, r)
		}
	}
	f := newFake(t)
	if r := f.run(t, "", "events", "none", "-f"); r.code == exitDone || r.out != "" {
		t.Errorf("an unknown one: %+v", r)
	}
}
