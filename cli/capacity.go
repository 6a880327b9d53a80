package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) capacity() *cobra.Command {
	return parent("capacity", "Buy, scale, renew and release throughput of a ptu deployment",
		p.createCapacity(), p.listCapacity(), p.showCapacity(), p.scaleCapacity(), p.renewCapacity(), p.deleteCapacity(), p.showOperation())
}

// prepaidFlags are a term paid in advance as it is typed.
type prepaidFlags struct {
	days, renewal int64
	slot          bool
}

func (f *prepaidFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64Var(&f.days, "prepaid-days", 0, "pay for so many `days` in advance; without it by the minute, afterwards")
	flags.BoolVar(&f.slot, "prepaid-slot", false, "pay for one slot of 8 hours in advance (--service-tier ptu_default)")
	flags.Int64Var(&f.renewal, "renew-days", 0, "buy so many `days` more each time the term ends")
	cmd.MarkFlagsMutuallyExclusive("prepaid-days", "prepaid-slot")
}

// info returns the term, nil when none was typed.
func (f *prepaidFlags) info() *api.PrePaidInfo {
	renewal := f.renewal > 0
	switch {
	case f.slot:
		return &api.PrePaidInfo{PricingCycle: api.CycleHour, Duration: 8, AutoRenewal: &renewal, AutoRenewalDuration: f.renewal}
	case f.days != 0:
		return &api.PrePaidInfo{PricingCycle: api.CycleDay, Duration: f.days, AutoRenewal: &renewal, AutoRenewalDuration: f.renewal}
	}
	return nil
}

// amountFlags are throughput as it is typed, in the server's unit.
type amountFlags struct{ ptu api.PTUCapacity }

func (f *amountFlags) register(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.ptu.InputTPM, "input-tpm", 0, "input `tokens` per minute")
	cmd.Flags().Int64Var(&f.ptu.OutputTPM, "output-tpm", 0, "output `tokens` per minute")
}

func (p *program) createCapacity() *cobra.Command {
	var amount amountFlags
	var term prepaidFlags
	cmd := &cobra.Command{
		Use:   "create DEPLOYED_MODEL",
		Short: "Buy another capacity instance",
		Long: `Buy another capacity instance: throughput that is added to what the deployment has.
A deployment has one that is paid afterwards at most, and any that are paid in advance.`,
		Example: lines(
			"berth capacity create abacus-1f0c77aa --input-tpm 10000 --output-tpm 1000 --prepaid-days 30",
			"berth capacity create abacus-1f0c77aa --input-tpm 10000 --output-tpm 1000 --prepaid-days 1 --renew-days 1"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			w := api.CapacityWrite{BillingMethod: api.BillingPostPay, PTU: &amount.ptu, PrePaidInfo: term.info()}
			if w.PrePaidInfo != nil {
				w.BillingMethod = api.BillingPrePay
			}
			return p.showBegun(client.CreateCapacity(cmd.Context(), args[0], w))
		}),
	}
	amount.register(cmd)
	term.register(cmd)
	return cmd
}

func (p *program) listCapacity() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:               "list DEPLOYED_MODEL",
		Aliases:           []string{"ls"},
		Short:             "List capacity instances: those that serve first, then the newest",
		Example:           lines("berth capacity list abacus-1f0c77aa", "berth capacity list abacus-1f0c77aa --live"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			const pageSize = 100
			all := []api.CapacityInstance{}
			for page := 1; ; page++ {
				list, err := client.ListCapacity(cmd.Context(), args[0], api.CapacityQuery{Page: page, Size: pageSize, WithoutReleased: live})
				if err != nil {
					return err
				}
				all = append(all, list.Records...)
				if len(list.Records) < pageSize {
					return p.show(all, p.capacityTable(all))
				}
			}
		}),
	}
	cmd.Flags().BoolVar(&live, "live", false, "leave released ones out")
	return cmd
}

func (p *program) capacityTable(all []api.CapacityInstance) table {
	t := table{
		columns: columns("INSTANCE", "CHARGE", "STATUS", "EFFECTIVE", "EXPIRES", "CREATED"),
		empty:   "No capacity instances: the deployment is sold as a whole. Buy one: berth capacity create DEPLOYED_MODEL",
	}
	for _, i := range all {
		status := i.Status
		if i.Deleted {
			status = "released"
		}
		t.add(i.InstanceID, i.ChargeType, status, throughput(i.EffectiveCapacity), i.GMTExpired, p.ageGMT(i.GMTCreated))
	}
	return t
}

// throughput says an amount in the server's unit.
func throughput(c api.InstanceCapacity) string {
	text := fmt.Sprintf("%s in, %s out", c.InputTPM, c.OutputTPM)
	if c.ThinkingTPM != "" {
		text += fmt.Sprintf(", %s thinking", c.ThinkingTPM)
	}
	return text
}

func (p *program) showCapacity() *cobra.Command {
	return &cobra.Command{
		Use:               "show DEPLOYED_MODEL INSTANCE",
		Short:             "Show a capacity instance",
		Example:           lines("berth capacity show abacus-1f0c77aa cap_0199a0c4"),
		Args:              arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			i, err := client.GetCapacity(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return p.show(i, p.capacityFacts(i))
		}),
	}
}

