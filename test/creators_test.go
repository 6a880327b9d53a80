package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthhq/berth/api"
)

// creators is how many buy at once.
const creators = 200

// creatorsYAML is what they buy on, with a number of threads.
const creatorsYAML = `
node: {threads: %d, memory: 1TiB}
specs: {MU1: {threads: 1, memory: 64MiB}, MU3: {threads: 3, memory: 64MiB}}
models: {m: {engine: fake, plans: [mu]}}
`

// A node is sold to whoever comes first and never twice: what is refused would not have
// fitted, and what was deleted is free again.
func TestCreatorsNeverOversell(t *testing.T) {
	t.Parallel()
	const threads = 37
	b := inProcess(t, fmt.Sprintf(creatorsYAML, threads))
	b.transport.MaxIdleConnsPerHost = creators
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	free := int64(threads)
	var mine []wish
	for round := range 3 {
		bought, refused := b.buyAtOnce(t, draw(random, round))
		for _, w := range bought {
			free -= w.threads()
		}
		if held := b.heldThreads(t); free < 0 || held != threads-free {
			t.Fatalf("%d of %d threads are held, %d should be free", held, threads, free)
		}
		for _, w := range refused {
			if w.threads() <= free {
				t.Errorf("%+v was refused while %d threads are free", w, free)
			}
		}
		mine = append(mine, bought...)
		random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		going := mine[:len(mine)/2]
		if mine = mine[len(going):]; round == 2 {
			going, mine = append(going, mine...), nil
		}
		for _, w := range going {
			_, err := b.DeleteDeployment(t.Context(), w.deployedModel)
			must(t, err)
			free += w.threads()
		}
		until(t, "all that was deleted is free", func() bool { return b.heldThreads(t) == threads-free })
	}
	if free != threads {
		t.Errorf("%d of %d threads are free at the end", free, threads)
	}
}

// Buying and deleting at once: at no moment is more held than there is.
func TestNothingIsOversoldWhileOthersDelete(t *testing.T) {
	t.Parallel()
	const threads = 11
	b := inProcess(t, fmt.Sprintf(creatorsYAML, threads))
	b.transport.MaxIdleConnsPerHost = creators
	var sold atomic.Int64
	watching, enough := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for watching.Err() == nil {
			if held := b.heldThreads(t); held > threads {
				t.Errorf("%d of %d threads are held", held, threads)
			}
		}
	})
	var all sync.WaitGroup
	for i := range creators {
		all.Go(func() {
			w := wish{suffix: fmt.Sprint(i), spec: "MU1", capacity: int64(i%2 + 1)}
			if !b.buy(t, &w) {
				return
			}
			sold.Add(1)
			if _, err := b.DeleteDeployment(t.Context(), w.deployedModel); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	enough()
	watcher.Wait()
	until(t, "everything is free", func() bool { return b.heldThreads(t) == 0 })
	if sold.Load() < threads/2 {
		t.Errorf("only %d were sold", sold.Load())
	}
}

// wish is what one creator wants to buy.
type wish struct {
	suffix, spec string
	capacity     int64
	// deployedModel is its name when it came true.
	deployedModel string
}

func draw(random *rand.Rand, round int) []wish {
	wishes := make([]wish, creators)
	for i := range wishes {
		wishes[i] = wish{suffix: fmt.Sprintf("%dn%d", round, i), spec: "MU1", capacity: random.Int64N(2) + 1}
		if random.IntN(3) == 0 {
			wishes[i].spec = "MU3"
		}
	}
	return wishes
}

func (w wish) threads() int64 {
	if w.spec == "MU3" {
		return 3 * w.capacity
	}
	return w.capacity
}

// buyAtOnce lets every wish be bought by a client of its own.
func (b *berth) buyAtOnce(t *testing.T, wishes []wish) (bought, refused []wish) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, w := range wishes {
		all.Go(func() {
			to := &refused
			if b.buy(t, &w) {
				to = &bought
			}
			mu.Lock()
			defer mu.Unlock()
			*to = append(*to, w)
		})
	}
	all.Wait()
	return bought, refused
}

// buy reports whether a wish came true; the only other answer is that it does not fit.
func (b *berth) buy(t *testing.T, w *wish) bool {
	t.Helper()
	d, err := b.CreateDeployment(t.Context(), api.CreateDeployment{
		ModelName: "m", Plan: "mu", DeploySpec: w.spec, Capacity: &w.capacity, Suffix: w.suffix,
	})
	var refusal *api.Error
	if err != nil && (!errors.As(err, &refusal) || refusal.Code != "InsufficientCapacity") {
		t.Errorf("%+v: %v", *w, err)
	}
	w.deployedModel = d.DeployedModel
	return err == nil
}
