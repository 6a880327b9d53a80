package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/server"
)

// strangeBodies are what a create is sent by mistake, or on purpose.
func strangeBodies() []string {
	digits := strings.Repeat("9", 300)
	return []string{
		``, ` `, `null`, `[]`, `""`, `0`, `{`, `{}`, `{} {}`, `{"model_name":}`, "\ufeff{}",
		both, `{"model_name":"both","plan":"ptu"}`, `{"model_name":"qwen3-8b-ft-202511132025-0260","plan":"Lora","capacity":1}`,
		`{"model_name":"both","plan":"ptu","ptu_capacity":{"input_tpm":20000,"output_tpm":2000},"suffix":"TST"}`,
		`{"model_name":"both","plan":"mu","deploy_spec":{"template_id":"MU1"},"capacity":1e0,"name":"测试 🚢 \u202e","enable_thinking":true,"max_context_length":1,"rpm_limit":1,"tpm_limit":1}`,
		`{"model_name":"both","plan":"mu","deploy_spec":"MU1-PD","prefill_capacity":1,"decode_capacity":2}`,
		`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":` + digits + `}`,
		`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1e` + digits + `}`,
		`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":-9223372036854775808}`,
		`{"model_name":"both","plan":"ptu","ptu_capacity":{"input_tpm":9223372036854775807,"output_tpm":9223372036854775807,"thinking_output_tpm":9223372036854775807}}`,
		`{"model_name":"both","plan":"ptu","ptu_capacity":{"input_tpm":-1,"output_tpm":1e300}}`,
		`{"model_name":"both","capacity":1,"capacity":2}`, `{"model_name":"both","model_nam\u0065":"x"}`,
		`{"model_name":"\u0000","plan":"\u0000","suffix":"\u0000","name":"\u0000"}`, `{"model_name":"both","name":"\ud800"}`,
		"{\"model_name\":\"\xff\xfe\"}", "{\"model_name\":\"both\",\"name\":\"\xc3\x28\"}", "{\"model_name\":\"both\x00\"}",
		`{"model_name":"both","x":` + strings.Repeat(`[`, 1500) + strings.Repeat(`]`, 1500) + `}`,
		strings.Repeat(`{"model_name":`, 200) + `1` + strings.Repeat(`}`, 200),
		`{"model_name":["both"],"plan":{},"suffix":0,"deploy_spec":[],"ptu_capacity":"x","enable_thinking":"y"}`,
		`{"model_name":"` + strings.Repeat("x", 5000) + `"}`,
		`{"model_name":"../../etc/passwd","suffix":"../x"}`, `{"model_name":"both' OR 1=1 --","plan":"mu"}`, `{"model_name":"both\r\nX-Injected: 1"}`,
	}
}

// sold is what a purchase changes: deployments, replicas and holds.
func (d *desk) sold() (n [3]int) {
	d.Helper()
	must(d, d.store.View(d.Context(), func(tx berth.Tx) error {
		deployments, _, err1 := tx.Deployments().List(d.Context(), berth.DeploymentFilter{})
		replicas, err2 := tx.Replicas().List(d.Context())
		holds, err3 := tx.Nodes().Holds(d.Context())
		n = [3]int{len(deployments), len(replicas), len(holds)}
		return errors.Join(err1, err2, err3)
	}))
	return n
}

// clear takes back what was sold, as if it had been deleted long ago.
func (d *desk) clear() {
	d.Helper()
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		deployments, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(d, err)
		for _, dep := range deployments {
			dep.Status, dep.DeletedAt = berth.StatusDeleted, d.now()
			must(d, tx.Pools().Leave(ctx, dep.ID))
			must(d, tx.Deployments().Update(ctx, dep))
		}
		replicas, err := tx.Replicas().List(ctx)
		must(d, err)
		for _, r := range replicas {
			must(d, tx.Nodes().Release(ctx, r.ID))
			must(d, tx.Replicas().Delete(ctx, r.ID))
		}
		return nil
	})
}

