package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// groups are the values of group_by.
var groups = []berth.UsageGroup{
	berth.GroupDeployedModel, berth.GroupModelName, berth.GroupKey, berth.GroupPlan, berth.GroupClass, berth.GroupHour, berth.GroupDay, berth.GroupMonth,
	berth.GroupWorkspace,
}

// usageTotals is GET /berth/v1/usage (design 10).
func (s *Server) usageTotals(ctx context.Context, r *http.Request) (any, error) {
	form, err := formOf(r)
	if err != nil {
		return nil, err
	}
	f, err := usageFilter(r)
	if err != nil {
		return nil, err
	}
	by, err := usageGroups(r.URL.Query().Get("group_by"))
	if err != nil {
		return nil, err
	}
	totals, err := s.Usage.Totals(ctx, f, by)
	if err != nil {
		return nil, err
	}
	if form != formJSON {
		return usageExport(form, by, totals), nil
	}
	out := api.UsageRows{}
	if totals, out.Next, err = rowsPage(r.URL.Query().Get("cursor"), by, totals); err != nil {
		return nil, err
	}
	out.Rows = make([]api.UsageRow, 0, len(totals))
	for i := range totals {
		out.Rows = append(out.Rows, usageRow(&totals[i]))
	}
	return out, nil
}

func usageGroups(text string) (by []berth.UsageGroup, err error) {
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(groups, berth.UsageGroup(name)) {
			return nil, berth.Errorf(berth.CodeInvalid,
				"The group_by %q is not known; use any of deployed_model, model_name, key_id, plan, class, hour, day, month and workspace_id.", name)
		}
		if slices.Contains(by, berth.UsageGroup(name)) {
			return nil, berth.Errorf(berth.CodeInvalid, "The group_by names %s twice; name each group once.", name)
		}
		by = append(by, berth.UsageGroup(name))
	}
	return by, nil
}

func usageRow(t *berth.UsageTotal) api.UsageRow {
	row := api.UsageRow{
		Group: make(map[string]string, len(t.Group)), Calls: t.Calls, InputTokens: t.InputTokens, CachedTokens: t.CachedTokens,
		OutputTokens: t.OutputTokens, ThinkingTokens: t.ThinkingTokens,
		BillableCalls: t.Billable.Calls, BillableInputTokens: t.Billable.InputTokens, BillableCachedTokens: t.Billable.CachedTokens,
		BillableOutputTokens: t.Billable.OutputTokens, BillableThinkingTokens: t.Billable.ThinkingTokens,
		CountedCalls: t.CountedCalls, UnknownCalls: t.UnknownCalls,
	}
	for g, v := range t.Group {
		row.Group[string(g)] = v
	}
	return row
}

// usageExport has the groups first, in the order that was asked for.
func usageExport(form string, by []berth.UsageGroup, totals []berth.UsageTotal) export {
	e := export{form: form, name: "usage"}
	for _, g := range by {
		e.columns = append(e.columns, string(g))
	}
	e.columns = append(e.columns, "calls", "input_tokens", "cached_tokens", "output_tokens", "thinking_tokens",
		"billable_calls", "billable_input_tokens", "billable_cached_tokens", "billable_output_tokens", "billable_thinking_tokens",
		"counted_calls", "unknown_calls")
	e.rows = func(write func(any, []any) error) error {
		cells := make([]any, 0, len(e.columns))
		for i := range totals {
			u := usageRow(&totals[i])
			cells = cells[:0]
			for _, g := range by {
				cells = append(cells, u.Group[string(g)])
			}
			cells = append(cells, u.Calls, u.InputTokens, u.CachedTokens, u.OutputTokens, u.ThinkingTokens,
				u.BillableCalls, u.BillableInputTokens, u.BillableCachedTokens, u.BillableOutputTokens, u.BillableThinkingTokens,
				u.CountedCalls, u.UnknownCalls)
			if err := write(u, cells); err != nil {
				return err
			}
		}
		return nil
	}
	return e
}

// usagePage is the number of records of one page.
const usagePage = 500

