package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// maxTotals bounds the rows of one answer.
const maxTotals = 100_000

var groupColumns = map[berth.UsageGroup]string{
	berth.GroupWorkspace:     "w.workspace_id",
	berth.GroupDeployedModel: "s.deployed_model",
	berth.GroupModelName:     "s.model_name",
	berth.GroupKey:           "s.key_id",
	berth.GroupPlan:          "s.plan",
	berth.GroupClass:         "s.class",
	berth.GroupHour:          "",
	berth.GroupDay:           "",
	berth.GroupMonth:         "",
}

// Totals returns no row when there is no record, even without groups. It adds up days as
// far as the period has whole ones, hours of what is left, and records of the rest.
func (s usage) Totals(ctx context.Context, f berth.UsageFilter, by []berth.UsageGroup) ([]berth.UsageTotal, error) {
	for _, g := range by {
		if _, ok := groupColumns[g]; !ok {
			return nil, berth.Errorf(berth.CodeInvalid, "Usage cannot be grouped by %q.", g)
		}
	}
	spaces, err := s.spaces(ctx, f, 0)
	if err != nil {
		return nil, err
	}
	zones, kept := map[string]*time.Location{}, map[string]int64{}
	for _, p := range spaces {
		name := p.zone.String()
		zones[name], kept[name] = p.zone, max(kept[name], p.keptFrom)
	}
	t := totals{by: by, rows: map[string]*totalRow{}}
	for name, zone := range zones {
		f, err := f.In(zone)
		if err != nil {
			return nil, err
		}
		if err := checkUsage(f, true); err != nil {
			return nil, err
		}
		for _, p := range periods(f.From, f.To, zone, slices.Contains(by, berth.GroupHour)) {
			if err := p.kept(fromNanos(kept[name]), zone); err != nil {
				return nil, err
			}
			if err := s.total(ctx, &t, f, zone, p); err != nil {
				return nil, read("usage total", err)
			}
		}
	}
	return t.sorted(), nil
}

var (
	sumsOfSums = "CAST(SUM(" + strings.Join(sumColumns, ") AS BIGINT), CAST(SUM(") + ") AS BIGINT)"
	// sumsOfRecords are what [berth.UsageRecord.Sum] adds.
	sumsOfRecords = `COUNT(*), CAST(SUM(u.input_tokens) AS BIGINT), CAST(SUM(u.cached_tokens) AS BIGINT),
	CAST(SUM(u.output_tokens) AS BIGINT), CAST(SUM(u.thinking_tokens) AS BIGINT),
	COUNT(CASE WHEN u.billable THEN 1 END), CAST(SUM(CASE WHEN u.billable THEN u.input_tokens ELSE 0 END) AS BIGINT),
	CAST(SUM(CASE WHEN u.billable THEN u.cached_tokens ELSE 0 END) AS BIGINT),
	CAST(SUM(CASE WHEN u.billable THEN u.output_tokens ELSE 0 END) AS BIGINT),
	CAST(SUM(CASE WHEN u.billable THEN u.thinking_tokens ELSE 0 END) AS BIGINT),
	COUNT(CASE WHEN u.source = ? THEN 1 END), COUNT(CASE WHEN u.source = ? THEN 1 END)`
)

