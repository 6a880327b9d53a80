package cli

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) tryPrices() *cobra.Command {
	var f priceFlags
	var t api.TryPrices
	cmd := &cobra.Command{
		Use:   "dry-run [MONTH]",
		Short: "Show what a month would have cost under other prices",
		Long: `Show what a month would have cost under other prices, beside what it did: each price takes
the place of the one in the book for all of the month. Nothing is changed. Without a
month, the present one.`,
		Example: lines(
			"berth price dry-run 2026-10 --spec MU1 --dimension unit_minute --price 49",
			"berth price dry-run 2026-10 --file book.json --only"),
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			list, err := p.pricesOf(cmd, &f)
			if err != nil {
				return err
			}
			t.Month, t.Prices = api.CurrentMonth, list
			if len(args) > 0 {
				t.Month = args[0]
			}
			got, err := client.TryPrices(cmd.Context(), t)
			if err != nil {
				return err
			}
			return p.show(got, trialTable(got))
		}),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&t.AccountID, "account", "", "`id` of the account; without it that of the key in use")
	cmd.Flags().StringVar(&t.WorkspaceID, "workspace", "", "only the part of this workspace, by `id`")
	cmd.Flags().BoolVar(&t.Only, "only", false, "the prices are the whole book: what has none of them is unpriced")
	return cmd
}

// trialTable ends with the totals.
func trialTable(t api.PriceTrial) table {
	out := table{
		columns: columns("DAY", "DEPLOYED MODEL", "DIMENSION", "QUANTITY>", "UNIT", "COST>", "WOULD COST>", "DIFFERENCE>", "CURRENCY"),
		empty:   "Nothing was used in " + t.Month + ".",
	}
	figures := func(cost, trial int64, currency string) []string {
		more := api.FormatAmount(trial-cost, currency)
		if trial > cost {
			more = "+" + more
		}
		return []string{api.FormatAmount(cost, currency), api.FormatAmount(trial, currency), more, currency}
	}
	for _, l := range t.Lines {
		out.add(append([]string{l.Day, cmp.Or(l.DeployedModel, l.DeploymentID), l.Dimension, count(l.Quantity), l.Unit}, figures(l.CostNano, l.TrialNano, l.Currency)...)...)
	}
	for _, total := range t.Totals {
		if len(t.Lines) > 0 {
			out.add(append([]string{"total", "", "", "", ""}, figures(total.CostNano, total.TrialNano, total.Currency)...)...)
		}
	}
	return out
}
