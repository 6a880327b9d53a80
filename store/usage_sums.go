package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// sumColumns are those of [berth.UsageSum] in usage_days, usage_model_days and usage_hours.
var sumColumns = []string{
	"calls", "input_tokens", "cached_tokens", "output_tokens", "thinking_tokens",
	"billable_calls", "billable_input", "billable_cached", "billable_output", "billable_thinking",
	"unknown_calls", "counted_calls",
}

func figureFields(f *berth.UsageFigures) []any {
	return []any{&f.Calls, &f.InputTokens, &f.CachedTokens, &f.OutputTokens, &f.ThinkingTokens}
}

func sumFields(s *berth.UsageSum) []any {
	return append(append(figureFields(&s.UsageFigures), figureFields(&s.Billable)...), &s.UnknownCalls, &s.CountedCalls)
}

func appendFigures(args []any, f *berth.UsageFigures) []any {
	return append(args, f.Calls, f.InputTokens, f.CachedTokens, f.OutputTokens, f.ThinkingTokens)
}

func appendSum(args []any, s *berth.UsageSum) []any {
	args = appendFigures(appendFigures(args, &s.UsageFigures), &s.Billable)
	return append(args, s.UnknownCalls, s.CountedCalls)
}

// rollUp is a table of sums.
type rollUp struct {
	insert, add string // around the values
	columns     int
}

func newRollUp(table string, keys, sums []string) rollUp {
	adds := make([]string, len(sums))
	for i, c := range sums {
		adds[i] = fmt.Sprintf("%s = %s.%s + excluded.%s", c, table, c, c)
	}
	return rollUp{
		insert:  fmt.Sprintf("INSERT INTO %s (%s, %s) VALUES ", table, strings.Join(keys, ", "), strings.Join(sums, ", ")),
		add:     fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s", strings.Join(keys, ", "), strings.Join(adds, ", ")),
		columns: len(keys) + len(sums),
	}
}

var (
	dayRollUp = newRollUp("usage_days", []string{"subject", "day", "from_tokens", "epoch"}, sumColumns)
	// modelRollUp answers whoever does not ask by key: there is one row for what may be
	// hundreds of usage_days.
	modelRollUp  = newRollUp("usage_model_days", []string{"space", "day", "deployed_model", "model_name", "plan", "class"}, sumColumns)
	hourRollUp   = newRollUp("usage_hours", []string{"subject", "hour"}, sumColumns)
	engineRollUp = newRollUp("usage_engines",
		[]string{"replica_id", "nonce", "hour", "class", "ended_by", "source", "billable"}, sumColumns[:5])
)

// The keys of sums.
type (
	dayKey struct {
		subject       int64
		day           string
		length, epoch int64
	}
	modelKey struct {
		space                         int64
		day, deployedModel, modelName string
		plan                          berth.Plan
		class                         berth.Class
	}
	hourKey   struct{ subject, hour int64 }
	engineKey struct {
		replicaID, nonce string
		hour             int64
		class            string
		end, source      int64
		billable         bool
	}
	changeKey struct{ deploymentID, day string }
)

