//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/app"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/process"
)

// The models: engines of the first stand in for themselves.
const (
	lightModel = "light"
	realModel  = "real"
	poolModel  = "pool"
)

const yaml = `
node: {threads: 65536, memory: 16TiB}
engines: {parallel_starts: 64} # most of them load nothing
specs: {MU1: {threads: 1, memory: 64MiB}}
models:
  light: {engine: fake, plans: [mu]}
  real: {engine: fake, plans: [mu]}
  pool: {engine: fake, plans: [ptu], calibration: {input_tpm: 600000000, output_tpm: 60000000}}
`

// bench is a server and what was measured of it.
type bench struct {
	options
	figures
	dir    string
	passes passes
	made   atomic.Int64 // deployments, for their suffixes
	server *server
}

// all does everything in turn.
func (b *bench) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		b.open, b.fill, b.processesBeside, b.pages, b.createAndReady, b.crowd, b.pool, b.idle, b.memory, b.startAgain,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// server is one life of Berth on the data.
type server struct {
	*api.Client
	app  *app.App
	stop func() error
}

func (b *bench) open(ctx context.Context) error {
	file := filepath.Join(b.dir, "berth.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return err
	}
	data := filepath.Join(b.dir, "data")
	cfg, err := config.Load(config.Source{File: file, Flags: map[string]string{"data": data, "listen": "127.0.0.1:0"}})
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	var problem error
	a, err := app.New(ctx, app.Options{
		Config: cfg, Version: "bench", Executable: executable, Logger: slog.New(&b.passes),
		Runner: func(drivers map[string]engine.Driver) engine.Runner {
			r, err := newLight(process.New(process.Config{Executable: executable, Dir: data, Drivers: drivers, Now: time.Now}))
			problem = err
			return r
		},
	})
	if err := errors.Join(err, problem); err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	key, err := a.OwnerKey()
	transport := &http.Transport{MaxIdleConnsPerHost: b.creators}
	b.server = &server{app: a, Client: &api.Client{BaseURL: a.URL(), Key: key, HTTP: &http.Client{Transport: transport}}}
	b.server.stop = sync.OnceValue(func() error {
		cancel()
		err := errors.Join(<-done, a.Close())
		transport.CloseIdleConnections()
		return err
	})
	return err
}

func (b *bench) close() error {
	if b.server == nil {
		return nil
	}
	return b.server.stop()
}

// create buys one replica, or a place in the pool, and returns its name.
func (b *bench) create(ctx context.Context, model string) (string, error) {
	one := int64(1)
	c := api.CreateDeployment{ModelName: model, Plan: api.PlanMU, DeploySpec: "MU1", Capacity: &one, Suffix: fmt.Sprintf("%x", b.made.Add(1))}
	if model == poolModel {
		c.Plan, c.DeploySpec, c.Capacity, c.PTU = api.PlanPTU, "", nil, &api.PTUCapacity{InputTPM: 10_000, OutputTPM: 1_000}
	}
	d, err := b.server.CreateDeployment(ctx, c)
	return d.DeployedModel, err
}

