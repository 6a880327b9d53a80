// Command berth is the whole product in one binary: server, keeper of engines, fake
// engine and command line.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/app"
	"github.com/berthhq/berth/cli"
	"github.com/berthhq/berth/engine/keeper"
	"github.com/berthhq/berth/fakeengine"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() {
	// A keeper must not pay for, nor be broken by, anything else in the binary.
	if len(os.Args) > 1 && os.Args[1] == "keep" {
		os.Exit(keeper.Main())
	}
	os.Exit(run())
}

func run() int {
	executable, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth: cannot find its own executable:", err)
		return 1
	}
	root := cli.New(cli.Options{
		Version: version, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Now: time.Now,
		Local: append(app.Commands(version, executable), fakeEngine()),
	})
	return cli.Execute(context.Background(), root)
}

// fakeEngine passes its arguments on untouched: the engine has flags of its own.
func fakeEngine() *cobra.Command {
	return &cobra.Command{
		Use:                "fake-engine --script FILE",
		Short:              "Run a scriptable engine for tests",
		DisableFlagParsing: true,
		Run: func(_ *cobra.Command, args []string) {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(fakeengine.Run(ctx, args, os.Stdout, os.Stderr))
		},
	}
}
