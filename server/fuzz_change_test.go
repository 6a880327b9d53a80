package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/server"
)

// changes are the operations that take a body for a deployment that there is.
var changes = []string{
	"PUT ", "PUT /scale", "PUT /update", "PUT /update-overflowstrategy", "PUT /renew",
	"POST /capacity-instances", "PUT /capacity-instances/${instance}/scale", "PUT /capacity-instances/${instance}/renew",
}

// firstOfInstances is the first of changes that is about instances.
const firstOfInstances = 4

// onSale is a deployment of each kind.
var onSale = []string{
	`{"model_name":"both","plan":"mu","deploy_spec":"MU1","capacity":2}`,
	`{"model_name":"qwen-plus-2025-12-01","plan":"mu","deploy_spec":"MU1","capacity":4}`,
	`{"model_name":"both","plan":"ptu","suffix":"plain","ptu_capacity":{"input_tpm":20000,"output_tpm":2000}}`,
	`{"model_name":"both","plan":"ptu","suffix":"bought","charge_type":"post_paid","ptu_capacity":{"input_tpm":20000,"output_tpm":2000}}`,
	`{"model_name":"both","plan":"ptu","suffix":"before","charge_type":"pre_paid","pre_paid_info":{"duration":3,"auto_renewal":false},"ptu_capacity":{"input_tpm":20000,"output_tpm":2000}}`,
	`{"model_name":"qwen3-8b-ft-202511132025-0260","plan":"lora"}`,
}

// strangeChanges are what changes are sent by mistake, or on purpose.
func strangeChanges() []string {
	digits := strings.Repeat("9", 300)
	return []string{
		``, `null`, `[]`, `{`, `{}`, `{} {}`, "\ufeff{}", "{\"name\":\"\xff\"}", "{\"name\":\"a\x00\"}", `{"name":"\u0000"}`, `{"name":"\ud800"}`,
		`{"capacity":1}`, `{"capacity":3}`, `{"capacity":0}`, `{"capacity":8}`, `{"capacity":1e0}`, `{"capacity":-4}`, `{"capacity":999}`, `{"capacity":1000}`,
		`{"capacity":` + digits + `}`, `{"capacity":1e` + digits + `}`, `{"capacity":-9223372036854775808}`,
		`{"capacity":1,"capacity":2}`, `{"capacity":3,"capacit\u0079":2}`, `{"prefill_capacity":1,"decode_capacity":1}`,
		`{"rpm_limit":1}`, `{"rpm_limit":"7","tpm_limit":0}`, `{"rpm_limit":9223372036854775807}`, `{"tpm_limit":-1}`, `{"tpm_limit":1.5}`,
		`{"name":"测试 🚢","capacity":4,"tpm_limit":5}`, `{"name":"` + strings.Repeat("x", 51) + `"}`, `{"name":"a\r\nX-Injected: 1"}`, `{"name":null}`,
		`{"ptu_capacity":{"input_tpm":10000,"output_tpm":1000}}`, `{"ptu_capacity":{"input_tpm":40000,"output_tpm":4000}}`,
		`{"ptu_capacity":{"input_tpm":0,"output_tpm":0}}`, `{"ptu_capacity":{"input_tpm":40000,"output_tpm":1}}`, `{"ptu_capacity":{}}`, `{"ptu_capacity":[]}`,
		`{"ptu_capacity":{"input_tpm":9223372036854775807,"output_tpm":9223372036854775807,"thinking_output_tpm":9223372036854775807}}`,
		`{"ptu_capacity":{"input_tpm":-1,"output_tpm":1e300}}`, `{"ptu_capacity":{"input_tpm":1,"input_tpm":2,"output_tpm":1}}`,
		`{"instance_id":"nobody","ptu_capacity":{"input_tpm":10000,"output_tpm":1000}}`, `{"order_type":"UPGRADE","ptu_capacity":{"input_tpm":1,"output_tpm":1}}`,
		`{"billing_method":"POST_PAY","ptu_capacity":{"input_tpm":10000,"output_tpm":1000}}`, `{"billing_method":"post_pay"}`, `{"billing_method":"\u0000"}`,
		`{"billing_method":"PRE_PAY","ptu_capacity":{"input_tpm":10000,"output_tpm":1000},"pre_paid_info":{"duration":2,"auto_renewal":true,"auto_renewal_duration":1}}`,
		`{"billing_method":"PRE_PAY","ptu_capacity":{"input_tpm":10000,"output_tpm":1000},"pre_paid_info":{"pricing_cycle":"Hour","duration":8,"auto_renewal":false}}`,
		`{"pre_paid_info":{"duration":1,"auto_renewal":false}}`, `{"pre_paid_info":{"duration":9223372036854775807,"auto_renewal":false}}`, `{"pre_paid_info":{"duration":1,"auto_renewal":true,"auto_renewal_duration":9223372036854775807}}`,
		`{"pre_paid_info":{"duration":1,"duration":2,"auto_renewal":false}}`, `{"pre_paid_info":{"pricing_cycle":"\u0000","duration":1,"auto_renewal":false}}`,
		`{"is_change":true,"ptu_capacity":{"input_tpm":40000,"output_tpm":4000},"pre_paid_info":{"duration":1,"auto_renewal":false}}`,
		`{"overflow_strategy":"enable"}`, `{"overflow_strategy":"disable"}`, `{"overflow_strategy":"ENABLE"}`, `{"overflow_strategy":["enable"]}`, `{"Overflow_Strategy":"disable"}`,
		`{"overflow_strategy":"enable","overflow_strategy":"disable"}`, "{\"overflow_strategy\":\"\xff\"}",
		`{"capacity":1,"x":` + strings.Repeat(`[`, 1500) + strings.Repeat(`]`, 1500) + `}`, strings.Repeat(`{"ptu_capacity":`, 200) + `1` + strings.Repeat(`}`, 200),
	}
}

