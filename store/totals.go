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

// slot is the part of a day that SQL sums up before Go knows which day of the zone it
// belongs to: every zone's midnight since 1972 is a multiple of it in UTC.
const slot = 15 * time.Minute

var groupColumns = map[berth.UsageGroup]string{
	berth.GroupDeployedModel: "deployed_model",
	berth.GroupModelName:     "model_name",
	berth.GroupKey:           "key_id",
	berth.GroupPlan:          "plan",
	berth.GroupDay:           fmt.Sprintf("started_at / %d", slot.Nanoseconds()),
}

const sums = `COUNT(*), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(cached_tokens), 0),
	COALESCE(SUM(output_tokens), 0), COALESCE(SUM(thinking_tokens), 0)`

// Totals returns no row when there is no record, even without groups.
func (s usage) Totals(ctx context.Context, f berth.UsageFilter, by []berth.UsageGroup, zone *time.Location) ([]berth.UsageTotal, error) {
	query, args, err := totalsQuery(f, by)
	if err != nil {
		return nil, err
	}
	t := totals{by: by, zone: cmp.Or(zone, time.UTC), rows: map[string]*berth.UsageTotal{}}
	if err := s.tx.each(ctx, t.add, query, args...); err != nil {
		return nil, read("usage total", err)
	}
	return t.sorted(), nil
}

func totalsQuery(f berth.UsageFilter, by []berth.UsageGroup) (query string, args []any, err error) {
	columns := make([]string, len(by))
	for i, g := range by {
		column, ok := groupColumns[g]
		if !ok {
			return "", nil, berth.Errorf(berth.CodeInvalid, "Usage cannot be grouped by %q.", g)
		}
		columns[i] = column
	}
	w := usageWhere(f)
	query = "SELECT " + strings.Join(append(slices.Clone(columns), sums), ", ") + " FROM usage " + w.where()
	if len(by) > 0 {
		query += " GROUP BY " + strings.Join(columns, ", ")
	}
	return query, w.args, nil
}

// totals sums the slots of each day.
type totals struct {
	by   []berth.UsageGroup
	zone *time.Location
	rows map[string]*berth.UsageTotal // by the values of the groups
}

func (t *totals) add(rows *sql.Rows) error {
	var slots int64
	var r berth.UsageTotal
	values := make([]string, len(t.by))
	fields := make([]any, len(t.by), len(t.by)+5)
	for i, g := range t.by {
		fields[i] = &values[i]
		if g == berth.GroupDay {
			fields[i] = &slots
		}
	}
	fields = append(fields, &r.Calls, &r.InputTokens, &r.CachedTokens, &r.OutputTokens, &r.ThinkingTokens)
	if err := rows.Scan(fields...); err != nil || r.Calls == 0 {
		return err
	}
	for i, g := range t.by {
		if g == berth.GroupDay {
			values[i] = time.Unix(0, slots*slot.Nanoseconds()).In(t.zone).Format(time.DateOnly)
		}
	}
	t.merge(values, r)
	return nil
}

func (t *totals) merge(values []string, r berth.UsageTotal) {
	key := strings.Join(values, "\x00")
	sum, ok := t.rows[key]
	if !ok {
		sum = &berth.UsageTotal{Group: make(map[berth.UsageGroup]string, len(t.by))}
		for i, g := range t.by {
			sum.Group[g] = values[i]
		}
		t.rows[key] = sum
	}
	sum.Calls += r.Calls
	sum.InputTokens += r.InputTokens
	sum.CachedTokens += r.CachedTokens
	sum.OutputTokens += r.OutputTokens
	sum.ThinkingTokens += r.ThinkingTokens
}

func (t *totals) sorted() []berth.UsageTotal {
	list := make([]berth.UsageTotal, 0, len(t.rows))
	for _, r := range t.rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b berth.UsageTotal) int {
		for _, g := range t.by {
			if c := cmp.Compare(a.Group[g], b.Group[g]); c != 0 {
				return c
			}
		}
		return 0
	})
	return list
}
