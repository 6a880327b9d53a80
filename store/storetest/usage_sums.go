package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

var usageSums = []promise{
	{"sums are those of the records, whatever came in which order, again, or in a transaction that failed", func(s suite) {
		zones := []string{"Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"}
		var spaces []string
		for i, zone := range zones {
			spaces = append(spaces, s.space(i, zone))
		}
		var history []berth.UsageRecord
		split := epoch.Add(-48 * time.Hour)
		s.write(func(tx berth.Tx) error {
			later := split.Add(24 * time.Hour)
			return first(
				tx.Usage().Split(s.Context(), split, 0), tx.Usage().Split(s.Context(), split, 0),
				tx.Prices().Insert(s.Context(), berth.Price{ID: "price", From: later, FromTokens: 500}),
			)
		})
		draws := 0
		rapid.Check(s.T, func(t *rapid.T) {
			draws++
			fresh := drawRecords(t, draws, spaces)
			arrivals := rapid.Permutation(append(slices.Clone(fresh), history[len(history)-min(len(history), 5):]...)).Draw(t, "arrivals")
			size := rapid.IntRange(1, 20).Draw(t, "size of batches")
			for batch := range slices.Chunk(arrivals, size) {
				insert := func(tx berth.Tx) error { return tx.Usage().Insert(s.Context(), batch) }
				for range rapid.IntRange(0, 2).Draw(t, "crashes") {
					crash := errors.New("a crash")
					if err := s.store.Tx(s.Context(), func(tx berth.Tx) error { return cmp.Or(insert(tx), crash) }); !errors.Is(err, crash) {
						t.Fatal(err)
					}
				}
				for range rapid.IntRange(1, 2).Draw(t, "times") {
					s.write(insert)
				}
			}
			history = append(history, fresh...)
		})
		s.sameSums(history, []time.Time{split, split.Add(24 * time.Hour)}, []int64{0, 500, 32_000, 32_768, 128_000, 131_072, 256_000, 262_144})
		rapid.Check(s.T, func(t *rapid.T) { s.sameTotals(t, history, spaces) })
	}},
	{"days that changed are there until they were rated as they are", func(s suite) {
		changed := func() []berth.UsageDayKey {
			return view(s, func(tx berth.Tx) ([]berth.UsageDayKey, error) {
				return tx.Usage().ChangedDays(s.Context(), berth.UsageDayKey{}, 10)
			})
		}
		rated := func(days ...berth.UsageDayKey) {
			s.write(func(tx berth.Tx) error { return tx.Usage().Rated(s.Context(), days) })
		}
		of := func(n int, deployment string, at time.Time) berth.UsageRecord {
			r := record(n, at)
			r.DeploymentID = deployment
			return r
		}
		s.insertUsage(of(1, "dep_b", epoch), of(2, "dep_a", epoch), of(3, "dep_a", epoch.Add(-48*time.Hour)), of(4, "", epoch))
		first := changed()
		s.same("changed", first, []berth.UsageDayKey{
			{DeploymentID: "dep_a", Day: "2026-02-27", Version: 1}, {DeploymentID: "dep_a", Day: "2026-03-01", Version: 1}, {DeploymentID: "dep_b", Day: "2026-03-01", Version: 1},
		})
		behind := view(s, func(tx berth.Tx) ([]berth.UsageDayKey, error) {
			return tx.Usage().ChangedDays(s.Context(), first[1], 10)
		})
		s.same("behind one", behind, first[2:])
		rated(first[0], first[2])
		s.insertUsage(of(5, "dep_a", epoch)) // while it was being rated
		rated(first[1])
		s.same("changed meanwhile", changed(), []berth.UsageDayKey{{DeploymentID: "dep_a", Day: "2026-03-01", Version: 2}})
		rated(changed()...)
		rated(first...) // by somebody who is late
		s.insertUsage(of(5, "dep_a", epoch), of(1, "dep_b", epoch))
		s.same("a repeat changes nothing", len(changed()), 0)
	}},
	{"records are counted again, apart by any length and instant", func(s suite) {
		space, other := s.space(0, "UTC"), s.space(1, "UTC")
		var list []berth.UsageRecord
		for i := range 12 {
			r := record(i, epoch.Add(time.Duration(i)*time.Minute))
			r.WorkspaceID, r.InputTokens = space, int64(100*i)
			if i == 5 {
				r.WorkspaceID = other
			}
			list = append(list, r)
		}
		s.insertUsage(list...)
		counted := func(to time.Duration, lengths []int64, instants ...time.Time) map[string]berth.UsageSum {
			sums := map[string]berth.UsageSum{}
			for _, u := range view(s, func(tx berth.Tx) ([]berth.UsageDay, error) {
				return tx.Usage().Recount(s.Context(), space, epoch.Add(time.Minute), epoch.Add(to), lengths, instants)
			}) {
				s.same("workspace", u.WorkspaceID, space)
				key := fmt.Sprint(u.DeploymentID, u.FromTokens, u.Epoch.UnixNano())
				sum := sums[key]
				sum.Add(u.UsageSum)
				sums[key] = sum
			}
			return sums
		}
		want := func(to int, lengths []int64, instants ...time.Time) map[string]berth.UsageSum {
			sums := map[string]berth.UsageSum{}
			for i, r := range list[:to] {
				if i == 0 || i == 5 {
					continue
				}
				u := berth.UsageDay{}
				for _, n := range lengths {
					if r.InputTokens >= n {
						u.FromTokens = n
					}
				}
				for _, at := range instants {
					if !r.StartedAt.Before(at) {
						u.Epoch = at
					}
				}
				key := fmt.Sprint(r.DeploymentID, u.FromTokens, u.Epoch.UnixNano())
				sum := sums[key]
				sum.Add(r.Sum())
				sums[key] = sum
			}
			return sums
		}
		early, late := epoch.Add(3*time.Minute), epoch.Add(8*time.Minute+1)
		s.same("as they are", counted(time.Hour, nil), want(12, nil))
		s.same("apart", counted(11*time.Minute, []int64{250, 700}, early, late), want(11, []int64{250, 700}, early, late))
	}},
	{"an account has usage that is not rated while it is so", func(s suite) {
		space, other := s.space(0, "UTC"), s.space(1, "UTC")
		account := view(s, func(tx berth.Tx) (berth.Workspace, error) { return tx.Accounts().Workspace(s.Context(), space) }).AccountID
		unrated := func(before string) bool {
			return view(s, func(tx berth.Tx) (bool, error) { return tx.Usage().Unrated(s.Context(), account, before) })
		}
		mine, others := record(1, epoch), record(2, epoch.AddDate(0, -1, 0))
		mine.WorkspaceID, mine.DeploymentID = space, "dep_mine"
		others.WorkspaceID, others.DeploymentID = other, "dep_others"
		s.insertUsage(others)
		s.same("of others", unrated("2026-04"), false)
		s.insertUsage(mine)
		s.same("before", unrated("2026-03"), false)
		s.same("its own", unrated("2026-04"), true)
		s.write(func(tx berth.Tx) error {
			return tx.Usage().Rated(s.Context(), []berth.UsageDayKey{{DeploymentID: "dep_mine", Day: "2026-03-01", Version: 1}})
		})
		s.same("when it was rated", unrated("2026-04"), false)
	}},
}

