package server_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

func TestTheCatalogueSaysWhatModelsCost(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		return tx.Prices().Insert(ctx, berth.Price{ID: "price_1", Model: "*", Plan: berth.PlanMU, Spec: "MU1", Dimension: berth.DimensionUnitMinute, Nano: 54_000_000_000, Per: 60, Currency: "CNY"})
	})
	want := `"prices":[{"plan":"mu","spec":"MU1","dimension":"unit_minute","price_nano":54000000000,"per":60,"currency":"CNY"},` +
		`{"plan":"mu","spec":"MU1-PD","dimension":"unit_minute","price_nano":0,"per":1,"currency":"CNY","unpriced":true},{"plan":"ptu",`
	for _, path := range []string{"/berth/v1/models/both", "/berth/v1/models"} {
		for _, key := range []string{"owner", "admin"} {
			if a := d.mustAsk(request{key: key, call: "GET " + path}); !strings.Contains(a.text, want) {
				t.Errorf("%s as %s: %s", path, key, a.text)
			}
		}
		if a := d.mustAsk(request{key: "guest", call: "GET " + path}); strings.Contains(a.text, "prices") {
			t.Errorf("%s as a guest: %s", path, a.text)
		}
	}
}

func TestListsOfModelsAndSumsAreInPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	all := d.mustAsk(request{key: "admin", call: "GET /berth/v1/models"})
	var names []string
	for cursor, pages := "", 0; ; pages++ {
		a := d.mustAsk(request{key: "admin", call: "GET /berth/v1/models?limit=2&cursor=" + url.QueryEscape(cursor)})
		for _, m := range a.list("models") {
			model, _ := m.(map[string]any)
			names = append(names, fmt.Sprint(model["name"]))
		}
		if a.at("next") == nil {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
		cursor = a.string("next")
	}
	if len(all.list("models")) != 5 || all.at("next") != nil || strings.Join(names, " ") != "both qwen-flash-2025-07-28 qwen-plus-2025-12-01 qwen3-8b-ft-202511132025-0260 shown" {
		t.Errorf("got %q of %s", names, all.text)
	}
	d.mustRefuse("too many at once", request{key: "admin", call: "GET /berth/v1/models?limit=201"}, 400, "InvalidParameter", "Range of limit")

	const n = 12_000
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		var records []berth.UsageRecord
		for i := range n {
			records = append(records, berth.UsageRecord{
				ID: fmt.Sprintf("use_%05d", i), WorkspaceID: home, KeyID: fmt.Sprintf("key_%05d", i), DeployedModel: "m", StartedAt: d.now(), EndedAt: d.now(), InputTokens: 1,
			})
		}
		return tx.Usage().Insert(ctx, records)
	})
	var keys []string
	for cursor, pages := "", 0; ; pages++ {
		a := d.mustAsk(request{key: "admin", call: "GET /berth/v1/usage?group_by=deployed_model,key_id&cursor=" + url.QueryEscape(cursor)})
		for _, r := range a.list("rows") {
			row, _ := r.(map[string]any)
			group, _ := row["group"].(map[string]any)
			keys = append(keys, fmt.Sprint(group["key_id"]))
		}
		if a.at("next") == nil {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
		cursor = a.string("next")
	}
	if len(keys) != n || keys[0] != "key_00000" || keys[5000] != "key_05000" || keys[n-1] != fmt.Sprintf("key_%05d", n-1) {
		t.Errorf("%d rows", len(keys))
	}
	d.mustRefuse("a place in no list", request{key: "admin", call: "GET /berth/v1/usage?group_by=key_id&cursor=x"}, 400, "InvalidParameter", "next of its last page")
	if table := d.send(request{key: "admin", call: "GET /berth/v1/usage?group_by=key_id&format=csv"}); strings.Count(table.text, "\r\n") != n+1 {
		t.Errorf("%d lines as CSV", strings.Count(table.text, "\r\n"))
	}
}
