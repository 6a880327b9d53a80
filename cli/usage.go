package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// usageFlags are what calls are chosen by.
type usageFlags struct {
	from, to, month string
	workspace       string
	unbilled        bool
	filter          api.UsageFilter
}

func (p *program) usage() *cobra.Command {
	var by []string
	var f usageFlags
	var records, csv bool
	var most int
	cmd := &cobra.Command{
		Use:   "usage [records]",
		Short: "Show who used how many tokens",
		Long: `Show who used how many tokens. Cached tokens are part of the input, thinking
tokens part of the output. Days, hours and months are those of the account that
pays for the workspace. Output can also be csv or ndjson, written as it comes.`,
		Example: lines(
			"berth usage",
			"berth usage --group-by deployed_model,day --from 7d",
			"berth usage --month 2026-10 --group-by day,key_id -o csv > october.csv",
			"berth usage --group-by hour --from 2026-10-02 --to 2026-10-03",
			"berth usage records --from 1h",
			"berth usage records --unbilled --month 2026-10 -o ndjson"),
		Args:        arguments(cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)),
		ValidArgs:   []string{"records"}, // as the API has it
		Annotations: exports,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			records = records || len(args) > 0
			if csv {
				p.output = formatCSV
			}
			filter, err := p.chosenCalls(cmd, &f, records)
			if err != nil {
				return err
			}
			switch {
			case p.exporting() && records:
				if err := p.noLimit(cmd); err != nil {
					return err
				}
				return client.WriteUsageRecords(cmd.Context(), p.Out, string(p.output), filter)
			case records:
				return p.showRecords(cmd, client, filter, most)
			case p.exporting():
				return client.WriteUsage(cmd.Context(), p.Out, string(p.output), filter, by...)
			}
			rows, err := client.Usage(cmd.Context(), filter, by...)
			if err != nil {
				return err
			}
			return p.show(rows, usageTable(rows, by))
		}),
	}
	flags := cmd.Flags()
	groupings := []string{"deployed_model", "model_name", "key_id", "plan", "class", "hour", "day", "month", "workspace_id"}
	for _, name := range []string{"group-by", "by"} {
		flags.StringSliceVar(&by, name, []string{"deployed_model"}, "group by `columns`: "+strings.Join(groupings, ", "))
		complete(cmd, name, groupings...)
	}
	_ = flags.MarkHidden("by") // as it was called at first; it is there
	flags.StringVar(&f.from, "from", "", "calls since this `time`: 2026-10-02, 2026-10-02T15:00:00Z, 90m or 7d ago")
	flags.StringVar(&f.to, "to", "", "calls before this `time`")
	flags.StringVar(&f.month, "month", "", "calls of this `month`: 2026-10")
	flags.StringVar(&f.filter.DeployedModel, "deployment", "", "only calls of this `deployed model`")
	flags.StringVar(&f.filter.KeyID, "of-key", "", "only calls with the key of this `id`")
	flags.StringVar(&f.filter.Class, "class", "", "only calls of this `class`: reserved, overflow, shared, dedicated or probe")
	flags.StringVar(&f.workspace, "workspace", "", "of another workspace, by its `id`, or of all (owners)")
	flags.BoolVar(&csv, "csv", false, "the same as --output csv")
	flags.BoolVar(&records, "records", false, "show single calls, oldest first")
	flags.StringVar(&f.filter.End, "end", "", "only records that `ended` so: stop, length, tool_calls, client_gone, engine_failed, timeout, refused, berth_crashed or stopped")
	flags.StringVar(&f.filter.Source, "source", "", "only records with `figures` of engine, counted or unknown")
	flags.BoolVar(&f.unbilled, "unbilled", false, "only records that are not billed")
	flags.IntVar(&most, "limit", 1000, "at most this `number` of records; 0: all")
	complete(cmd, "class", "reserved", "overflow", "shared", "dedicated", "probe")
	complete(cmd, "source", "engine", "counted", "unknown")
	return cmd
}

func (p *program) chosenCalls(cmd *cobra.Command, f *usageFlags, records bool) (api.UsageFilter, error) {
	filter := f.filter
	if !records && (filter.End != "" || filter.Source != "" || f.unbilled) {
		return filter, usageError{cmd, "--end, --source and --unbilled go with --records"}
	}
	if f.month != "" {
		first, err := time.Parse("2006-01", f.month)
		if err != nil {
			return filter, usageError{cmd, fmt.Sprintf("--month: %q is no month; write it like 2026-10", f.month)}
		}
		if f.from != "" || f.to != "" {
			return filter, usageError{cmd, "--month does not go with --from and --to"}
		}
		filter.FromDay, filter.ToDay = first.Format(time.DateOnly), first.AddDate(0, 1, 0).Format(time.DateOnly)
	}
	if err := p.usageBound(f.from, &filter.From, &filter.FromDay); err != nil {
		return filter, usageError{cmd, "--from: " + err.Error()}
	}
	if err := p.usageBound(f.to, &filter.To, &filter.ToDay); err != nil {
		return filter, usageError{cmd, "--to: " + err.Error()}
	}
	if filter.WorkspaceID = f.workspace; f.workspace == "all" {
		filter.WorkspaceID = api.AllWorkspaces
	}
	if f.unbilled {
		filter.Billable = new(bool)
	}
	return filter, nil
}

// usageFilter reads the flags --from and --to of a command.
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

// usageBound leaves a day to the server, which knows when it begins for the account.
func (p *program) usageBound(text string, at *time.Time, day *string) (err error) {
	if text == "" {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, text); err == nil {
		*day = text
		return nil
	}
	*at, err = p.parseTime(text)
	return err
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
	all, more, err := somePages(most, func(cursor string) ([]api.UsageRecord, string, error) {
		page, err := client.UsageRecords(cmd.Context(), filter, cursor)
		return page.Records, page.Next, err
	})
	if err != nil {
		return err
	}
	if more {
		p.sayMore("first", most)
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
