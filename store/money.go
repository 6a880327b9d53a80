package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	berth "github.com/berthhq/berth"
)

type prices struct{ tx *tx }

var priceTable = newTable("prices", "price", func(p *berth.Price) []column {
	return []column{
		{"id", &p.ID},
		{"plan", &p.Plan},
		{"model", &p.Model},
		{"spec", &p.Spec},
		{"dimension", &p.Dimension},
		{"from_tokens", &p.FromTokens},
		{"nano", &p.Nano},
		{"per", &p.Per},
		{"currency", &p.Currency},
		{"from_at", instant{&p.From}},
		{"withdrawn", &p.Withdrawn},
		{"created_at", instant{&p.CreatedAt}},
		{"creator", &p.Creator},
	}
})

func (s prices) Insert(ctx context.Context, p berth.Price) error {
	if err := priceTable.insert(ctx, s.tx, p); err != nil {
		return err
	}
	return s.tx.Usage().Split(ctx, p.From, p.FromTokens)
}

func (s prices) List(ctx context.Context) ([]berth.Price, error) {
	return priceTable.all(ctx, s.tx, "ORDER BY from_at, id")
}

func (s prices) Count(ctx context.Context) (int64, error) {
	return s.tx.number(ctx, "count prices", "SELECT COUNT(*) FROM prices")
}

type runs struct{ tx *tx }

var runTable = newTable("runs", "run", func(r *berth.Run) []column {
	return []column{
		{"id", &r.ID},
		{"account_id", &r.AccountID},
		{"workspace_id", &r.WorkspaceID},
		{"deployment_id", &r.DeploymentID},
		{"deployed_model", &r.DeployedModel},
		{"model_name", &r.ModelName},
		{"base_model", &r.BaseModel},
		{"plan", &r.Plan},
		{"spec", &r.Spec},
		{"started_at", instant{&r.StartedAt}},
		{"ended_at", instant{&r.EndedAt}},
		{"rated_to", instant{&r.RatedTo}},
	}
})

const insertRunSQL = `INSERT INTO runs (id, account_id, workspace_id, deployment_id, deployed_model, model_name, base_model, plan, spec, started_at, ended_at, rated_to, rated)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, FALSE)`

func (s runs) Insert(ctx context.Context, r berth.Run) error {
	if _, err := s.tx.exec(ctx, insertRunSQL, runTable.fields(&r)...); err != nil {
		return s.tx.dialect.wrote(runTable.noun, err)
	}
	for _, step := range r.Steps {
		if err := s.Step(ctx, r.ID, step); err != nil {
			return err
		}
	}
	return nil
}

const putStepSQL = `INSERT INTO run_steps (run_id, at, units, input_tpm, output_tpm, thinking_tpm) VALUES (?, ?, ?, ?, ?, ?)
	ON CONFLICT (run_id, at) DO UPDATE SET units = excluded.units, input_tpm = excluded.input_tpm,
	output_tpm = excluded.output_tpm, thinking_tpm = excluded.thinking_tpm`

func (s runs) Step(ctx context.Context, id string, step berth.RunStep) error {
	_, err := s.tx.exec(ctx, putStepSQL, id, instant{&step.At}, step.Units, step.PTU.InputTPM, step.PTU.OutputTPM, step.PTU.ThinkingTPM)
	if err == nil {
		_, err = s.tx.exec(ctx, "UPDATE runs SET rated_to = ? WHERE id = ? AND rated_to > ?", instant{&step.At}, id, instant{&step.At})
	}
	return s.tx.dialect.wrote(runTable.noun, err)
}

func (s runs) End(ctx context.Context, id string, at time.Time) error {
	n, err := s.tx.exec(ctx, `UPDATE runs SET ended_at = ?, rated_to = CASE WHEN rated_to > ? THEN ? ELSE rated_to END
		WHERE id = ? AND ended_at = 0`, instant{&at}, instant{&at}, instant{&at}, id)
	return runTable.changedOne(s.tx, n, err)
}