// usageRecords is GET /berth/v1/usage/records (design 10). As a file it has all of them.
func (s *Server) usageRecords(ctx context.Context, r *http.Request) (any, error) {
	form, err := formOf(r)
	if err != nil {
		return nil, err
	}
	f, err := usageFilter(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	f.End, f.Source = berth.End(query.Get("end")), berth.Source(query.Get("source"))
	if text := query.Get("billable"); text != "" {
		billable, err := strconv.ParseBool(text)
		if err != nil {
			return nil, berth.Errorf(berth.CodeInvalid, "The value of billable must be true or false.")
		}
		f.Billable = &billable
	}
	records, next, err := s.Usage.Records(ctx, f, query.Get("cursor"), usagePage)
	if err != nil {
		return nil, err
	}
	if form != formJSON {
		return s.recordsExport(ctx, form, f, records, next), nil
	}
	out := api.UsageRecords{Records: make([]api.UsageRecord, 0, len(records)), Next: next}
	for i := range records {
		out.Records = append(out.Records, usageRecord(&records[i]))
	}
	return out, nil
}

func usageRecord(u *berth.UsageRecord) api.UsageRecord {
	return api.UsageRecord{
		ID: u.ID, CallID: u.CallID, WorkspaceID: u.WorkspaceID, KeyID: u.KeyID, DeployedModel: u.DeployedModel,
		ModelName: u.ModelName, Plan: string(u.Plan), Class: string(u.Class), Replica: u.ReplicaID,
		StartedAt: u.StartedAt, FirstTokenAt: u.FirstTokenAt, EndedAt: u.EndedAt,
		InputTokens: u.InputTokens, CachedTokens: u.CachedTokens, OutputTokens: u.OutputTokens,
		ThinkingTokens: u.ThinkingTokens, Billable: u.Billable, End: string(u.End), Source: string(u.Source),
	}
}

var recordColumns = []string{
	"id", "call_id", "workspace_id", "key_id", "deployed_model", "model_name", "plan", "class", "replica", "started_at", "first_token_at", "ended_at",
	"input_tokens", "cached_tokens", "output_tokens", "thinking_tokens", "billable", "end", "source",
}

func (s *Server) recordsExport(ctx context.Context, form string, f berth.UsageFilter, records []berth.UsageRecord, next string) export {
	more := func() (list []berth.UsageRecord, err error) {
		for next != "" && len(list) == 0 && err == nil { // a page can be empty and be followed by another
			list, next, err = s.Usage.Records(ctx, f, next, usagePage)
		}
		return list, err
	}
	return paged(form, "usage-records", recordColumns, records, more, func(r *berth.UsageRecord) (any, []any) {
		u := usageRecord(r)
		cells := recordCells(&u)
		return u, cells
	})
}

// recordCells are in the order of recordColumns.
func recordCells(u *api.UsageRecord) []any {
	return []any{
		u.ID, u.CallID, u.WorkspaceID, u.KeyID, u.DeployedModel, u.ModelName, u.Plan, u.Class, u.Replica, u.StartedAt, u.FirstTokenAt, u.EndedAt,
		u.InputTokens, u.CachedTokens, u.OutputTokens, u.ThinkingTokens, u.Billable, u.End, u.Source,
	}
}

var classes = []berth.Class{"", berth.ClassReserved, berth.ClassOverflow, berth.ClassShared, berth.ClassDedicated, berth.ClassProbe}

func usageFilter(r *http.Request) (berth.UsageFilter, error) {
	query := r.URL.Query()
	f := berth.UsageFilter{
		WorkspaceID: query.Get("workspace_id"), DeployedModel: query.Get("deployed_model"), KeyID: query.Get("key_id"), Class: berth.Class(query.Get("class")),
	}
	if !slices.Contains(classes, f.Class) {
		return f, berth.Errorf(berth.CodeInvalid, "The class %q is not known; use reserved, overflow, shared, dedicated or probe.", f.Class)
	}
	if err := usageBound(query.Get("from"), "from", &f.From, &f.FromDay); err != nil {
		return f, err
	}
	if err := usageBound(query.Get("to"), "to", &f.To, &f.ToDay); err != nil {
		return f, err
	}
	return f, inOrder(f.FromDay != "" && f.ToDay != "" && f.ToDay < f.FromDay || !f.From.IsZero() && !f.To.IsZero() && f.To.Before(f.From))
}

// usageBound reads a time, or a day that begins when it does for the workspace's account.
func usageBound(text, name string, at *time.Time, day *string) error {
	if text == "" {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, text); err == nil {
		*day = text
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return berth.Errorf(berth.CodeInvalid, "The value of %s must be a day, such as 2026-10-02, or an RFC 3339 time, such as 2026-10-02T00:00:00Z.", name)
	}
	*at = t
	return nil
}
