package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) push() *cobra.Command {
	return &cobra.Command{
		Use:   "push",
		Short: "Show whether usage and events arrive at the push URL",
		Long: `Show whether usage and events arrive at the push URL of the configuration, why not, and
what waits for it. LOST is what was deleted with age (retention) before it was taken.`,
		Example: lines("berth push", "berth push -o json"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			push, err := client.Push(cmd.Context())
			if err != nil {
				return err
			}
			return p.show(push, p.pushTable(push))
		}),
	}
}

func (p *program) pushTable(s api.Push) table {
	t := table{columns: columns("STATE", "SINCE", "URL", "DELIVERED>", "WAITING RECORDS>", "WAITING EVENTS>", "OLDEST", "LOST>", "WHY")}
	since, oldest, why := "", "", s.Reason
	if s.Since != nil {
		since = p.moment(*s.Since)
	}
	if s.WaitingSince != nil {
		oldest = p.moment(*s.WaitingSince)
	}
	if s.NextAt != nil {
		why += fmt.Sprintf("; tried %d times, next %s", s.Tries, p.moment(*s.NextAt))
	}
	if s.State == api.PushOff {
		why = "no push.url in the configuration"
	}
	t.add(s.State, since, s.URL, count(s.Delivered), count(s.WaitingRecords), count(s.WaitingEvents), oldest, count(s.Lost), why)
	return t
}
