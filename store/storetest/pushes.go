package storetest

import (
	"time"

	berth "github.com/berthhq/berth"
)

// pushed returns what waits for the push URL: the ids of records, then of notices.
func (s suite) pushed(limit int64) (records []string, last int64, notices []berth.Notice) {
	s.Helper()
	err := s.store.View(s.Context(), func(tx berth.Tx) error {
		records = nil
		list, n, err := tx.Pushes().Records(s.Context(), limit)
		if err != nil {
			return err
		}
		for _, r := range list {
			records = append(records, r.ID)
		}
		last = n
		notices, err = tx.Pushes().Notices(s.Context(), limit)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return records, last, notices
}

func (s suite) waiting() [2]int64 {
	s.Helper()
	return view(s, func(tx berth.Tx) ([2]int64, error) {
		w, err := tx.Pushes().Waiting(s.Context())
		return [2]int64{w.Records, w.Notices}, err
	})
}

func (s suite) event(id string) {
	s.Helper()
	s.write(func(tx berth.Tx) error {
		return tx.Events().Append(s.Context(), berth.Event{ID: id, DeploymentID: deploymentID, At: epoch, Status: berth.StatusRunning, Reason: "It serves."})
	})
}

var pushes = []promise{
	{"news of a budget are kept once, and told to the push URL once", func(s suite) {
		s.settle()
		n := berth.BudgetNews{
			ID: "bud_llm-1_2026-10_100_stopped", At: epoch, AccountID: "1", WorkspaceID: "llm-1", Month: "2026-10", Kind: berth.BudgetStopped, Amount: 100, Spent: 120, Currency: "CNY",
		}
		var firsts []bool
		tell := func(tx berth.Tx) error {
			first, err := tx.Accounts().TellBudget(s.Context(), n)
			firsts = append(firsts, first)
			return err
		}
		s.write(func(tx berth.Tx) error { return tx.Pushes().Begin(s.Context(), true) })
		s.write(tell)
		n.Spent = 130
		s.write(tell)
		if len(firsts) < 2 || !firsts[0] || firsts[len(firsts)-1] {
			s.Errorf("the first were %v", firsts)
		}
		n.Spent = 120
		if _, _, notices := s.pushed(10); len(notices) != 1 || !notices[0].Budget.At.Equal(n.At) {
			s.Errorf("%+v wait", notices)
		} else if notices[0].Budget.At = n.At; notices[0].Budget != n {
			s.Errorf("%+v waits", notices[0].Budget)
		}
	}},
	{"without a push nothing waits for one", func(s suite) {
		s.settle()
		s.insertUsage(record(1, epoch))
		s.event("evt_1")
		records, last, notices := s.pushed(10)
		if len(records) > 0 || last != 0 || len(notices) > 0 || s.waiting() != [2]int64{} {
			s.Errorf("%v, %d, %v, %v wait", records, last, notices, s.waiting())
		}
	}},
	{"a push begins with what is written from then on, in the order of writing, and goes on where it was", func(s suite) {
		s.settle()
		begin := func(tx berth.Tx) error { return tx.Pushes().Begin(s.Context(), true) }
		s.insertUsage(record(1, epoch))
		s.write(begin)
		s.write(begin)
		s.insertUsage(record(9, epoch.Add(time.Hour)), record(5, epoch))
		s.insertUsage(record(2, epoch), record(9, epoch.Add(time.Hour))) // an earlier id that came late, and a repeat
		all := []string{record(9, epoch).ID, record(5, epoch).ID, record(2, epoch).ID}
		records, _, _ := s.pushed(10)
		s.same("in the order of writing", records, all)
		records, last, _ := s.pushed(2)
		s.same("a page", records, all[:2])
		s.write(func(tx berth.Tx) error { return tx.Pushes().Delivered(s.Context(), last) })
		s.write(func(tx berth.Tx) error { return tx.Pushes().Delivered(s.Context(), last-1) })
		records, last, _ = s.pushed(10)
		s.same("the rest", records, all[2:])
		s.write(func(tx berth.Tx) error { return tx.Pushes().End(s.Context()) })
		s.insertUsage(record(12, epoch))
		s.write(begin)
		records, _, _ = s.pushed(10)
		s.same("the push was off meanwhile", records, []string{all[2], record(12, epoch).ID})
		s.write(func(tx berth.Tx) error { return tx.Pushes().Delivered(s.Context(), last) })
		if n := s.waiting(); n[0] < 1 || n[1] != 0 {
			s.Errorf("%v wait", n)
		}
	}},
	{"a record that is pushed is whole", func(s suite) {
		s.write(func(tx berth.Tx) error { return tx.Pushes().Begin(s.Context(), true) })
		want := record(3, epoch)
		s.insertUsage(want)
		got := view(s, func(tx berth.Tx) ([]berth.UsageRecord, error) {
			list, _, err := tx.Pushes().Records(s.Context(), 10)
			return list, err
		})
		s.same("pushed", got, []berth.UsageRecord{want})
	}},
	{"an event of a deployment and a closed month wait until they are forgotten, and only if they were committed", func(s suite) {
		s.settle()
		s.write(func(tx berth.Tx) error { return tx.Pushes().Begin(s.Context(), true) })
		s.event("evt_1")
		month := berth.Month{AccountID: accountID, Month: "2026-10", ClosedAt: epoch}
		s.write(func(tx berth.Tx) error { return tx.Lines().Close(s.Context(), month) })
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error {
			if err := tx.Events().Append(s.Context(), berth.Event{ID: "evt_2", DeploymentID: deploymentID}); err != nil {
				return err
			}
			return tx.Lines().Close(s.Context(), month)
		})
		s.event("evt_3")
		_, _, notices := s.pushed(10)
		if len(notices) != 3 {
			s.Fatalf("%d notices", len(notices))
		}
		for i, want := range []string{"evt_1", "", "evt_3"} {
			n := notices[i]
			if n.Event.ID != want || (want != "") != (n.Deployment.ID == deploymentID) || i > 0 && n.Number <= notices[i-1].Number {
				s.Errorf("notice %d is %+v", i, n)
			}
		}
		s.same("month", notices[1].Month, month)
		s.same("waiting", s.waiting(), [2]int64{0, 3})
		s.write(func(tx berth.Tx) error {
			return tx.Pushes().Forget(s.Context(), []int64{notices[0].Number, notices[1].Number})
		})
		_, _, notices = s.pushed(1)
		s.same("left", notices[0].Event.ID, "evt_3")
		s.write(func(tx berth.Tx) error { return tx.Pushes().End(s.Context()) })
		s.event("evt_4")
		s.same("waiting", s.waiting(), [2]int64{0, 1})
	}},
	{"what is deleted with age before a push took it is counted once, and what waits has an age", func(s suite) {
		s.settle()
		ctx := s.Context()
		state := func() berth.PushWaiting {
			s.Helper()
			return view(s, func(tx berth.Tx) (berth.PushWaiting, error) { return tx.Pushes().Waiting(ctx) })
		}
		rate := func() {
			s.Helper()
			s.write(func(tx berth.Tx) error {
				days, err := tx.Usage().ChangedDays(ctx, berth.UsageDayKey{}, 100)
				return first(err, tx.Usage().Rated(ctx, days))
			})
		}
		expire := func(before time.Time) {
			s.Helper()
			for range 3 { // a row each
				s.write(func(tx berth.Tx) error { return second(tx.Usage().Expire(ctx, workspaceID, before, 1)) })
			}
		}
		begin := func(records bool) {
			s.Helper()
			s.write(func(tx berth.Tx) error { return tx.Pushes().Begin(ctx, records) })
		}
		const day = 24 * time.Hour
		at := func(n int) time.Time { return epoch.Add(time.Duration(n) * 10 * day) }
		s.insertUsage(record(1, at(0)))
		rate()
		expire(at(1))
		s.same("before the push", state(), berth.PushWaiting{})

		begin(true)
		s.insertUsage(record(2, at(2)), record(3, at(2)))
		rate()
		_, last, _ := s.pushed(1)
		s.write(func(tx berth.Tx) error { return tx.Pushes().Delivered(ctx, last) })
		ended := view(s, func(tx berth.Tx) (time.Time, error) {
			list, _, err := tx.Pushes().Records(ctx, 1)
			if len(list) != 1 {
				return time.Time{}, err
			}
			return list[0].EndedAt, err
		})
		s.same("one waits", state(), berth.PushWaiting{Records: 1, Oldest: ended})
		expire(at(3))
		s.same("it was deleted", state(), berth.PushWaiting{Lost: 1})

		begin(false) // of other events only
		s.insertUsage(record(4, at(4)))
		rate()
		s.same("not wanted", state(), berth.PushWaiting{Lost: 1})
		expire(at(5))
		begin(true)
		s.write(func(tx berth.Tx) error { return tx.Pushes().End(ctx) })
		s.insertUsage(record(5, at(6)))
		rate()
		expire(at(7))
		s.same("nobody listened", state().Lost, int64(1))

		begin(true)
		s.event("evt_1")
		s.write(func(tx berth.Tx) error {
			buried := deployment("dep_buried", 0)
			buried.DeletedAt = epoch
			return first(tx.Deployments().Insert(ctx, buried), tx.Events().Append(ctx, berth.Event{ID: "evt_2", DeploymentID: buried.ID, At: epoch.Add(-time.Hour)}))
		})
		s.same("events wait", state(), berth.PushWaiting{Notices: 2, Oldest: epoch, Lost: 1})
		for range 3 {
			s.write(func(tx berth.Tx) error { return second(tx.Deployments().Forget(ctx, "dep_buried", 1)) })
		}
		s.same("one's deployment was deleted", state(), berth.PushWaiting{Notices: 1, Oldest: epoch, Lost: 2})
	}},
}
