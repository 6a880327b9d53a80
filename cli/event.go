package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) events() *cobra.Command {
	return &cobra.Command{
		Use:               "events DEPLOYED_MODEL",
		Short:             "Show what happened to a deployment, oldest first",
		Example:           lines("berth events abacus-1f0c77aa"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			events, err := allEvents(cmd.Context(), client, args[0])
			if err != nil {
				return err
			}
			t := table{columns: columns("WHEN", "STATUS", "READY>", "WHAT"), empty: "No events."}
			for _, e := range events {
				t.add(p.age(e.At), string(e.Status), ready(e), e.Reason)
			}
			return p.show(events, t)
		}),
	}
}

func ready(e api.Event) string { return count(e.ReadyCapacity) + "/" + count(e.Capacity) }

func allEvents(ctx context.Context, client *api.Client, deployedModel string) ([]api.Event, error) {
	all := []api.Event{}
	for cursor := ""; ; {
		page, err := client.Events(ctx, deployedModel, cursor)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
		if page.Next == "" {
			return all, nil
		}
		cursor = page.Next
	}
}
