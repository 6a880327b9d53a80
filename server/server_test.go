package server_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	// conformance 9
	for want, header := range map[string]map[string]string{
		"first":  {"x-acs-req-uuid": "first", "X-DashScope-RequestId": "second", "X-Request-Id": "third"},
		"second": {"X-DashScope-RequestId": "second", "X-Request-Id": "third"},
		"third":  {"X-Request-Id": "third"},
		// What cannot be repeated in a header is passed over.
		"usable": {"x-acs-req-uuid": "ä", "X-DashScope-RequestId": strings.Repeat("x", 129), "X-Request-Id": "usable"},
	} {
		for _, q := range []request{
			{key: "guest", call: "GET /api/v1/deployments", header: header}, {call: "GET /api/v1/deployments", header: header},
			{key: "guest", call: "GET /api/v1/deployments/none", header: header},
		} {
			if a := d.ask(q); a.string("request_id") != want {
				t.Errorf("%v: got %q", header, a.string("request_id"))
			}
		}
	}
	one, two := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments"}), d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments"})
	if id := one.string("request_id"); id == "" || id == two.string("request_id") {
		t.Errorf("two requests have the id %q", id)
	}
}

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, c := range map[string]struct {
		ask    request
		status int
		code   string
		says   string
	}{
		"no key":                      {request{call: "GET /api/v1/deployments"}, 401, "InvalidApiKey", "API-key provided."},                          // conformance 1
		"an unknown key":              {request{key: "sk-wrong", call: "GET /api/v1/deployments"}, 401, "InvalidApiKey", "Invalid API-key provided."}, // conformance 2
		"an unknown key, ours":        {request{key: "sk-wrong", call: "GET /berth/v1/keys"}, 401, "InvalidApiKey", "Invalid"},
		"another scheme":              {request{call: "GET /api/v1/deployments", header: map[string]string{"Authorization": "Basic " + d.keys["admin"]}}, 401, "InvalidApiKey", ""},
		"no key, unknown path":        {request{call: "GET /api/v1/nothing"}, 401, "InvalidApiKey", ""},
		"a guest buys":                {request{key: "guest", call: "POST /api/v1/deployments", body: `{"model_name":"both"}`}, 403, "AccessDenied", "Access denied."},
		"a guest deletes":             {request{key: "guest", call: "DELETE /api/v1/deployments/x"}, 403, "AccessDenied", ""},
		"a guest makes a key":         {request{key: "guest", call: "POST /berth/v1/keys", body: `{"role":"inference"}`}, 403, "AccessDenied", ""},
		"an admin adds a server path": {request{key: "admin", call: "POST /berth/v1/models", body: `{"name":"x","path":"/etc/passwd"}`}, 403, "AccessDenied", ""},
		"an admin looks at nodes":     {request{key: "admin", call: "GET /berth/v1/nodes"}, 403, "AccessDenied", ""},
		// conformance 11
		"another workspace":           {request{key: "admin", call: "GET /api/v1/deployments", header: map[string]string{"X-DashScope-WorkSpace": away}}, 403, "Workspace.AccessDenied", "Workspace access denied."},
		"no such workspace, an admin": {request{key: "admin", call: "GET /api/v1/deployments", header: map[string]string{"X-DashScope-WorkSpace": "llm-none"}}, 403, "Workspace.AccessDenied", ""},
		"no such workspace, an owner": {request{key: "owner", call: "GET /api/v1/deployments", header: map[string]string{"X-DashScope-WorkSpace": "llm-none"}}, 403, "Workspace.AccessDenied", ""},
		"no such path":                {request{key: "guest", call: "GET /api/v1/nothing"}, 404, "NotFound", "Not found!"},
		"no such path, ours":          {request{key: "guest", call: "POST /berth/v1/nothing"}, 404, "NotFound", ""},
		"the wrong method":            {request{key: "admin", call: "PATCH /api/v1/deployments"}, 400, "InvalidParameter", "Request method 'PATCH' is not supported."},
		"the wrong method, one":       {request{key: "admin", call: "POST /api/v1/deployments/x"}, 400, "InvalidParameter", "'POST'"},
		"a trailing slash":            {request{key: "guest", call: "GET /api/v1/deployments/"}, 404, "NotFound", ""},
	} {
		d.mustRefuse(name, c.ask, c.status, c.code, c.says)
	}
	// The scheme has no case; the key's own workspace may be named.
	d.mustAsk(request{call: "GET /api/v1/deployments", header: map[string]string{"Authorization": "bearer  " + d.keys["guest"], "X-DashScope-WorkSpace": home}})
}

