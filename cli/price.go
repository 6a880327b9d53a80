package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) prices() *cobra.Command {
	return parent("price", "List, try and set prices", p.listPrices(), p.tryPrices(), p.setPrice())
}

var dimensions = []string{
	api.DimensionUnitMinute, api.DimensionInputTPMMinute, api.DimensionOutputTPMMinute, api.DimensionThinkingTPMMinute,
	api.DimensionInput, api.DimensionCached, api.DimensionOutput, api.DimensionThinking,
}

func (p *program) listPrices() *cobra.Command {
	var q api.PriceQuery
	var at string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the prices that hold now",
		Long: `List the prices that hold now. The narrowest one rules: a model's before its base's
before those of any (*), a spec's before those of any, a plan's before those of any. What
rules for a model shows berth model show. Output can also be csv or ndjson.`,
		Example: lines(
			"berth price list",
			"berth price list --model '*' --dimension unit_minute",
			"berth price list --history",
			"berth price list --history -o csv > prices.csv"),
		Args:        arguments(cobra.NoArgs),
		Annotations: exports,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			var err error
			if at != "" {
				if q.At, err = p.parseExpiry(at); err != nil {
					return usageError{cmd, "--at: " + err.Error()}
				}
			}
			if p.exporting() {
				return client.WritePrices(cmd.Context(), p.Out, string(p.output), q)
			}
			prices, err := client.Prices(cmd.Context(), q)
			if err != nil {
				return err
			}
			return p.show(prices, p.priceTable(prices))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Model, "model", "", "only prices for exactly this `model`, or '*'")
	flags.StringVar(&q.Plan, "plan", "", "only prices of exactly this `plan`")
	flags.StringVar(&q.Spec, "spec", "", "only prices of exactly this `spec`")
	flags.StringVar(&q.Dimension, "dimension", "", "only prices for this `dimension`: "+strings.Join(dimensions, ", "))
	flags.StringVar(&q.Currency, "currency", "", "only prices in this `currency`")
	flags.StringVar(&at, "at", "", "those that hold at this `time`: 30d from now, 2027-01-01 or 2027-01-01T08:00:00Z")
	flags.BoolVar(&q.History, "history", false, "every version, past and to come")
	complete(cmd, "dimension", dimensions...)
	complete(cmd, "plan", api.PlanMU, api.PlanPTU, api.PlanLoRA)
	return cmd
}

func (p *program) priceTable(prices []api.Price) table {
	t := table{
		columns: columns("MODEL", "PLAN", "SPEC", "DIMENSION", "PROMPT>", "PRICE>", "CURRENCY", "PER>", "FROM", "TO"),
		empty:   "No prices. What has none is free, or refused (billing.unpriced). Set one: berth price set",
	}
	for _, v := range prices {
		price, prompt := api.FormatAmount(v.PriceNano, v.Currency), ""
		if v.Withdrawn {
			price = "withdrawn"
		}
		if v.FromTokens > 0 {
			prompt = count(v.FromTokens) + "+"
		}
		t.add(v.Model, v.Plan, v.Spec, v.Dimension, prompt, price, v.Currency, count(v.Per), p.moment(v.From), p.moment(v.To))
	}
	return t
}

// priceFlags are the prices of a book to be as they are typed.
type priceFlags struct {
	one         api.SetPrice
	price, from string
	file        string
}

func (f *priceFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.one.Model, "model", "", "a `model`, or the base of some; without it any")
	flags.StringVar(&f.one.Plan, "plan", "", "`plan`: mu, ptu or lora; without it every one that sells the dimension")
	flags.StringVar(&f.one.Spec, "spec", "", "`spec` of unit minutes; without it any")
	flags.StringVar(&f.one.Dimension, "dimension", "", "what the price is for, a `dimension`: "+strings.Join(dimensions, ", "))
	flags.Int64Var(&f.one.FromTokens, "from-tokens", 0, "shortest prompt that the price is for, in `tokens`")
	flags.StringVar(&f.price, "price", "", "`amount`, such as 54 or 0.48")
	flags.Int64Var(&f.one.Per, "per", 0, "for how many of the dimension, a `number`; without it 60 minutes or 1000000 tokens")
	flags.StringVar(&f.one.Currency, "currency", "", "`code` of ISO 4217; without it that of the key's account")
	flags.StringVarP(&f.file, "file", "f", "", `JSON `+"`file`"+` with {"prices":[…]} as the API has them; -: what is piped in`)
	complete(cmd, "plan", api.PlanMU, api.PlanPTU, api.PlanLoRA)
	complete(cmd, "dimension", dimensions...)
}

func (p *program) setPrice() *cobra.Command {
	var f priceFlags
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set a price, or many from a file",
		Long: `Set a price from a moment on, or many from a file: all or none. It ends the one before;
nothing is changed for what was used before that moment.`,
		Example: lines(
			"berth price set --spec MU1 --dimension unit_minute --price 54",
			"berth price set --model qwen3-8b --plan lora --dimension input --price 0.5 --from 2027-01-01",
			"berth price set --model qwen3-8b --plan lora --dimension input --withdraw",
			"berth price set --file book.json"),
		Args: arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			list, err := p.pricesOf(cmd, &f)
			if err != nil {
				return err
			}
			set, err := client.SetPrices(cmd.Context(), list)
			if err != nil {
				return err
			}
			return p.show(set, p.priceTable(set))
		}),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.from, "from", "", "`when` it begins: 12h, 30d, 2027-01-01 or 2027-01-01T08:00:00Z; without it with the next full minute")
	cmd.Flags().BoolVar(&f.one.Withdrawn, "withdraw", false, "end the price without another")
	return cmd
}

// pricesOf reads the prices of a file, or the one of the flags.
func (p *program) pricesOf(cmd *cobra.Command, f *priceFlags) ([]api.SetPrice, error) {
	if f.file != "" {
		return p.priceFile(f.file)
	}
	switch {
	case f.one.Dimension == "":
		return nil, usageError{cmd, "name what the price is for with --dimension, or a --file"}
	case (f.price == "") != f.one.Withdrawn:
		return nil, usageError{cmd, "say the --price, or --withdraw the one that is there"}
	}
	if f.from != "" {
		at, err := p.parseExpiry(f.from)
		if err != nil {
			return nil, usageError{cmd, "--from: " + err.Error()}
		}
		f.one.From = at.UTC().Truncate(time.Second).Format(time.RFC3339)
	}
	if f.price != "" {
		nano, err := api.ParseAmount(f.price)
		if err != nil {
			return nil, usageError{cmd, "--price: " + err.Error()}
		}
		f.one.PriceNano = &nano
		if f.one.Per == 0 {
			f.one.Per = usualPer(f.one.Dimension)
		}
	}
	return []api.SetPrice{f.one}, nil
}

// usualPer is what prices are usually for: an hour, or a million tokens.
func usualPer(dimension string) int64 {
	if strings.HasSuffix(dimension, "_minute") {
		return 60
	}
	return 1_000_000
}

// maxPriceFile bounds a file of prices.
const maxPriceFile = 1 << 20

func (p *program) priceFile(name string) ([]api.SetPrice, error) {
	in := p.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	decoder := json.NewDecoder(io.LimitReader(in, maxPriceFile))
	decoder.DisallowUnknownFields()
	var book api.SetPrices
	if err := decoder.Decode(&book); err != nil {
		return nil, fmt.Errorf(`%s is no book of prices, {"prices":[…]}: %w`, name, err)
	}
	return book.Prices, nil
}
