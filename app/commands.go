package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
)

// Commands are the subcommands that work on this machine instead of over the API:
// cmd/berth hands them to the command line.
func Commands(version, executable string) []*cobra.Command {
	return []*cobra.Command{
		serveCommand(version, executable), demoCommand(version, executable), doctorCommand(version), engineCommand(), backupCommand(version),
		storeCommand(),
	}
}

func serveCommand(version, executable string) *cobra.Command {
	var file string
	var show, insecure bool
	overrides := map[string]*string{"data": new(string), "listen": new(string)}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve deployments from a data directory",
		Long: `Serves the API, runs the engines and keeps everything in a data directory, which is
made at the first start together with an owner key (printed once, kept in owner.key).
SIGTERM or Ctrl-C: no new calls are taken, running ones have 30 s, engines are stopped.`,
		Example: `  berth serve
  berth serve --data /var/lib/berth --config /etc/berth.yaml
  berth serve --config berth.yaml --print-config`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := map[string]string{}
			for key, value := range overrides {
				if cmd.Flags().Changed(key) {
					flags[key] = *value
				}
			}
			if insecure {
				flags["insecure"] = "true"
			}
			cfg, err := config.Load(config.Source{File: file, Env: os.Environ(), Flags: flags})
			if err != nil {
				return err
			}
			if show {
				return cfg.Print(cmd.OutOrStdout())
			}
			logger, flush := newLogger(cfg.Log, cmd.ErrOrStderr())
			defer flush()
			return serve(cmd.Context(), Options{
				Config: cfg, Version: version, Executable: executable, Out: cmd.OutOrStdout(), Logger: logger,
			})
		},
	}
	cmd.Flags().StringVar(overrides["data"], "data", "./berth-data", "data directory")
	cmd.Flags().StringVar(overrides["listen"], "listen", "127.0.0.1:7700", "address to listen on; port 0 takes any free one")
	cmd.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	cmd.Flags().BoolVar(&show, "print-config", false, "print the effective configuration with the source of each value, and exit")
	cmd.Flags().BoolVar(&insecure, "insecure", false, "allow plain HTTP on other addresses than loopback")
	return cmd
}

func serve(ctx context.Context, o Options) error {
	a, err := New(ctx, o)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go tuneCollector(ctx)
	return errors.Join(a.Run(ctx), a.Close())
}

// newLogger writes text for people, line by line, and JSON for machines, several lines at
// a time. flush writes those that wait.
func newLogger(c config.Log, out io.Writer) (logger *slog.Logger, flush func()) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // config has checked it
	o := &slog.HandlerOptions{Level: level}
	f, isFile := out.(*os.File)
	text := c.Format == "text" || c.Format == "auto" && isFile && term.IsTerminal(int(f.Fd()))
	if text {
		return slog.New(slog.NewTextHandler(out, o)), func() {}
	}
	lines := newLogWriter(out)
	return slog.New(promptHandler{newLineHandler(lines, o), lines}), lines.Flush
}

func demoCommand(version, executable string) *cobra.Command {
	o := DemoOptions{Version: version, Executable: executable}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Deploy a tiny model under each plan and ask it a sum",
		Long: `Installs the llama.cpp engine if there is none, serves from a fresh data directory on
loopback, adds the model Abacus (in this binary), deploys it under each plan, asks each
deployment 37+85 and stays up with lines to paste. Ctrl-C stops and removes everything.`,
		Example: "  berth demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			return Demo(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Listen, "listen", cmp.Or(os.Getenv("BERTH_LISTEN"), "127.0.0.1:7700"), "loopback address to listen on; the next free port when it is busy")
	return cmd
}

func engineCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "engine", Short: "Install and list inference engines"}
	cmd.AddCommand(&cobra.Command{
		Use:   "install llamacpp",
		Short: "Install an engine for this user",
		Long: `Fetches the pinned llama.cpp server with pip, checks its hash and unpacks it into the
engines directory (engines.dir, by default in the user's cache), for all data directories.`,
		Example:   "  berth engine install llamacpp",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"llamacpp"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Source{Env: os.Environ()})
			if err != nil {
				return err
			}
			found, err := engine.InstallLlamaCpp(cmd.Context(), engine.InstallConfig{
				Dir: cfg.Engines.Dir, Progress: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) },
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "llamacpp %s is installed in %s\n", found.Version, cfg.Engines.Dir)
			return nil
		},
	}, &cobra.Command{
		Use:   "list",
		Short: "Show which engines this machine has",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Source{Env: os.Environ()})
			if err != nil {
				return err
			}
			for _, c := range engineChecks(cmd.Context(), cfg) {
				c.print(cmd.OutOrStdout())
			}
			return nil
		},
	})
	return cmd
}
