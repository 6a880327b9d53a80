package server_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestTheAuditLogIsReadInPagesAndAsFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		for i := range 450 { // more than two pages
			err := tx.Events().AppendAudit(ctx, berth.Audit{
				ID: fmt.Sprintf("aud_x%03d", i), At: d.now().Add(time.Duration(i/10) * time.Second), WorkspaceID: away, KeyID: "key_x", Action: "thing.done", Target: "=1+1",
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	var seen []string
	pages := 0
	for cursor := ""; ; pages++ {
		page := d.mustAsk(request{key: "owner", call: "GET /berth/v1/audit?action=thing&limit=100&cursor=" + cursor})
		for _, e := range page.list("entries") {
			entry, _ := e.(map[string]any)
			seen = append(seen, fmt.Sprint(entry["id"]))
		}
		if page.at("next") == nil {
			break
		}
		cursor = page.string("next")
	}
	if len(seen) != 450 || pages != 4 || seen[0] != "aud_x449" || !slices.IsSortedFunc(seen, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("%d entries on %d pages: %v", len(seen), pages+1, seen)
	}

	for query, want := range map[string]int{
		"format=csv&workspace_id=" + away:                            450,
		"format=csv&key_id=key_x&to=2026-10-02T01:00:01.512Z":        10,
		"format=csv&target=%3D1%2B1&from=2026-10-02T01:00:44.512Z":   10,
		"format=csv&action=thing.done&cursor=1790902825512000000.zz": 260, // of 26 seconds
	} {
		table := d.send(request{key: "owner", call: "GET /berth/v1/audit?" + query})
		rows, err := csv.NewReader(strings.NewReader(table.text)).ReadAll()
		if err != nil || len(rows) != want+1 || strings.Join(rows[0], " ") != "id at workspace_id key_id action target" || rows[1][5] != "'=1+1" {
			t.Errorf("%s: %d rows, want %d: %v %.200s", query, len(rows), want+1, err, table.text)
		}
	}
	each := d.send(request{key: "owner", call: "GET /berth/v1/audit?action=key.create", header: map[string]string{"Accept": "application/x-ndjson"}})
	if strings.Count(each.text, "\n") != len(d.keys) || !strings.Contains(each.text, `"action":"key.create","target":"key_`) || each.header.Get("Content-Disposition") != "attachment; filename=audit.ndjson" {
		t.Errorf("got %v %q", each.header, each.text)
	}

	for _, key := range []string{"admin", "guest", "stranger"} {
		d.mustRefuse("the audit log for "+key, request{key: key, call: "GET /berth/v1/audit"}, 403, "AccessDenied", "Access denied.")
	}
	for query, sentence := range map[string]string{
		"cursor=2": "next of its last page", "cursor=x.y": "next of its last page", "from=yesterday": "RFC 3339", "limit=0": "Range of limit", "format=xml": "csv or ndjson",
	} {
		d.mustRefuse(query, request{key: "owner", call: "GET /berth/v1/audit?" + query}, 400, "InvalidParameter", sentence)
	}
}