func (s runs) Rated(ctx context.Context, id string, by time.Time) error {
	n, err := s.tx.exec(ctx, "UPDATE runs SET rated_to = ?, rated = ended_at <> 0 AND ended_at <= ? WHERE id = ?", instant{&by}, instant{&by}, id)
	return runTable.changedOne(s.tx, n, err)
}

func (s runs) Beat(ctx context.Context, instance string, at time.Time) error {
	_, err := s.tx.exec(ctx, `INSERT INTO beats (instance, at) VALUES (?, ?)
		ON CONFLICT (instance) DO UPDATE SET at = excluded.at WHERE beats.at < excluded.at`, instance, instant{&at})
	return s.tx.dialect.wrote("beat", err)
}

func (s runs) LastBeat(ctx context.Context, instance string) (at time.Time, err error) {
	n, err := s.tx.number(ctx, "read the last beat", "SELECT COALESCE(MAX(at), 0) FROM beats WHERE instance = ?", instance)
	return fromNanos(n), err
}

func (s runs) Get(ctx context.Context, id string) (berth.Run, error) {
	r, err := runTable.one(ctx, s.tx, "WHERE id = ?", id)
	if err != nil {
		return r, err
	}
	one := []berth.Run{r}
	err = s.steps(ctx, one)
	return one[0], err
}

func (s runs) Of(ctx context.Context, deploymentID string) (berth.Run, error) {
	r, err := runTable.one(ctx, s.tx, "WHERE deployment_id = ? AND ended_at = 0", deploymentID)
	if err != nil {
		return r, err
	}
	one := []berth.Run{r}
	err = s.steps(ctx, one)
	return one[0], err
}

func (s runs) Live(ctx context.Context) ([]berth.Run, error) {
	return s.all(ctx, "WHERE ended_at = 0 ORDER BY id")
}

func (s runs) During(ctx context.Context, deploymentIDs []string, from, to time.Time) ([]berth.Run, error) {
	if len(deploymentIDs) == 0 {
		return nil, nil
	}
	var w filter
	w.in("deployment_id", deploymentIDs)
	w.add("started_at < ?", instant{&to})
	w.add("(ended_at = 0 OR ended_at > ?)", instant{&from})
	return s.all(ctx, w.where()+" ORDER BY started_at, id", w.args...)
}

func (s runs) Unrated(ctx context.Context, after string, limit int64) ([]berth.Run, error) {
	return s.all(ctx, "WHERE NOT rated AND id > ? ORDER BY id LIMIT ?", after, limit)
}

func (s runs) all(ctx context.Context, tail string, args ...any) ([]berth.Run, error) {
	list, err := runTable.all(ctx, s.tx, tail, args...)
	for some := range slices.Chunk(list, manyRows) {
		if err == nil {
			err = s.steps(ctx, some)
		}
	}
	return list, err
}

// steps reads the steps of runs.
func (s runs) steps(ctx context.Context, list []berth.Run) error {
	ids, at := make([]string, len(list)), map[string]*berth.Run{}
	for i := range list {
		ids[i] = list[i].ID
		at[ids[i]] = &list[i]
	}
	var w filter
	w.in("run_id", ids)
	return read(runTable.noun, s.tx.each(ctx, func(rows *sql.Rows) error {
		var id string
		var step berth.RunStep
		err := rows.Scan(&id, instant{&step.At}, &step.Units, &step.PTU.InputTPM, &step.PTU.OutputTPM, &step.PTU.ThinkingTPM)
		if r := at[id]; r != nil {
			r.Steps = append(r.Steps, step)
		}
		return err
	}, "SELECT run_id, at, units, input_tpm, output_tpm, thinking_tpm FROM run_steps "+w.where()+" ORDER BY run_id, at", w.args...))
}

type lines struct{ tx *tx }