// FuzzCreate: whatever the body, a create is answered below 500, as documented, and
// makes a whole deployment or nothing.
func FuzzCreate(f *testing.F) {
	for _, body := range strangeBodies() {
		f.Add([]byte(body))
	}
	d := newDesk(f)
	handler := server.New(d.options)
	f.Fuzz(func(t *testing.T, body []byte) {
		d.TB = t
		before := d.sold()
		a := d.answer(handler, "POST /api/v1/deployments", body)
		after := d.sold()
		switch {
		case a.status == http.StatusOK:
			if a.string("output", "deployed_model") == "" || a.string("output", "status") != "PENDING" || a.integer("output", "capacity") < 1 {
				t.Errorf("half a deployment: %s", a.text)
			}
			if after[0] != before[0]+1 || after[1] != after[2] || after[1] <= before[1] {
				t.Errorf("deployments, replicas, holds: %v, then %v", before, after)
			}
			d.clear()
		case after != before:
			t.Errorf("%d, yet deployments, replicas, holds: %v, then %v", a.status, before, after)
		}
	})
}

// answer sends a body as admin, past the network, and checks what holds for every answer
// to a body: it is below 500 and as documented.
func (d *desk) answer(handler http.Handler, call string, body []byte) reply {
	d.Helper()
	method, path, _ := strings.Cut(call, " ")
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+d.keys["admin"])
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	a := reply{TB: d, status: w.Code, header: w.Header(), text: w.Body.String()}
	decoder := json.NewDecoder(strings.NewReader(a.text))
	decoder.UseNumber()
	if err := decoder.Decode(&a.body); err != nil {
		d.Fatalf("%s: %d with no JSON object: %q", call, a.status, a.text)
	}
	if a.status != http.StatusOK && a.status < 400 || a.status >= 500 {
		d.Errorf("%s: %d %s", call, a.status, a.text)
	}
	d.checkShape(request{call: call}, path, a)
	return a
}

// conformance 10
func TestTwinsInABodyAreNamed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for field, body := range map[string]string{
		"capacity":               `{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":1,"capacity":1}`,
		"model_name":             `{"model_name":"both","model_name":"shown"}`,
		"ptu_capacity.input_tpm": `{"model_name":"both","plan":"ptu","ptu_capacity":{"input_tpm":1,"output_tpm":1,"input_tpm":2}}`,
	} {
		d.mustRefuse(field, request{key: "admin", call: "POST /api/v1/deployments", body: body}, 400, "InvalidParameter",
			fmt.Sprintf("The field %s must be there once, not twice.", field))
	}
	dep := "/api/v1/deployments/" + d.create(onSale[2]).string("output", "deployed_model")
	for field, q := range map[string]request{
		"ptu_capacity":           {call: "PUT " + dep, body: `{"ptu_capacity":{},"ptu_capacity":{}}`},
		"billing_method":         {call: "POST " + dep + "/capacity-instances", body: `{"billing_method":"PRE_PAY","billing_method":"POST_PAY"}`},
		"pre_paid_info.duration": {call: "PUT " + dep + "/renew", body: `{"pre_paid_info":{"duration":1,"auto_renewal":false,"duration":2}}`},
		"overflow_strategy":      {call: "PUT " + dep + "/update-overflowstrategy", body: `{"overflow_strategy":"enable","overflow_strategy":"disable"}`},
	} {
		q.key = "admin"
		d.mustRefuse(field, q, 400, "InvalidParameter", fmt.Sprintf("The field %s must be there once, not twice.", field))
	}
	d.mustRefuse("another field", request{key: "admin", call: "PUT " + dep + "/update-overflowstrategy", body: `{"OVERFLOW_STRATEGY":"enable"}`}, 400, "InvalidParameter", `The overflow_strategy "" is not known`)
	d.mustRefuse("no UTF-8", request{key: "admin", call: "POST /api/v1/deployments", body: "{\"model_name\":\"both\",\"name\":\"\xff\"}"}, 400, "InvalidParameter", "The body must be UTF-8.")
	d.mustRefuse("NUL", request{key: "admin", call: "POST /api/v1/deployments", body: `{"model_name":"both\u0000"}`}, 400, "InvalidParameter", "The field model_name must be a string without NUL characters")
	if n := d.deployments(); n != 1 {
		t.Errorf("%d deployments", n)
	}
}
