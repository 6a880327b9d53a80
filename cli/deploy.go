package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// deployFlags are the flags that become fields only when they are given.
type deployFlags struct {
	capacity, context, rpm, tpm int64
	prefill, decode             int64
	thinking, wait, dry         bool
	ptu                         api.PTUCapacity
	prepaid                     prepaidFlags
}

func (p *program) deploy() *cobra.Command {
	var d api.CreateDeployment
	var f deployFlags
	cmd := &cobra.Command{
		Use:        "deploy MODEL",
		Short:      "Deploy a model",
		SuggestFor: []string{"quote", "buy", "create"},
		Long: `Deploy a model under a plan:
  mu    units of hardware of your own     --spec --capacity --thinking --context --rpm --tpm
  ptu   reserved tokens per minute        --input-tpm --output-tpm [--prepaid-days [--renew-days]]
  lora  an adapter, paid per token`,
		Example: lines(
			"berth deploy abacus --plan mu --spec MU1 --capacity 2 --wait",
			"berth deploy abacus --plan ptu --input-tpm 20000 --output-tpm 2000 --suffix chat",
			"berth deploy abacus --plan ptu --input-tpm 20000 --output-tpm 2000 --prepaid-days 30 --renew-days 30",
			"berth deploy abacus-poet --plan lora",
			"berth deploy abacus --plan mu --spec MU1 --capacity 8 --dry-run"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			d.ModelName = args[0]
			f.fill(cmd, &d)
			if f.dry {
				q, err := client.QuoteDeployment(cmd.Context(), d)
				if err != nil {
					return err
				}
				return p.show(q, p.quoteTable(q))
			}
			made, err := client.CreateDeployment(cmd.Context(), d)
			if err == nil && f.wait {
				made, err = p.await(cmd, client, made)
			}
			if err != nil {
				return err
			}
			return p.show(made, p.deploymentFacts(made))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&d.Plan, "plan", "", "`plan`: mu, ptu or lora; without it what suits the model")
	flags.StringVar(&d.DeploySpec, "spec", "", "`spec` of a unit, such as MU1")
	flags.Int64Var(&f.capacity, "capacity", 0, "`units`, a multiple of the units of one replica")
	flags.Int64Var(&f.prefill, "prefill-capacity", 0, "`units` that read prompts, where the spec separates them")
	flags.Int64Var(&f.decode, "decode-capacity", 0, "`units` that answer, where the spec separates them")
	flags.Int64Var(&f.ptu.InputTPM, "input-tpm", 10_000, "reserved input `tokens` per minute")
	flags.Int64Var(&f.ptu.OutputTPM, "output-tpm", 1_000, "reserved output `tokens` per minute")
	flags.Int64Var(&f.ptu.ThinkingTPM, "thinking-tpm", 0, "reserved thinking `tokens` per minute")
	flags.StringVar(&d.ServiceTier, "service-tier", "", "`tier` of reserved throughput: ptu_fast, or ptu_default, which is paid in advance only")
	f.prepaid.register(cmd)
	flags.StringVar(&d.Suffix, "suffix", "", "end of the deployed model's name, at most 8 `characters`")
	flags.StringVar(&d.Name, "name", "", "`name` for people")
	flags.BoolVar(&f.thinking, "thinking", false, "always think; --thinking=false: never")
	flags.Int64Var(&f.context, "context", 0, "largest prompt and answer together, in `tokens`")
	flags.Int64Var(&f.rpm, "rpm", 0, "limit of `requests` per minute")
	flags.Int64Var(&f.tpm, "tpm", 0, "limit of `tokens` per minute")
	flags.StringVar(&d.IdempotencyKey, "idempotency-key", "", "a repeat with the same `key` within 24 h makes no second deployment")
	flags.BoolVar(&f.wait, "wait", false, "wait until it serves")
	flags.BoolVar(&f.dry, "dry-run", false, "show what it would come to, buy nothing")
	complete(cmd, "plan", api.PlanMU, api.PlanPTU, api.PlanLoRA)
	return cmd
}

func (f *deployFlags) fill(cmd *cobra.Command, d *api.CreateDeployment) {
	d.Capacity = given(cmd, "capacity", f.capacity)
	d.PrefillCapacity = given(cmd, "prefill-capacity", f.prefill)
	d.DecodeCapacity = given(cmd, "decode-capacity", f.decode)
	d.EnableThinking = given(cmd, "thinking", f.thinking)
	d.MaxContextLength = given(cmd, "context", f.context)
	d.RPMLimit = given(cmd, "rpm", f.rpm)
	d.TPMLimit = given(cmd, "tpm", f.tpm)
	if cmd.Flags().Changed("input-tpm") || cmd.Flags().Changed("output-tpm") || cmd.Flags().Changed("thinking-tpm") {
		d.PTU = &f.ptu
	}
	if d.PrePaidInfo = f.prepaid.info(); d.PrePaidInfo != nil {
		d.ChargeType = api.ChargePrePaid
	}
}

// quoteTable shows what a purchase would come to.
func (p *program) quoteTable(q api.Quote) table {
	if !q.Possible {
		return facts(append([]string{"Possible", "no", "Reason", q.Reason}, costFacts(q.Cost)...)...)
	}
	ready := "not known yet"
	if q.ReadySeconds != nil {
		ready = brief(time.Duration(*q.ReadySeconds * float64(time.Second)))
	}
	engines := "none has to start"
	if n := len(q.Replicas); n > 0 {
		each := q.Replicas[0]
		engines = fmt.Sprintf("%d, each with %s, %s and %s", n, amount(each.Threads, "thread"), size(each.MemoryBytes), amount(each.Accelerators, "accelerator"))
	}
	return facts(append([]string{
		"Possible", "yes",
		"Deployed model", q.DeployedModel,
		"Plan", q.Plan,
		"Spec", q.Spec,
		"Capacity", quoted(q),
		"Engines to start", engines,
		"Ready in", ready,
	}, costFacts(q.Cost)...)...)
}

// quoted is what is to be bought.
func quoted(q api.Quote) string {
	if q.Plan == api.PlanMU {
		return amount(q.Capacity, "unit") + " of " + q.Spec
	}
	return capacity(api.Deployment{Plan: q.Plan, PTU: q.PTU})
}

// costFacts are the facts of what a purchase costs, and how each line comes about.
func costFacts(c *api.Cost) []string {
	if c == nil {
		return nil
	}
	in := func(nano int64) string { return api.FormatAmount(nano, c.Currency) + " " + c.Currency }
	out := []string{"Cost", in(c.PerHourNano) + " an hour while it serves"}
	switch {
	case c.PerHourNano > 0:
	case c.DepositNano > 0:
		out[1] = in(c.DepositNano) + ", paid in advance"
	case byToken(c):
		out[1] = "by the token"
	case c.Unpriced:
		out[1] = "free: it has no price"
	}
	for _, l := range c.Lines {
		out = append(out, costLine(c, l)...)
	}
	spend := "any amount"
	if c.SpendableNano != nil {
		spend = in(*c.SpendableNano)
	}
	return append(out, "Held when bought", in(c.DepositNano), "May spend", spend)
}

// byToken reports whether nothing is paid by the minute.
func byToken(c *api.Cost) bool {
	return !slices.ContainsFunc(c.Lines, func(l api.CostLine) bool { return l.Unit != "token" }) && len(c.Lines) > 0
}

func costLine(c *api.Cost, l api.CostLine) []string {
	name := l.Dimension
	if l.Class != "" {
		name = l.Class + " " + name
	}
	if l.FromTokens > 0 {
		name += " " + count(l.FromTokens) + "+"
	}
	each := fmt.Sprintf("%s %s for %s", api.FormatAmount(l.PriceNano, c.Currency), c.Currency, count(l.Per))
	switch {
	case l.Unpriced && l.Class != "":
		return []string{name, "free: it has no price"}
	case l.Unpriced:
		return []string{name, "unpriced"}
	case l.Quantity == 0:
		return []string{name, each}
	}
	return []string{name, fmt.Sprintf("%s at %s: %s", count(l.Quantity), each, api.FormatAmount(l.AmountNano, c.Currency))}
}

// await waits until the deployment serves, or is stopped when that is what it is on its
// way to; what keeps it from that is the error.
func (p *program) await(cmd *cobra.Command, client *api.Client, d api.Deployment) (api.Deployment, error) {
	want := api.StatusRunning
	if d.Status == api.StatusOfflining || d.Status == api.StatusStopped {
		want = api.StatusStopped
	}
	g := progress{
		p:       p,
		events:  func() ([]api.Event, error) { return allEvents(cmd.Context(), client, d.DeployedModel) },
		live:    terminal(p.Err) != nil,
		started: p.Now(),
	}
	if d.Status != api.StatusPending {
		if events, err := g.events(); err == nil {
			g.told = max(0, len(events)-1) // what was before the change is no news
		}
	}
	end, err := client.WaitDeployment(cmd.Context(), d.DeployedModel, g.seen)
	switch {
	case cmd.Context().Err() != nil:
		if g.live {
			p.say("")
		}
		p.say("%s goes on by itself; look at it: berth get %[1]s", d.DeployedModel)
		return end, err
	case err != nil:
		return end, err
	case end.Status != want:
		return end, notDeployedError{end, cmp.Or(end.FailReason, g.newest.Reason)}
	}
	return end, nil
}
