package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) list() *cobra.Command {
	var plan string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List deployments, newest first",
		Example: lines("berth list", "berth list --plan ptu -o json"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := allDeployments(cmd.Context(), client, plan)
			if err != nil {
				return err
			}
			return p.show(all, p.deploymentTable(all))
		}),
	}
	cmd.Flags().StringVar(&plan, "plan", "", "only this `plan`: mu, ptu or lora")
	complete(cmd, "plan", api.PlanMU, api.PlanPTU, api.PlanLoRA)
	return cmd
}

func (p *program) get() *cobra.Command {
	var replicas bool
	cmd := &cobra.Command{
		Use:               "get DEPLOYED_MODEL",
		Short:             "Show a deployment",
		Example:           lines("berth get abacus-1f0c77aa", "berth get abacus-1f0c77aa --replicas"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if replicas {
				found, err := client.Replicas(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(found, p.replicaTable(found))
			}
			d, err := client.GetDeployment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(d, p.deploymentFacts(d))
		}),
	}
	cmd.Flags().BoolVar(&replicas, "replicas", false, "show the engines that serve it instead")
	return cmd
}

func (p *program) delete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete DEPLOYED_MODEL...",
		Aliases:           []string{"rm"},
		Short:             "Take deployments down for good",
		Long:              "Take deployments down for good. New calls are refused and charges end at once.",
		Example:           lines("berth delete abacus-1f0c77aa"),
		Args:              arguments(cobra.MinimumNArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			deleted := []api.Deployment{}
			t := table{columns: columns("DEPLOYED MODEL", "STATUS")}
			for _, name := range args {
				d, err := client.DeleteDeployment(cmd.Context(), name)
				if err != nil {
					return fmt.Errorf("delete %s: %w", name, err)
				}
				deleted = append(deleted, d)
				t.add(d.DeployedModel, string(d.Status))
			}
			return p.show(deleted, t)
		}),
	}
}

// allDeployments reads every page.
func allDeployments(ctx context.Context, client *api.Client, plan string) ([]api.Deployment, error) {
	const pageSize = 100
	all := []api.Deployment{}
	for page := 1; ; page++ {
		list, err := client.ListDeployments(ctx, page, pageSize, plan)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Deployments...)
		if len(list.Deployments) < pageSize {
			return all, nil
		}
	}
}

func (p *program) deploymentTable(all []api.Deployment) table {
	t := table{
		columns: columns("DEPLOYED MODEL", "MODEL", "PLAN", "STATUS", "CAPACITY", "CREATED"),
		empty:   "No deployments. Make one: berth deploy MODEL --plan mu|ptu|lora",
	}
	for _, d := range all {
		t.add(d.DeployedModel, d.ModelName, d.Plan, string(d.Status), capacity(d), p.ageGMT(d.GMTCreate))
	}
	return t
}

func (p *program) deploymentFacts(d api.Deployment) table {
	thinking := ""
	if d.EnableThinking != nil {
		thinking = strconv.FormatBool(*d.EnableThinking)
	}
	return facts(
		"Deployed model", d.DeployedModel,
		"Name", d.Name,
		"Status", string(d.Status),
		"Reason", d.FailReason,
		"Model", d.ModelName,
		"Base model", d.BaseModel,
		"Plan", d.Plan,
		"Capacity", capacity(d),
		"Overflow", d.OverflowStrategy,
		"Paid until", d.PrePaidGMTExpired,
		"Thinking", thinking,
		"Context", limit(d.MaxContextLength, "tokens"),
		"Request limit", limit(d.RPMLimit, "per minute"),
		"Token limit", limit(d.TPMLimit, "per minute"),
		"Workspace", d.WorkspaceID,
		"Created", p.ageGMT(d.GMTCreate),
		"Changed", p.ageGMT(d.GMTModified),
	)
}

// capacity says what was bought, and how much of it is there.
func capacity(d api.Deployment) string {
	switch {
	case d.Plan == api.PlanMU:
		return fmt.Sprintf("%d/%d %s", d.ReadyCapacity, d.Capacity, d.ModelUnitSpec)
	case d.PTU == nil:
		return "per token"
	case d.PTU.ThinkingTPM > 0:
		return fmt.Sprintf("%s in, %s out, %s thinking tpm", count(d.PTU.InputTPM), count(d.PTU.OutputTPM), count(d.PTU.ThinkingTPM))
	}
	return fmt.Sprintf("%s in, %s out tpm", count(d.PTU.InputTPM), count(d.PTU.OutputTPM))
}

func limit(n *int64, unit string) string {
	if n == nil {
		return ""
	}
	return count(*n) + " " + unit
}

// ageGMT is age for the times of deployments, which do not say their zone: one that
// seems to lie ahead is shown as it came.
func (p *program) ageGMT(s string) string {
	t, err := api.ParseTime(s, api.DefaultZone)
	if err != nil || t.After(p.Now().Add(day/24)) {
		return s
	}
	return p.age(t)
}

// completeDeployments offers the names of deployments to the shell.
func (p *program) completeDeployments(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	client, err := p.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := allDeployments(cmd.Context(), client, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, d := range all {
		names = append(names, cobra.CompletionWithDesc(d.DeployedModel, string(d.Status)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