var lineTable = newTable("lines", "line", func(l *berth.Line) []column {
	return []column{
		{"account_id", &l.AccountID},
		{"month", &l.Month},
		{"day", &l.Day},
		{"workspace_id", &l.WorkspaceID},
		{"deployment_id", &l.DeploymentID},
		{"deployed_model", &l.DeployedModel},
		{"model_name", &l.ModelName},
		{"plan", &l.Plan},
		{"class", &l.Class},
		{"dimension", &l.Dimension},
		{"from_tokens", &l.FromTokens},
		{"price_id", &l.PriceID},
		{"spec", &l.Spec},
		{"quantity", &l.Quantity},
		{"price", &l.Price},
		{"per", &l.Per},
		{"currency", &l.Currency},
		{"amount", &l.Amount},
		{"posted", &l.Posted},
		{"postings", &l.Postings},
		{"posted_at", instant{&l.PostedAt}},
	}
})

const putLineTail = ` ON CONFLICT (account_id, month, day, deployment_id, dimension, class, from_tokens, price_id, currency)
	DO UPDATE SET quantity = excluded.quantity, amount = excluded.amount`

func (s lines) Put(ctx context.Context, list ...berth.Line) error {
	_, err := s.tx.insertMany(ctx, lineTable.head(), putLineTail, len(lineTable.columns(new(berth.Line))), len(list), func(args []any, i int) []any {
		return append(args, lineTable.fields(&list[i])...)
	})
	return s.tx.dialect.wrote(lineTable.noun, err)
}

// Posted's rows: the key, then what changes.
const (
	postedRow  = "(?, ?, ?, ?, ?, ?, CAST(? AS BIGINT), ?, ?, CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))"
	postedTail = `) AS v WHERE lines.account_id = v.column1 AND lines.month = v.column2 AND lines.day = v.column3 AND lines.deployment_id = v.column4
		AND lines.dimension = v.column5 AND lines.class = v.column6 AND lines.from_tokens = v.column7 AND lines.price_id = v.column8 AND lines.currency = v.column9`
)

func (s lines) Posted(ctx context.Context, list ...berth.Line) error {
	n, err := s.tx.execMany(ctx, "UPDATE lines SET posted = v.column10, postings = v.column11, posted_at = v.column12 FROM (VALUES ", postedRow, postedTail, 12, len(list),
		func(args []any, i int) []any {
			l := &list[i]
			return append(args, l.AccountID, l.Month, l.Day, l.DeploymentID, string(l.Dimension), string(l.Class), l.FromTokens, l.PriceID, l.Currency,
				int64(l.Posted), l.Postings, instant{&l.PostedAt})
		})
	if err == nil && n < int64(len(list)) {
		return missing(lineTable.noun)
	}
	return s.tx.dialect.wrote(lineTable.noun, err)
}

func (s lines) Growing(ctx context.Context, accountID string, before time.Time, limit int64) ([]berth.Line, error) {
	f := filter{conditions: []string{"amount <> posted"}}
	f.equals("account_id", accountID)
	f.add("posted_at < ?", instant{&before})
	return lineTable.all(ctx, s.tx, f.where()+" ORDER BY account_id, currency, posted_at, month, day, deployment_id, dimension, class, from_tokens, price_id"+f.page(0, limit), f.args...)
}

func (s lines) Unposted(ctx context.Context, accountID, currency string) (berth.Nano, error) {
	n, err := s.tx.number(ctx, "add up what is not posted", `SELECT CAST(COALESCE(SUM(amount - posted), 0) AS BIGINT) FROM lines
		WHERE amount <> posted AND account_id = ? AND currency = ?`, accountID, currency)
	return berth.Nano(n), err
}

func (s lines) Days(ctx context.Context, deploymentID, from string) ([]string, error) {
	var list []string
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var day string
		err := rows.Scan(&day)
		list = append(list, day)
		return err
	}, "SELECT DISTINCT day FROM lines WHERE deployment_id = ? AND day >= ? ORDER BY day", deploymentID, from)
	return list, read(lineTable.noun, err)
}

const lineOrder = "ORDER BY day, deployed_model, deployment_id, dimension, class, from_tokens, price_id, currency"

