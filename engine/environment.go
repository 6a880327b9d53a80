package engine

import (
	"os"
	"strconv"
	"strings"

	berth "github.com/berthhq/berth"
)

// inherited are the variables of Berth that engines get; everything else, among it
// Berth's own secrets, stays behind.
var inherited = []string{"PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH"}

// environment is the whole environment of an engine: what every program needs, the
// hardware that the replica was given, and the driver's own entries.
func environment(l Launch, own ...string) []string {
	env := make([]string, 0, len(inherited)+2+len(own))
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if threads := l.Spec.Replica.Threads; threads > 0 {
		env = append(env, "OMP_NUM_THREADS="+strconv.FormatInt(threads, 10))
	}
	env = append(env, visible(l.GPUs)...)
	return append(env, own...)
}

// visible shows an engine its accelerators and no others; without any, none at all. AMD's
// ROCR_VISIBLE_DEVICES is applied first, and takes ids as well as numbers; what is set
// for HIP, or for CUDA, which HIP reads too, would then count among those that are left.
// So each engine gets the variable of its own vendor, and an empty one hides all.
func visible(gpus []berth.Accelerator) []string {
	ids := make([]string, len(gpus))
	for i, g := range gpus {
		ids[i] = g.ID
	}
	list := strings.Join(ids, ",")
	switch {
	case len(gpus) == 0:
		return []string{"CUDA_VISIBLE_DEVICES=", "HIP_VISIBLE_DEVICES=", "ROCR_VISIBLE_DEVICES="}
	case gpus[0].Vendor == berth.VendorAMD:
		return []string{"ROCR_VISIBLE_DEVICES=" + list}
	}
	return []string{"CUDA_VISIBLE_DEVICES=" + list}
}
