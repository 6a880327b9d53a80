package process_test

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/enginetest"
	"github.com/berthhq/berth/engine/keeper"
	"github.com/berthhq/berth/engine/process"
	"github.com/berthhq/berth/fakeengine"
)

// TestMain makes the test binary the berth executable: keeper and fake engine. They end
// by the system call, because [os.Exit] sleeps for a second under the race detector.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keep":
			unix.Exit(keeper.Main())
		case "fake-engine":
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			code := fakeengine.Run(ctx, os.Args[2:], os.Stdout, os.Stderr)
			stop()
			unix.Exit(code)
		}
	}
	goleak.VerifyTestMain(m)
}

// self is this binary.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newRunner(t testing.TB, c engine.Config) *process.Runner {
	t.Helper()
	c.Fake.Executable = self(t)
	return process.New(process.Config{
		Executable: self(t),
		Dir:        t.TempDir(),
		Drivers:    engine.Drivers(c),
		Now:        time.Now,
	})
}

func TestRunner(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		return enginetest.Harness{
			Runner: newRunner(t, engine.Config{}),
			Launch: func(t testing.TB, script fakeengine.Script) engine.Launch {
				t.Helper()
				text, err := json.Marshal(script)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(t.TempDir(), "script.json")
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
				return engine.Launch{Engine: berth.EngineFake, Model: berth.Model{Name: "fake", File: berth.ModelFile{Path: path}}}
			},
		}
	})
}