func TestAnOwnerActsInTheWorkspaceItNames(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	// conformance 12
	a := d.mustAsk(request{
		key: "owner", call: "POST /api/v1/deployments", body: `{"model_name":"both","plan":"ptu"}`, header: map[string]string{"X-DashScope-WorkSpace": away},
	})
	if a.string("output", "workspace_id") != away || a.string("output", "creator") != "1000000000000002" {
		t.Errorf("got %s", a.text)
	}
	// conformance 57
	for key, want := range map[string]int{"stranger": 1, "admin": 0, "owner": 0} {
		if n := len(d.mustAsk(request{key: key, call: "GET /api/v1/deployments"}).list("output", "deployments")); n != want {
			t.Errorf("%s sees %d", key, n)
		}
	}
	name := a.string("output", "deployed_model")
	d.mustRefuse("another workspace's", request{key: "admin", call: "GET /api/v1/deployments/" + name}, 404, "NotFound", "Model: "+name+" not found!")
}

func TestBodiesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for body, c := range map[string]struct{ code, says string }{
		`{"model_name":`:                       {"InvalidParameter", "exactly one JSON object"}, // conformance 10
		``:                                     {"InvalidParameter", "exactly one JSON object"},
		`[]`:                                   {"InvalidParameter", "exactly one JSON object"},
		`null`:                                 {"InvalidParameter", "exactly one JSON object"},
		`{"model_name":1}`:                     {"InvalidParameter", "The field model_name must be a string, not 1."},
		`{"model_name":"both","capacity":"4"}`: {"InvalidParameter", `Invalid capacity ("4"), capacity must be`},
		`{"model_name":"both","capacity":1.5}`: {"InvalidParameter", "Invalid capacity (1.5), capacity must be"},
		`{"model_name":"both","enable_thinking":"yes"}`:         {"InvalidParameter", "enable_thinking must be true or false"},
		`{"model_name":"both","ptu_capacity":7}`:                {"InvalidParameter", "ptu_capacity must be an object"},
		`{"model_name":"both","ptu_capacity":{"input_tpm":[]}}`: {"InvalidParameter", "ptu_capacity.input_tpm must be an integer"},
		`{"model_name":"both","deploy_spec":{"id":"MU1"}}`:      {"InvalidParameter", "deploy_spec"}, // conformance 135
		`{"model_name":"` + strings.Repeat("x", 4096) + `"}`:    {"BadRequest.TooLarge", "Payload Too Large. A body may have 4096 bytes."},
	} {
		d.mustRefuse(body[:min(len(body), 60)], request{key: "admin", call: "POST /api/v1/deployments", body: body}, 400, c.code, c.says)
	}
	for body, says := range map[string]string{
		`{"role":`:                                     "not a usable JSON object",
		`{"role":"admin"} {}`:                          "exactly one JSON object",
		`{"role":"admin"} }`:                           "exactly one JSON object",
		"{\"role\":\"\xff\"}":                          "must be UTF-8",
		`{"role":"admin","name":"\u0000"}`:             "control character",
		`{"role":"` + strings.Repeat("x", 3000) + `"}`: "…",
		`{"role":"admin","rol":1}`:                     `unknown field "rol"`,
		`{"role":7}`:                                   "not a usable JSON object",
	} {
		d.mustRefuse(body, request{key: "admin", call: "POST /berth/v1/keys", body: body}, 400, "InvalidParameter", says)
	}
}

