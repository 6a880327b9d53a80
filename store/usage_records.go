package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// usageLook is how many records of a workspace one page looks at, when it looks for some
// of them only.
const usageLook = 20_000

// usageCursor is a place in the order of records.
type usageCursor struct {
	space, started int64
	id             string
}

func (c usageCursor) String() string { return fmt.Sprintf("%d.%d.%s", c.space, c.started, c.id) }

func parseUsageCursor(text string) (c usageCursor, err error) {
	if text == "" {
		return c, nil
	}
	space, rest, _ := strings.Cut(text, ".")
	started, id, ok := strings.Cut(rest, ".")
	if c.space, err = strconv.ParseInt(space, 10, 64); err == nil {
		c.started, err = strconv.ParseInt(started, 10, 64)
	}
	if c.id = id; err != nil || !ok {
		return c, berth.Errorf(berth.CodeInvalid, "The cursor is not one of this list; use the next of its last page.")
	}
	return c, nil
}

// usageSpace is a workspace with usage.
type usageSpace struct {
	id          int64
	workspaceID string
	zone        *time.Location
	keptFrom    int64 // earlier records have been deleted
}

// spaces returns those that a filter selects, from the given one.
func (s usage) spaces(ctx context.Context, f berth.UsageFilter, from int64) ([]usageSpace, error) {
	var w filter
	w.equals("workspace_id", f.WorkspaceID)
	w.add("id >= ?", from)
	var list []usageSpace
	err := s.tx.each(ctx, func(rows *sql.Rows) error {
		var p usageSpace
		var zone string
		err := rows.Scan(&p.id, &p.workspaceID, &zone, &p.keptFrom)
		p.zone = zoneNamed(zone)
		list = append(list, p)
		return err
	}, "SELECT id, workspace_id, zone, kept_from FROM usage_spaces "+w.where()+" ORDER BY id", w.args...)
	return list, read("workspace with usage", err)
}

func (s usage) Records(ctx context.Context, f berth.UsageFilter, after string, limit int64) ([]berth.UsageRecord, string, error) {
	c, err := parseUsageCursor(after)
	if err != nil {
		return nil, "", err
	}
	spaces, err := s.spaces(ctx, f, c.space)
	if err != nil {
		return nil, "", err
	}
	var list []berth.UsageRecord
	ids := map[string]int64{}
	for _, p := range spaces {
		ids[p.workspaceID] = p.id
		if p.id != c.space {
			c = usageCursor{space: p.id, started: math.MinInt64}
		}
		more, last, err := s.recordsOf(ctx, p, f, c, limit+1-int64(len(list)))
		if err != nil {
			return nil, "", read("usage record", err)
		}
		list = append(list, more...)
		if int64(len(list)) > limit {
			list = list[:limit]
			end := &list[limit-1]
			started, err := nanos(end.StartedAt)
			return list, usageCursor{ids[end.WorkspaceID], started, end.ID}.String(), err
		}
		if last.space != 0 {
			return list, last.String(), nil
		}
	}
	return list, "", nil
}

const recordColumns = `u.id, u.call_id, s.key_id, s.deployment_id, s.deployed_model, s.model_name, s.plan, s.class, o.replica_id, o.nonce,
	u.started_at, u.first_token_at, u.ended_at, u.input_tokens, u.cached_tokens, u.output_tokens, u.thinking_tokens,
	u.billable, u.ended_by, u.http_status, u.source`

