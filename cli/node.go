package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) node() *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List machines and who holds what of them",
		Example: lines("berth node list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			nodes, err := client.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			return p.show(nodes, nodeTable(nodes))
		}),
	}
	return parent("node", "Show the machines that engines run on", list)
}

// nodeTable shows the whole of each node, then who holds what, then what is left.
func nodeTable(nodes []api.Node) table {
	t := table{columns: columns("NODE", "HELD BY", "THREADS>", "MEMORY>", "ACCELERATORS"), empty: "No nodes."}
	row := func(node, holder string, h api.Hardware) {
		t.add(node, holder, count(h.Threads), size(h.MemoryBytes), strings.Join(h.Accelerators, " "))
	}
	for _, n := range nodes {
		t.add(n.ID, "(all)", count(n.Threads), size(n.MemoryBytes), kinds(n))
		free := n.Hardware
		for _, h := range n.Held {
			row("", holder(h), h.Hardware)
			free = without(free, h.Hardware)
		}
		row("", "(free)", free)
	}
	return t
}

// kinds sums up a node's accelerators, such as "4 x NVIDIA A100 80GiB"; those that
// nothing is known of by their ids.
func kinds(n api.Node) string {
	var order []string
	number := map[string]int{}
	for _, a := range n.AcceleratorDetails {
		if a.Name == "" {
			return strings.Join(n.Accelerators, " ")
		}
		kind := a.Name
		if a.MemoryBytes > 0 {
			kind += " " + size(a.MemoryBytes)
		}
		if number[kind]++; number[kind] == 1 {
			order = append(order, kind)
		}
	}
	if len(order) == 0 {
		return strings.Join(n.Accelerators, " ")
	}
	for i, kind := range order {
		order[i] = strconv.Itoa(number[kind]) + " x " + kind
	}
	return strings.Join(order, ", ")
}

// holder names who holds: a deployment, or the pool of a model.
func holder(h api.Hold) string {
	switch {
	case h.DeployedModel != "":
		return h.DeployedModel
	case h.Calibration != "":
		return "calibration of " + h.Calibration
	}
	return "pool of " + h.Pool
}

func without(h, taken api.Hardware) api.Hardware {
	left := api.Hardware{Threads: h.Threads - taken.Threads, MemoryBytes: h.MemoryBytes - taken.MemoryBytes}
	for _, id := range h.Accelerators {
		if !slices.Contains(taken.Accelerators, id) {
			left.Accelerators = append(left.Accelerators, id)
		}
	}
	return left
}