// drawRecords draws some that were not drawn before.
func drawRecords(t *rapid.T, round int, spaces []string) []berth.UsageRecord {
	list := make([]berth.UsageRecord, rapid.IntRange(1, 40).Draw(t, "records"))
	name := func(prefix string) string {
		return fmt.Sprint(prefix, rapid.IntRange(1, 2).Draw(t, prefix))
	}
	tokens := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.SampledFrom([]int64{499, 500, 31_999, 32_000, 131_071, 262_144, 1_000_000}))
	for i := range list {
		started := epoch.Add(time.Duration(rapid.Int64Range(-100*3600, 1000*3600).Draw(t, "second")) * time.Second)
		if rapid.Bool().Draw(t, "at the hour") {
			started = started.Truncate(time.Hour)
		}
		r := &list[i]
		*r = berth.UsageRecord{
			ID: fmt.Sprintf("use_%d_%d", round, i), CallID: "call", WorkspaceID: rapid.SampledFrom(spaces).Draw(t, "space"),
			KeyID: name("key"), ModelName: name("model"), DeployedModel: name("deployed"),
			Plan: rapid.SampledFrom([]berth.Plan{berth.PlanMU, berth.PlanLoRA}).Draw(t, "plan"), Class: rapid.SampledFrom([]berth.Class{berth.ClassDedicated, berth.ClassProbe}).Draw(t, "class"),
			StartedAt: started, EndedAt: started.Add(time.Duration(rapid.Int64Range(0, 7200).Draw(t, "took")) * time.Second),
			InputTokens: tokens.Draw(t, "input"), CachedTokens: tokens.Draw(t, "cached"), OutputTokens: tokens.Draw(t, "output"), ThinkingTokens: tokens.Draw(t, "thinking"),
			Billable: rapid.Bool().Draw(t, "billable"), End: rapid.SampledFrom([]berth.End{berth.EndStop, berth.EndBerthCrashed}).Draw(t, "end"),
			Source: rapid.SampledFrom([]berth.Source{berth.SourceEngine, berth.SourceCounted, berth.SourceUnknown}).Draw(t, "source"),
		}
		r.DeploymentID = r.WorkspaceID + "/" + r.DeployedModel
		if rapid.Bool().Draw(t, "reached a replica") {
			r.ReplicaID, r.Nonce = name("replica"), name("nonce")
		}
	}
	return list
}

