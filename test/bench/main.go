//go:build linux

// Command bench measures what Berth's gateway costs, beside nginx, haproxy, Go's
// httputil.ReverseProxy and LiteLLM's proxy with the same calls to the same engine, in one
// run:
//
//	make bench
//
// docs/performance.md says how it measures and what came out. Everything runs on
// loopback, in a directory that is removed at the end, and ends with the bench.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// longest bounds the whole bench; it takes about five minutes.
const longest = 10 * time.Minute

type options struct {
	berth, nginx, haproxy, litellm string // programs
	parts                          string
	rounds                         int           // of each figure
	length                         time.Duration // of a round at one peer
	only                           string        // part of the titles of the scenarios to run
}

// has reports whether a part of the bench is to run.
func (o options) has(part string) bool { return slices.Contains(strings.Split(o.parts, ","), part) }

// wants reports whether a scenario is to run; a "=" before the text asks for that title alone.
func (o options) wants(title string) bool {
	if whole, exact := strings.CutPrefix(o.only, "="); exact {
		return title == whole
	}
	return strings.Contains(title, o.only)
}

func main() {
	// Children die with the thread that started them, see process.go.
	runtime.LockOSThread()
	if len(os.Args) > 1 && os.Args[1] == reverseProxyWord {
		fmt.Fprintln(os.Stderr, "bench:", reverseProxy(os.Args[2:]))
		os.Exit(1)
	}
	var o options
	flag.StringVar(&o.berth, "berth", "bin/berth", "the `program` to measure")
	flag.StringVar(&o.nginx, "nginx", "nginx", "the `program` to measure it against")
	flag.StringVar(&o.haproxy, "haproxy", "haproxy", "another `program`; without it its column is missing")
	flag.StringVar(&o.litellm, "litellm", litellmProgram(), "another `program`, of which there are a few calls only")
	flag.StringVar(&o.parts, "parts", "unary,streams,memory,peers,litellm", "what to run; without peers nginx is the only one beside Berth")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each peer has its turn")
	flag.DurationVar(&o.length, "length", 1200*time.Millisecond, "how long a turn is")
	flag.StringVar(&o.only, "only", "", "run only scenarios with this `text` in their title, or, after \"=\", as their title")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // run has ended everything already
	}
}

// litellmProgram is where .ci/tools puts LiteLLM.
func litellmProgram() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "litellm"
	}
	return filepath.Join(cache, "berth", "litellm", "bin", "litellm")
}

func run(ctx context.Context, o options) (err error) {
	if o.rounds < 1 || o.length < 100*time.Millisecond {
		return errors.New("at least one round of at least 100 ms")
	}
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	raiseFiles()
	h := &house{dir: dir}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.open(ctx, o); err != nil {
		return err
	}
	fmt.Println(machine(ctx, o))
	for _, line := range h.missing {
		fmt.Println(line)
	}
	for _, s := range h.scenarios() {
		if !o.wants(s.title) || !o.has(s.part) {
			continue
		}
		t, err := measure(ctx, s, o)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		t.print(os.Stdout)
	}
	if o.only == "" && o.has("memory") {
		if err := h.memory(ctx, os.Stdout); err != nil {
			return err
		}
	}
	if err := h.checkUsage(ctx, os.Stdout); err != nil {
		return err
	}
	fmt.Println("load after", loadAverage())
	return nil
}

// scenario is one kind of call, made to each peer in turn.
type scenario struct {
	title   string
	part    string        // of the bench
	rounds  int           // 0: as many as asked for
	warmUp  time.Duration // 0: warmUp
	unit    string        // what CPU is counted by: call or event
	perCall int           // units in an answer
	load    load
	peers   []peer
}

// peer is somewhere to send the calls: the engine itself, or a proxy before it.
type peer struct {
	name    string
	address string
	path    string                        // of chat completions
	cpu     func() (time.Duration, error) // nil: not measured
	made    *int                          // counts the calls
	log     func() string                 // the end of what it wrote, for errors
}

const warmUp = 400 * time.Millisecond

// settling is how long a proxy has after a round for work that it put off, such as
// Berth's usage records; its CPU is counted.
const settling = 200 * time.Millisecond

// measure gives each peer a turn in every round; who begins moves on.
func measure(ctx context.Context, s scenario, o options) (*table, error) {
	t := newTable(s, o.rounds)
	for i, p := range s.peers {
		if _, err := s.load.run(ctx, p, cmp.Or(s.warmUp, warmUp)); err != nil {
			if err := t.fail(i, err); err != nil {
				return nil, err
			}
		}
	}
	for round := range cmp.Or(s.rounds, o.rounds) {
		for i := range s.peers {
			p := (round + i) % len(s.peers)
			if t.failed[p] != nil {
				continue
			}
			got, err := turn(ctx, s, s.peers[p], o.length)
			if err != nil {
				if err := t.fail(p, err); err != nil {
					return nil, err
				}
			}
			t.add(p, got)
		}
	}
	return t, nil
}

func turn(ctx context.Context, s scenario, p peer, length time.Duration) (result, error) {
	if p.cpu == nil {
		return s.load.run(ctx, p, length)
	}
	before, err := p.cpu()
	if err != nil {
		return result{}, err
	}
	got, err := s.load.run(ctx, p, length)
	if err != nil {
		return result{}, err
	}
	time.Sleep(settling)
	after, err := p.cpu()
	got.cpu = after - before
	return got, err
}

// machine is the head of the report: without it the figures mean nothing.
func machine(ctx context.Context, o options) string {
	return fmt.Sprintf("%s, %d × %s, Linux %s, load before %s\n%s, %s, bench built with %s\n%d rounds of %s for each peer in turn: median (least..most)\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), processor(), firstLineOf("/proc/sys/kernel/osrelease"), loadAverage(),
		versionOf(ctx, o.berth, "--version"), versionOf(ctx, o.nginx, "-v"), runtime.Version(), o.rounds, o.length)
}

func firstLineOf(path string) string {
	text, _ := os.ReadFile(path) // "" is seen in the report
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// loadAverage is that of the last minute.
func loadAverage() string {
	load, _, _ := strings.Cut(firstLineOf("/proc/loadavg"), " ")
	return load
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
