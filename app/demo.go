package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
)

// DemoOptions say how to run [Demo].
type DemoOptions struct {
	Version    string
	Executable string
	Listen     string // preferred address; the next free port is taken when it is busy
	Out        io.Writer
}

// Demo shows Berth to somebody who just cloned it: it installs the engine if there is
// none, serves from a fresh data directory, deploys under each plan, asks each
// deployment a sum and stays up until ctx ends. Nothing is left running.
func Demo(ctx context.Context, o DemoOptions) (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "berth-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeDemoFiles(dir); err != nil {
		return err
	}
	cfg, err := config.Load(config.Source{File: filepath.Join(dir, "berth.yaml"), Env: os.Environ(), Flags: map[string]string{
		"data": filepath.Join(dir, "data"),
	}})
	if err != nil {
		return err
	}
	if _, err := engine.FindLlamaCpp(engine.LlamaCppConfig{Command: cfg.Engines.LlamaCpp.Command, Dir: cfg.Engines.Dir}); err != nil {
		_, err = engine.InstallLlamaCpp(ctx, engine.InstallConfig{Dir: cfg.Engines.Dir, Progress: func(line string) { fmt.Fprintln(o.Out, line) }})
		if err != nil {
			return err
		}
	}
	if cfg.Listen, err = freeAddress(ctx, o.Listen, o.Out); err != nil {
		return err
	}
	logs, err := os.OpenFile(filepath.Join(dir, "berth.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	a, err := New(ctx, Options{
		Config: cfg, Version: o.Version, Executable: o.Executable, Logger: slog.New(slog.NewTextHandler(logs, nil)),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return demonstrate(ctx, a, o, began)
}

// demonstrate runs the server and shows it, until ctx ends or something fails.
func demonstrate(ctx context.Context, a *App, o DemoOptions, began time.Time) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	served := make(chan error, 1)
	go func() { served <- a.Run(ctx) }()
	show := func() error {
		key, err := a.OwnerKey()
		if err != nil {
			return err
		}
		s := &showing{out: o.Out, client: &api.Client{BaseURL: a.URL(), Key: key}, key: key}
		if err := s.plans(ctx); err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "\nReady after %.1f s. Berth stays up at %s until Ctrl-C.\n", time.Since(began).Seconds(), a.URL())
		s.recipes()
		return nil
	}
	context.AfterFunc(ctx, func() { fmt.Fprintln(o.Out, "Stopping; the engines are ended and the data removed.") })
	if err := show(); err != nil {
		stop(err)
		stopped := <-served
		if errors.Is(err, context.Canceled) {
			return stopped
		}
		return errors.Join(fmt.Errorf("demo: %w", err), stopped)
	}
	return <-served
}

// freeAddress returns address, or the same host with the next free port, and says so.
func freeAddress(ctx context.Context, address string, out io.Writer) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("listen: the demo serves plain HTTP on loopback only, not on %q; use berth serve for other addresses", host)
	}
	first, err := new(net.Resolver).LookupPort(ctx, "tcp", port)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	for p := first; p < first+100 && p < 1<<16; p++ {
		try := net.JoinHostPort(host, fmt.Sprint(p))
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", try)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("listen: %w", err)
		}
		if p != first {
			fmt.Fprintf(out, "Port %d is busy; using %d.\n", first, p)
		}
		return try, l.Close()
	}
	return "", fmt.Errorf("listen: the ports %d to %d are all busy; choose another with --listen", first, first+99)
}

// writeDemoFiles puts the Abacus files and the demo's configuration into dir.
func writeDemoFiles(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "models"), 0o755); err != nil {
		return err
	}
	files, err := abacus.Extract(filepath.Join(dir, "models"))
	if err != nil {
		return err
	}
	replace := strings.NewReplacer("{{base}}", files.Base, "{{words}}", files.Words, "{{shout}}", files.Shout)
	return os.WriteFile(filepath.Join(dir, "berth.yaml"), []byte(replace.Replace(demoConfig)), 0o600)
}