// together runs fn n times, so many at once, and returns how long each took.
func together(n, atOnce int, fn func() error) ([]time.Duration, error) {
	var mu sync.Mutex
	var samples []time.Duration
	var problems error
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				begin := time.Now()
				err := fn()
				took := time.Since(begin)
				mu.Lock()
				samples, problems = append(samples, took), errors.Join(problems, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return samples, problems
}

// fill creates the deployments and waits until all serve.
func (b *bench) fill(ctx context.Context) error {
	begin := time.Now()
	_, err := together(b.deployments, 8, func() error {
		_, err := b.create(ctx, lightModel)
		return err
	})
	if err != nil {
		return err
	}
	created := time.Since(begin)
	if err := b.awaitCallable(ctx, b.deployments); err != nil {
		return err
	}
	b.is(fmt.Sprintf("%d created, 8 at once", b.deployments), "", seconds(created), "")
	b.is("until all serve", "", seconds(time.Since(begin)), "counted from the first create")
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// awaitCallable returns when so many deployments are listed as serving.
func (b *bench) awaitCallable(ctx context.Context, want int) error {
	for {
		n, err := b.callable(ctx)
		if err != nil || n >= want {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// callable counts the models that the gateway lists.
func (b *bench) callable(ctx context.Context) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.BaseURL+"/v1/models", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+b.server.Key)
	answer, err := b.server.HTTP.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	n := 0
	words := bufio.NewScanner(answer.Body)
	words.Buffer(nil, 64<<20)
	for words.Scan() {
		n += strings.Count(words.Text(), `"object":"model"`)
	}
	return n, words.Err()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// ready creates one and returns how long that took, and until it serves.
func (b *bench) ready(ctx context.Context, model string) (name string, create, ready time.Duration, err error) {
	begin := time.Now()
	if name, err = b.create(ctx, model); err != nil {
		return name, 0, 0, err
	}
	create = time.Since(begin)
	for {
		d, err := b.server.GetDeployment(ctx, name)
		switch {
		case err != nil:
			return name, 0, 0, err
		case d.Status == api.StatusRunning:
			return name, create, time.Since(begin), nil
		case !d.Status.ComingUp():
			return name, 0, 0, fmt.Errorf("%s is %s: %s", name, d.Status, d.FailReason)
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return name, 0, 0, err
		}
	}
}

// processesBeside starts the real ones, one after the other.
func (b *bench) processesBeside(ctx context.Context) error {
	var samples []time.Duration
	for range b.processes {
		_, _, ready, err := b.ready(ctx, realModel)
		if err != nil {
			return err
		}
		samples = append(samples, ready)
	}
	b.took("start to ready, a process and its keeper", "2 s", samples, "")
	return nil
}

// pages reads the first and the last page of 50.
func (b *bench) pages(ctx context.Context) error {
	const size = 50
	last := (b.deployments + b.processes) / size
	for _, page := range []int{1, last} {
		samples, err := together(b.times, 1, func() error {
			list, err := b.server.ListDeployments(ctx, page, size, "")
			if err == nil && len(list.Deployments) != size {
				err = fmt.Errorf("page %d has %d deployments", page, len(list.Deployments))
			}
			return err
		})
		if err != nil {
			return err
		}
		b.took(fmt.Sprintf("list page %d", page), "20 ms", samples, fmt.Sprintf(", of %d", size))
	}
	return nil
}

// pool fills one and measures purchases into it.
func (b *bench) pool(ctx context.Context) error {
	if _, err := together(b.members, 8, func() error {
		_, err := b.create(ctx, poolModel)
		return err
	}); err != nil {
		return err
	}
	if _, _, _, err := b.ready(ctx, poolModel); err != nil { // all others are there before
		return err
	}
	b.passes.reset()
	where := fmt.Sprintf(" in a pool of %d", b.members)
	if err := b.oneByOne(ctx, poolModel, where, "0.3 s"); err != nil {
		return err
	}
	b.took("reconcile pass"+where, "50 ms", b.passes.took(func(p pass) bool { return p.owners > 0 }), "")
	return nil
}

func (b *bench) createAndReady(ctx context.Context) error {
	return b.oneByOne(ctx, lightModel, "", "2 s")
}

// oneByOne measures one purchase at a time, and takes it back.
func (b *bench) oneByOne(ctx context.Context, model, where, wanted string) error {
	var creates, readies, deletes []time.Duration
	for range b.times {
		name, create, ready, err := b.ready(ctx, model)
		if err != nil {
			return err
		}
		begin := time.Now()
		if _, err := b.server.DeleteDeployment(ctx, name); err != nil {
			return err
		}
		creates, readies, deletes = append(creates, create), append(readies, ready), append(deletes, time.Since(begin))
	}
	b.took("create"+where, "20 ms", creates, ", one at a time")
	b.took("start to ready"+where, wanted, readies, ", from create, looked every 2 ms")
	b.took("delete"+where, "", deletes, "")
	return nil
}

// crowd lets many create at once.
func (b *bench) crowd(ctx context.Context) error {
	var mu sync.Mutex
	var names []string
	begin := time.Now()
	samples, err := together(b.creators*5, b.creators, func() error {
		name, err := b.create(ctx, lightModel)
		mu.Lock()
		defer mu.Unlock()
		names = append(names, name)
		return err
	})
	took := time.Since(begin)
	if err != nil {
		return err
	}
	b.took(fmt.Sprintf("create, %d at once", b.creators), "", samples, fmt.Sprintf(", %.0f/s", float64(len(names))/took.Seconds()))
	_, err = together(len(names), 8, func() error {
		mu.Lock()
		name := names[0]
		names = names[1:]
		mu.Unlock()
		_, err := b.server.DeleteDeployment(ctx, name)
		return err
	})
	return err
}

// idle wakes the reconciler when there is nothing to do: a deletion that is refused does.
func (b *bench) idle(ctx context.Context) error {
	if err := pause(ctx, 2*time.Second); err != nil { // what was deleted goes away
		return err
	}
	b.passes.reset()
	for range b.times {
		if _, err := b.server.DeleteDeployment(ctx, "nobody"); err == nil {
			return errors.New("nobody was deleted")
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	b.took("reconcile pass, nothing to do", "50 ms", b.passes.took(func(p pass) bool { return p.owners == 0 }), "")
	return nil
}

// memory is that of this process, which is Berth, its clients here and the light engines.
func (b *bench) memory(context.Context) error {
	resident := rss()
	runtime.GC()
	runtime.GC() // what the first one has only marked
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.is("memory, RSS", "200 MiB", mib(resident), "of this process, clients and light engines included")
	b.is("memory, HeapInuse after a collection", "", mib(m.HeapInuse), "")
	for _, name := range []string{"berth.db", "berth.db-wal"} {
		if info, err := os.Stat(filepath.Join(b.dir, "data", name)); err == nil {
			b.is("file "+name, "", mib(uint64(info.Size())), "")
		}
	}
	return nil
}

func mib(n uint64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func rss() uint64 {
	text, _ := os.ReadFile("/proc/self/status") // 0 is seen in the report
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib uint64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}

// startAgain stops the server and starts it on the same data.
func (b *bench) startAgain(ctx context.Context) error {
	if err := b.server.stop(); err != nil {
		return err
	}
	b.passes.reset()
	begin := time.Now()
	if err := b.open(ctx); err != nil {
		return err
	}
	opened := time.Since(begin)
	if err := b.awaitReady(ctx); err != nil {
		return err
	}
	answers := time.Since(begin)
	all := int64(b.deployments + b.processes)
	// The bench buys meanwhile; what it buys waits its turn and counts as ready, too.
	var creates []time.Duration
	for b.passes.ready.Load() < all+int64(len(creates)) {
		before := time.Now()
		if _, err := b.create(ctx, lightModel); err != nil {
			return err
		}
		creates = append(creates, time.Since(before))
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	b.is("start of Berth on this data", "", seconds(opened), "")
	b.is("until it answers", "", seconds(answers), "once it has compared all that is stored with what runs")
	b.is(fmt.Sprintf("until %d engines are ready", all+int64(len(creates))), "", seconds(time.Since(begin)), "")
	b.took("reconcile pass meanwhile", "100 ms", b.passes.took(func(p pass) bool { return p.owners > 0 }), "")
	b.took("create meanwhile", "100 ms", creates, ", one at a time")
	return nil
}

// awaitReady returns when the server takes requests.
func (b *bench) awaitReady(ctx context.Context) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.BaseURL+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := b.server.HTTP.Do(r)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}
