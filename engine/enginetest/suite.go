package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

// Harness is what the suite needs of a Runner under test.
type Harness struct {
	Runner engine.Runner
	// Launch returns a launch of a fake engine that follows the script. The suite sets
	// replica and nonce.
	Launch func(t testing.TB, script fakeengine.Script) engine.Launch
}

// patience bounds every wait of the suite; nothing waits for it to pass.
const patience = 60 * time.Second

// Run is the contract of [engine.Runner]. make returns a fresh Runner, which the suite
// closes.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	for name, test := range map[string]func(*testing.T, *bench){
		"a started engine answers, with its key only":          testAnswers,
		"instances lists what runs":                            testInstances,
		"a replica has one engine at a time":                   testOneEngine,
		"stop returns when the engine is gone":                 testStop,
		"stop of something unknown is no error":                testStopUnknown,
		"two stops at once are both told":                      testStopTwice,
		"stop ends an engine that does not listen to it":       testStopDeaf,
		"a stopped replica can be started again":               testStartAgain,
		"a crash is told once, with its reason":                testCrash,
		"an engine that does not come up is told as an exit":   testRefuses,
		"a broken script is told, and no instance stays":       testBroken,
		"close ends everything and refuses further starts":     testClose,
		"close during starts leaves nothing":                   testCloseDuringStart,
		"a start that was cancelled leaves nothing":            testCancelled,
		"an exit that nobody receives holds up nobody's start": testSlowReceiver,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, make(t))
			test(t, b)
		})
	}
}

func testAnswers(t *testing.T, b *bench) {
	i := b.mustStart(t, "rep_1", "n1", fakeengine.Script{})
	b.mustServe(t, i)
	if i.Endpoint.Key == "" {
		t.Error("the engine has no key")
	}
	if status := b.call(t, i, "another"); status != http.StatusUnauthorized {
		t.Errorf("a wrong key is answered with %d, want 401", status)
	}
}

func testInstances(t *testing.T, b *bench) {
	one := b.mustStart(t, "rep_1", "n1", fakeengine.Script{})
	two := b.mustStart(t, "rep_2", "n2", fakeengine.Script{})
	if one.Endpoint.URL == two.Endpoint.URL || one.Endpoint.Key == two.Endpoint.Key {
		t.Errorf("two engines share an address or a key: %s, %s", one.Endpoint.URL, two.Endpoint.URL)
	}
	got := b.Runner.Instances()
	if len(got) != 2 {
		t.Fatalf("%d instances are listed, want 2", len(got))
	}
	for _, i := range got {
		if i != one && i != two {
			t.Errorf("a listed instance differs from the started one: %+v", i)
		}
		if !b.Runner.Runs(i.ReplicaID, i.Nonce) || b.Runner.Runs(i.ReplicaID, "another") {
			t.Errorf("%s runs, under its own nonce only", i.ReplicaID)
		}
	}
}

func testOneEngine(t *testing.T, b *bench) {
	b.mustStart(t, "rep_1", "n1", fakeengine.Script{})
	_, err := b.Runner.Start(bounded(t), b.launch(t, "rep_1", "n2", fakeengine.Script{}))
	if err == nil || errors.Is(err, engine.ErrPermanent) {
		t.Errorf("a second engine of a replica: %v, want an error that is not permanent", err)
	}
	if n := len(b.Runner.Instances()); n != 1 {
		t.Errorf("%d instances, want 1", n)
	}
}

func testStop(t *testing.T, b *bench) {
	i := b.mustStart(t, "rep_1", "n1", fakeengine.Script{})
	b.mustServe(t, i)
	b.mustStop(t, "rep_1", "n1", patience)
	b.mustBeGone(t, i)
	exit := b.mustExit(t)
	if exit.ReplicaID != "rep_1" || exit.Nonce != "n1" || !exit.Asked || exit.At.IsZero() {
		t.Errorf("the exit is %+v, want rep_1, n1, asked, with a time", exit)
	}
}

func testStopUnknown(t *testing.T, b *bench) {
	i := b.mustStart(t, "rep_1", "n1", fakeengine.Script{})
	b.mustServe(t, i)
	b.mustStop(t, "rep_2", "n1", 0)
	b.mustStop(t, "rep_1", "an older nonce", 0)
	if status := b.call(t, i, i.Endpoint.Key); status != http.StatusOK {
		t.Errorf("stopping something else ended the engine: %d", status)
	}
}

func testStopTwice(t *testing.T, b *bench) {
	i := b.mustStart(t, "rep_1", "n1", fakeengine.Script{})
	b.mustServe(t, i)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := b.Runner.Stop(bounded(t), "rep_1", "n1", patience); err != nil {
				t.Error(err)
			}
			b.mustBeGone(t, i)
		})
	}
	both.Wait()
	b.mustStop(t, "rep_1", "n1", patience)
	b.mustExit(t)
	b.mustClose(t)
	if n := len(b.exits); n > 0 {
		t.Errorf("%d exits too many", n)
	}
}