// sum adds records to the sums. Rows are written in an order, so that two transactions
// that write the same ones wait for each other and do not lock each other out.
func (s usage) sum(ctx context.Context, rows []usageRow) error {
	bounds, err := s.boundaries(ctx)
	if err != nil {
		return err
	}
	days, hours := map[dayKey]*berth.UsageSum{}, map[hourKey]*berth.UsageSum{}
	engines, changes := map[engineKey]*berth.UsageFigures{}, map[changeKey]bool{}
	clocks, subjects := map[int64]*clock{}, map[int64]*usageRow{}
	for i := range rows {
		r := &rows[i]
		u := r.record
		c := clocks[r.origin.space]
		if c == nil {
			c = &clock{zone: r.origin.zone}
			clocks[r.origin.space] = c
		}
		c.set(u.StartedAt)
		sum := u.Sum()
		subjects[r.origin.subject] = r
		at(days, dayKey{r.origin.subject, c.day.Name, below(bounds.lengths, u.InputTokens), below(bounds.instants, r.started)}).Add(sum)
		at(hours, hourKey{r.origin.subject, c.hour.UnixNano()}).Add(sum)
		if u.DeploymentID != "" {
			changes[changeKey{u.DeploymentID, c.day.Name}] = true
		}
		if u.ReplicaID != "" {
			hour := r.ended - mod(r.ended, int64(time.Hour))
			at(engines, engineKey{u.ReplicaID, u.Nonce, hour, string(u.Class), r.end, r.source, u.Billable}).Add(sum.UsageFigures)
		}
	}
	models := map[modelKey]*berth.UsageSum{}
	for k, sum := range days {
		r := subjects[k.subject]
		u := r.record
		at(models, modelKey{r.origin.space, k.day, u.DeployedModel, u.ModelName, u.Plan, u.Class}).Add(*sum)
	}
	return cmp.Or(
		write(ctx, s.tx, &modelRollUp, models, compareModels, func(args []any, k modelKey, sum *berth.UsageSum) []any {
			return appendSum(append(args, k.space, k.day, k.deployedModel, k.modelName, string(k.plan), string(k.class)), sum)
		}),
		write(ctx, s.tx, &dayRollUp, days, compareDays, func(args []any, k dayKey, sum *berth.UsageSum) []any {
			return appendSum(append(args, k.subject, k.day, k.length, k.epoch), sum)
		}),
		write(ctx, s.tx, &hourRollUp, hours, compareHours, func(args []any, k hourKey, sum *berth.UsageSum) []any {
			return appendSum(append(args, k.subject, k.hour), sum)
		}),
		write(ctx, s.tx, &engineRollUp, engines, compareEngines, func(args []any, k engineKey, f *berth.UsageFigures) []any {
			return appendFigures(append(args, k.replicaID, k.nonce, k.hour, k.class, k.end, k.source, k.billable), f)
		}),
		s.changed(ctx, changes),
	)
}

// at returns the sum under a key, new when there is none.
func at[K comparable, V any](sums map[K]*V, key K) *V {
	v := sums[key]
	if v == nil {
		v = new(V)
		sums[key] = v
	}
	return v
}

// mod is never negative.
func mod(n, by int64) int64 { return ((n % by) + by) % by }

// clock is the day and the hour of a workspace; most records are of the same as those
// before them.
type clock struct {
	zone          *time.Location
	day           berth.Day
	hour, hourEnd time.Time
}

func (c *clock) set(t time.Time) {
	if c.hour.IsZero() || t.Before(c.hour) || !t.Before(c.hourEnd) {
		c.hour, c.hourEnd = berth.HourOf(t, c.zone)
		c.day = berth.DayOf(t, c.zone)
	}
}

func compareDays(a, b dayKey) int {
	return cmp.Or(cmp.Compare(a.subject, b.subject), cmp.Compare(a.day, b.day), cmp.Compare(a.length, b.length), cmp.Compare(a.epoch, b.epoch))
}

func compareModels(a, b modelKey) int {
	return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(a.day, b.day), cmp.Compare(a.deployedModel, b.deployedModel),
		cmp.Compare(a.modelName, b.modelName), cmp.Compare(a.plan, b.plan), cmp.Compare(a.class, b.class))
}

func compareHours(a, b hourKey) int {
	return cmp.Or(cmp.Compare(a.subject, b.subject), cmp.Compare(a.hour, b.hour))
}

func compareEngines(a, b engineKey) int {
	c := cmp.Or(cmp.Compare(a.replicaID, b.replicaID), cmp.Compare(a.nonce, b.nonce), cmp.Compare(a.hour, b.hour),
		cmp.Compare(a.class, b.class), cmp.Compare(a.end, b.end), cmp.Compare(a.source, b.source))
	switch {
	case c != 0 || a.billable == b.billable:
		return c
	case b.billable:
		return -1
	}
	return 1
}

// write adds sums to a table.
func write[K comparable, V any](ctx context.Context, tx *tx, r *rollUp, sums map[K]*V, compare func(a, b K) int, args func([]any, K, *V) []any) error {
	keys := make([]K, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	_, err := tx.insertMany(ctx, r.insert, r.add, r.columns, len(keys), func(dst []any, i int) []any {
		return args(dst, keys[i], sums[keys[i]])
	})
	return tx.dialect.wrote("sum of usage", err)
}

// changed marks the days of deployments to be rated.
func (s usage) changed(ctx context.Context, changes map[changeKey]bool) error {
	keys := make([]changeKey, 0, len(changes))
	for k := range changes {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b changeKey) int {
		return cmp.Or(cmp.Compare(a.deploymentID, b.deploymentID), cmp.Compare(a.day, b.day))
	})
	_, err := s.tx.insertMany(ctx, "INSERT INTO usage_changes (deployment_id, day, version, rated) VALUES ",
		" ON CONFLICT (deployment_id, day) DO UPDATE SET version = usage_changes.version + 1", 4, len(keys),
		func(args []any, i int) []any {
			return append(args, keys[i].deploymentID, keys[i].day, int64(1), int64(0))
		})
	return s.tx.dialect.wrote("change of usage", err)
}