func TestWhatClientsMustNotRepeat(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.create(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1}`)
	buy := func(body string) request { return request{key: "admin", call: "POST /api/v1/deployments", body: body} }
	for name, c := range map[string]struct {
		ask    request
		status int
		code   string
		want   string
	}{
		"a taken name":     {buy(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1}`), 409, "Conflict", "false"}, // conformance 32
		"no capacity":      {buy(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":999,"suffix":"x"}`), 400, "InsufficientCapacity", "false"},
		"a mistake":        {buy(`{}`), 400, "InvalidParameter", ""},
		"an unknown model": {buy(`{"model_name":"none"}`), 404, "NotFound", ""},
		"an unused model":  {request{key: "owner", call: "DELETE /berth/v1/models/qwen3-8b-ft-202511132025-0260"}, 200, "", ""},
		"the last owner":   {request{key: "owner", call: "DELETE /berth/v1/keys/" + d.keyID("owner")}, 400, "UnsupportedOperation", ""},
		"a base in use":    {request{key: "owner", call: "DELETE /berth/v1/models/both"}, 409, "Conflict", "false"},
	} {
		a := d.ask(c.ask)
		if a.status != c.status || a.string("code") != c.code || a.header.Get("X-Should-Retry") != c.want {
			t.Errorf("%s: %d, x-should-retry %q: %s", name, a.status, a.header.Get("X-Should-Retry"), a.text)
		}
	}
	// A write that stands although its answer failed.
	d.broken.Store(true)
	a := d.mustRefuse("a write", buy(`{"model_name":"both","plan":"ptu","suffix":"y"}`), 500, "InternalError", "An internal error has occured, please try again later or contact service support.")
	if a.header.Get("X-Should-Retry") != "false" || strings.Contains(a.text, "secret") {
		t.Errorf("got %q: %s", a.header.Get("X-Should-Retry"), a.text)
	}
	if a = d.mustRefuse("a read", request{key: "guest", call: "GET /api/v1/deployments"}, 500, "InternalError", "An internal error"); a.header.Get("X-Should-Retry") != "" {
		t.Error("a read that failed may be repeated")
	}
}

// keyID returns the id of one of the desk's keys.
func (d *desk) keyID(name string) string {
	d.Helper()
	return d.snapshot.Load().Keys[hashOf(d.keys[name])].Caller.KeyID
}

