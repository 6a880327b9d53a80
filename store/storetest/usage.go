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
		got := s.records(berth.UsageFilter{})
		s.same("records", got, []berth.UsageRecord{once, record(2, epoch)})
	}},
	{"pages of usage records go on after a cursor, without a gap or a repeat, while more are written", func(s suite) {
		var seen []string
		cursor := ""
		for i := range 10 {
			s.insertUsage(record(2*i, epoch), record(2*i+1, epoch))
			if i == 0 {
				s.insertUsage(record(99, epoch.Add(time.Hour))) // so that there is a page behind
			}
			page, next := s.page(berth.UsageFilter{}, cursor, 2)
			for _, r := range page {
				seen = append(seen, r.ID)
			}
			cursor = next
		}
		s.same("records seen", len(seen), 20)
		if !slices.IsSorted(seen) {
			s.Errorf("not in order: %v", seen)
		}
		last, next := s.page(berth.UsageFilter{}, cursor, 2)
		s.same("the last page", last, []berth.UsageRecord{record(99, epoch.Add(time.Hour))})
		s.same("the cursor after it", next, "")
		s.refuse(berth.CodeInvalid, func(tx berth.Tx) error {
			_, _, err := tx.Usage().Records(s.Context(), berth.UsageFilter{}, "use_1", 2)
			return err
		})
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
			s.same(what, s.records(f), []berth.UsageRecord{one})
			totals := s.totals(f, nil)
			s.same(what+": totals", totals, []berth.UsageTotal{total(map[berth.UsageGroup]string{}, one)})
		}
		s.same("from, inclusive", s.records(berth.UsageFilter{From: other.StartedAt}), []berth.UsageRecord{other})
		s.same("nothing", len(s.totals(berth.UsageFilter{WorkspaceID: "llm-none"}, nil)), 0)
	}},
	{"totals are grouped, summed and in the order of the groups", func(s suite) {
		a1, a2, b := record(1, epoch), record(2, epoch), record(3, epoch)
		b.DeployedModel = "a-earlier-name"
		a2.Plan = berth.PlanPTU
		s.insertUsage(a1, a2, b)
		s.same("by deployed model", s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupDeployedModel}), []berth.UsageTotal{
			total(map[berth.UsageGroup]string{berth.GroupDeployedModel: "a-earlier-name"}, b),
			total(map[berth.UsageGroup]string{berth.GroupDeployedModel: a1.DeployedModel}, a1, a2),
		})
		s.same("by plan and model", s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupPlan, berth.GroupModelName}), []berth.UsageTotal{
			total(map[berth.UsageGroup]string{berth.GroupPlan: "mu", berth.GroupModelName: "model"}, a1, b),
			total(map[berth.UsageGroup]string{berth.GroupPlan: "ptu", berth.GroupModelName: "model"}, a2),
		})
		s.same("by key", s.totals(berth.UsageFilter{}, []berth.UsageGroup{berth.GroupKey}), []berth.UsageTotal{
			total(map[berth.UsageGroup]string{berth.GroupKey: "key"}, a1, a2, b),
		})
		s.refuse(berth.CodeInvalid, func(tx berth.Tx) error {
			return second(tx.Usage().Totals(s.Context(), berth.UsageFilter{}, []berth.UsageGroup{"id; --"}))
		})
	}},
	{"a day is a day of the account's zone, also when its clocks change", func(s suite) {
		// Clocks in New York went forward on 8 March 2026 and Kathmandu is 5:45 ahead.
		for i, name := range []string{"America/New_York", "Asia/Kathmandu", "UTC", "Australia/Lord_Howe"} {
			zone, space := s.zone(name), s.space(i, name)
			var all []berth.UsageRecord
			for day := 6; day <= 10; day++ {
				midnight := time.Date(2026, 3, day, 0, 0, 0, 0, zone)
				for n, at := range []time.Time{midnight.Add(-1), midnight} {
					r := record(1000*i+10*day+n, at.UTC())
					r.WorkspaceID = space
					all = append(all, r)
				}
			}
			s.insertUsage(all...)
			for group, layout := range map[berth.UsageGroup]string{
				berth.GroupDay: time.DateOnly, berth.GroupMonth: "2006-01", berth.GroupHour: "2006-01-02T15:00:00Z07:00",
			} {
				want := map[string][]berth.UsageRecord{}
				for _, r := range all {
					value := r.StartedAt.In(zone).Format(layout)
					want[value] = append(want[value], r)
				}
				got := s.totals(berth.UsageFilter{WorkspaceID: space}, []berth.UsageGroup{group})
				s.same("rows in "+name, len(got), len(want))
				for _, t := range got {
					s.same(t.Group[group]+" in "+name, t, total(t.Group, want[t.Group[group]]...))
				}
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
	t := berth.UsageTotal{Group: group}
	for _, r := range records {
		addRecord(&t.UsageSum, r)
	}
	return t
}

// addRecord is the slow reference of sums.
func addRecord(s *berth.UsageSum, r berth.UsageRecord) {
	figures := []*berth.UsageFigures{&s.UsageFigures}
	if r.Billable {
		figures = append(figures, &s.Billable)
	}
	for _, f := range figures {
		f.Calls++
		f.InputTokens += r.InputTokens
		f.CachedTokens += r.CachedTokens
		f.OutputTokens += r.OutputTokens
		f.ThinkingTokens += r.ThinkingTokens
	}
	if r.Source == berth.SourceUnknown {
		s.UnknownCalls++
	}
	if r.Source == berth.SourceCounted {
		s.CountedCalls++
	}
}

func (s suite) insertUsage(records ...berth.UsageRecord) {
	s.Helper()
	s.write(func(tx berth.Tx) error { return tx.Usage().Insert(s.Context(), records) })
}

func (s suite) page(f berth.UsageFilter, cursor string, limit int64) (list []berth.UsageRecord, next string) {
	s.Helper()
	list = view(s, func(tx berth.Tx) (list []berth.UsageRecord, err error) {
		list, next, err = tx.Usage().Records(s.Context(), f, cursor, limit)
		return list, err
	})
	return list, next
}

// records returns the first ten.
func (s suite) records(f berth.UsageFilter) []berth.UsageRecord {
	s.Helper()
	list, _ := s.page(f, "", 10)
	return list
}

func (s suite) totals(f berth.UsageFilter, by []berth.UsageGroup) []berth.UsageTotal {
	s.Helper()
	return view(s, func(tx berth.Tx) ([]berth.UsageTotal, error) {
		return tx.Usage().Totals(s.Context(), f, by)
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

// space makes a workspace of an account in the given zone and returns its id.
func (s suite) space(n int, zone string) string {
	s.Helper()
	id := numbered("", n)
	s.write(func(tx berth.Tx) error {
		err := tx.Accounts().InsertAccount(s.Context(), berth.Account{ID: id, TimeZone: zone})
		return first(err, tx.Accounts().InsertWorkspace(s.Context(), berth.Workspace{ID: "llm-" + id, Name: id, AccountID: id}))
	})
	return "llm-" + id
}
