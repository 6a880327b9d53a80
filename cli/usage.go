package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) usage() *cobra.Command {
	var by []string
	var from, to, deployedModel string
	var records bool
	var most int
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Show who used how many tokens",
		Long: `Show who used how many tokens. Cached tokens are part of the input, thinking
tokens part of the output.`,
		Example: lines(
			"berth usage",
			"berth usage --by deployed_model,day --from 7d",
			"berth usage --from 2026-10-01 --to 2026-11-01 -o json",
			"berth usage --records --from 1h"),
		Args: arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			filter, err := p.usageFilter(cmd, from, to)
			if err != nil {
				return err
			}
			filter.DeployedModel = deployedModel
			if records {
				return p.showRecords(cmd, client, filter, most)
			}
			rows, err := client.Usage(cmd.Context(), filter, by...)
			if err != nil {
				return err
			}
			return p.show(rows, usageTable(rows, by))
		}),
	}
	flags := cmd.Flags()
	groupings := []string{"deployed_model", "model_name", "key_id", "plan", "day"}
	flags.StringSliceVar(&by, "by", []string{"deployed_model"}, "group by `columns`: "+strings.Join(groupings, ", "))
	flags.StringVar(&from, "from", "", "calls since this `time`: 2026-10-02, 2026-10-02T15:00:00Z, 90m or 7d ago")
	flags.StringVar(&to, "to", "", "calls before this `time`")
	flags.StringVar(&deployedModel, "deployment", "", "only calls of this `deployed model`")
	flags.BoolVar(&records, "records", false, "show single calls, oldest first")
	flags.IntVar(&most, "limit", 1000, "at most this `number` of records; 0: all")
	complete(cmd, "by", groupings...)
	return cmd
}

func (p *program) usageFilter(cmd *cobra.Command, from, to string) (api.UsageFilter, error) {
	var f api.UsageFilter
	var err error
	if from != "" {
		if f.From, err = p.parseTime(from); err != nil {
			return f, usageError{cmd, "--from: " + err.Error()}
		}
	}
	if to != "" {
		if f.To, err = p.parseTime(to); err != nil {
			return f, usageError{cmd, "--to: " + err.Error()}
		}
	}
	return f, nil
}

// usageTable ends with a sum when there is something to add up.
func usageTable(rows []api.UsageRow, by []string) table {
	var titles []string
	for _, b := range by {
		titles = append(titles, strings.ToUpper(strings.ReplaceAll(b, "_", " ")))
	}
	titles = append(titles, "CALLS>", "INPUT>", "CACHED>", "OUTPUT>", "THINKING>")
	t := table{columns: columns(titles...), empty: "No calls."}
	var sum api.UsageRow
	for _, r := range rows {
		var groups []string
		for _, b := range by {
			groups = append(groups, r.Group[b])
		}
		t.add(append(groups, usageFigures(r)...)...)
		sum.Calls += r.Calls
		sum.InputTokens += r.InputTokens
		sum.CachedTokens += r.CachedTokens
		sum.OutputTokens += r.OutputTokens
		sum.ThinkingTokens += r.ThinkingTokens
	}
	if len(rows) > 1 && len(by) > 0 {
		total := append([]string{"total"}, make([]string, len(by)-1)...)
		t.add(append(total, usageFigures(sum)...)...)
	}
	return t
}

func usageFigures(r api.UsageRow) []string {
	return []string{count(r.Calls), count(r.InputTokens), count(r.CachedTokens), count(r.OutputTokens), count(r.ThinkingTokens)}
}

func (p *program) showRecords(cmd *cobra.Command, client *api.Client, filter api.UsageFilter, most int) error {
	all := []api.UsageRecord{}
	for cursor := ""; ; {
		page, err := client.UsageRecords(cmd.Context(), filter, cursor)
		if err != nil {
			return err
		}
		all = append(all, page.Records...)
		cursor = page.Next
		if most > 0 && (len(all) > most || len(all) == most && cursor != "") {
			all = all[:most]
			p.say("These are the first %s; narrow them with --from and --to, or see all with --limit 0.", count(int64(most)))
			break
		}
		if cursor == "" {
			break
		}
	}
	return p.show(all, p.recordTable(all))
}

func (p *program) recordTable(records []api.UsageRecord) table {
	t := table{
		columns: columns("STARTED", "TOOK>", "DEPLOYED MODEL", "CLASS", "INPUT>", "CACHED>", "OUTPUT>", "THINKING>", "END", "SOURCE", "CALL"),
		empty:   "No calls.",
	}
	for _, r := range records {
		end := r.End
		if !r.Billable {
			end += " (unbilled)"
		}
		t.add(p.moment(r.StartedAt), fmt.Sprintf("%.1fs", r.EndedAt.Sub(r.StartedAt).Seconds()), r.DeployedModel, r.Class,
			count(r.InputTokens), count(r.CachedTokens), count(r.OutputTokens), count(r.ThinkingTokens), end, r.Source, r.CallID)
	}
	return t
}
