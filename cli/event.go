package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) events() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:               "events DEPLOYED_MODEL",
		Short:             "Show what happened to a deployment, oldest first",
		Example:           lines("berth events abacus-1f0c77aa", "berth events abacus-1f0c77aa --follow"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if follow {
				return p.follow(cmd.Context(), client, args[0])
			}
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
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until nothing is under way, one line per event")
	return cmd
}

// follow shows events as they happen. The stream says when something changed; what
// happened stands in the list.
func (p *program) follow(ctx context.Context, client *api.Client, deployedModel string) error {
	cursor := ""
	return client.StreamDeployment(ctx, deployedModel, func(now api.DeploymentEvent) error {
		for {
			page, err := client.Events(ctx, deployedModel, cursor)
			var gone *api.Error
			if errors.As(err, &gone) && gone.Status == http.StatusNotFound { // its list goes with it
				return p.tell(api.Event{At: p.Now(), Status: now.Status, Capacity: now.Capacity, ReadyCapacity: now.ReadyCapacity, Reason: now.Message})
			}
			if err != nil {
				return err
			}
			for _, e := range page.Events {
				cursor = e.ID
				if err := p.tell(e); err != nil {
					return err
				}
			}
			if page.Next == "" {
				return nil
			}
		}
	})
}

// tell shows one event of a list that goes on: a line, an object per line, or an element
// of a YAML list.
func (p *program) tell(e api.Event) error {
	var text []byte
	var err error
	switch p.output {
	case formatTable:
		text = fmt.Appendf(nil, "%s  %-15s  %5s  %s\n", e.At.In(p.Now().Location()).Format(time.TimeOnly), e.Status, ready(e),
			strings.ReplaceAll(printable(e.Reason), "\n", " "))
	case formatYAML:
		if text, err = json.Marshal([]api.Event{e}); err == nil {
			text, err = yaml.JSONToYAML(text)
		}
	case formatJSON:
		text, err = json.Marshal(e)
		text = append(text, '\n')
	}
	if err == nil {
		_, err = p.Out.Write(text)
	}
	return err
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