// recordsOf returns at most limit records of a workspace after a place; last is how far it
// looked when there may be more behind, in which it did not look.
func (s usage) recordsOf(ctx context.Context, p usageSpace, f berth.UsageFilter, c usageCursor, limit int64) (list []berth.UsageRecord, last usageCursor, err error) {
	if f, err = f.In(p.zone); err != nil {
		return nil, last, err
	}
	if err := checkUsage(f, false); err != nil {
		return nil, last, err
	}
	look := usageRange(p, f, c)
	which := usageWhich(f)
	from := "usage u"
	tail := look
	if len(which.conditions) > 0 {
		from = "(SELECT * FROM usage u " + look.where() + " ORDER BY started_at, id LIMIT ?) u"
		tail = which
		tail.args = append(append(append([]any{}, look.args...), usageLook), which.args...)
	}
	err = s.tx.each(ctx, func(rows *sql.Rows) error {
		r := berth.UsageRecord{WorkspaceID: p.workspaceID}
		var end, source int64
		err := rows.Scan(&r.ID, &r.CallID, &r.KeyID, &r.DeploymentID, &r.DeployedModel, &r.ModelName, &r.Plan, &r.Class, &r.ReplicaID, &r.Nonce,
			instant{&r.StartedAt}, instant{&r.FirstTokenAt}, instant{&r.EndedAt},
			&r.InputTokens, &r.CachedTokens, &r.OutputTokens, &r.ThinkingTokens, &r.Billable, &end, &r.HTTPStatus, &source)
		if err == nil {
			r.End, r.Source, err = ending(end, source)
		}
		list = append(list, r)
		return err
	}, "SELECT "+recordColumns+" FROM "+from+" JOIN usage_origins o ON o.id = u.origin JOIN usage_subjects s ON s.id = o.subject "+
		tail.where()+" ORDER BY u.started_at, u.id LIMIT ?", append(tail.args, limit)...)
	if err != nil || len(which.conditions) == 0 || int64(len(list)) == limit {
		return list, last, err
	}
	err = s.tx.queryRow(ctx, "SELECT started_at, id FROM usage u "+look.where()+" ORDER BY started_at, id LIMIT 1 OFFSET ?",
		append(look.args, usageLook-1)...).Scan(&last.started, &last.id)
	switch {
	case err == nil:
		last.space = p.id
	case berth.CodeOf(read("", err)) == berth.CodeNotFound:
		err = nil // it looked at all
	}
	return list, last, err
}

// usageRange is where a page of a workspace begins and ends.
func usageRange(p usageSpace, f berth.UsageFilter, c usageCursor) filter {
	var w filter
	w.add("u.space = ?", p.id)
	switch {
	case !f.From.IsZero() && f.From.UnixNano() > c.started:
		w.add("u.started_at >= ?", f.From.UnixNano())
	case c.id != "":
		w.conditions = append(w.conditions, "(u.started_at, u.id) > (?, ?)")
		w.args = append(w.args, c.started, c.id)
	}
	if !f.To.IsZero() {
		w.add("u.started_at < ?", f.To.UnixNano())
	}
	return w
}

// usageWhich are the conditions that need a look at each record.
func usageWhich(f berth.UsageFilter) filter {
	w := subjectsWhere(f)
	if f.End != "" {
		w.add("u.ended_by = ?", int64(slices.Index(ends, f.End)))
	}
	if f.Source != "" {
		w.add("u.source = ?", int64(slices.Index(sources, f.Source)))
	}
	if f.Billable != nil {
		w.add("u.billable = ?", *f.Billable)
	}
	return w
}

// subjectsWhere are the conditions that select subjects.
func subjectsWhere(f berth.UsageFilter) filter {
	var w filter
	w.equals("s.deployed_model", f.DeployedModel)
	w.equals("s.key_id", f.KeyID)
	w.equals("s.class", string(f.Class))
	return w
}

// checkUsage refuses a filter that no sum can answer, and times that nothing is kept of.
func checkUsage(f berth.UsageFilter, sums bool) error {
	if sums && (f.End != "" || f.Source != "" || f.Billable != nil) {
		return berth.Errorf(berth.CodeInvalid, "Sums cannot be narrowed by end, source or billable; list records.")
	}
	_, err1 := nanos(f.From)
	_, err2 := nanos(f.To)
	return cmp.Or(err1, err2)
}