// sameSums compares the days of deployments and the hours of engines with sums over all
// records.
func (s suite) sameSums(all []berth.UsageRecord, splits []time.Time, lengths []int64) {
	s.Helper()
	zones := map[string]*time.Location{}
	zone := func(workspaceID string) *time.Location {
		if zones[workspaceID] == nil {
			account := view(s, func(tx berth.Tx) (a berth.Account, err error) {
				w, err := tx.Accounts().Workspace(s.Context(), workspaceID)
				if err != nil {
					return a, err
				}
				return tx.Accounts().Account(s.Context(), w.AccountID)
			})
			zones[workspaceID] = s.zone(account.TimeZone)
		}
		return zones[workspaceID]
	}
	days, engines := map[berth.UsageDay]berth.UsageSum{}, map[berth.EngineHour]berth.UsageSum{}
	for _, r := range all {
		d := berth.UsageDay{
			Day: r.StartedAt.In(zone(r.WorkspaceID)).Format(time.DateOnly), WorkspaceID: r.WorkspaceID, KeyID: r.KeyID, DeploymentID: r.DeploymentID,
			DeployedModel: r.DeployedModel, ModelName: r.ModelName, Plan: r.Plan, Class: r.Class,
		}
		for _, n := range lengths {
			if r.InputTokens >= n {
				d.FromTokens = n
			}
		}
		for _, at := range splits {
			if !r.StartedAt.Before(at) {
				d.Epoch = at
			}
		}
		sum := days[d]
		addRecord(&sum, r)
		days[d] = sum
		if r.ReplicaID != "" {
			e := berth.EngineHour{
				ReplicaID: r.ReplicaID, Nonce: r.Nonce, Hour: r.EndedAt.Truncate(time.Hour), Class: r.Class, End: r.End, Source: r.Source, Billable: r.Billable,
			}
			sum := engines[e]
			addRecord(&sum, r)
			engines[e] = sum
		}
	}
	changed := view(s, func(tx berth.Tx) ([]berth.UsageDayKey, error) {
		return tx.Usage().ChangedDays(s.Context(), berth.UsageDayKey{}, 1_000_000)
	})
	for _, key := range changed {
		for _, got := range view(s, func(tx berth.Tx) ([]berth.UsageDay, error) {
			return tx.Usage().Days(s.Context(), []string{key.DeploymentID}, []string{key.Day})
		}) {
			sum := got.UsageSum
			got.UsageSum = berth.UsageSum{}
			s.same(fmt.Sprintf("%+v", got), sum, days[got])
			delete(days, got)
		}
	}
	s.same("days that are missing", len(days), 0)
	hours := view(s, func(tx berth.Tx) ([]berth.EngineHour, error) {
		return tx.Usage().EngineHours(s.Context(), epoch.AddDate(-1, 0, 0), epoch.AddDate(1, 0, 0))
	})
	for _, got := range hours {
		figures := got.UsageFigures
		got.UsageFigures = berth.UsageFigures{}
		s.same(fmt.Sprintf("%+v", got), figures, engines[got].UsageFigures)
		delete(engines, got)
	}
	s.same("hours of engines that are missing", len(engines), 0)
}

