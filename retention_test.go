package berth_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// usageOf sums the usage of the house's workspace.
func (h *house) usageOf(f berth.UsageFilter) (sum berth.UsageSum) {
	h.Helper()
	totals, err := h.usage.Totals(h.admin(), f, nil)
	must(h, err)
	for _, t := range totals {
		sum.Add(t.UsageSum)
	}
	return sum
}

func (h *house) recordsOf() []berth.UsageRecord {
	h.Helper()
	list, _, err := h.usage.Records(h.admin(), berth.UsageFilter{}, "", 100)
	must(h, err)
	return list
}

func TestWhatIsOverGoesAndTheRestStays(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	h := newHouse(t)
	now := h.now()
	var rests int
	policy := berth.Retention{
		Store: h.store, Now: func() time.Time { return now }, Keep: berth.Keep{Records: 400 * day, Audit: 300 * day, Tombstones: 90 * day},
		Rest: func(context.Context) error { rests++; return nil },
	}
	record := func(n int, age time.Duration) berth.UsageRecord {
		return berth.UsageRecord{
			ID: fmt.Sprintf("use_%05d", n), WorkspaceID: home, KeyID: "key", DeploymentID: "dep_old", DeployedModel: "m",
			ReplicaID: "rep", Nonce: fmt.Sprint("run_", age > 400*day), StartedAt: now.Add(-age), EndedAt: now.Add(-age), InputTokens: 1,
		}
	}
	const old = 2500 // more than two transactions delete
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		var all []berth.UsageRecord
		for i := range old {
			all = append(all, record(i, 402*day-time.Duration(i)*time.Second))
		}
		all = append(all, record(old, 399*day), record(old+1, time.Hour))
		must(t, tx.Usage().Insert(ctx, all))
		for i, age := range []time.Duration{301 * day, 299 * day} {
			must(t, tx.Events().AppendAudit(ctx, berth.Audit{ID: fmt.Sprint("aud_0", i), At: now.Add(-age)}))
		}
		for i, deleted := range []time.Duration{0, 91 * day, 89 * day, 92 * day} {
			d := berth.Deployment{ID: fmt.Sprint("dep_", i), DeployedModel: fmt.Sprint("m", i), WorkspaceID: home, CreatedAt: now.Add(-100 * day)}
			if deleted > 0 {
				d.DeletedAt = now.Add(-deleted)
			}
			must(t, tx.Deployments().Insert(ctx, d))
			for n := range 3 {
				must(t, tx.Events().Append(ctx, berth.Event{ID: fmt.Sprintf("evt_%d_%d", i, n), DeploymentID: d.ID}))
			}
		}
		late := record(old+2, day)
		late.DeploymentID = "dep_3" // and is not rated
		return tx.Usage().Insert(ctx, []berth.UsageRecord{late})
	})
	sweep := func(want berth.Deleted) {
		t.Helper()
		got, err := policy.Sweep(t.Context())
		if err != nil || got != want {
			t.Fatalf("deleted %+v, %v, want %+v", got, err, want)
		}
	}
	rated := func(deployment string) {
		h.tx(func(ctx context.Context, tx berth.Tx) error {
			days, err := tx.Usage().ChangedDays(ctx, berth.UsageDayKey{}, 100)
			must(t, err)
			for _, d := range days {
				if d.DeploymentID == deployment {
					must(t, tx.Usage().Rated(ctx, []berth.UsageDayKey{d}))
				}
			}
			return nil
		})
	}
	before := h.usageOf(berth.UsageFilter{})
	sweep(berth.Deleted{Audits: 1, Deployments: 1}) // nothing is rated yet
	rated("dep_old")
	sweep(berth.Deleted{Records: old + 1}) // and their hour
	if rests < 4 {
		t.Errorf("rested %d times", rests)
	}
	sweep(berth.Deleted{})
	if records := h.recordsOf(); len(records) != 3 || records[0].ID != fmt.Sprintf("use_%05d", old) || records[0].Nonce != "run_false" {
		t.Errorf("records left: %+v", records)
	}
	if after := h.usageOf(berth.UsageFilter{}); after != before || after.Calls != old+3 {
		t.Errorf("sums were %+v and are %+v", before, after)
	}
	whole := now.Add(-410 * day).UTC().Format(time.DateOnly)
	if got := h.usageOf(berth.UsageFilter{FromDay: whole}); got != before {
		t.Errorf("whole days are %+v", got)
	}
	for what, run := range map[string]func() error{
		"a part of a day": func() error {
			_, err := h.usage.Totals(h.admin(), berth.UsageFilter{From: now.Add(-402*day + time.Minute)}, nil)
			return err
		},
		"hours": func() error {
			_, err := h.usage.Totals(h.admin(), berth.UsageFilter{}, []berth.UsageGroup{berth.GroupHour})
			return err
		},
	} {
		if err := run(); berth.CodeOf(err) != berth.CodeInvalid {
			t.Errorf("%s of deleted days: %v", what, err)
		}
	}
	h.tx(func(ctx context.Context, tx berth.Tx) error { // a record of the origin that was deleted, late
		return tx.Usage().Insert(ctx, []berth.UsageRecord{record(old+3, 402*day)})
	})
	rated("dep_old")
	rated("dep_3")
	sweep(berth.Deleted{Records: 2, Deployments: 1}) // with its hour
	must(t, h.store.View(t.Context(), func(tx berth.Tx) error {
		ctx := t.Context()
		for id, want := range map[string]int{"dep_0": 3, "dep_1": 0, "dep_2": 3, "dep_3": 0} {
			if events, err := tx.Events().List(ctx, id, "", 10); err != nil || len(events) != want {
				t.Errorf("%s has %d events, %v", id, len(events), err)
			}
		}
		audits, err := tx.Events().Audits(ctx, berth.AuditFilter{}, nil, 1000)
		if err == nil && (len(audits) == 0 || audits[len(audits)-1].ID != "aud_01") {
			t.Errorf("audits: %+v", audits)
		}
		return err
	}))
	if got := h.usageOf(berth.UsageFilter{}); got.Calls != old+4 {
		t.Errorf("sums are %+v", got)
	}
	policy.Keep = berth.Keep{}
	now = now.Add(10_000 * day)
	sweep(berth.Deleted{}) // 0 is for ever
}
