package cli

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// deployFlags are the flags that become fields only when they are given.
type deployFlags struct {
	capacity, context, rpm, tpm int64
	thinking, wait              bool
	ptu                         api.PTUCapacity
}

func (p *program) deploy() *cobra.Command {
	var d api.CreateDeployment
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy MODEL",
		Short: "Deploy a model",
		Long: `Deploy a model under a plan:
  mu    units of hardware of your own     --spec --capacity --thinking --context --rpm --tpm
  ptu   reserved tokens per minute        --input-tpm --output-tpm
  lora  an adapter, paid per token`,
		Example: lines(
			"berth deploy abacus --plan mu --spec MU1 --capacity 2 --wait",
			"berth deploy abacus --plan ptu --input-tpm 20000 --output-tpm 2000 --suffix chat",
			"berth deploy abacus-poet --plan lora"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			d.ModelName = args[0]
			f.fill(cmd, &d)
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
	flags.Int64Var(&f.ptu.InputTPM, "input-tpm", 10_000, "reserved input `tokens` per minute")
	flags.Int64Var(&f.ptu.OutputTPM, "output-tpm", 1_000, "reserved output `tokens` per minute")
	flags.StringVar(&d.Suffix, "suffix", "", "end of the deployed model's name, at most 8 `characters`")
	flags.StringVar(&d.Name, "name", "", "`name` for people")
	flags.BoolVar(&f.thinking, "thinking", false, "always think; --thinking=false: never")
	flags.Int64Var(&f.context, "context", 0, "largest prompt and answer together, in `tokens`")
	flags.Int64Var(&f.rpm, "rpm", 0, "limit of `requests` per minute")
	flags.Int64Var(&f.tpm, "tpm", 0, "limit of `tokens` per minute")
	flags.StringVar(&d.IdempotencyKey, "idempotency-key", "", "a repeat with the same `key` within 24 h makes no second deployment")
	flags.BoolVar(&f.wait, "wait", false, "wait until it serves")
	complete(cmd, "plan", api.PlanMU, api.PlanPTU, api.PlanLoRA)
	return cmd
}

func (f *deployFlags) fill(cmd *cobra.Command, d *api.CreateDeployment) {
	d.Capacity = given(cmd, "capacity", f.capacity)
	d.EnableThinking = given(cmd, "thinking", f.thinking)
	d.MaxContextLength = given(cmd, "context", f.context)
	d.RPMLimit = given(cmd, "rpm", f.rpm)
	d.TPMLimit = given(cmd, "tpm", f.tpm)
	if cmd.Flags().Changed("input-tpm") || cmd.Flags().Changed("output-tpm") {
		d.PTU = &f.ptu
	}
}

// await waits until the deployment serves; what keeps it from that is the error.
func (p *program) await(cmd *cobra.Command, client *api.Client, d api.Deployment) (api.Deployment, error) {
	g := progress{
		p:       p,
		events:  func() ([]api.Event, error) { return allEvents(cmd.Context(), client, d.DeployedModel) },
		live:    terminal(p.Err) != nil,
		started: p.Now(),
	}
	end, err := client.WaitDeployment(cmd.Context(), d.DeployedModel, g.seen)
	switch {
	case cmd.Context().Err() != nil:
		if g.live {
			p.say("")
		}
		p.say("%s goes on coming up; look at it: berth get %[1]s", d.DeployedModel)
		return end, err
	case err != nil:
		return end, err
	case end.Status != api.StatusRunning && end.Status != api.StatusUpdating:
		return end, notDeployedError{end, cmp.Or(end.FailReason, g.newest.Reason)}
	}
	return end, nil
}