func (s lines) Of(ctx context.Context, deploymentIDs, days []string) ([]berth.Line, error) {
	if len(deploymentIDs) == 0 || len(days) == 0 {
		return nil, nil
	}
	var w filter
	w.in("deployment_id", deploymentIDs)
	w.in("day", days)
	return lineTable.all(ctx, s.tx, w.where()+" "+lineOrder, w.args...)
}

func (s lines) Month(ctx context.Context, accountID, month, workspaceID string) ([]berth.Line, error) {
	var f filter
	f.equals("account_id", accountID)
	f.equals("month", month)
	f.equals("workspace_id", workspaceID)
	return lineTable.all(ctx, s.tx, f.where()+" "+lineOrder, f.args...)
}

func (s lines) Spent(ctx context.Context, workspaceID, month, currency string) (berth.Nano, error) {
	n, err := s.tx.number(ctx, "add up what was spent", `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM lines
		WHERE workspace_id = ? AND month = ? AND currency = ? AND day >= ?`, workspaceID, month, currency, month)
	return berth.Nano(n), err
}

func (s lines) Close(ctx context.Context, m berth.Month) error {
	_, err := s.tx.exec(ctx, "INSERT INTO months (account_id, month, closed_at) VALUES (?, ?, ?)", m.AccountID, m.Month, instant{&m.ClosedAt})
	if err != nil {
		return s.tx.dialect.wrote("closed month", err)
	}
	return s.tx.notice(ctx, "", m.AccountID, m.Month, "")
}

func (s lines) Closed(ctx context.Context, accountID string) ([]berth.Month, error) {
	var list []berth.Month
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var m berth.Month
		err := rows.Scan(&m.AccountID, &m.Month, instant{&m.ClosedAt})
		list = append(list, m)
		return err
	}, "SELECT account_id, month, closed_at FROM months WHERE account_id = ? ORDER BY month", accountID)
	return list, read("closed month", err)
}

type ledger struct{ tx *tx }

var postingTable = newTable("postings", "posting", func(p *berth.Posting) []column {
	return []column{
		{"id", &p.ID},
		{"at", instant{&p.At}},
		{"account_id", &p.AccountID},
		{"workspace_id", &p.WorkspaceID},
		{"deployment_id", &p.DeploymentID},
		{"cause", &p.Cause},
		{"reference", &p.Reference},
		{"currency", &p.Currency},
	}
})

func (s ledger) Post(ctx context.Context, p berth.Posting) (done bool, err error) {
	n, err := s.PostAll(ctx, []berth.Posting{p})
	return n > 0, err
}

func (s ledger) PostAll(ctx context.Context, list []berth.Posting) (done int, err error) {
	list = slices.Clone(list)
	if err := s.inTime(ctx, list); err != nil {
		return 0, err
	}
	if list, err = s.fitting(ctx, list); err != nil {
		return 0, err
	}
	n, err := s.tx.insertMany(ctx, postingTable.head(), " ON CONFLICT (cause, reference) DO NOTHING", len(postingTable.columns(new(berth.Posting))), len(list),
		func(args []any, i int) []any { return append(args, postingTable.fields(&list[i])...) })
	if err != nil {
		return 0, s.tx.dialect.wrote(postingTable.noun, err)
	}
	if n < int64(len(list)) {
		if list, err = s.made(ctx, list); err != nil {
			return 0, err
		}
	}
	return len(list), s.tx.dialect.wrote(postingTable.noun, s.enter(ctx, list))
}

