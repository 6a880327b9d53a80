package test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/app"
	"github.com/berthhq/berth/config"
)

// clock is a clock that begins on a day of no change of anything and can be put forward.
type clock struct {
	began time.Time // by the machine's
	at    time.Time // by this one, then
	ahead atomic.Int64
}

func newClock() *clock {
	return &clock{began: time.Now(), at: time.Date(2031, 3, 10, 3, 0, 0, 0, time.UTC)}
}

func (c *clock) now() time.Time {
	return c.at.Add(time.Since(c.began)).Add(time.Duration(c.ahead.Load()))
}

func (c *clock) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// byClock starts a server whose engines are fake ones inside the test, by a clock of its own.
func byClock(t testing.TB, yaml string) *berth {
	t.Helper()
	return startBy(t, newClock(), t.TempDir(), yaml, true)
}

// clockVariable names the moment by which [serveByClock] begins.
const clockVariable = "CLOCK_BEGINS_AT"

// serveByClock is `berth serve` in a process of its own, by a clock that begins when the
// environment says.
func serveByClock(args []string) int {
	at, err := time.Parse(time.RFC3339, os.Getenv(clockVariable))
	flags, file := map[string]string{}, ""
	for i := 0; i+1 < len(args); i += 2 {
		if name := args[i][len("--"):]; name == "config" {
			file = args[i+1]
		} else {
			flags[name] = args[i+1]
		}
	}
	if err == nil {
		err = serveFrom(&clock{began: time.Now(), at: at}, file, flags)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveFrom(c *clock, file string, flags map[string]string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := config.Load(config.Source{File: file, Flags: flags})
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	a, err := app.New(ctx, app.Options{
		Config: cfg, Version: "test", Executable: executable, Out: os.Stdout, Now: c.now, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	err = a.Run(ctx)
	if closed := a.Close(); err == nil {
		err = closed
	}
	return err
}

// newClockProgram is newProgram of a binary whose servers obey a clock of their own.
func newClockProgram(t testing.TB) *program {
	t.Helper()
	p := newProgram(t)
	executable, err := os.Executable()
	must(t, err)
	must(t, os.Remove(p.path))
	if os.Link(executable, p.path) != nil {
		content, err := os.ReadFile(executable)
		must(t, err)
		must(t, os.WriteFile(p.path, content, 0o700))
	}
	return p
}

// serveAt is serve by a clock that begins at a moment.
func (p *program) serveAt(t testing.TB, at time.Time, yaml string) *serving {
	t.Helper()
	p.env = append(p.env, clockVariable+"="+at.Format(time.RFC3339))
	return p.serveOn(t, filepath.Join(p.dir, "data"), yaml)
}
