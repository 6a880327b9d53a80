//go:build linux

// Command promises measures whether the three promises of a pool are kept, beside a fake
// engine that models batching, a real llama.cpp and a real vLLM: throughput is calibrated,
// sold as it was measured, and called for to the last token while best effort floods.
//
//	make bench-promises
//
// docs/performance.md says what is measured and what came out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// longest bounds the whole bench, two starts of vLLM included.
const longest = 40 * time.Minute

type options struct {
	berth     string
	vllm      string
	only      string        // engines by name, with commas; "": all
	length    time.Duration // of the calls at each engine
	calibrate int64         // seconds
	sold      float64       // percent of a replica
	output    int64         // tokens of an answer
}

func main() {
	cache, _ := os.UserCacheDir() // "" is a place where nothing is
	var o options
	flag.StringVar(&o.berth, "berth", "bin/berth", "the program")
	flag.StringVar(&o.vllm, "vllm", filepath.Join(cache, "berth-vllm", "venv", "bin", "vllm"), "vLLM's program; left out when it is not there")
	flag.StringVar(&o.only, "only", "", "engines, with commas: fake, llamacpp, vllm")
	flag.DurationVar(&o.length, "length", time.Minute, "how long each engine is called; below a minute it is asked for that part of what is reserved")
	flag.Int64Var(&o.calibrate, "calibrate", 30, "about how many seconds each engine is calibrated")
	flag.Float64Var(&o.sold, "sold", 25, "percent of a replica that is reserved, 1 to 90")
	flag.Int64Var(&o.output, "output", 40, "tokens of an answer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // run has ended everything already
	}
}

func run(ctx context.Context, o options) error {
	var err error
	if o.berth, err = filepath.Abs(o.berth); err != nil {
		return err
	}
	if o.sold < 1 || o.sold > 90 || o.output < 2 {
		return errors.New("-sold is 1 to 90, the percent of a replica that can be reserved; -output is 2 or more")
	}
	fmt.Printf("%s, %d × %s, %s, %s, load before %s\n`%s`\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), cpu(),
		version(ctx, o.berth), runtime.Version(), load(), strings.Join(append([]string{"go run ./test/bench/promises"}, os.Args[1:]...), " "))
	var reports []*report
	var missing []string
	for _, m := range machines(o) {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), m.name) {
			continue
		}
		if m.missing != "" {
			missing = append(missing, fmt.Sprintf("%s is not measured: %s", m.title, m.missing))
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", m.title)
		r, err := measure(ctx, o, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.title, err)
		}
		reports = append(reports, r)
	}
	printAll(os.Stdout, reports)
	for _, line := range missing {
		fmt.Println("\n" + line)
	}
	fmt.Println("\nload after", load())
	return nil
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg") // "" is seen in the report
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// cpu is the processor's name as Linux says it.
func cpu() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

func version(ctx context.Context, program string) string {
	text, err := exec.CommandContext(ctx, program, "--version").Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if err != nil {
		return "Berth of an unknown version"
	}
	return line
}
