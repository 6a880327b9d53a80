package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) reconciliation() *cobra.Command {
	var from, to, replica string
	var unexplained bool
	var most int
	cmd := &cobra.Command{
		Use:   "reconciliation",
		Short: "Compare engines' own counters with the usage records",
		Long: `Compare, for each start of a replica's engine and each hour (UTC), the tokens that
the engine's own counters showed with those that were recorded. Tokens are shown as
input+output.

EXPLAINED is what the engine made beyond records for calls that broke off, UNDER WAY
what calls had used across the hour's ends, UNREAD what was recorded when the engine
died before it was read again. All of these are billed to nobody, or recorded
elsewhere. What is left is UNEXPLAINED: it should be 0, always.`,
		Example: lines(
			"berth reconciliation",
			"berth reconciliation --unexplained --from 7d",
			"berth reconciliation --replica rep_01998f -o json"),
		Args: arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			period, err := p.usageFilter(cmd, from, to)
			if err != nil {
				return err
			}
			filter := api.ReconciliationFilter{From: period.From, To: period.To, Replica: replica, Unexplained: unexplained}
			all, more, err := somePages(most, func(cursor string) ([]api.ReconciliationRow, string, error) {
				page, err := client.Reconciliation(cmd.Context(), filter, cursor)
				return page.Rows, page.Next, err
			})
			if err != nil {
				return err
			}
			if more {
				p.sayMore("latest", most)
			}
			return p.show(all, p.reconciliationTable(all))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "hours since this `time`: 2026-10-02, 2026-10-02T15:00:00Z, 90m or 7d ago")
	flags.StringVar(&to, "to", "", "hours before this `time`")
	flags.StringVar(&replica, "replica", "", "only of this `replica`")
	flags.BoolVar(&unexplained, "unexplained", false, "only rows in which something is")
	flags.IntVar(&most, "limit", 500, "at most this `number` of rows; 0: all")
	return cmd
}

func (p *program) reconciliationTable(rows []api.ReconciliationRow) table {
	t := table{
		columns: columns("HOUR", "REPLICA", "ENGINE>", "RECORDED>", "PROBES>", "UNBILLED>", "EXPLAINED>", "UNDER WAY>", "UNREAD>", "UNEXPLAINED>"),
		empty:   "Nothing to compare.",
	}
	for _, r := range rows {
		t.add(r.Hour.UTC().Format(time.DateOnly+" 15:04"), r.Replica,
			both(r.EngineInputTokens, r.EngineOutputTokens), both(r.RecordedInputTokens, r.RecordedOutputTokens),
			both(r.ProbeInputTokens, r.ProbeOutputTokens), both(r.UnbilledInputTokens, r.UnbilledOutputTokens),
			both(r.ExplainedInputTokens, r.ExplainedOutputTokens), both(r.UnderWayInputTokens, r.UnderWayOutputTokens),
			both(r.UnreadInputTokens, r.UnreadOutputTokens), both(r.UnexplainedInputTokens, r.UnexplainedOutputTokens))
	}
	return t
}

// both are tokens of input and output.
func both(input, output int64) string { return count(input) + "+" + count(output) }
