package storetest

import (
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

var usage = []promise{
	{"the fold of a journal is kept with the records of its transaction, or not at all", func(s suite) {
		fold := func() berth.Fold {
			return view(s, func(tx berth.Tx) (berth.Fold, error) { return tx.Usage().Fold(s.Context(), "one") })
		}
		s.same("never folded", fold(), berth.Fold{Instance: "one"})
		for position := range int64(2) {
			want := berth.Fold{Instance: "one", Position: 1<<40 + position, Life: 7 + position}
			s.write(func(tx berth.Tx) error {
				if err := tx.Usage().PutFold(s.Context(), want); err != nil {
					return err
				}
				return tx.Usage().PutFold(s.Context(), berth.Fold{Instance: "two", Position: 5})
			})
			s.same("folded", fold(), want)
		}
	}},
	{"a usage record that comes again changes nothing", func(s suite) {
		once := record(1, epoch)
		s.insertUsage(once, once)
		again := once
		again.InputTokens++
		s.insertUsage(again, record(2, epoch))
		got := s.records(berth.UsageFilter{}, "", 10)
		s.same("records", got, []berth.UsageRecord{once, record(2, epoch)})
	}},
	{"pages of usage records go on after an id, without a gap or a repeat, while more are written", func(s suite) {
		var seen []string
		after := ""
		for i := range 10 {
			s.insertUsage(record(2*i, epoch), record(2*i+1, epoch))
			page := s.records(berth.UsageFilter{}, after, 2)
			for _, r := range page {
				seen = append(seen, r.ID)
				after = r.ID
			}
		}
		s.same("records seen", len(seen), 20)
		if !slices.IsSorted(seen) {
			s.Errorf("not in order of id: %v", seen)
		}
	}},
	{"a filter selects usage by workspace, deployed model, key and time", func(s suite) {
		one := record(1, epoch)
		other := record(2, epoch.Add(time.Hour))
		other.WorkspaceID, other.DeployedModel, other.KeyID = otherSpaceID, "other", "key_other"
		s.insertUsage(one, other)
		for what, f := range map[string]berth.UsageFilter{
			"workspace":         {WorkspaceID: workspaceID},
			"deployed model":    {DeployedModel: one.DeployedModel},
			"key":               {KeyID: one.KeyID},
			"up to, exclusive":  {To: other.StartedAt},
			"from and up to":    {From: one.StartedAt, To: one.StartedAt.Add(1)},
			"all of it at once": {WorkspaceID: workspaceID, DeployedModel: one.DeployedModel, KeyID: one.KeyID, To: other.StartedAt},
		} {
			s.same(what, s.records(f, "", 10), []berth.UsageRecord{one})
			totals := s.totals(f, nil, nil)
			s.same(what+": totals", totals, []berth.UsageTotal{total(map[berth.UsageGroup]string{}, one)})
		}
		s.same("from, inclusive", s.records(berth.UsageFilter{From: other.StartedAt}, "", 10), []berth.UsageRecord{other})
		s.same("nothing", len(s.totals(berth.UsageFilter{WorkspaceID: "llm-none"}, nil, nil)), 0)
	}},
	{"totals are grouped, summed and in the order of the groups", func(s suite) {
		a1, a2, b := record(1, epoch), record(2, epoch), record(3, epoch)
		b.DeployedModel = "a-earlier-name"
		a2.Plan = berth.PlanPTU
		s.insertUsage(a1, a2, b)
		s.same("by deployed model", s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupDeployedModel}, nil), []berth.UsageTotal{
			total(map[berth.UsageGroup]string{berth.GroupDeployedModel: "a-earlier-name"}, b),
			total(map[berth.UsageGroup]string{berth.GroupDeployedModel: a1.DeployedModel}, a1, a2),
		})
		s.same("by plan and model", s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupPlan, berth.GroupModelName}, nil), []berth.UsageTotal{
			total(map[berth.UsageGroup]string{berth.GroupPlan: "mu", berth.GroupModelName: "model"}, a1, b),
			total(map[berth.UsageGroup]string{berth.GroupPlan: "ptu", berth.GroupModelName: "model"}, a2),
		})
		s.same("by key", s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupKey}, nil), []berth.UsageTotal{
			total(map[berth.UsageGroup]string{berth.GroupKey: "key"}, a1, a2, b),
		})
		s.refuse(berth.CodeInvalid, func(tx berth.Tx) error {
			return second(tx.Usage().Totals(s.Context(), berth.UsageFilter{}, []berth.UsageGroup{"id; --"}, nil))
		})
	}},
	{"a day is a day of the zone, also when its clocks change", func(s suite) {
		// Clocks in New York went forward on 8 March 2026 and Kathmandu is 5:45 ahead.
		newYork, kathmandu := s.zone("America/New_York"), s.zone("Asia/Kathmandu")
		var times []time.Time
		for _, zone := range []*time.Location{newYork, kathmandu} {
			for day := 7; day <= 10; day++ {
				midnight := time.Date(2026, 3, day, 0, 0, 0, 0, zone)
				times = append(times, midnight.Add(-1), midnight)
			}
		}
		var all []berth.UsageRecord
		for i, at := range times {
			all = append(all, record(i, at.UTC()))
		}
		s.insertUsage(all...)
		for _, zone := range []*time.Location{newYork, kathmandu, time.UTC} {
			days := map[string][]berth.UsageRecord{}
			for _, r := range all {
				day := r.StartedAt.In(zone).Format(time.DateOnly)
				days[day] = append(days[day], r)
			}
			got := s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupDay}, zone)
			s.same("days in "+zone.String(), len(got), len(days))
			for _, t := range got {
				day := t.Group[berth.GroupDay]
				s.same(day+" in "+zone.String(), t, total(t.Group, days[day]...))
			}
		}
	}},
}

