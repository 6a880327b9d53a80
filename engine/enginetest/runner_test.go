package enginetest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/enginetest"
	"github.com/berthhq/berth/fakeengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunner(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		var scripts sync.Map
		runner := enginetest.NewRunner(enginetest.Config{
			Script: func(l engine.Launch) (fakeengine.Script, error) {
				script, _ := scripts.Load(l.Engine)
				return script.(fakeengine.Script), nil
			},
		})
		return enginetest.Harness{
			Runner: runner,
			Launch: func(_ testing.TB, script fakeengine.Script) engine.Launch {
				name := rand.Text()
				scripts.Store(name, script)
				return engine.Launch{Engine: name}
			},
		}
	})
}

// BenchmarkStartStop is what a scale test pays for an engine.
func BenchmarkStartStop(b *testing.B) {
	runner := enginetest.NewRunner(enginetest.Config{})
	received := make(chan struct{})
	go func() {
		defer close(received)
		for range runner.Exits() {
			continue
		}
	}()
	ctx := context.Background()
	for n := 0; b.Loop(); n++ {
		id := fmt.Sprint("rep_", n)
		if _, err := runner.Start(ctx, engine.Launch{ReplicaID: id, Nonce: "n"}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := runner.Close(ctx); err != nil {
		b.Fatal(err)
	}
	<-received
}
