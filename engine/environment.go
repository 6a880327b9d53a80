package engine

import (
	"os"
	"strconv"
	"strings"
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
	// Empty when the replica has no accelerator, which hides those of others from it.
	env = append(env, "CUDA_VISIBLE_DEVICES="+strings.Join(l.GPUs, ","))
	return append(env, own...)
}