func TestKeys(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	a := d.mustAsk(request{key: "admin", call: "POST /berth/v1/keys", body: `{"role":"inference","name":"ci"}`})
	id, text := a.string("id"), a.string("key")
	if text == "" || a.string("workspace_id") != home || a.string("role") != "inference" || a.string("name") != "ci" {
		t.Fatalf("got %s", a.text)
	}
	d.mustAsk(request{key: text, call: "GET /api/v1/deployments"})
	list := d.mustAsk(request{key: "admin", call: "GET /berth/v1/keys"})
	if strings.Contains(list.text, text) || len(list.list("keys")) != 4 || strings.Contains(list.text, away) {
		t.Errorf("the list shows a key's text or another workspace: %s", list.text)
	}
	if n := len(d.mustAsk(request{key: "owner", call: "GET /berth/v1/keys"}).list("keys")); n != 5 {
		t.Errorf("an owner sees %d keys", n)
	}
	if gone := d.mustAsk(request{key: "admin", call: "DELETE /berth/v1/keys/" + id}); gone.string("revoked_at") == "" || gone.string("key") != "" {
		t.Errorf("got %s", gone.text)
	}
	// A revoked key is refused from the next call.
	d.mustRefuse("a revoked key", request{key: text, call: "GET /api/v1/deployments"}, 401, "InvalidApiKey", "")
	for name, c := range map[string]struct {
		key, body string
		status    int
		code      string
	}{
		"an admin makes an owner":     {"admin", `{"role":"owner"}`, 403, "AccessDenied"},
		"an admin, another workspace": {"admin", `{"role":"admin","workspace_id":"` + away + `"}`, 403, "Workspace.AccessDenied"},
		"an unknown workspace":        {"owner", `{"role":"admin","workspace_id":"llm-none"}`, 404, "NotFound"},
		"an unknown role":             {"owner", `{"role":"root"}`, 400, "InvalidParameter"},
		"no time":                     {"owner", `{"role":"admin","expires_at":"tomorrow"}`, 400, "InvalidParameter"},
		"a time that has passed":      {"owner", `{"role":"admin","expires_at":"2020-01-01T00:00:00Z"}`, 400, "InvalidParameter"},
	} {
		d.mustRefuse(name, request{key: c.key, call: "POST /berth/v1/keys", body: c.body}, c.status, c.code, "")
	}
	d.mustRefuse("an unknown key", request{key: "admin", call: "DELETE /berth/v1/keys/key_none"}, 404, "NotFound", "Not found!")
	d.mustRefuse("an owner's key", request{key: "admin", call: "DELETE /berth/v1/keys/" + d.keyID("owner")}, 403, "AccessDenied", "")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		var all []berth.UsageRecord
		for i := range 501 {
			all = append(all, berth.UsageRecord{
				ID: fmt.Sprintf("use_%04d", i), WorkspaceID: home, KeyID: d.keyID([]string{"admin", "guest"}[i%2]), DeployedModel: "m",
				Plan: berth.PlanMU, StartedAt: d.now(), EndedAt: d.now(), InputTokens: 10, OutputTokens: 1, Billable: true, End: berth.EndStop,
			})
		}
		return tx.Usage().Insert(ctx, all)
	})
	rows := d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage?group_by=deployed_model,day"})
	row, _ := rows.list("rows")[0].(map[string]any)
	if fmt.Sprint(row["group"]) != "map[day:2026-10-02 deployed_model:m]" || fmt.Sprintf("%v %v", row["calls"], row["input_tokens"]) != "501 5010" {
		t.Errorf("got %s", rows.text)
	}
	if own := d.mustAsk(request{key: "guest", call: "GET /berth/v1/usage"}); !strings.Contains(own.text, `"calls":250`) {
		t.Errorf("a guest sees %s", own.text)
	}
	if other := d.mustAsk(request{key: "stranger", call: "GET /berth/v1/usage/records"}); len(other.list("records")) != 0 {
		t.Errorf("another workspace sees %s", other.text)
	}
	first := d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage/records"})
	if len(first.list("records")) != 500 {
		t.Errorf("a page of %d", len(first.list("records")))
	}
	rest := d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage/records?cursor=" + first.string("next")})
	if len(rest.list("records")) != 1 || rest.at("next") != nil {
		t.Errorf("the last page: %s", rest.text)
	}
	if n := len(d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage/records?from=2026-10-03T00:00:00Z"}).list("records")); n != 0 {
		t.Errorf("%d records of tomorrow", n)
	}
	d.mustRefuse("no cursor", request{key: "admin", call: "GET /berth/v1/usage/records?cursor=use_0499"}, 400, "InvalidParameter", "The cursor is not one of this list")
	d.mustRefuse("a group twice", request{key: "guest", call: "GET /berth/v1/usage?group_by=day" + strings.Repeat(",day", 3000)}, 400, "InvalidParameter", "names day twice")
	d.mustRefuse("an unknown group", request{key: "admin", call: "GET /berth/v1/usage?group_by=colour"}, 400, "InvalidParameter", `"colour"`)
	d.mustRefuse("no time", request{key: "admin", call: "GET /berth/v1/usage?from=yesterday"}, 400, "InvalidParameter", "RFC 3339")
	d.mustRefuse("a sum by what it is not kept by", request{key: "admin", call: "GET /berth/v1/usage/records?billable=perhaps"}, 400, "InvalidParameter", "billable")
	d.mustRefuse("no class", request{key: "admin", call: "GET /berth/v1/usage?class=first"}, 400, "InvalidParameter", "dedicated")
	d.mustRefuse("no form", request{key: "admin", call: "GET /berth/v1/usage?format=xml"}, 400, "InvalidParameter", "csv")
}

