package cli

import (
	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) audit() *cobra.Command {
	var f api.AuditFilter
	var from, to string
	var most int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who did what, the newest first",
		Long: `Show who did what, the newest first: an entry for each change that was made through the
API. Output can also be csv or ndjson, which have all entries, written as they come. Days
and times are those of this machine.`,
		Example: lines(
			"berth audit",
			"berth audit --action deployment --from 7d",
			"berth audit --of-key key_01998f --from 2026-10-01 --to 2026-11-01",
			"berth audit --target abacus-1f0c77aa",
			"berth audit --from 2026-10-01 -o csv > audit.csv"),
		Args:        arguments(cobra.NoArgs),
		Annotations: exports,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			window, err := p.usageFilter(cmd, from, to)
			if err != nil {
				return err
			}
			f.From, f.To = window.From, window.To
			if p.exporting() {
				if err := p.noLimit(cmd); err != nil {
					return err
				}
				return client.WriteAudit(cmd.Context(), p.Out, string(p.output), f)
			}
			all, more, err := somePages(most, func(cursor string) ([]api.AuditEntry, string, error) {
				page, err := client.Audit(cmd.Context(), f, cursor)
				return page.Entries, page.Next, err
			})
			if err != nil {
				return err
			}
			if more {
				p.sayMore("latest", most)
			}
			t := table{columns: columns("AT", "ACTION", "TARGET", "KEY", "WORKSPACE"), empty: "Nothing was done."}
			for _, e := range all {
				t.add(p.moment(e.At), e.Action, e.Target, e.KeyID, e.WorkspaceID)
			}
			return p.show(all, t)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "entries since this `time`: 2026-10-02, 2026-10-02T15:00:00Z, 90m or 7d ago")
	flags.StringVar(&to, "to", "", "entries before this `time`")
	flags.StringVar(&f.Action, "action", "", "only this `action`, such as deployment.create, or all of a noun, such as deployment")
	flags.StringVar(&f.Target, "target", "", "only what was done to this `name` or id")
	flags.StringVar(&f.KeyID, "of-key", "", "only what was done with the key of this `id`")
	flags.StringVar(&f.WorkspaceID, "workspace", "", "only what was done in this workspace, by `id`")
	flags.IntVar(&most, "limit", 100, "at most this `number` of entries; 0: all")
	complete(cmd, "action", "account", "backup", "capacity", "deployment", "fine_tune", "import", "key", "model", "payment", "price", "token", "upload", "workspace")
	return cmd
}