// total adds one period of the workspaces of a zone.
func (s usage) total(ctx context.Context, t *totals, f berth.UsageFilter, zone *time.Location, p period) error {
	var columns []string
	for _, g := range t.by {
		if c := groupColumns[g]; c != "" {
			columns = append(columns, c)
		}
	}
	moment := t.moment(p)
	if moment != "" {
		columns = append(columns, moment)
	}
	groups := strings.Join(columns, ", ")
	var w filter
	query := "SELECT "
	if groups != "" {
		query += groups + ", "
	}
	switch p.of {
	case inDays:
		query += sumsOfSums + " FROM usage_spaces w "
		if f.KeyID != "" || slices.Contains(t.by, berth.GroupKey) {
			query += "JOIN usage_subjects s ON s.space = w.id JOIN usage_days x ON x.subject = s.id "
		} else {
			query += "JOIN usage_model_days s ON s.space = w.id "
		}
		w.equals("w.workspace_id", f.WorkspaceID)
		if p.fromDay != "" {
			w.add("day >= ?", p.fromDay)
		}
		if p.toDay != "" {
			w.add("day < ?", p.toDay)
		}
	case inHours:
		query += sumsOfSums + " FROM usage_spaces w JOIN usage_subjects s ON s.space = w.id JOIN usage_hours x ON x.subject = s.id "
		w.equals("w.workspace_id", f.WorkspaceID)
		p.within(&w, "hour")
	case inRecords:
		query += sumsOfRecords + " FROM usage_spaces w JOIN usage u ON u.space = w.id JOIN usage_origins o ON o.id = u.origin JOIN usage_subjects s ON s.id = o.subject "
		w.args = append(w.args, slices.Index(sources, berth.SourceUnknown), slices.Index(sources, berth.SourceCounted))
		w.equals("w.workspace_id", f.WorkspaceID)
		p.within(&w, "u.started_at")
	}
	w.add("w.zone = ?", zone.String())
	which := subjectsWhere(f)
	w.conditions, w.args = append(w.conditions, which.conditions...), append(w.args, which.args...)
	query += w.where()
	if groups != "" {
		query += " GROUP BY " + groups
	} else {
		query += " HAVING COUNT(*) > 0"
	}
	return s.tx.each(ctx, func(rows *sql.Rows) error { return t.add(rows, p, zone, moment != "") }, query, w.args...)
}

// totals adds rows up that come from several periods and tables.
type totals struct {
	by   []berth.UsageGroup
	rows map[string]*totalRow // by the values of the groups
}

type totalRow struct {
	berth.UsageTotal
	values []string // of the groups
	hour   time.Time
}

// moment is the column that says to which hour, day or month a row of a period belongs;
// "": all of them belong to the same, or nobody asks.
func (t *totals) moment(p period) string {
	switch {
	case p.of == inHours && slices.Contains(t.by, berth.GroupHour):
		return "hour"
	case p.of == inDays && slices.Contains(t.by, berth.GroupDay):
		return "day"
	case p.of == inDays && slices.Contains(t.by, berth.GroupMonth):
		return "substr(day, 1, 7)"
	}
	return ""
}

func (t *totals) add(rows *sql.Rows, p period, zone *time.Location, timed bool) error {
	var r totalRow
	values := make([]string, len(t.by))
	fields := make([]any, 0, len(t.by)+1+len(sumColumns))
	for i, g := range t.by {
		if groupColumns[g] != "" {
			fields = append(fields, &values[i])
		}
	}
	var hour int64
	var day string
	switch {
	case timed && p.of == inHours:
		fields = append(fields, &hour)
	case timed:
		fields = append(fields, &day)
	}
	if err := rows.Scan(append(fields, sumFields(&r.UsageSum)...)...); err != nil {
		return err
	}
	switch {
	case timed && p.of == inHours:
		r.hour = fromNanos(hour)
	case !p.from.IsZero():
		r.hour, _ = berth.HourOf(p.from, zone)
	}
	if p.of != inDays {
		day = berth.DayOf(r.hour, zone).Name
	}
	for i, g := range t.by {
		switch g {
		case berth.GroupHour:
			values[i] = r.hour.In(zone).Format(time.RFC3339)
		case berth.GroupDay:
			values[i] = day
		case berth.GroupMonth:
			values[i] = day[:len("2006-01")]
		}
	}
	return t.merge(values, r)
}

func (t *totals) merge(values []string, r totalRow) error {
	key := strings.Join(values, "\x00")
	row, ok := t.rows[key]
	if !ok {
		if len(t.rows) == maxTotals {
			return berth.Errorf(berth.CodeInvalid, "The answer would have more than %d rows; ask for a shorter period or fewer groups.", maxTotals)
		}
		row = &totalRow{values: values, hour: r.hour}
		row.Group = make(map[berth.UsageGroup]string, len(t.by))
		for i, g := range t.by {
			row.Group[g] = values[i]
		}
		t.rows[key] = row
	}
	row.UsageSum.Add(r.UsageSum)
	return nil
}

func (t *totals) sorted() []berth.UsageTotal {
	rows := make([]*totalRow, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *totalRow) int {
		for i, g := range t.by {
			c := cmp.Compare(a.values[i], b.values[i])
			if g == berth.GroupHour { // offsets of clocks that go back are not in order
				c = cmp.Or(a.hour.Compare(b.hour), c)
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	list := make([]berth.UsageTotal, len(rows))
	for i, r := range rows {
		list[i] = r.UsageTotal
	}
	return list
}
