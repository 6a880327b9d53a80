package storetest

import (
	"fmt"
	"math"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

// posting moves an amount from the cash of the suite's account to its customer.
func posting(id, reference string, nano berth.Nano) berth.Posting {
	return berth.Posting{
		ID: id, At: epoch, AccountID: accountID, WorkspaceID: workspaceID, DeploymentID: "dep_" + reference,
		Cause: berth.CausePayment, Reference: reference, Currency: "CNY",
		Entries: []berth.Entry{{Side: berth.CashSide(accountID), Nano: -nano}, {Side: berth.CustomerSide(accountID), Nano: nano}},
	}
}

// posted is the error of a posting.
func posted(_ bool, err error) error { return err }

var money = []promise{
	{"prices are kept in order of the moment from which they hold", func(s suite) {
		later, sooner := filled[berth.Price](), filled[berth.Price]()
		sooner.ID, sooner.From = "price_z", later.From.Add(-time.Second)
		s.write(func(tx berth.Tx) error {
			return first(tx.Prices().Insert(s.Context(), later), tx.Prices().Insert(s.Context(), sooner))
		})
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error { return tx.Prices().Insert(s.Context(), later) })
		s.same("prices", view(s, func(tx berth.Tx) ([]berth.Price, error) { return tx.Prices().List(s.Context()) }), []berth.Price{sooner, later})
		s.same("their number", view(s, func(tx berth.Tx) (int64, error) { return tx.Prices().Count(s.Context()) }), int64(2))
	}},
	{"an account can be changed", func(s suite) {
		s.settle()
		a := filled[berth.Account]()
		a.ID = accountID
		s.write(func(tx berth.Tx) error { return tx.Accounts().UpdateAccount(s.Context(), a) })
		s.same("account", view(s, func(tx berth.Tx) (berth.Account, error) { return tx.Accounts().Account(s.Context(), accountID) }), a)
		a.CreditLimit = nil
		s.write(func(tx berth.Tx) error { return tx.Accounts().UpdateAccount(s.Context(), a) })
		s.same("without a limit", view(s, func(tx berth.Tx) (berth.Account, error) { return tx.Accounts().Account(s.Context(), accountID) }), a)
	}},
	{"a deployment has one run that goes on, which ends once and is unrated until it is said to be rated", func(s suite) {
		ctx := s.Context()
		r := filled[berth.Run]()
		r.ID, r.EndedAt, r.RatedTo, r.StartedAt, r.Steps[0].At = "svc_1", time.Time{}, time.Time{}, epoch, epoch
		r.Steps[1].At = epoch.Add(time.Hour)
		second := r
		second.ID, second.StartedAt, second.Steps = "svc_2", epoch.Add(3*time.Hour), nil
		s.write(func(tx berth.Tx) error { return tx.Runs().Insert(ctx, r) })
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error { return tx.Runs().Insert(ctx, second) })
		s.same("run", view(s, func(tx berth.Tx) (berth.Run, error) { return tx.Runs().Of(ctx, r.DeploymentID) }), r)
		step := berth.RunStep{At: r.Steps[1].At, Units: 7}
		s.write(func(tx berth.Tx) error { return tx.Runs().Rated(ctx, r.ID, epoch.Add(150*time.Minute)) })
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return tx.Runs().Rated(ctx, "svc_none", epoch) })
		s.write(func(tx berth.Tx) error {
			return first(tx.Runs().Step(ctx, r.ID, step), tx.Runs().End(ctx, r.ID, epoch.Add(2*time.Hour)), tx.Runs().Insert(ctx, second))
		})
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return tx.Runs().End(ctx, r.ID, epoch) })
		r.Steps[1], r.EndedAt, r.RatedTo = step, epoch.Add(2*time.Hour), step.At
		during := func(from, to time.Duration) []berth.Run {
			return view(s, func(tx berth.Tx) ([]berth.Run, error) {
				return tx.Runs().During(ctx, []string{r.DeploymentID}, epoch.Add(from), epoch.Add(to))
			})
		}
		s.same("during the first", during(0, time.Minute), []berth.Run{r})
		s.same("between", during(2*time.Hour, 3*time.Hour), []berth.Run(nil))
		s.same("during both", during(time.Hour, 9*time.Hour), []berth.Run{r, second})
		s.same("one", view(s, func(tx berth.Tx) (berth.Run, error) { return tx.Runs().Get(ctx, r.ID) }), r)
		s.same("live", view(s, func(tx berth.Tx) ([]berth.Run, error) { return tx.Runs().Live(ctx) }), []berth.Run{second})
		unrated := func(after string) []string {
			list := view(s, func(tx berth.Tx) ([]berth.Run, error) { return tx.Runs().Unrated(ctx, after, 10) })
			return ids(list, func(r berth.Run) string { return r.ID })
		}
		s.same("unrated", unrated(""), []string{"svc_1", "svc_2"})
		s.write(func(tx berth.Tx) error { return tx.Runs().Rated(ctx, r.ID, epoch.Add(2*time.Hour-1)) })
		s.same("unrated before its end", unrated(""), []string{"svc_1", "svc_2"})
		s.write(func(tx berth.Tx) error { return tx.Runs().Rated(ctx, r.ID, epoch.Add(2*time.Hour)) })
		s.same("unrated then", unrated(""), []string{"svc_2"})
	}},
	{"orders are kept by deployment and time, and are unrated until they are said to be rated", func(s suite) {
		ctx := s.Context()
		o := filled[berth.Order]()
		o.ID, o.At = "ord_1", epoch
		later := o
		later.ID, later.At = "ord_2", epoch.Add(time.Hour)
		other := o
		other.ID, other.DeploymentID = "ord_3", "dep_other"
		s.write(func(tx berth.Tx) error {
			return first(tx.Orders().Insert(ctx, later), tx.Orders().Insert(ctx, o), tx.Orders().Insert(ctx, other))
		})
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error { return tx.Orders().Insert(ctx, o) })
		of := func(to time.Duration) []berth.Order {
			return view(s, func(tx berth.Tx) ([]berth.Order, error) {
				return tx.Orders().Of(ctx, []string{o.DeploymentID}, epoch, epoch.Add(to))
			})
		}
		s.same("of an hour", of(time.Hour), []berth.Order{o})
		s.same("of more", of(time.Hour+1), []berth.Order{o, later})
		unrated := func(limit int64) []string {
			return ids(view(s, func(tx berth.Tx) ([]berth.Order, error) { return tx.Orders().Unrated(ctx, "", limit) }), func(o berth.Order) string { return o.ID })
		}
		s.same("unrated", unrated(2), []string{"ord_1", "ord_2"})
		s.write(func(tx berth.Tx) error { return tx.Orders().Rated(ctx, "ord_1") })
		s.same("unrated then", unrated(9), []string{"ord_2", "ord_3"})
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return tx.Orders().Rated(ctx, "ord_9") })
	}},
	{"the latest beat of an instance is kept", func(s suite) {
		ctx := s.Context()
		last := func(instance string) time.Time {
			return view(s, func(tx berth.Tx) (time.Time, error) { return tx.Runs().LastBeat(ctx, instance) })
		}
		s.same("before the first", last("a"), time.Time{})
		s.write(func(tx berth.Tx) error {
			return first(tx.Runs().Beat(ctx, "a", epoch.Add(time.Second)), tx.Runs().Beat(ctx, "a", epoch), tx.Runs().Beat(ctx, "b", epoch))
		})
		s.same("of one", last("a"), epoch.Add(time.Second))
		s.same("of another", last("b"), epoch)
	}},
	{"lines are replaced by their key, listed by month and day, and added up by workspace", func(s suite) {
		ctx := s.Context()
		l := filled[berth.Line]()
		l.Month, l.Day, l.Currency, l.Amount = "2026-03", "2026-03-02", "CNY", 5
		more := l
		more.Quantity, more.Amount = l.Quantity+1, 7
		late := l
		late.Day, late.Amount = "2026-02-28", 100
		other := l
		other.WorkspaceID, other.DeploymentID, other.Amount = "llm-other", "dep_other", 1000
		s.write(func(tx berth.Tx) error {
			return first(tx.Lines().Put(ctx, l), tx.Lines().Put(ctx, more), tx.Lines().Put(ctx, late), tx.Lines().Put(ctx, other))
		})
		month := func(workspace string) []berth.Line {
			return view(s, func(tx berth.Tx) ([]berth.Line, error) {
				return tx.Lines().Month(ctx, l.AccountID, "2026-03", workspace)
			})
		}
		s.same("of a workspace", month(l.WorkspaceID), []berth.Line{late, more})
		s.same("how many of all", len(month("")), 3)
		s.same("of a day", view(s, func(tx berth.Tx) ([]berth.Line, error) {
			return tx.Lines().Of(ctx, []string{l.DeploymentID}, []string{l.Day})
		}), []berth.Line{more})
		s.same("spent", view(s, func(tx berth.Tx) (berth.Nano, error) { return tx.Lines().Spent(ctx, l.WorkspaceID, "2026-03", "CNY") }), berth.Nano(7))
		s.same("spent in another month", view(s, func(tx berth.Tx) (berth.Nano, error) { return tx.Lines().Spent(ctx, l.WorkspaceID, "2026-04", "CNY") }), berth.Nano(0))
	}},
	{"a line says how much of it was posted, which another quantity does not change", func(s suite) {
		ctx := s.Context()
		l := filled[berth.Line]()
		l.Day, l.Currency, l.Amount, l.Posted, l.Postings, l.PostedAt = "2026-03-02", "CNY", 5, 0, 0, epoch
		other := l
		other.Day, other.Amount, other.PostedAt = "2026-03-03", 7, epoch.Add(-time.Second)
		even := l
		even.Day, even.Posted = "2026-03-04", even.Amount
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return tx.Lines().Posted(ctx, l) })
		s.write(func(tx berth.Tx) error {
			return first(tx.Lines().Put(ctx, l), tx.Lines().Put(ctx, other), tx.Lines().Put(ctx, even))
		})
		growing := func(account string, before time.Time, limit int64) []berth.Line {
			return view(s, func(tx berth.Tx) ([]berth.Line, error) { return tx.Lines().Growing(ctx, account, before, limit) })
		}
		s.same("growing", growing(l.AccountID, epoch.Add(1), 9), []berth.Line{other, l})
		s.same("the first of all", growing("", epoch.Add(1), 1), []berth.Line{other})
		s.same("last posted earlier", growing("", epoch, 9), []berth.Line{other})
		s.same("of another account", growing("77", epoch.Add(1), 9), []berth.Line(nil))
		unposted := func() berth.Nano {
			return view(s, func(tx berth.Tx) (berth.Nano, error) { return tx.Lines().Unposted(ctx, l.AccountID, "CNY") })
		}
		s.same("unposted", unposted(), berth.Nano(12))
		l.Posted, l.Postings, l.PostedAt = 5, 1, epoch.Add(time.Hour)
		s.write(func(tx berth.Tx) error { return tx.Lines().Posted(ctx, l) })
		s.same("unposted then", unposted(), berth.Nano(7))
		l.Quantity, l.Amount = l.Quantity+1, 6
		again := l
		again.Posted, again.Postings, again.PostedAt = 0, 0, time.Time{}
		s.write(func(tx berth.Tx) error { return tx.Lines().Put(ctx, again) })
		s.same("put again", view(s, func(tx berth.Tx) ([]berth.Line, error) {
			return tx.Lines().Of(ctx, []string{l.DeploymentID}, []string{l.Day})
		}), []berth.Line{l})
		s.same("unposted after that", unposted(), berth.Nano(8))
		s.same("days", view(s, func(tx berth.Tx) ([]string, error) { return tx.Lines().Days(ctx, l.DeploymentID, "2026-03-03") }), []string{"2026-03-03", "2026-03-04"})
	}},
	{"lines, runs and orders of many deployments are read and written at once", func(s suite) {
		ctx := s.Context()
		var lines []berth.Line
		var ids []string
		for i := range 150 {
			l := filled[berth.Line]()
			l.DeploymentID, l.Day, l.Posted, l.Amount = fmt.Sprintf("dep_%03d", i%75), fmt.Sprintf("2026-03-0%d", 1+i/75), 0, berth.Nano(i+1)
			lines = append(lines, l)
			if i < 75 {
				ids = append(ids, l.DeploymentID)
			}
		}
		s.write(func(tx berth.Tx) error { return tx.Lines().Put(ctx, lines...) })
		read := func(deployments, days []string) []berth.Line {
			return view(s, func(tx berth.Tx) ([]berth.Line, error) { return tx.Lines().Of(ctx, deployments, days) })
		}
		s.same("all", read(ids, []string{"2026-03-01", "2026-03-02"}), lines)
		s.same("of a day and three", read(ids[4:7], []string{"2026-03-02"}), lines[79:82])
		s.same("of nobody", len(read(nil, []string{"2026-03-02"})), 0)
		for i := range lines {
			lines[i].Posted, lines[i].Postings, lines[i].PostedAt = lines[i].Amount, int64(i), epoch.Add(time.Duration(i))
		}
		missing := lines[0]
		missing.DeploymentID = "dep_none"
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error { return tx.Lines().Posted(ctx, append(slices.Clone(lines), missing)...) })
		s.write(func(tx berth.Tx) error { return tx.Lines().Posted(ctx, lines...) })
		s.same("posted", read(ids, []string{"2026-03-01", "2026-03-02"}), lines)

		var runs []berth.Run
		for i := range 70 {
			r := filled[berth.Run]()
			r.ID, r.DeploymentID, r.StartedAt, r.EndedAt, r.RatedTo = fmt.Sprintf("svc_%03d", i), ids[i], epoch.Add(time.Duration(i)*time.Second), time.Time{}, time.Time{}
			r.Steps = []berth.RunStep{{At: r.StartedAt, Units: int64(i)}, {At: r.StartedAt.Add(1), Units: 1}}
			runs = append(runs, r)
		}
		orders := []berth.Order{filled[berth.Order](), filled[berth.Order]()}
		for i := range orders {
			orders[i].ID, orders[i].DeploymentID, orders[i].At = fmt.Sprint("ord_", i), ids[i], epoch
		}
		s.write(func(tx berth.Tx) error {
			for _, r := range runs {
				if err := tx.Runs().Insert(ctx, r); err != nil {
					return err
				}
			}
			return first(tx.Orders().Insert(ctx, orders[0]), tx.Orders().Insert(ctx, orders[1]))
		})
		s.same("runs", view(s, func(tx berth.Tx) ([]berth.Run, error) {
			return tx.Runs().During(ctx, ids, epoch, epoch.Add(time.Hour))
		}), runs)
		s.same("orders", view(s, func(tx berth.Tx) ([]berth.Order, error) { return tx.Orders().Of(ctx, ids, epoch, epoch.Add(1)) }), orders)
		s.same("unrated behind the first", view(s, func(tx berth.Tx) ([]berth.Order, error) { return tx.Orders().Unrated(ctx, "ord_0", 9) }), orders[1:])
	}},
	{"postings that are made at once are what they are one by one", func(s suite) {
		ctx := s.Context()
		post := func(list ...berth.Posting) (done int) {
			s.write(func(tx berth.Tx) (err error) {
				done, err = tx.Ledger().PostAll(ctx, list)
				return err
			})
			return done
		}
		var list []berth.Posting
		for i := range 200 {
			list = append(list, posting(fmt.Sprintf("post_%03d", i), fmt.Sprintf("r%03d", i), berth.Nano(i+1)))
			list[i].At = epoch.Add(-time.Duration(i) * time.Minute)
		}
		s.same("made", post(list[:100]...), 100)
		again, twice := list[3], list[150]
		again.ID, twice.ID = "post_again", "post_twice"
		s.same("made of the others", post(append([]berth.Posting{again, list[4]}, append(slices.Clone(list[90:]), twice)...)...), 100)
		s.same("nothing", post(), 0)
		other := twice
		other.ID, other.Reference = "post_other", "other"
		for _, wrong := range []berth.Posting{again, twice} {
			wrong.Entries = posting("", "", 5000).Entries
			s.refuse(berth.CodeConflict, func(tx berth.Tx) error {
				_, err := tx.Ledger().PostAll(ctx, []berth.Posting{other, wrong})
				return err
			})
		}
		lopsided := other
		lopsided.Entries = slices.Clone(other.Entries)
		lopsided.Entries[0].Nano++
		s.refuse(berth.CodeInternal, func(tx berth.Tx) error {
			_, err := tx.Ledger().PostAll(ctx, []berth.Posting{other, lopsided})
			return err
		})
		for i := range list { // time never goes back
			list[i].At = epoch
		}
		s.same("postings", view(s, func(tx berth.Tx) ([]berth.Posting, error) {
			return tx.Ledger().Postings(ctx, berth.PostingFilter{}, "", 1000)
		}), list)
		want := []berth.Balance{{Side: berth.CashSide(accountID), Currency: "CNY", Nano: -20100}, {Side: berth.CustomerSide(accountID), Currency: "CNY", Nano: 20100}}
		s.same("balances", view(s, func(tx berth.Tx) ([]berth.Balance, error) { return tx.Ledger().Balances(ctx, accountID) }), want)
		s.same("balances of sides", view(s, func(tx berth.Tx) ([]berth.Balance, error) {
			return tx.Ledger().BalancesOf(ctx, []string{berth.CustomerSide(accountID), "deposit/none", "cash/none"})
		}), want[1:])
		s.same("sum", view(s, func(tx berth.Tx) (berth.Nano, error) {
			return tx.Ledger().Sum(ctx, berth.CustomerSide(accountID), "CNY")
		}), berth.Nano(20100))
	}},
	{"time never goes back in the ledger of an account", func(s suite) {
		ctx := s.Context()
		early := posting("post_2", "b", 7)
		early.At = epoch.Add(-time.Hour)
		s.write(func(tx berth.Tx) error {
			for _, p := range []berth.Posting{posting("post_1", "a", 5), early} {
				if _, err := tx.Ledger().Post(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
		p := view(s, func(tx berth.Tx) (berth.Posting, error) { return tx.Ledger().Find(ctx, berth.CausePayment, "b") })
		s.same("at", p.At, epoch)
	}},
	{"a posting that a balance has no room for is refused and leaves nothing", func(s suite) {
		ctx := s.Context()
		post := func(p berth.Posting) func(berth.Tx) error {
			return func(tx berth.Tx) error { return posted(tx.Ledger().Post(ctx, p)) }
		}
		s.write(post(posting("post_1", "a", math.MaxInt64-5)))
		s.write(post(posting("post_2", "b", 5)))
		s.write(func(tx berth.Tx) error { // the transaction goes on
			if err := posted(tx.Ledger().Post(ctx, posting("post_3", "c", 1))); berth.CodeOf(err) != berth.CodeInvalid {
				s.Errorf("got %v", err)
			}
			return nil
		})
		s.write(post(posting("post_4", "b", 5))) // a repeat, which needs none
		side := berth.CustomerSide(accountID)
		s.same("balance", view(s, func(tx berth.Tx) (berth.Nano, error) { return tx.Ledger().Balance(ctx, side, "CNY") }), berth.Nano(math.MaxInt64))
		s.same("postings", ids(view(s, func(tx berth.Tx) ([]berth.Posting, error) {
			return tx.Ledger().Postings(ctx, berth.PostingFilter{}, "", 10)
		}), func(p berth.Posting) string { return p.ID }), []string{"post_1", "post_2"})
	}},
	{"a month is closed once", func(s suite) {
		m := filled[berth.Month]()
		s.write(func(tx berth.Tx) error { return tx.Lines().Close(s.Context(), m) })
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error { return tx.Lines().Close(s.Context(), m) })
		s.same("closed", view(s, func(tx berth.Tx) ([]berth.Month, error) { return tx.Lines().Closed(s.Context(), m.AccountID) }), []berth.Month{m})
	}},
	{"a posting is made once by its cause, and balances are the sums of its entries", func(s suite) {
		ctx := s.Context()
		post := func(p berth.Posting) (done bool) {
			s.write(func(tx berth.Tx) (err error) {
				done, err = tx.Ledger().Post(ctx, p)
				return err
			})
			return done
		}
		s.same("posted", post(posting("post_1", "a", 5)), true)
		s.same("posted again", post(posting("post_2", "a", 5)), false)
		s.same("another", post(posting("post_3", "b", 7)), true)
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error {
			_, err := tx.Ledger().Post(ctx, posting("post_4", "a", 6))
			return err
		})
		lopsided := posting("post_5", "c", 5)
		lopsided.Entries[0].Nano++
		s.refuse(berth.CodeInternal, func(tx berth.Tx) error {
			_, err := tx.Ledger().Post(ctx, lopsided)
			return err
		})
		side := berth.CustomerSide(accountID)
		for name, read := range map[string]func(berth.Tx) (berth.Nano, error){
			"balance": func(tx berth.Tx) (berth.Nano, error) { return tx.Ledger().Balance(ctx, side, "CNY") },
			"sum":     func(tx berth.Tx) (berth.Nano, error) { return tx.Ledger().Sum(ctx, side, "CNY") },
		} {
			s.same(name, view(s, read), berth.Nano(12))
		}
		s.same("in another currency", view(s, func(tx berth.Tx) (berth.Nano, error) { return tx.Ledger().Balance(ctx, side, "USD") }), berth.Nano(0))
		s.same("balances", view(s, func(tx berth.Tx) ([]berth.Balance, error) { return tx.Ledger().Balances(ctx, accountID) }),
			[]berth.Balance{{Side: berth.CashSide(accountID), Currency: "CNY", Nano: -12}, {Side: side, Currency: "CNY", Nano: 12}})
		page := func(f berth.PostingFilter, after string) []string {
			list := view(s, func(tx berth.Tx) ([]berth.Posting, error) { return tx.Ledger().Postings(ctx, f, after, 10) })
			return ids(list, func(p berth.Posting) string { return p.ID })
		}
		s.same("postings", page(berth.PostingFilter{AccountID: accountID}, ""), []string{"post_1", "post_3"})
		s.same("after the first", page(berth.PostingFilter{From: epoch, To: epoch.Add(1)}, "post_1"), []string{"post_3"})
		s.same("of a deployment", page(berth.PostingFilter{DeploymentID: "dep_b"}, ""), []string{"post_3"})
		s.same("one", view(s, func(tx berth.Tx) (berth.Posting, error) { return tx.Ledger().Find(ctx, berth.CausePayment, "b") }), posting("post_3", "b", 7))
	}},
}