// record returns a record of the first workspace that was admitted at the given time.
func record(n int, at time.Time) berth.UsageRecord {
	tokens := int64(n + 1)
	return berth.UsageRecord{
		ID: numbered("use_", n), WorkspaceID: workspaceID, KeyID: "key", DeployedModel: "deployed", ModelName: "model",
		Plan: berth.PlanMU, StartedAt: at, EndedAt: at.Add(time.Second),
		InputTokens: 1000 * tokens, CachedTokens: 100 * tokens, OutputTokens: 10 * tokens, ThinkingTokens: tokens,
	}
}

// total is what the sum of records should be.
func total(group map[berth.UsageGroup]string, records ...berth.UsageRecord) berth.UsageTotal {
	t := berth.UsageTotal{Group: group, Calls: int64(len(records))}
	for _, r := range records {
		t.InputTokens += r.InputTokens
		t.CachedTokens += r.CachedTokens
		t.OutputTokens += r.OutputTokens
		t.ThinkingTokens += r.ThinkingTokens
	}
	return t
}

func (s suite) insertUsage(records ...berth.UsageRecord) {
	s.Helper()
	s.write(func(tx berth.Tx) error { return tx.Usage().Insert(s.Context(), records) })
}

func (s suite) records(f berth.UsageFilter, after string, limit int64) []berth.UsageRecord {
	s.Helper()
	return view(s, func(tx berth.Tx) ([]berth.UsageRecord, error) {
		return tx.Usage().Records(s.Context(), f, after, limit)
	})
}

func (s suite) totals(f berth.UsageFilter, by []berth.UsageGroup, zone *time.Location) []berth.UsageTotal {
	s.Helper()
	return view(s, func(tx berth.Tx) ([]berth.UsageTotal, error) {
		return tx.Usage().Totals(s.Context(), f, by, zone)
	})
}

func (s suite) zone(name string) *time.Location {
	s.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		s.Fatal(err)
	}
	return zone
}
