package berth_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestWhoSeesWhichUsage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	mine := "key_" + home + "inference"
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		var all []berth.UsageRecord
		for i, c := range []struct{ workspace, key, model string }{
			{home, mine, "a"}, {home, mine, "b"}, {home, "key_other", "a"}, {away, "key_third", "c"},
		} {
			all = append(all, berth.UsageRecord{
				ID: fmt.Sprintf("use_%d", i), WorkspaceID: c.workspace, KeyID: c.key, DeployedModel: c.model,
				StartedAt: h.now().Add(time.Duration(i) * time.Hour), InputTokens: 10, OutputTokens: 1,
			})
		}
		return tx.Usage().Insert(ctx, all)
	})
	for name, c := range map[string]struct {
		workspace string
		role      berth.Role
		filter    berth.UsageFilter
		want      int
	}{
		"a guest sees its own calls":          {home, berth.RoleInference, berth.UsageFilter{}, 2},
		"a guest cannot ask for another's":    {home, berth.RoleInference, berth.UsageFilter{KeyID: "key_other"}, 2},
		"an admin sees its workspace":         {home, berth.RoleAdmin, berth.UsageFilter{}, 3},
		"an admin asks for a key":             {home, berth.RoleAdmin, berth.UsageFilter{KeyID: "key_other"}, 1},
		"an admin names its workspace":        {home, berth.RoleAdmin, berth.UsageFilter{WorkspaceID: home}, 3},
		"an owner looks elsewhere":            {home, berth.RoleOwner, berth.UsageFilter{WorkspaceID: away}, 1},
		"an owner looks everywhere":           {home, berth.RoleOwner, berth.UsageFilter{WorkspaceID: berth.AllWorkspaces}, 4},
		"an owner acts in one workspace, too": {away, berth.RoleOwner, berth.UsageFilter{}, 1},
		"by deployment":                       {home, berth.RoleAdmin, berth.UsageFilter{DeployedModel: "a"}, 2},
		"by time":                             {home, berth.RoleAdmin, berth.UsageFilter{From: h.now().Add(time.Hour), To: h.now().Add(2 * time.Hour)}, 1},
		"another workspace's deployment":      {home, berth.RoleAdmin, berth.UsageFilter{DeployedModel: "c"}, 0},
	} {
		ctx := h.as(c.workspace, c.role)
		records, _, err := h.usage.Records(ctx, c.filter, "", 100)
		must(t, err)
		totals, err := h.usage.Totals(ctx, c.filter, nil)
		must(t, err)
		var calls, input int64
		for _, row := range totals {
			calls, input = calls+row.Calls, input+row.InputTokens
		}
		if len(records) != c.want || calls != int64(c.want) || input != 10*int64(c.want) {
			t.Errorf("%s: %d records, %d calls, %d tokens", name, len(records), calls, input)
		}
	}
	for _, id := range []string{away, berth.AllWorkspaces} {
		_, _, err1 := h.usage.Records(h.admin(), berth.UsageFilter{WorkspaceID: id}, "", 1)
		_, err2 := h.usage.Totals(h.admin(), berth.UsageFilter{WorkspaceID: id}, nil)
		if berth.CodeOf(err1) != berth.CodeForbidden || berth.CodeOf(err2) != berth.CodeForbidden {
			t.Errorf("an admin sees %s: %v, %v", id, err1, err2)
		}
	}
	first, next, err := h.usage.Records(h.admin(), berth.UsageFilter{}, "", 1)
	must(t, err)
	page, _, err := h.usage.Records(h.admin(), berth.UsageFilter{}, next, 1)
	if err != nil || len(first) != 1 || first[0].ID != "use_0" || len(page) != 1 || page[0].ID != "use_1" {
		t.Errorf("pages: %+v, %+v, %v", first, page, err)
	}
}