func (p *program) capacityFacts(i api.CapacityInstance) table {
	renewal, target := "", ""
	if info := i.PrePaidInfo; info != nil && info.AutoRenewal != nil && *info.AutoRenewal {
		renewal = amount(info.AutoRenewalDuration, "day")
	}
	if i.TargetCapacity != i.ConfiguredCapacity {
		target = throughput(i.TargetCapacity)
	}
	return facts(
		"Instance", i.InstanceID,
		"Deployed model", i.ModelServiceID,
		"Status", i.Status,
		"Reason", i.FailReason,
		"Charge", i.ChargeType,
		"Effective", throughput(i.EffectiveCapacity),
		"Bought", throughput(i.ConfiguredCapacity),
		"Becomes", target,
		"Takes effect", i.GMTEffective,
		"Expires", i.GMTExpired,
		"Renews itself by", renewal,
		"Created", p.ageGMT(i.GMTCreated),
		"Released", i.GMTDeleted,
	)
}

func (p *program) scaleCapacity() *cobra.Command {
	var amount amountFlags
	cmd := &cobra.Command{
		Use:               "scale DEPLOYED_MODEL INSTANCE",
		Short:             "Give a capacity instance more or less throughput",
		Long:              "Give a capacity instance more or less throughput. Less holds at once, more when engines for it are up.\n0 and 0 keep the instance without throughput.",
		Example:           lines("berth capacity scale abacus-1f0c77aa cap_0199a0c4 --input-tpm 20000 --output-tpm 2000"),
		Args:              arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			return p.showBegun(client.ScaleCapacity(cmd.Context(), args[0], args[1], api.CapacityWrite{PTU: &amount.ptu}))
		}),
	}
	amount.register(cmd)
	for _, name := range []string{"input-tpm", "output-tpm"} {
		cobra.CheckErr(cmd.MarkFlagRequired(name)) // fails for unknown flags only
	}
	return cmd
}

func (p *program) renewCapacity() *cobra.Command {
	var term prepaidFlags
	cmd := &cobra.Command{
		Use:               "renew DEPLOYED_MODEL INSTANCE",
		Short:             "Buy more days for a capacity instance that is paid in advance",
		Example:           lines("berth capacity renew abacus-1f0c77aa cap_0199a0c4 --days 30", "berth capacity renew abacus-1f0c77aa cap_0199a0c4 --days 30 --renew-days 30"),
		Args:              arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			return p.showBegun(client.RenewCapacity(cmd.Context(), args[0], args[1], api.CapacityWrite{PrePaidInfo: term.info()}))
		}),
	}
	cmd.Flags().Int64Var(&term.days, "days", 1, "`days` to add")
	cmd.Flags().Int64Var(&term.renewal, "renew-days", 0, "from now on, buy so many `days` more each time the term ends; 0: it ends")
	return cmd
}

func (p *program) deleteCapacity() *cobra.Command {
	var reason string
	var unsubscribe bool
	cmd := &cobra.Command{
		Use:               "delete DEPLOYED_MODEL INSTANCE",
		Aliases:           []string{"rm"},
		Short:             "Release a capacity instance",
		Long:              "Release a capacity instance. A term that is paid in advance ends early only with --unsubscribe.\nWhen the last one is released the deployment stops; it can be deleted then.",
		Example:           lines("berth capacity delete abacus-1f0c77aa cap_0199a0c4"),
		Args:              arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if unsubscribe {
				return p.showBegun(client.UnsubscribeCapacity(cmd.Context(), args[0], args[1]))
			}
			return p.showBegun(client.DeleteCapacity(cmd.Context(), args[0], args[1], reason))
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` for the deployment's events")
	cmd.Flags().BoolVar(&unsubscribe, "unsubscribe", false, "end a term that is paid in advance")
	return cmd
}

func (p *program) showOperation() *cobra.Command {
	return &cobra.Command{
		Use:               "operation DEPLOYED_MODEL OPERATION",
		Short:             "Show how a change of capacity went",
		Example:           lines("berth capacity operation abacus-1f0c77aa 4611686018427387904"),
		Args:              arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			return p.showBegun(client.CapacityOperation(cmd.Context(), args[0], args[1]))
		}),
	}
}

// showBegun shows the operation that a write has begun.
func (p *program) showBegun(o api.CapacityOperation, err error) error {
	if err != nil {
		return err
	}
	return p.show(o, facts(
		"Operation", o.OperationID,
		"Does", o.OperationType,
		"Status", o.OperationStatus,
		"Reason", o.ErrorMessage,
		"Instance", o.InstanceID,
		"Instance status", cmp.Or(o.CurrentStatus, o.FromStatus),
		"Begun", p.ageGMT(o.GMTCreated),
		"Ended", p.ageGMT(o.GMTFinished),
	))
}

func (p *program) overflow() *cobra.Command {
	return &cobra.Command{
		Use:   "overflow DEPLOYED_MODEL enable|disable",
		Short: "Say what happens to calls beyond the reserved throughput",
		Long: `Say what happens to calls of a ptu deployment beyond its reserved throughput, from the next call on:
  enable   they are served best effort
  disable  they are refused with 429`,
		Example: lines("berth overflow abacus-1f0c77aa disable"),
		Args:    arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{api.OverflowEnable, api.OverflowDisable}, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completeDeployments(cmd, args, typed)
		},
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			d, err := client.SetOverflow(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return p.show(d, p.deploymentFacts(d))
		}),
	}
}
