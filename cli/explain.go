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
			return p.show(e, p.explanationFacts(e))
		}),
	}
}

func (p *program) explanationFacts(e api.Explanation) table {
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
	return facts(append(list, p.queueFacts(e.Queue)...)...)
}

// queueFacts says how calls of a pool wait.
func (p *program) queueFacts(q *api.Queue) (list []string) {
	if q == nil {
		return nil
	}
	for _, l := range q.Lines {
		class := "Guaranteed calls"
		if l.Class != "guaranteed" {
			class = "Best effort"
		}
		text := "nobody waits"
		if l.Waiting > 0 {
			text = fmt.Sprintf("%d wait, %d of them this deployment's", l.Waiting, l.Own)
		}
		if l.Since != nil {
			text += ", the line is " + brief(p.Now().Sub(*l.Since)) + " old"
		}
		list = append(list, class, fmt.Sprintf("%s; one that comes now waits about %s", text, time.Duration(l.ExpectedWaitMS)*time.Millisecond))
	}
	for _, r := range q.Replicas {
		text := fmt.Sprintf("%s, %d of %d slots busy, %d by best effort, %d kept free of it", r.Lane, r.Busy, r.Slots, r.BusyBestEffort, r.GuaranteedSlots)
		if g := r.Group; g != nil {
			whose := "another deployment's"
			if g.Own {
				whose = "this deployment's"
			}
			text += fmt.Sprintf("; serves %s adapter for %s, %d of its turn wait", whose, brief(p.Now().Sub(g.Since)), g.Waiting)
		}
		if r.Failing {
			text += "; it failed and is left alone for now"
		}
		list = append(list, "Lane "+r.ID, text)
	}
	return list
}