// sameTotals compares totals of a drawn period and grouping with sums over all records.
func (s suite) sameTotals(t *rapid.T, all []berth.UsageRecord, spaces []string) {
	bound := rapid.Custom(func(t *rapid.T) time.Time {
		at := epoch.Add(time.Duration(rapid.Int64Range(-110*3600, 1010*3600).Draw(t, "second")) * time.Second)
		zone := s.zone(rapid.SampledFrom([]string{"Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"}).Draw(t, "zone"))
		switch rapid.IntRange(0, 3).Draw(t, "bound") {
		case 0:
			return time.Time{}
		case 1:
			return berth.DayOf(at, zone).Start
		case 2:
			start, _ := berth.HourOf(at, zone)
			return start
		}
		return at
	})
	f := berth.UsageFilter{From: bound.Draw(t, "from"), To: bound.Draw(t, "to")}
	if rapid.Bool().Draw(t, "one workspace") {
		f.WorkspaceID = rapid.SampledFrom(spaces).Draw(t, "workspace")
	}
	if rapid.Bool().Draw(t, "one model") {
		f.DeployedModel = "deployed1"
	}
	if rapid.Bool().Draw(t, "one class") {
		f.Class = berth.ClassProbe
	}
	by := rapid.SliceOfNDistinct(rapid.SampledFrom([]berth.UsageGroup{
		berth.GroupWorkspace, berth.GroupDeployedModel, berth.GroupModelName, berth.GroupKey, berth.GroupPlan, berth.GroupClass,
		berth.GroupHour, berth.GroupDay, berth.GroupMonth,
	}), 0, 4, rapid.ID).Draw(t, "by")
	zones := map[string]*time.Location{}
	for i, name := range []string{"Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		zones[spaces[i]] = s.zone(name)
	}
	want := map[string]berth.UsageTotal{}
	for _, r := range all {
		if r.StartedAt.Before(f.From) || !f.To.IsZero() && !r.StartedAt.Before(f.To) || f.WorkspaceID != "" && r.WorkspaceID != f.WorkspaceID ||
			f.DeployedModel != "" && r.DeployedModel != f.DeployedModel || f.Class != "" && r.Class != f.Class {
			continue
		}
		hour, _ := berth.HourOf(r.StartedAt, zones[r.WorkspaceID])
		local := r.StartedAt.In(zones[r.WorkspaceID])
		values := map[berth.UsageGroup]string{
			berth.GroupWorkspace: r.WorkspaceID, berth.GroupDeployedModel: r.DeployedModel, berth.GroupModelName: r.ModelName, berth.GroupKey: r.KeyID,
			berth.GroupPlan: string(r.Plan), berth.GroupClass: string(r.Class),
			berth.GroupHour: hour.In(zones[r.WorkspaceID]).Format(time.RFC3339), berth.GroupDay: local.Format(time.DateOnly), berth.GroupMonth: local.Format("2006-01"),
		}
		group := map[berth.UsageGroup]string{}
		for _, g := range by {
			group[g] = values[g]
		}
		key := fmt.Sprint(group)
		sum := want[key]
		sum.Group = group
		addRecord(&sum.UsageSum, r)
		want[key] = sum
	}
	got := s.totals(f, by)
	if len(got) != len(want) {
		t.Fatalf("%d rows of %+v by %v, want %d", len(got), f, by, len(want))
	}
	for _, row := range got {
		if w := want[fmt.Sprint(row.Group)]; row.UsageSum != w.UsageSum {
			t.Fatalf("%v of %+v: got %+v, want %+v", row.Group, f, row.UsageSum, w.UsageSum)
		}
	}
}
