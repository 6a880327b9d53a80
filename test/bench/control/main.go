//go:build linux

// Command control measures Berth's control plane with many deployments: a whole server in
// this process, SQLite on disk, its API over loopback.
//
//	make bench-control
//
// Most engines stand in for themselves (light.go), so that what is measured is Berth; 50
// are real processes beside them. docs/performance.md says what came out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/berthhq/berth/engine/keeper"
	"github.com/berthhq/berth/fakeengine"
)

// longest bounds the whole bench.
const longest = 10 * time.Minute

type options struct {
	deployments int // with engines that stand in for themselves
	processes   int // with real ones
	members     int // of a shared pool
	times       int // of each measurement
	creators    int // at once
}

func main() {
	if len(os.Args) > 1 { // what berth is to its own children
		switch os.Args[1] {
		case "keep":
			os.Exit(keeper.Main())
		case "fake-engine":
			os.Exit(fakeengine.Run(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		}
	}
	var o options
	flag.IntVar(&o.deployments, "deployments", 10_000, "how many there are")
	flag.IntVar(&o.processes, "processes", 50, "how many more have a real process")
	flag.IntVar(&o.members, "members", 5_000, "how many share a pool")
	flag.IntVar(&o.times, "times", 200, "how often each thing is measured")
	flag.IntVar(&o.creators, "creators", 200, "how many create at once")
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

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "berth-control-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Printf("%s, %d CPUs, %s, %d deployments and %d with a process, load before %s\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), runtime.Version(), o.deployments, o.processes, load())
	b := &bench{options: o, dir: dir}
	if err := b.all(ctx); err != nil {
		return errors.Join(err, b.close())
	}
	b.print(os.Stdout)
	fmt.Println("load after", load())
	return b.close()
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg") // "" is seen in the report
	var one string
	_, _ = fmt.Sscan(string(text), &one)
	return one
}