func testStopDeaf(t *testing.T, b *bench) {
	i := b.mustStart(t, "rep_1", "n1", fakeengine.Script{IgnoreSIGTERM: true})
	b.mustServe(t, i)
	b.mustStop(t, "rep_1", "n1", 10*time.Millisecond)
	b.mustBeGone(t, i)
	if exit := b.mustExit(t); !exit.Asked {
		t.Errorf("the exit is %+v, want asked", exit)
	}
}

func testStartAgain(t *testing.T, b *bench) {
	b.mustServe(t, b.mustStart(t, "rep_1", "n1", fakeengine.Script{}))
	b.mustStop(t, "rep_1", "n1", patience)
	i := b.mustStart(t, "rep_1", "n2", fakeengine.Script{})
	b.mustServe(t, i)
	b.mustStop(t, "rep_1", "n1", 0)
	if status := b.call(t, i, i.Endpoint.Key); status != http.StatusOK {
		t.Errorf("stopping the old nonce ended the new engine: %d", status)
	}
}

func testCrash(t *testing.T, b *bench) {
	i := b.mustStart(t, "rep_1", "n1", fakeengine.Script{Crash: &fakeengine.Crash{AfterCalls: 1, ExitCode: 7}})
	b.mustServe(t, i)
	exit := b.mustExit(t)
	if exit.Asked || exit.Nonce != "n1" || !strings.Contains(exit.Reason, "exit status 7") {
		t.Errorf("the exit is %+v, want not asked, with exit status 7", exit)
	}
	b.mustBeGone(t, i)
	b.mustStop(t, "rep_1", "n1", patience)
	b.mustClose(t)
	if n := len(b.exits); n > 0 {
		t.Errorf("%d exits too many", n)
	}
}

func testRefuses(t *testing.T, b *bench) {
	b.mustStart(t, "rep_1", "n1", fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 3, Message: "cannot map model: out of memory"}})
	exit := b.mustExit(t)
	for _, part := range []string{"exit status 3", "cannot map model: out of memory"} {
		if exit.Asked || !strings.Contains(exit.Reason, part) {
			t.Errorf("the exit is %+v, want not asked, with %q", exit, part)
		}
	}
}

// testBroken allows both: a Runner that reads the script refuses it for good, one that
// passes it on tells the engine's exit.
func testBroken(t *testing.T, b *bench) {
	_, err := b.Runner.Start(bounded(t), b.launch(t, "rep_1", "n1", fakeengine.Script{Slowdown: -1}))
	switch {
	case err == nil:
		if exit := b.mustExit(t); !strings.Contains(exit.Reason, "slowdown") {
			t.Errorf("the exit is %+v, want it to name slowdown", exit)
		}
	case !errors.Is(err, engine.ErrPermanent) || !strings.Contains(err.Error(), "slowdown"):
		t.Errorf("start: %v, want a permanent error that names slowdown", err)
	}
	if n := len(b.Runner.Instances()); n != 0 {
		t.Errorf("%d instances, want 0", n)
	}
}

func testClose(t *testing.T, b *bench) {
	var instances []engine.Instance
	for n := range 5 {
		i := b.mustStart(t, fmt.Sprint("rep_", n), fmt.Sprint("n", n), fakeengine.Script{})
		b.mustServe(t, i)
		instances = append(instances, i)
	}
	b.mustClose(t)
	for _, i := range instances {
		b.mustBeGone(t, i)
		if exit := b.mustExit(t); !exit.Asked {
			t.Errorf("the exit is %+v, want asked", exit)
		}
	}
	b.mustClose(t)
	if _, err := b.Runner.Start(bounded(t), b.launch(t, "rep_9", "n9", fakeengine.Script{})); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("start after close: %v, want ErrClosed", err)
	}
}

func testCloseDuringStart(t *testing.T, b *bench) {
	var all sync.WaitGroup
	for n := range 8 {
		l := b.launch(t, fmt.Sprint("rep_", n), fmt.Sprint("n", n), fakeengine.Script{})
		all.Go(func() {
			if _, err := b.Runner.Start(bounded(t), l); err != nil && !errors.Is(err, engine.ErrClosed) {
				t.Errorf("start: %v", err)
			}
		})
	}
	b.mustClose(t)
	all.Wait()
	if n := len(b.Runner.Instances()); n != 0 {
		t.Errorf("%d instances live after close", n)
	}
}

func testCancelled(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Runner.Start(ctx, b.launch(t, "rep_1", "n1", fakeengine.Script{})); !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v, want context.Canceled", err)
	}
	b.mustServe(t, b.mustStart(t, "rep_1", "n2", fakeengine.Script{}))
}

func testSlowReceiver(t *testing.T, b *bench) {
	b.receiving.Lock()
	defer b.receiving.Unlock()
	for n := range 3 {
		nonce := fmt.Sprint("n", n)
		b.mustStart(t, "rep_1", nonce, fakeengine.Script{})
		b.mustStop(t, "rep_1", nonce, patience)
	}
}
