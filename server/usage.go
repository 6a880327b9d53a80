package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// groups are the values of group_by.
var groups = []berth.UsageGroup{berth.GroupDeployedModel, berth.GroupModelName, berth.GroupKey, berth.GroupPlan, berth.GroupDay}

// usageTotals is GET /berth/v1/usage (design 10).
func (s *Server) usageTotals(ctx context.Context, r *http.Request) (any, error) {
	f, err := usageFilter(r)
	if err != nil {
		return nil, err
	}
	var by []berth.UsageGroup
	if text := r.URL.Query().Get("group_by"); text != "" {
		for name := range strings.SplitSeq(text, ",") {
			if !slices.Contains(groups, berth.UsageGroup(name)) {
				return nil, berth.Errorf(berth.CodeInvalid, "The group_by %q is not known; use any of deployed_model, model_name, key_id, plan and day.", name)
			}
			if slices.Contains(by, berth.UsageGroup(name)) {
				return nil, berth.Errorf(berth.CodeInvalid, "The group_by names %s twice; name each group once.", name)
			}
			by = append(by, berth.UsageGroup(name))
		}
	}
	totals, err := s.Usage.Totals(ctx, f, by)
	if err != nil {
		return nil, err
	}
	out := api.UsageRows{Rows: make([]api.UsageRow, 0, len(totals))}
	for _, t := range totals {
		row := api.UsageRow{
			Group: map[string]string{}, Calls: t.Calls, InputTokens: t.InputTokens, CachedTokens: t.CachedTokens,
			OutputTokens: t.OutputTokens, ThinkingTokens: t.ThinkingTokens,
		}
		for g, v := range t.Group {
			row.Group[string(g)] = v
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

// usagePage is the number of records of one page.
const usagePage = 500

// usageRecords is GET /berth/v1/usage/records (design 10).
func (s *Server) usageRecords(ctx context.Context, r *http.Request) (any, error) {
	f, err := usageFilter(r)
	if err != nil {
		return nil, err
	}
	records, next, err := s.Usage.Records(ctx, f, r.URL.Query().Get("cursor"), usagePage)
	if err != nil {
		return nil, err
	}
	out := api.UsageRecords{Records: make([]api.UsageRecord, 0, len(records)), Next: next}
	for _, u := range records {
		out.Records = append(out.Records, api.UsageRecord{
			ID: u.ID, CallID: u.CallID, WorkspaceID: u.WorkspaceID, KeyID: u.KeyID, DeployedModel: u.DeployedModel,
			ModelName: u.ModelName, Plan: string(u.Plan), Class: string(u.Class), Replica: u.ReplicaID,
			StartedAt: u.StartedAt, FirstTokenAt: u.FirstTokenAt, EndedAt: u.EndedAt,
			InputTokens: u.InputTokens, CachedTokens: u.CachedTokens, OutputTokens: u.OutputTokens,
			ThinkingTokens: u.ThinkingTokens, Billable: u.Billable, End: string(u.End), Source: string(u.Source),
		})
	}
	return out, nil
}

func usageFilter(r *http.Request) (berth.UsageFilter, error) {
	query := r.URL.Query()
	f := berth.UsageFilter{DeployedModel: query.Get("deployed_model"), KeyID: query.Get("key_id")}
	var err error
	if f.From, err = instant(r, "from"); err == nil {
		f.To, err = instant(r, "to")
	}
	return f, err
}