// fitting refuses postings that some balance has no room for, before anything is written. A
// repeat needs no room, and is left out of what is returned.
func (s ledger) fitting(ctx context.Context, list []berth.Posting) ([]berth.Posting, error) {
	type held struct{ side, currency string }
	room := map[held]berth.Nano{}
	var sides []string
	for i := range list {
		for _, e := range list[i].Entries {
			sides = append(sides, e.Side)
		}
	}
	slices.Sort(sides)
	balances, err := s.BalancesOf(ctx, slices.Compact(sides))
	if err != nil {
		return nil, err
	}
	for _, b := range balances {
		room[held{b.Side, b.Currency}] = b.Nano
	}
	fits := func(p *berth.Posting) error {
		for _, e := range p.Entries {
			if _, err := room[held{e.Side, p.Currency}].Plus(e.Nano); err != nil {
				return berth.Errorf(berth.CodeInvalid, "%s has no room for another %d billionths of %s: a balance is at most %d.", e.Side, e.Nano, p.Currency, int64(math.MaxInt64))
			}
		}
		return nil
	}
	var fitting []berth.Posting
	for i := range list {
		p := &list[i]
		if err := fits(p); err != nil {
			switch before, findErr := s.Find(ctx, p.Cause, p.Reference); {
			case berth.CodeOf(findErr) == berth.CodeNotFound:
				return nil, err
			case findErr != nil:
				return nil, findErr
			case !p.Same(&before):
				return nil, errPostedOtherwise(p)
			}
			continue
		}
		for _, e := range p.Entries {
			room[held{e.Side, p.Currency}] += e.Nano
		}
		fitting = append(fitting, *p)
	}
	return fitting, nil
}

func errPostedOtherwise(p *berth.Posting) error {
	return berth.Errorf(berth.CodeConflict, "The %s %s was posted already, for another amount.", p.Cause, p.Reference)
}

// inTime checks postings and moves none behind the last one of its account.
func (s ledger) inTime(ctx context.Context, list []berth.Posting) error {
	last := map[string]time.Time{}
	for i := range list {
		p := &list[i]
		if err := p.Check(); err != nil {
			return err
		}
		at, ok := last[p.AccountID]
		if !ok {
			n, err := s.tx.number(ctx, "read the time of the last posting", "SELECT COALESCE(MAX(at), 0) FROM postings WHERE account_id = ?", p.AccountID)
			if err != nil {
				return err
			}
			at = fromNanos(n)
		}
		if at.After(p.At) {
			p.At = at
		}
		last[p.AccountID] = p.At
	}
	return nil
}

// made returns the postings that were inserted, which have no entries yet, and refuses one
// whose cause was posted for other money.
func (s ledger) made(ctx context.Context, list []berth.Posting) ([]berth.Posting, error) {
	var made []berth.Posting
	for i := range list {
		p := &list[i]
		before, err := s.Find(ctx, p.Cause, p.Reference)
		if err != nil {
			return nil, err
		}
		if len(before.Entries) == 0 {
			if before.ID == p.ID {
				made = append(made, *p)
				continue
			}
			before = made[slices.IndexFunc(made, func(m berth.Posting) bool { return m.ID == before.ID })]
		}
		if !p.Same(&before) {
			return nil, errPostedOtherwise(p)
		}
	}
	return made, nil
}

// enter writes the entries of postings and adds them to the balances of their sides, those
// in an order, so that two transactions that write the same ones wait for each other.
func (s ledger) enter(ctx context.Context, list []berth.Posting) error {
	type entry struct {
		posting string
		number  int
		berth.Entry
	}
	type side struct{ account, side, currency string }
	var entries []entry
	var sides []side
	sums := map[side]berth.Nano{}
	for i := range list {
		p := &list[i]
		for n, e := range p.Entries {
			entries = append(entries, entry{p.ID, n, e})
			k := side{p.AccountID, e.Side, p.Currency}
			sum, ok := sums[k]
			if !ok {
				sides = append(sides, k)
			}
			var err error
			if sums[k], err = sum.Plus(e.Nano); err != nil {
				// Not [berth.CodeInvalid]: something was written.
				return berth.Errorf(berth.CodeInternal, "What goes to %s at once is too much: %s", e.Side, err)
			}
		}
	}
	slices.SortFunc(sides, func(a, b side) int {
		return cmp.Or(cmp.Compare(a.side, b.side), cmp.Compare(a.currency, b.currency), cmp.Compare(a.account, b.account))
	})
	_, err := s.tx.insertMany(ctx, "INSERT INTO entries (posting_id, number, side, nano) VALUES ", "", 4, len(entries), func(args []any, i int) []any {
		e := &entries[i]
		return append(args, e.posting, e.number, e.Side, int64(e.Nano))
	})
	if err != nil {
		return err
	}
	_, err = s.tx.insertMany(ctx, "INSERT INTO balances (account_id, side, currency, nano) VALUES ",
		" ON CONFLICT (side, currency) DO UPDATE SET nano = balances.nano + excluded.nano", 4, len(sides), func(args []any, i int) []any {
			k := &sides[i]
			return append(args, k.account, k.side, k.currency, int64(sums[*k]))
		})
	return err
}

