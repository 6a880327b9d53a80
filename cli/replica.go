package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) replicaTable(replicas []api.Replica) table {
	t := table{
		columns: columns("REPLICA", "STATE", "PID>", "BUSY>", "THREADS>", "MEMORY>", "ACCELERATORS", "URL", "STARTED"),
		empty:   "No replicas.",
	}
	for _, r := range replicas {
		t.add(r.ID, r.State, pid(r.PID), fmt.Sprintf("%d/%d", r.Busy, r.Slots), count(r.Held.Threads),
			size(r.Held.MemoryBytes), strings.Join(r.Held.Accelerators, " "), r.URL, p.age(r.StartedAt))
	}
	return t
}

func pid(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func (p *program) logs() *cobra.Command {
	var wanted int
	cmd := &cobra.Command{
		Use:               "logs DEPLOYED_MODEL",
		Short:             "Show the last log lines of a deployment's engines",
		Example:           lines("berth logs abacus-1f0c77aa", "berth logs abacus-1f0c77aa --lines 1000"),
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeDeployments,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			logs, err := client.Logs(cmd.Context(), args[0], wanted)
			if err != nil {
				return err
			}
			return p.show(logs, logTable(logs))
		}),
	}
	cmd.Flags().IntVarP(&wanted, "lines", "n", 100, "`number` of lines of each engine")
	return cmd
}

// logTable names the replica of each line when there are several.
func logTable(logs []api.Log) table {
	t := table{columns: columns("", ""), empty: "No log lines."}
	for _, l := range logs {
		name := ""
		if len(logs) > 1 {
			name = l.Replica
		}
		for _, line := range l.Lines {
			t.add(name, line)
		}
	}
	return t
}
