package cli

import (
	"cmp"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) statement() *cobra.Command {
	var q api.StatementQuery
	var csv, html bool
	var file, line string
	cmd := &cobra.Command{
		Use:   "statement [MONTH]",
		Short: "Show what a month costs",
		Long: `Show what a month costs: of an account for an owner, of the workspace for an admin.
Without a month the present one. A month closes 24 hours after its end; until then its
statement is provisional. With --line it opens a line down to what it is made of: the calls
of tokens, the minutes of time. --output json and --csv have the ids of lines.`,
		Example: lines(
			"berth statement",
			"berth statement 2026-10 --csv > october.csv",
			"berth statement 2026-10 --html --file october.html",
			"berth statement 2026-10 --line 2026-10-02.dep_1.output.shared.0.price_1.CNY"),
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if len(args) > 0 {
				q.Month = args[0]
			}
			if csv && html {
				return usageError{cmd, "choose one of --csv and --html"}
			}
			if line != "" {
				if csv || html {
					return usageError{cmd, "--line is without --csv and --html"}
				}
				return p.openLine(cmd, client, q, line)
			}
			if csv || html {
				format := map[bool]string{true: "csv", false: "html"}[csv]
				return p.toFile(file, func(to io.Writer) error { return client.WriteStatement(cmd.Context(), q, format, to) })
			}
			st, err := client.Statement(cmd.Context(), q)
			if err != nil {
				return err
			}
			if p.output == formatTable && st.Provisional {
				p.say("Provisional: what comes later may change it.")
			}
			return p.show(st, statementTable(st))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.AccountID, "account", "", "`id` of the account; without it that of the key in use")
	flags.StringVar(&q.WorkspaceID, "workspace", "", "only the part of this workspace, by `id`")
	flags.BoolVar(&csv, "csv", false, "as CSV, for spreadsheets and programs")
	flags.BoolVar(&html, "html", false, "as a page to print")
	flags.StringVar(&line, "line", "", "open the line with this `id`: the calls or minutes that it is made of")
	flags.StringVarP(&file, "file", "f", "", "write --csv or --html to this `file`")
	return cmd
}

// toFile writes to a file, or to the output when it has no name.
func (p *program) toFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return write(p.Out)
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return cmp.Or(write(file), file.Close())
}

// statementTable ends with the totals.
func statementTable(st api.Statement) table {
	t := table{
		columns: columns("DAY", "DEPLOYED MODEL", "PLAN", "DIMENSION", "QUANTITY>", "UNIT", "PRICE>", "PER>", "AMOUNT>", "CURRENCY"),
		empty:   "Nothing was used in " + st.Month + ".",
	}
	for i := range st.Lines {
		l := &st.Lines[i]
		day, price, per := l.Day, "unpriced", ""
		if l.Late {
			day += " (late)"
		}
		if l.PriceID != "" {
			price, per = api.FormatAmount(l.PriceNano, l.Currency), count(l.Per)
		}
		dimension := l.Dimension
		if l.FromTokens > 0 {
			dimension += " " + count(l.FromTokens) + "+"
		}
		t.add(day, l.DeployedModel, l.Plan, dimension, count(l.Quantity), l.Unit, price, per, api.FormatAmount(l.AmountNano, l.Currency), l.Currency)
	}
	for _, total := range st.Totals {
		if len(st.Lines) > 0 {
			t.add("total", "", "", "", "", "", "", "", api.FormatAmount(total.TotalNano, total.Currency), total.Currency)
		}
	}
	return t
}
