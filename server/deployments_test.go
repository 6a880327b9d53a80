package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	// conformance 13: the seed's example.
	ptu := d.create(`{"name":"my_qwen_flash","model_name":"qwen-flash-2025-07-28","plan":"ptu","ptu_capacity":{"input_tpm":10000,"output_tpm":1000}}`)
	if ptu.string("output", "status") != "PENDING" || ptu.string("output", "name") != "my_qwen_flash" || ptu.string("output", "plan") != "ptu" {
		t.Errorf("got %s", ptu.text)
	}
	// conformance 25
	if ptu.integer("output", "ptu_capacity", "input_tpm") != 10_000 || ptu.at("output", "model_unit_spec") != nil {
		t.Errorf("got %s", ptu.text)
	}
	if got := ptu.string("output", "gmt_create"); got != "2026-10-02T09:00:00.512" {
		t.Errorf("gmt_create %q", got)
	}
	// conformance 16, 24
	mu := d.create(`{"name":"plus","model_name":"qwen-plus-2025-12-01","plan":"mu","deploy_spec":"MU1","capacity":4,
		"enable_thinking":true,"max_context_length":10000,"rpm_limit":600,"tpm_limit":200000}`)
	for _, c := range []struct {
		field string
		want  any
	}{
		{"model_unit_spec", "MU1"}, {"enable_thinking", true}, {"charge_type", "post_paid"}, // conformance 39
		{"base_model", "qwen-plus-2025-12-01"}, {"workspace_id", home},
		{"creator", "1000000000000001"}, {"modifier", "1000000000000001"}, // conformance 41
	} {
		if got := mu.at("output", c.field); got != c.want {
			t.Errorf("%s is %v", c.field, got)
		}
	}
	for field, want := range map[string]int64{ // conformance 40, 138
		"max_context_length": 10_000, "rpm_limit": 600, "tpm_limit": 200_000, "capacity": 4, "base_capacity": 4, "ready_capacity": 0,
	} {
		if got := mu.integer("output", field); got != want {
			t.Errorf("%s is %d", field, got)
		}
	}
	if mu.at("output", "ptu_capacity") != nil || mu.at("output", "fail_reason") != nil {
		t.Errorf("got %s", mu.text)
	}
	// conformance 26, 31, 37
	lora := d.create(`{"model_name":"qwen3-8b-ft-202511132025-0260","plan":"Lora","capacity":1}`)
	if lora.string("output", "deployed_model") != "qwen3-8b-ft-202511132025-0260" || lora.string("output", "name") != "qwen3-8b-ft-202511132025-0260" {
		t.Errorf("got %s", lora.text)
	}
	// conformance 133
	if lora.string("output", "plan") != "lora" || lora.string("output", "base_model") != "both" {
		t.Errorf("got %s", lora.text)
	}
	for name, body := range map[string]string{
		"a minimal body":          `{"model_name":"qwen3-8b-ft-202511132025-0260","capacity":1,"suffix":"sdk"}`,                                            // conformance 38
		"template_id":             `{"model_name":"both","plan":"mu","template_id":"MU1","capacity":1,"suffix":"t"}`,                                       // conformance 43
		"a template as an object": `{"model_name":"both","plan":"mu","deploy_spec":{"template_id":"MU1"},"capacity":1,"suffix":"o"}`,                       // conformance 135
		"POST_PAY":                `{"model_name":"both","plan":"mu","deploy_spec":"MU1","billing_method":"POST_PAY","capacity":1,"suffix":"p"}`,           // conformance 17
		"unknown fields":          `{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1.0,"suffix":"u","colour":"red","model_version":null}`, // conformance 45
		"the CLI's ptu":           `{"model_name":"both","capacity":1,"plan":"ptu","suffix":"c"}`,                                                          // conformance 134
		"a misspelled name":       `{"model_name":"both","plan":"ptu","suffix":"d","diasplay_name":"x"}`,
	} {
		if a := d.create(body); a.string("output", "status") != "PENDING" || a.string("output", "deployed_model") == "" {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	// conformance 136
	if a := d.create(`{"model_name":"both","plan":"ptu","suffix":"TST"}`); !strings.HasSuffix(a.string("output", "deployed_model"), "-tst") {
		t.Errorf("got %s", a.text)
	}
}

func TestCreateIsRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		says   string
	}{
		"an unknown model":  {`{"model_name":"none"}`, 404, "NotFound", "Model: none not found!"},                                                                  // conformance 29
		"not deployable":    {`{"model_name":"shown"}`, 400, "InvalidParameter", "The model shown does not exist or is not deployable"},                            // conformance 30
		"PRE_PAY":           {`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1,"billing_method":"PRE_PAY"}`, 400, "InvalidParameter", "PRE_PAY"}, // conformance 17
		"mu without a spec": {`{"model_name":"both","plan":"mu","capacity":1}`, 400, "InvalidParameter", "deploy_spec"},                                            // conformance 18
		"without capacity":  {`{"model_name":"both","plan":"mu","deploy_spec":"MU1"}`, 400, "InvalidParameter", "capacity"},                                        // conformance 19
		"an unknown spec":   {`{"model_name":"both","plan":"mu","deploy_spec":"MU9","capacity":1}`, 400, "InvalidParameter", "MU9"},                                // conformance 20
		"no multiple": {`{"model_name":"qwen-plus-2025-12-01","plan":"mu","deploy_spec":"MU1","capacity":6}`, 400, "InvalidParameter", // conformance 21
			"Invalid capacity (6), capacity must be larger than or equal to 0 and multiples of 4 and less than 1000!"},
		"a thousand":       {`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1000}`, 400, "InvalidParameter", "Invalid capacity (1000)"},                // conformance 22
		"negative":         {`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":-1}`, 400, "InvalidParameter", "Invalid capacity (-1)"},                    // conformance 23
		"lora on a base":   {`{"model_name":"both","plan":"lora"}`, 400, "InvalidParameter", ""},                                                                         // conformance 27
		"ptu on a tuned":   {`{"model_name":"qwen3-8b-ft-202511132025-0260","plan":"ptu"}`, 400, "InvalidParameter", ""},                                                 // conformance 28
		"a long suffix":    {`{"model_name":"both","plan":"ptu","suffix":"123456789"}`, 400, "InvalidParameter", "too long"},                                             // conformance 35
		"context of 0":     {`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1,"max_context_length":0}`, 400, "InvalidParameter", "max_context_length"}, // conformance 42
		"too much context": {`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1,"max_context_length":262145}`, 400, "InvalidParameter", ""},              // conformance 42
		"a separated spec": {`{"model_name":"both","plan":"mu","deploy_spec":"MU1-PD","capacity":1}`, 400, "InvalidParameter", "COUPLED"},                                // conformance 44
		"prepaid":          {`{"model_name":"both","plan":"ptu","charge_type":"pre_paid"}`, 400, "InvalidParameter", "pre_paid_info"},
		"prepaid units":    {`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1,"charge_type":"pre_paid"}`, 400, "InvalidParameter", "plan ptu only"},
	} {
		d.mustRefuse(name, request{key: "admin", call: "POST /api/v1/deployments", body: c.body}, c.status, c.code, c.says)
	}
	if total := d.mustAsk(request{key: "admin", call: "GET /api/v1/deployments"}).integer("output", "total"); total != 0 {
		t.Errorf("%d deployments are left", total)
	}
}