func (s ledger) Find(ctx context.Context, cause berth.PostingCause, reference string) (berth.Posting, error) {
	p, err := postingTable.one(ctx, s.tx, "WHERE cause = ? AND reference = ?", string(cause), reference)
	if err == nil {
		err = s.entries(ctx, &p)
	}
	return p, err
}

func (s ledger) Postings(ctx context.Context, f berth.PostingFilter, after string, limit int64) ([]berth.Posting, error) {
	var w filter
	w.equals("account_id", f.AccountID)
	w.equals("workspace_id", f.WorkspaceID)
	w.equals("deployment_id", f.DeploymentID)
	w.equals("cause", string(f.Cause))
	if !f.From.IsZero() {
		w.add("at >= ?", instant{&f.From})
	}
	if !f.To.IsZero() {
		w.add("at < ?", instant{&f.To})
	}
	w.add("id > ?", after)
	list, err := postingTable.all(ctx, s.tx, w.where()+" ORDER BY id"+w.page(0, limit), w.args...)
	for i := range list {
		if err == nil {
			err = s.entries(ctx, &list[i])
		}
	}
	return list, err
}

func (s ledger) entries(ctx context.Context, p *berth.Posting) error {
	return read(postingTable.noun, s.tx.each(ctx, func(rows *sql.Rows) error {
		var e berth.Entry
		err := rows.Scan(&e.Side, &e.Nano)
		p.Entries = append(p.Entries, e)
		return err
	}, "SELECT side, nano FROM entries WHERE posting_id = ? ORDER BY number", p.ID))
}

func (s ledger) Balance(ctx context.Context, side, currency string) (berth.Nano, error) {
	return s.nano(ctx, "SELECT COALESCE(MAX(nano), 0) FROM balances WHERE side = ? AND currency = ?", side, currency)
}

func (s ledger) Sum(ctx context.Context, side, currency string) (berth.Nano, error) {
	return s.nano(ctx, `SELECT CAST(COALESCE(SUM(e.nano), 0) AS BIGINT) FROM entries e JOIN postings p ON p.id = e.posting_id
		WHERE e.side = ? AND p.currency = ?`, side, currency)
}

func (s ledger) nano(ctx context.Context, query, side, currency string) (berth.Nano, error) {
	n, err := s.tx.number(ctx, fmt.Sprintf("read the balance of %s", side), query, side, currency)
	return berth.Nano(n), err
}

func (s ledger) BalancesOf(ctx context.Context, sides []string) ([]berth.Balance, error) {
	var list []berth.Balance
	for some := range slices.Chunk(sides, 1024) {
		var w filter
		w.in("side", some)
		more, err := s.balances(ctx, w.where(), w.args...)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

func (s ledger) Balances(ctx context.Context, accountID string) ([]berth.Balance, error) {
	return s.balances(ctx, "WHERE account_id = ?", accountID)
}

func (s ledger) balances(ctx context.Context, where string, args ...any) ([]berth.Balance, error) {
	var list []berth.Balance
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var b berth.Balance
		err := rows.Scan(&b.Side, &b.Currency, &b.Nano)
		list = append(list, b)
		return err
	}, "SELECT side, currency, nano FROM balances "+where+" ORDER BY side, currency", args...)
	return list, read("balance", err)
}
