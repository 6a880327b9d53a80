package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) explain() *cobra.Command {
	return &cobra.Command{
		Use:               "explain DEPLOYED_MODEL",
		Short:             "Say what would become of calls now, and why",
		Example:           lines("berth explain abacus-1f0c77aa"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			e, err := client.Explain(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(e, explanationFacts(e))
		}),
	}
}

func explanationFacts(e api.Explanation) table {
	list := []string{"Deployed model", e.DeployedModel}
	calls := "would be served"
	if len(e.Refusals) > 0 {
		calls = strings.Join(e.Refusals, " ")
	}
	list = append(list, "Calls", calls)
	for _, l := range e.Limits {
		name := strings.ToUpper(l.Dimension[:1]) + l.Dimension[1:]
		list = append(list, name, fmt.Sprintf("%d of %d per minute left; all in %s", l.Remaining, l.Limit, time.Duration(l.ResetMS)*time.Millisecond))
	}
	list = append(list, "Terms of ptu", ptuTerms(e.PTU))
	list = append(list, "Expected output", fmt.Sprintf("%d tokens, where a call declares none", e.ExpectedOutputTokens))
	for _, r := range e.Replicas {
		list = append(list, "Replica "+r.ID, fmt.Sprintf("%d calls, %d slots", r.InFlight, r.Slots))
	}
	return facts(list...)
}
