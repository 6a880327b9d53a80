package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// changeFlags are the flags that become fields only when they are given.
type changeFlags struct {
	capacity, prefill, decode, rpm, tpm int64
	name                                string
	ptu                                 api.PTUCapacity
	wait                                bool
}

func (p *program) scale() *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{
		Use:   "scale DEPLOYED_MODEL",
		Short: "Buy more or less of a deployment",
		Long: `Buy more or less of a deployment (mu or ptu). It serves on meanwhile; when the change fails, what was
there before stays. Capacity 0 stops it.`,
		Example: lines(
			"berth scale abacus-1f0c77aa --capacity 4 --wait",
			"berth scale abacus-1f0c77aa-chat --input-tpm 40000 --output-tpm 4000"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			body := api.ChangeDeployment{
				Capacity: given(cmd, "capacity", f.capacity), PrefillCapacity: given(cmd, "prefill-capacity", f.prefill),
				DecodeCapacity: given(cmd, "decode-capacity", f.decode),
			}
			if cmd.Flags().Changed("input-tpm") || cmd.Flags().Changed("output-tpm") || cmd.Flags().Changed("thinking-tpm") {
				body.PTU = &f.ptu
			}
			if body == (api.ChangeDeployment{}) {
				return usageError{cmd, "say how much: --capacity, or --input-tpm and --output-tpm"}
			}
			d, err := client.ScaleDeployment(cmd.Context(), args[0], body)
			return p.showChanged(cmd, client, d, err, f.wait)
		}),
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.capacity, "capacity", 0, "`units`, a multiple of the units of one replica")
	flags.Int64Var(&f.prefill, "prefill-capacity", 0, "`units` that read prompts, where a spec separates them")
	flags.Int64Var(&f.decode, "decode-capacity", 0, "`units` that answer, where a spec separates them")
	flags.Int64Var(&f.ptu.InputTPM, "input-tpm", 0, "reserved input `tokens` per minute")
	flags.Int64Var(&f.ptu.OutputTPM, "output-tpm", 0, "reserved output `tokens` per minute")
	flags.Int64Var(&f.ptu.ThinkingTPM, "thinking-tpm", 0, "reserved thinking `tokens` per minute")
	flags.BoolVar(&f.wait, "wait", false, "wait until the change is done")
	return cmd
}

func (p *program) update() *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{
		Use:   "update DEPLOYED_MODEL",
		Short: "Change limits and name of a deployment",
		Long:  "Change limits (mu) and name of a deployment. New limits hold from the next call on.",
		Example: lines(
			"berth update abacus-1f0c77aa --rpm 600 --tpm 200000",
			"berth update abacus-1f0c77aa --rpm 0      # no limit any more"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			body := api.ChangeDeployment{Name: given(cmd, "name", f.name), RPMLimit: given(cmd, "rpm", f.rpm), TPMLimit: given(cmd, "tpm", f.tpm)}
			if body == (api.ChangeDeployment{}) {
				return usageError{cmd, "say what to change: --rpm, --tpm or --name"}
			}
			d, err := client.ChangeDeployment(cmd.Context(), args[0], body)
			return p.showChanged(cmd, client, d, err, false)
		}),
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.rpm, "rpm", 0, "limit of `requests` per minute; 0: none")
	flags.Int64Var(&f.tpm, "tpm", 0, "limit of `tokens` per minute; 0: none")
	flags.StringVar(&f.name, "name", "", "`name` for people")
	return cmd
}

func (p *program) stop() *cobra.Command {
	return p.turn("stop", "Take a deployment out of service until it is started again",
		"Take a deployment (mu or ptu) out of service. It keeps its name and limits and costs nothing; running calls have 30 s.",
		(*api.Client).StopDeployment)
}

func (p *program) start() *cobra.Command {
	return p.turn("start", "Bring a stopped or failed deployment back",
		"Buy a stopped or failed deployment again, as it was.",
		(*api.Client).StartDeployment)
}

// turn is a command that needs nothing but a deployment.
func (p *program) turn(name, short, long string, do func(*api.Client, context.Context, string) (api.Deployment, error)) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:               name + " DEPLOYED_MODEL",
		Short:             short,
		Long:              long,
		Example:           lines("berth " + name + " abacus-1f0c77aa --wait"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			d, err := do(client, cmd.Context(), args[0])
			return p.showChanged(cmd, client, d, err, wait)
		}),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done")
	return cmd
}

// showChanged shows a deployment after a change, once it has settled when asked to wait.
func (p *program) showChanged(cmd *cobra.Command, client *api.Client, d api.Deployment, err error, wait bool) error {
	if err == nil && wait {
		d, err = p.await(cmd, client, d)
	}
	if err != nil {
		return err
	}
	return p.show(d, p.deploymentFacts(d))
}