func TestGetListAndDelete(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	created := d.create(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1}`)
	name := created.string("output", "deployed_model")
	one := "GET /api/v1/deployments/" + name
	// conformance 14, 46, 139
	got := d.mustAsk(request{key: "guest", call: one})
	if fmt.Sprint(got.at("output")) != fmt.Sprint(created.at("output")) {
		t.Errorf("get %v, created %v", got.at("output"), created.at("output"))
	}
	// conformance 54
	list := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments"})
	if fmt.Sprint(list.list("output", "deployments")[0]) != fmt.Sprint(created.at("output")) {
		t.Errorf("listed %v", list.list("output", "deployments")[0])
	}
	// The newer clients' bases.
	for _, base := range []string{"/compatible-mode/v1", "/apps/anthropic", "/apps/anthropic/v1"} {
		if a := d.mustAsk(request{key: "guest", call: "GET " + base + "/deployments/" + name}); a.string("output", "deployed_model") != name {
			t.Errorf("%s: %s", base, a.text)
		}
	}
	d.clock.Add(int64(time.Minute))
	// conformance 75, 80
	gone := d.mustAsk(request{key: "admin", call: "DELETE /api/v1/deployments/" + name})
	if gone.string("output", "status") != "DELETING" || gone.string("output", "deployed_model") != name {
		t.Errorf("got %s", gone.text)
	}
	// conformance 74
	if gone.string("output", "gmt_create") != created.string("output", "gmt_create") || gone.string("output", "gmt_modified") <= created.string("output", "gmt_modified") {
		t.Errorf("times: %s", gone.text)
	}
	if again := d.mustAsk(request{key: "admin", call: "DELETE /api/v1/deployments/" + name}); fmt.Sprint(again.at("output")) != fmt.Sprint(gone.at("output")) {
		t.Errorf("a repeat: %s", again.text)
	}
	d.tx(func(ctx context.Context, tx berth.Tx) error { // what the reconciler does
		dep, err := tx.Deployments().ByName(ctx, name)
		must(t, err)
		dep.Status, dep.DeletedAt = berth.StatusDeleted, d.now()
		return tx.Deployments().Update(ctx, dep)
	})
	d.mustRefuse("get after the end", request{key: "guest", call: one}, 404, "NotFound", "Not found.")                                           // conformance 76
	d.mustRefuse("get of nothing", request{key: "guest", call: "GET /api/v1/deployments/none"}, 404, "NotFound", "Model: none not found!")       // conformance 49
	d.mustRefuse("delete of nothing", request{key: "admin", call: "DELETE /api/v1/deployments/none"}, 404, "NotFound", "Model: none not found!") // conformance 78
}

func TestPaging(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	empty := d.mustAsk(request{key: "admin", call: "GET /api/v1/deployments"})
	// conformance 50, 53
	if len(empty.list("output", "deployments")) != 0 || empty.integer("output", "page_no") != 1 || empty.integer("output", "page_size") != 50 || empty.integer("output", "total") != 0 {
		t.Errorf("got %s", empty.text)
	}
	for i := range 3 {
		d.create(fmt.Sprintf(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1,"suffix":"%d"}`, i))
		d.clock.Add(int64(time.Second))
	}
	d.create(`{"model_name":"both","plan":"ptu","suffix":"p"}`)
	for query, want := range map[string]struct {
		n     int
		total int64
	}{
		"":                                 {4, 4},
		"?page_size=200":                   {4, 4}, // conformance 51
		"?page_no=2&page_size=3":           {1, 4}, // conformance 52
		"?page_no=9":                       {0, 4}, // conformance 53
		"?page_no=2147483648":              {0, 4},
		"?plan=ptu":                        {1, 1}, // conformance 55
		"?plan=PTU":                        {1, 1},
		"?plan=lora":                       {0, 0},
		"?status=RUNNING&colour=red":       {4, 4}, // conformance 56
		"?page_no=&page_size=":             {4, 4},
		"?page_no=1&page_size=10&status=x": {4, 4},
	} {
		a := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments" + query})
		if n := len(a.list("output", "deployments")); n != want.n || a.integer("output", "total") != want.total {
			t.Errorf("%s: %d of %d", query, n, a.integer("output", "total"))
		}
	}
	newest := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments?page_size=1"})
	if !strings.Contains(newest.text, `-p"`) {
		t.Errorf("the newest is not the first: %s", newest.text)
	}
	for _, query := range []string{"?page_size=201", "?page_size=0", "?page_size=-1", "?page_no=0", "?page_no=x", "?page_size=1.5", "?page_no=99999999999999999999", "?plan=gold"} {
		d.mustRefuse(query, request{key: "guest", call: "GET /api/v1/deployments" + query}, 400, "InvalidParameter", "") // conformance 51
	}
}

