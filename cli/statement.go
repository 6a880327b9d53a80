package cli

import (
	"cmp"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// statementFlags say which form of a statement is wanted.
type statementFlags struct {
	csv, html, ndjson      bool
	file, folder, line, by string
}

func (p *program) statement() *cobra.Command {
	var q api.StatementQuery
	var f statementFlags
	cmd := &cobra.Command{
		Use:        "statement [MONTH]",
		Short:      "Show what a month costs",
		SuggestFor: []string{"bill", "invoice"},
		Long: `Show what a month costs: of an account for an owner, of the workspace for an admin.
Without a month the present one. A month closes 24 hours after its end; until then its
statement is provisional.

--line opens a line down to what it is made of: the calls of tokens, the minutes of time.
It takes what the column LINE shows, or the whole id that JSON and CSV have. --html --dir
writes the statement as pages for a browser, in which each line leads to what it is made of.`,
		Example: lines(
			"berth statement",
			"berth statement 2026-10 --by workspace",
			"berth statement 2026-10 --line 3f2a91c0",
			"berth statement 2026-10 --csv > october.csv",
			"berth statement 2026-10 --line 3f2a91c0 --csv > calls.csv",
			"berth statement 2026-10 --html --file october.html",
			"berth statement 2026-10 --html --dir october"),
		Args:        arguments(cobra.MaximumNArgs(1)),
		Annotations: exports,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if len(args) > 0 {
				q.Month = args[0]
			}
			if p.exporting() {
				f.csv = p.output == formatCSV
				f.ndjson = !f.csv
			}
			if err := f.check(cmd); err != nil {
				return err
			}
			switch {
			case f.line != "":
				return p.openLine(cmd, client, q, &f)
			case f.folder != "":
				return p.statementFolder(cmd, client, q, f.folder)
			case f.csv, f.html:
				format := map[bool]string{true: api.FormatCSV, false: "html"}[f.csv]
				q.Links = map[bool]string{true: api.LinksNone}[f.html]
				return p.toFile(f.file, func(to io.Writer) error { return client.WriteStatement(cmd.Context(), q, format, to) })
			}
			st, err := client.Statement(cmd.Context(), q)
			if err != nil {
				return err
			}
			if p.output == formatTable && st.Provisional {
				p.say("Provisional: what comes later may change it.")
			}
			if f.by != "" {
				sums := sumLines(&st, f.by)
				return p.show(sums, sumTable(&st, f.by, sums))
			}
			return p.show(st, statementTable(st))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.AccountID, "account", "", "`id` of the account; without it that of the key in use")
	flags.StringVar(&q.WorkspaceID, "workspace", "", "only the part of this workspace, by `id`")
	flags.StringVar(&f.by, "by", "", "add lines up by a `column`: "+strings.Join(sumColumns, ", "))
	flags.StringVar(&f.line, "line", "", "open the line with this `id`: the calls or minutes that it is made of")
	flags.BoolVar(&f.csv, "csv", false, "as CSV, for spreadsheets and programs")
	flags.BoolVar(&f.html, "html", false, "as a page to print")
	flags.StringVarP(&f.file, "file", "f", "", "write --csv or --html to this `file`")
	flags.StringVar(&f.folder, "dir", "", "write --html with all its lines opened into this `directory`; begin at its index.html")
	complete(cmd, "by", sumColumns...)
	return cmd
}

// check refuses flags that do not go together.
func (f *statementFlags) check(cmd *cobra.Command) error {
	var says string
	switch {
	case f.ndjson && f.line == "":
		says = "--output: ndjson is for the records of a --line; a statement is csv or json"
	case (f.csv || f.ndjson) && f.html:
		says = "choose one of --csv and --html"
	case f.line != "" && f.html:
		says = "--line goes with --csv; --html --dir writes pages of all lines"
	case f.by != "" && (f.csv || f.ndjson || f.html || f.line != ""):
		says = "--by is without --csv, --html and --line"
	case f.by != "" && !slices.Contains(sumColumns, f.by):
		says = "--by: lines are added up by " + strings.Join(sumColumns, ", ")
	case f.folder != "" && (!f.html || f.file != ""):
		says = "--dir goes with --html and without --file"
	case f.file != "" && !f.csv && !f.html && !f.ndjson:
		says = "--file goes with --csv or --html"
	default:
		return nil
	}
	return usageError{cmd, says}
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
		columns: columns("DAY", "DEPLOYED MODEL", "PLAN", "DIMENSION", "QUANTITY>", "UNIT", "PRICE>", "PER>", "AMOUNT>", "CURRENCY", "LINE"),
		empty:   "Nothing was used in " + st.Month + ".",
	}
	names := lineNames(&st)
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
		t.add(day, l.DeployedModel, l.Plan, dimension, count(l.Quantity), l.Unit, price, per, api.FormatAmount(l.AmountNano, l.Currency), l.Currency, names[i])
	}
	for _, total := range st.Totals {
		if len(st.Lines) > 0 {
			t.add("total", "", "", "", "", "", "", "", api.FormatAmount(total.TotalNano, total.Currency), total.Currency, "")
		}
	}
	return t
}
