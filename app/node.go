package app

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
)

// localNode is the id of the machine that Berth itself runs on.
const localNode = "local"

// detectNode takes the inventory of this machine; what the configuration says wins.
// accelerators tells why some are not sold; it does not keep the node from being used.
func detectNode(ctx context.Context, c config.Node) (_ berth.Node, accelerators, err error) {
	node := berth.Node{ID: localNode, Online: true, Total: berth.Resources{Threads: int64(c.Threads), MemoryBytes: c.Memory}}
	if c.Accelerators == nil || len(c.Accelerators) > 0 {
		node.GPUs, accelerators = findAccelerators(ctx)
	}
	if c.Accelerators != nil {
		node.GPUs, accelerators = namedAccelerators(c.Accelerators, node.GPUs), nil
	}
	node.Total.Accelerators = int64(len(node.GPUs))
	if node.Total.Threads == 0 {
		node.Total.Threads = int64(runtime.NumCPU())
	}
	if node.Total.MemoryBytes == 0 {
		total, err := memoryTotal("/proc/meminfo", "MemTotal")
		if err != nil {
			return node, nil, fmt.Errorf("the memory of this machine cannot be found out (%w); set node.memory", err)
		}
		node.Total.MemoryBytes = total
	}
	return node, accelerators, ctx.Err()
}

// memoryTotal reads one figure of /proc/meminfo, in bytes.
func memoryTotal(path, field string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			var kib int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
				return 0, fmt.Errorf("%s: %w", field, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, field)
}