func TestDeployableModels(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	find := func(a reply, name string) map[string]any {
		for _, m := range a.list("output", "models") {
			if m, _ := m.(map[string]any); m["model_name"] == name {
				return m
			}
		}
		return nil
	}
	// conformance 58, 64
	old := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments/models"})
	plus := find(old, "qwen-plus-2025-12-01")
	if fmt.Sprint(plus) != "map[base_capacity:4 model_name:qwen-plus-2025-12-01]" || old.integer("output", "page_size") != 50 {
		t.Errorf("got %s", old.text)
	}
	// conformance 62
	if find(old, "qwen3-8b-ft-202511132025-0260") != nil || find(old, "shown") != nil || old.integer("output", "total") != 3 {
		t.Errorf("base models: %s", old.text)
	}
	custom := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments/models?version=v1.0&model_source=custom"})
	if tuned := find(custom, "qwen3-8b-ft-202511132025-0260"); tuned["base_model"] != "both" || custom.integer("output", "total") != 1 {
		t.Errorf("custom models: %s", custom.text)
	}
	// conformance 59, and 60: a separated spec cannot be had, so it is not offered.
	full := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments/models?version=v1.0&page_size=100"})
	if strings.Contains(full.text, "MU1-PD") {
		t.Errorf("got %s", full.text)
	}
	n := 0
	for _, name := range []string{"both", "qwen-plus-2025-12-01"} {
		for _, p := range find(full, name)["plans"].([]any) {
			plan, _ := p.(map[string]any)
			templates, _ := plan["templates"].([]any)
			if (plan["plan"] == "mu") != (len(templates) > 0) {
				t.Errorf("%s: templates of plan %v: %v", name, plan["plan"], templates)
			}
			for _, tpl := range templates {
				tpl, _ := tpl.(map[string]any)
				roles, _ := tpl["roles"].(map[string]any)
				unified, _ := roles["unified"].(map[string]any)
				if tpl["template_type"] != "COUPLED" { // conformance 63
					t.Errorf("%s: %v", name, tpl)
				}
				// conformance 60, 61
				n++
				unit := unified["capacity_unit_per_instance"]
				a := d.create(fmt.Sprintf(`{"model_name":%q,"plan":"mu","deploy_spec":%q,"capacity":%v,"suffix":"%d"}`, name, tpl["template_id"], unit, n))
				if a.at("output", "base_capacity") != unit {
					t.Errorf("%s on %v: %s", name, tpl["template_id"], a.text)
				}
			}
		}
	}
	if n != 2 {
		t.Errorf("%d templates were tried", n)
	}
	if page := d.mustAsk(request{key: "guest", call: "GET /api/v1/deployments/models?page_no=2&page_size=2"}); len(page.list("output", "models")) != 1 || page.integer("output", "total") != 3 {
		t.Errorf("a page: %s", page.text)
	}
	d.mustRefuse("a large page", request{key: "guest", call: "GET /api/v1/deployments/models?version=v1.0&page_size=101"}, 400, "InvalidParameter", "page_size")
	d.mustRefuse("an unknown source", request{key: "guest", call: "GET /api/v1/deployments/models?model_source=moon"}, 400, "InvalidParameter", "moon")
}