// furnishUsage writes calls of two workspaces: in each one that nobody pays, and whose
// label is a formula.
func furnishUsage(d *desk) {
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		var all []berth.UsageRecord
		for i := range 6 {
			r := berth.UsageRecord{
				ID: fmt.Sprintf("use_%d", i), CallID: "call", WorkspaceID: []string{home, away}[i%2], KeyID: "key_1", DeployedModel: "m", ModelName: "base",
				Plan: berth.PlanMU, Class: berth.ClassDedicated, StartedAt: d.now().Add(time.Duration(i) * 24 * time.Hour), EndedAt: d.now().Add(time.Duration(i) * 24 * time.Hour),
				InputTokens: 10, OutputTokens: 1, Billable: true, End: berth.EndStop, Source: berth.SourceEngine,
			}
			if i >= 4 {
				r.CallID, r.Class, r.End, r.Source, r.Billable = "=1+1,\"x\"", berth.ClassShared, berth.EndClientGone, berth.SourceUnknown, false
			}
			all = append(all, r)
		}
		return tx.Usage().Insert(ctx, all)
	})
}

func TestUsageByFiltersAndWorkspaces(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	furnishUsage(d)
	for query, want := range map[string]int{
		"":                                3,
		"class=shared":                    1,
		"end=client_gone":                 1,
		"source=unknown":                  1,
		"billable=false":                  1,
		"billable=true":                   2,
		"from=2026-10-02&to=2026-10-03":   1,
		"to=2026-10-04":                   1,
		"key_id=key_2":                    0,
		"workspace_id=" + home:            3,
		"class=shared&billable=true":      0,
		"from=2026-10-04&class=dedicated": 1,
	} {
		if n := len(d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage/records?" + query}).list("records")); n != want {
			t.Errorf("%s: %d records, want %d", query, n, want)
		}
	}
	for query, want := range map[string]string{
		"":                              `"calls":3,`,
		"from=2026-10-02&to=2026-10-03": `"calls":1,`,
		"class=shared":                  `"billable_calls":0,`,
		"workspace_id=" + away:          `"calls":3,`,
		"workspace_id=*":                `"calls":6,`,
		"workspace_id=*&group_by=workspace_id,month": `{"group":{"month":"2026-10","workspace_id":"` + home + `"},"calls":3,`,
		"group_by=hour,class":                        `"group":{"class":"shared","hour":"2026-10-06T01:00:00Z"}`,
	} {
		if got := d.mustAsk(request{key: "owner", call: "GET /berth/v1/usage?" + query}); !strings.Contains(got.text, want) {
			t.Errorf("%s: got %s, want %s", query, got.text, want)
		}
	}
	for _, id := range []string{away, "*", "llm-none"} {
		d.mustRefuse("an admin asks for "+id, request{key: "admin", call: "GET /berth/v1/usage/records?workspace_id=" + id}, 403, "AccessDenied", "Only an owner")
	}
}

func TestUsageAsFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	furnishUsage(d)
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		var more []berth.UsageRecord
		for i := range 1200 { // more than two pages
			more = append(more, berth.UsageRecord{ID: fmt.Sprintf("use_x%d", i), WorkspaceID: home, KeyID: "key_2", DeployedModel: "n", StartedAt: d.now(), EndedAt: d.now(), InputTokens: 1})
		}
		return tx.Usage().Insert(ctx, more)
	})
	rows := d.send(request{key: "admin", call: "GET /berth/v1/usage?group_by=deployed_model&format=csv"})
	want := "deployed_model,calls,input_tokens,cached_tokens,output_tokens,thinking_tokens," +
		"billable_calls,billable_input_tokens,billable_cached_tokens,billable_output_tokens,billable_thinking_tokens,counted_calls,unknown_calls\r\n" +
		"m,3,30,0,3,0,2,20,0,2,0,0,1\r\nn,1200,1200,0,0,0,0,0,0,0,0,0,0\r\n"
	if rows.text != want || rows.header.Get("Content-Type") != "text/csv; charset=utf-8" || rows.header.Get("Content-Disposition") != "attachment; filename=usage.csv" {
		t.Errorf("got %v %q", rows.header, rows.text)
	}
	table := d.send(request{key: "admin", call: "GET /berth/v1/usage/records?format=csv"})
	lines, err := csv.NewReader(strings.NewReader(table.text)).ReadAll()
	if err != nil || len(lines) != 1+1203 || lines[0][1] != "call_id" || lines[1203][1] != "'=1+1,\"x\"" {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	each := d.send(request{key: "admin", call: "GET /berth/v1/usage/records?billable=false&deployed_model=m", header: map[string]string{"Accept": "application/x-ndjson"}})
	var record api.UsageRecord
	if err := json.Unmarshal([]byte(each.text), &record); err != nil || record.CallID != "=1+1,\"x\"" || !strings.HasSuffix(each.text, "}\n") {
		t.Errorf("got %q, %v", each.text, err)
	}
	if plain := d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage", header: map[string]string{"Accept": "application/json, text/csv"}}); !strings.HasPrefix(plain.text, `{"rows"`) {
		t.Errorf("got %q", plain.text)
	}
}

func TestInspection(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	name := d.create(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":2}`).string("output", "deployed_model")
	replicas := d.mustAsk(request{key: "admin", call: "GET /berth/v1/deployments/" + name + "/replicas"})
	r, _ := replicas.list("replicas")[1].(map[string]any)
	if fmt.Sprintf("%v %v %v", r["state"], r["slots"], r["busy"]) != "pending 4 2" || len(replicas.list("replicas")) != 2 {
		t.Errorf("got %s", replicas.text)
	}
	events := d.mustAsk(request{key: "admin", call: "GET /berth/v1/deployments/" + name + "/events"})
	if len(events.list("events")) != 1 || events.at("next") != nil || !strings.Contains(events.text, "Bought") {
		t.Errorf("got %s", events.text)
	}
	logs := d.mustAsk(request{key: "admin", call: "GET /berth/v1/deployments/" + name + "/logs?lines=7"})
	if len(logs.list("logs")) != 2 || !strings.Contains(logs.text, fmt.Sprint("7 of ", r["id"])) {
		t.Errorf("got %s", logs.text)
	}
	d.mustRefuse("too many lines", request{key: "admin", call: "GET /berth/v1/deployments/" + name + "/logs?lines=10001"}, 400, "InvalidParameter", "Range of lines should be [1, 10000]")
	for _, what := range []string{"replicas", "events", "logs"} {
		path := "GET /berth/v1/deployments/" + name + "/" + what
		d.mustRefuse(what+" of another workspace", request{key: "stranger", call: path}, 404, "NotFound", "")
		d.mustRefuse(what+" for a guest", request{key: "guest", call: path}, 403, "AccessDenied", "")
	}
	nodes := d.mustAsk(request{key: "owner", call: "GET /berth/v1/nodes"})
	node, _ := nodes.list("nodes")[0].(map[string]any)
	if held, _ := node["held"].([]any); len(held) != 2 || fmt.Sprint(node["threads"]) != "100" || !strings.Contains(nodes.text, name) {
		t.Errorf("got %s", nodes.text)
	}
}

func TestHealthNeedsNoKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if a := d.ask(request{call: "GET /healthz"}); a.status != http.StatusOK || a.string("version") != "test" {
		t.Errorf("healthz: %d %s", a.status, a.text)
	}
	if a := d.ask(request{call: "GET /readyz"}); a.status != http.StatusServiceUnavailable || a.string("status") != "not yet" {
		t.Errorf("readyz: %d %s", a.status, a.text)
	}
}