// serve lets everything that is deployed run, as engines would.
func (d *desk) serve() {
	d.Helper()
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		all, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(d, err)
		for _, dep := range all {
			dep.Status, dep.ReadyCapacity = berth.StatusRunning, dep.Capacity
			must(d, d.options.Deployments.Settle(ctx, tx, &dep))
			must(d, tx.Deployments().Update(ctx, dep))
		}
		return nil
	})
}

// books is everything that a change can change, in words.
func (d *desk) books() string {
	d.Helper()
	var b strings.Builder
	must(d, d.store.View(d.Context(), func(tx berth.Tx) error {
		ctx := d.Context()
		all, _, err := tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(d, err)
		for _, dep := range all {
			instances, err := tx.Capacities().OfDeployment(ctx, dep.ID)
			must(d, err)
			processing, err := tx.Capacities().Processing(ctx, dep.ID)
			must(d, err)
			events, err := tx.Events().Count(ctx, dep.ID)
			must(d, err)
			fmt.Fprintf(&b, "%+v\n%+v\n%+v\n%d events\n", dep, instances, processing, events)
		}
		replicas, err := tx.Replicas().List(ctx)
		must(d, err)
		holds, err := tx.Nodes().Holds(ctx)
		must(d, err)
		members, err := tx.Pools().Members(ctx, "")
		must(d, err)
		fmt.Fprintf(&b, "%+v\n%+v\n%+v\n", replicas, holds, members)
		return nil
	}))
	return b.String()
}

// FuzzChange: whatever the body, a change is answered below 500, as documented, and is
// done whole or not at all.
func FuzzChange(f *testing.F) {
	for change := range changes {
		for i, body := range strangeChanges() {
			f.Add(byte(change), byte(i+change), []byte(body)) // meets one of the deployments
			if change >= firstOfInstances {
				f.Add(byte(change), byte(3+i%2), []byte(body)) // and one that has instances
			}
		}
		for target := range onSale {
			f.Add(byte(change), byte(target), []byte(`{"billing_method":"POST_PAY","ptu_capacity":{"input_tpm":30000,"output_tpm":3000}}`))
		}
	}
	d := newDesk(f)
	d.options.BodyBytes = 1 << 20
	handler := server.New(d.options)
	var names, instances []string
	open := func() {
		d.clear()
		names, instances = nil, nil
		for _, body := range onSale {
			a := d.answer(handler, "POST /api/v1/deployments", []byte(body))
			names = append(names, a.string("output", "deployed_model"))
			instances = append(instances, a.string("output", "instance_id"))
		}
		d.serve()
	}
	open()
	f.Fuzz(func(t *testing.T, change, target byte, body []byte) {
		d.TB = t
		path := "/api/v1/deployments/" + names[int(target)%len(names)]
		instance := instances[int(target)%len(names)]
		if instance == "" {
			instance = "nobody"
		}
		method, rest, _ := strings.Cut(changes[int(change)%len(changes)], " ")
		before, sold := d.books(), d.sold()
		a := d.answer(handler, method+" "+path+strings.ReplaceAll(rest, "${instance}", instance), body)
		if a.status != http.StatusOK {
			if now := d.books(); now != before {
				t.Errorf("%s, yet before:\n%s\nafter:\n%s", a.text, before, now)
			}
			return
		}
		if now := d.sold(); now[0] != sold[0] || now[1] != now[2] {
			t.Errorf("deployments, replicas, holds: %v, then %v", sold, now)
		}
		output, _ := a.body["output"].(map[string]any)
		if a.string("output", "operation_type") == "" { // it is the deployment, as the next read shows it
			delete(output, "operation_id")
			delete(output, "instance_id")
			shown, _ := d.answer(handler, "GET "+path, nil).body["output"].(map[string]any)
			if !maps.EqualFunc(output, shown, func(x, y any) bool { return fmt.Sprint(x) == fmt.Sprint(y) }) {
				t.Errorf("answered %v, shown %v", output, shown)
			}
		}
		if d.books() != before {
			open()
		}
	})
}