func TestCallableModels(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	name := d.create(`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1}`).string("output", "deployed_model")
	// conformance 150
	if a := d.mustAsk(request{key: "guest", call: "GET /api/v1/models?model=" + name}); len(a.list("output", "models")) != 0 {
		t.Errorf("what is not running is listed: %s", a.text)
	}
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		dep, err := tx.Deployments().ByName(ctx, name)
		must(t, err)
		dep.Status = berth.StatusRunning
		return tx.Deployments().Update(ctx, dep)
	})
	for query, want := range map[string]int{"": 1, "?model=" + name + "&page_no=1&page_size=1": 1, "?model=" + name[:4]: 0, "?page_no=2": 0} {
		if a := d.mustAsk(request{key: "guest", call: "GET /api/v1/models" + query}); len(a.list("output", "models")) != want {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	d.mustRefuse("without a key", request{call: "GET /api/v1/models?model=x"}, 401, "InvalidApiKey", "")
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	added := d.mustAsk(request{key: "owner", call: "POST /berth/v1/models", body: `{"name":"new","path":"/models/new","engine":"fake","plans":["MU"],"specs":["MU1"],"thinking":"always"}`})
	if added.string("path") != "/models/new" || added.string("kind") != "base" || fmt.Sprint(added.at("plans")) != "[mu]" || len(added.list("specs")) != 1 {
		t.Errorf("got %s", added.text)
	}
	remote := d.mustAsk(request{key: "owner", call: "POST /berth/v1/models", body: `{"name":"far","url":"http://127.0.0.1:1/v1","key":"very-secret","remote_name":"gpt"}`})
	if strings.Contains(remote.text, "very-secret") || remote.string("remote_name") != "gpt" {
		t.Errorf("got %s", remote.text)
	}
	// Paths and addresses are the operator's.
	for _, call := range []string{"GET /berth/v1/models", "GET /berth/v1/models/new", "GET /berth/v1/models/far"} {
		if a := d.mustAsk(request{key: "admin", call: call}); strings.Contains(a.text, "/models/") || strings.Contains(a.text, "127.0.0.1") {
			t.Errorf("%s shows a path or an address to an admin: %s", call, a.text)
		}
	}
	if n := len(d.mustAsk(request{key: "guest", call: "GET /berth/v1/models"}).list("models")); n != 7 {
		t.Errorf("%d models", n)
	}
	if specs := d.mustAsk(request{key: "guest", call: "GET /berth/v1/specs"}).list("specs"); len(specs) != 2 {
		t.Errorf("specs: %v", specs)
	}
	const withTerms = `{"name":"cheap","path":"/models/new","engine":"fake","ptu":{"cache_factor":0.125,"max_input":9,"long_input":[{"above":5,"input":1.33}]}}`
	terms := fmt.Sprint(d.mustAsk(request{key: "owner", call: "POST /berth/v1/models", body: withTerms}).at("ptu"))
	if terms != "map[cache_factor:0.125 long_input:[map[above:5 input:1.33 output:1]] max_input:9]" {
		t.Errorf("ptu is %s", terms)
	}
	d.mustRefuse("terms that are not an owner's", request{key: "admin", call: "POST /berth/v1/models", body: `{"name":"n","upload":"upl_1","ptu":{"cache_factor":0.1}}`}, 403, "AccessDenied", "Only a key of role owner")
	for says, terms := range map[string]string{
		"at most three decimals":                             `{"cache_factor":0.1255}`,
		"cache_factor must be from 0.001 to 1":               `{"cache_factor":1.5}`,
		"max_input must be above 0":                          `{"max_input":-1}`,
		"the lengths of long_input must be above 0 and rise": `{"long_input":[{"above":5},{"above":5}]}`,
		"the factors of long_input must be from 1 to 16":     `{"long_input":[{"above":5,"output":17}]}`,
		"must not fall from one length to the next":          `{"long_input":[{"above":5,"input":2},{"above":6,"input":1.5}]}`,
		"long_input has 9 lengths; use at most 8":            `{"long_input":[{"above":1},{"above":2},{"above":3},{"above":4},{"above":5},{"above":6},{"above":7},{"above":8},{"above":9}]}`,
	} {
		d.mustRefuse(says, request{key: "owner", call: "POST /berth/v1/models", body: `{"name":"n","path":"/x","engine":"fake","ptu":` + terms + `}`}, 400, "InvalidParameter", says)
	}
	d.mustRefuse("a taken name", request{key: "owner", call: "POST /berth/v1/models", body: `{"name":"new","path":"/x","engine":"fake"}`}, 409, "Conflict", "taken")
	d.mustRefuse("an unknown plan", request{key: "owner", call: "POST /berth/v1/models", body: `{"name":"n","path":"/x","engine":"fake","plans":["gold"]}`}, 400, "InvalidParameter", "gold")
	d.mustRefuse("an unknown field", request{key: "owner", call: "POST /berth/v1/models", body: `{"name":"n","pth":"/x"}`}, 400, "InvalidParameter", "pth")
	d.mustRefuse("an unknown model", request{key: "guest", call: "GET /berth/v1/models/none"}, 404, "NotFound", "Model: none not found!")
	d.mustAsk(request{key: "owner", call: "DELETE /berth/v1/models/new"})
	d.mustRefuse("a deleted model", request{key: "guest", call: "GET /berth/v1/models/new"}, 404, "NotFound", "")
}