func (s usage) ChangedDays(ctx context.Context, after berth.UsageDayKey, limit int64) ([]berth.UsageDayKey, error) {
	var list []berth.UsageDayKey
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var k berth.UsageDayKey
		err := rows.Scan(&k.DeploymentID, &k.Day, &k.Version)
		list = append(list, k)
		return err
	}, "SELECT deployment_id, day, version FROM usage_changes WHERE version <> rated AND (day, deployment_id) > (?, ?) ORDER BY day, deployment_id LIMIT ?",
		after.Day, after.DeploymentID, limit)
	return list, read("change of usage", err)
}

func (s usage) Unrated(ctx context.Context, accountID, before string) (bool, error) {
	n, err := s.tx.number(ctx, "look for usage that is not rated", `SELECT COUNT(*) FROM (SELECT 1 FROM usage_changes c JOIN usage_subjects s ON s.deployment_id = c.deployment_id
		JOIN usage_spaces p ON p.id = s.space JOIN workspaces w ON w.id = p.workspace_id
		WHERE c.version <> c.rated AND c.day < ? AND w.account_id = ? LIMIT 1) u`, before, accountID)
	return n > 0, err
}

func (s usage) Rated(ctx context.Context, days []berth.UsageDayKey) error {
	err := s.tx.execEach(ctx, "UPDATE usage_changes SET rated = ? WHERE deployment_id = ? AND day = ? AND rated < ?", len(days), func(i int) []any {
		d := &days[i]
		return []any{d.Version, d.DeploymentID, d.Day, d.Version}
	})
	return s.tx.dialect.wrote("change of usage", err)
}

func (s usage) Days(ctx context.Context, deploymentIDs, days []string) ([]berth.UsageDay, error) {
	if len(deploymentIDs) == 0 || len(days) == 0 {
		return nil, nil
	}
	var list []berth.UsageDay
	var w filter
	w.in("s.deployment_id", deploymentIDs)
	w.in("d.day", days)
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var d berth.UsageDay
		err := rows.Scan(append([]any{
			&d.Day, &d.WorkspaceID, &d.KeyID, &d.DeploymentID, &d.DeployedModel, &d.ModelName, &d.Plan, &d.Class, &d.FromTokens, instant{&d.Epoch},
		}, sumFields(&d.UsageSum)...)...)
		list = append(list, d)
		return err
	}, daysSQL+w.where()+daysOrder, w.args...)
	return list, read("day of usage", err)
}

var daysSQL = `SELECT d.day, w.workspace_id, s.key_id, s.deployment_id, s.deployed_model, s.model_name, s.plan, s.class, d.from_tokens, d.epoch, d.` +
	strings.Join(sumColumns, ", d.") + ` FROM usage_subjects s JOIN usage_spaces w ON w.id = s.space JOIN usage_days d ON d.subject = s.id `

const daysOrder = ` ORDER BY s.deployment_id, d.day, w.workspace_id, s.key_id, s.deployed_model, s.model_name, s.plan, s.class, d.from_tokens, d.epoch`

func (s usage) EngineHours(ctx context.Context, from, to time.Time) ([]berth.EngineHour, error) {
	var list []berth.EngineHour
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var h berth.EngineHour
		var end, source int64
		err := rows.Scan(append([]any{&h.ReplicaID, &h.Nonce, instant{&h.Hour}, &h.Class, &end, &source, &h.Billable}, figureFields(&h.UsageFigures)...)...)
		if err == nil {
			h.End, h.Source, err = ending(end, source)
		}
		list = append(list, h)
		return err
	}, `SELECT replica_id, nonce, hour, class, ended_by, source, billable, calls, input_tokens, cached_tokens, output_tokens, thinking_tokens
		FROM usage_engines WHERE hour >= ? AND hour < ? ORDER BY hour, replica_id, nonce, class, ended_by, source, billable`,
		instant{&from}, instant{&to})
	return list, read("hour of an engine", err)
}

// ending returns the end and the source of a record as they are kept.
func ending(end, source int64) (berth.End, berth.Source, error) {
	if end < 0 || end >= int64(len(ends)) || source < 0 || source >= int64(len(sources)) {
		return "", "", fmt.Errorf("a usage record has the end %d and the source %d", end, source)
	}
	return ends[end], sources[source], nil
}
