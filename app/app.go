// Package app is the wiring: it builds everything, runs it and takes it down. It is
// the only room that knows all the others.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/engine/keeper"
	"github.com/berthhq/berth/engine/process"
	"github.com/berthhq/berth/engine/scrape"
	"github.com/berthhq/berth/gateway"
	"github.com/berthhq/berth/imports"
	"github.com/berthhq/berth/journal"
	"github.com/berthhq/berth/meter"
	"github.com/berthhq/berth/push"
	"github.com/berthhq/berth/reconcile"
	"github.com/berthhq/berth/sched"
	"github.com/berthhq/berth/server"
	"github.com/berthhq/berth/store"
)

// Options of an [App].
type Options struct {
	Config  config.Config
	Version string
	// Executable is the berth binary: its own keeper and fake engine.
	Executable string
	Logger     *slog.Logger
	// Out is told what a person must see once: the owner key of a first start, the URL.
	Out io.Writer
	// Runner, when set, replaces local processes; tests and scale runs use it.
	Runner func(drivers map[string]engine.Driver) engine.Runner
	// Now is the clock of all that is kept, charged and limited; default time.Now. Tests have
	// another one.
	Now func() time.Time
	// Backoff is the first wait before a failed engine is started again; default 1 s.
	Backoff time.Duration
}

// App is a whole server as a value: New opens it, Run serves until its context ends,
// Close gives everything back.
type App struct {
	opt      Options
	dir      *dataDir
	store    berth.Store
	claim    *store.Claim   // nil: of a file
	runner   *scrape.Runner // reads the counters of its engines
	gateway  *gateway.Gateway
	meter    *meter.Meter
	loop     *reconcile.Loop
	desk     *billing.Desk
	routing  *routing
	services services
	listener net.Listener
	prober   *http.Client
	importer *imports.Worker
	bench    *bench
	pusher   *push.Pusher // nil: no URL is configured
	// storeHTTP reaches object stores.
	storeHTTP *http.Transport
	ownerKey  string        // of a first start
	stopping  chan struct{} // closed when a stop begins
	rated     chan struct{} // has something when charges were brought up to date
	// unexplained is what the last look at the reconciliation has found.
	unexplained atomic.Pointer[unexplained]
	scrapeKey   string // for /metrics alone
}

// services are the domain's.
type services struct {
	deployments *berth.Deployments
	models      *berth.Models
	uploads     *berth.Uploads
	fineTunes   *berth.FineTunes
	keys        *berth.Keys
	workspaces  *berth.Workspaces
	usage       *berth.Usage
	inventory   *berth.Inventory
	imports     *berth.Imports
	prices      *berth.Prices
	books       *berth.Books
	statements  *berth.Statements
	backups     *berth.Backups
	push        *berth.Push

	calibrations    *berth.Calibrations
	reconciliations *berth.Reconciliations
	audits          *berth.Audits
}

// New opens the data directory and the store, takes the lock and the port, and loads
// the catalogue. Nothing is served before Run.
func New(ctx context.Context, opt Options) (_ *App, err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	a := &App{opt: opt, stopping: make(chan struct{}), rated: make(chan struct{}, 1)}
	a.unexplained.Store(&unexplained{})
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.dir, err = openDataDir(opt.Config.Data); err != nil {
		return nil, err
	}
	if a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", opt.Config.Listen); err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", opt.Config.Listen, err)
	}
	if err := errors.Join(a.dir.announce(a.URL()), a.dir.sweepBackups()); err != nil {
		return nil, err
	}
	if err := a.claimStore(ctx); err != nil {
		return nil, err
	}
	if a.store, err = openStore(ctx, opt, a.dir); err != nil {
		return nil, err
	}
	if err := a.checkPepper(ctx); err != nil {
		return nil, err
	}
	if err := a.wire(ctx); err != nil {
		return nil, err
	}
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// checkPepper refuses to make a new pepper for keys that were hashed with another one:
// every key would be refused and nothing would say why.
func (a *App) checkPepper(ctx context.Context) error {
	if a.dir.has(pepperFile) {
		return nil
	}
	var accounts []berth.Account
	err := a.store.View(ctx, func(tx berth.Tx) (err error) {
		accounts, err = tx.Accounts().Accounts(ctx)
		return err
	})
	if err == nil && len(accounts) > 0 {
		err = fmt.Errorf("%s is missing, and without it no key of this data directory can be checked; put it back from a backup", a.dir.file(pepperFile))
	}
	return err
}

// URL is where the server listens.
func (a *App) URL() string { return "http://" + a.listener.Addr().String() }

// OwnerKey is the key of the first start, or of the file that it was kept in.
func (a *App) OwnerKey() (string, error) { return a.dir.ownerKey() }

// wire builds every room and joins them.
func (a *App) wire(ctx context.Context) error {
	var err error
	if a.scrapeKey, err = scrapeKey(a.opt.Config.Metrics.KeyFile); err != nil {
		return err
	}
	pepper, err := a.dir.pepper()
	if err != nil {
		return err
	}
	box, err := pepper.Box()
	if err != nil {
		return err
	}
	hasher := pepper.Hasher()
	hash := func(token string) berth.KeyHash { return hasher.Hash(token) }
	drivers := engine.Drivers(engine.Config{
		LlamaCpp: engine.LlamaCppConfig{Command: a.opt.Config.Engines.LlamaCpp.Command, Args: a.opt.Config.Engines.LlamaCpp.Args, Dir: a.opt.Config.Engines.Dir},
		VLLM: engine.VLLMConfig{
			Command: a.opt.Config.Engines.VLLM.Command, Args: a.opt.Config.Engines.VLLM.Args,
			MaxRank: slices.Max(append([]int{0}, a.opt.Config.Imports.Ranks...)),
		},
		Fake: engine.FakeConfig{Executable: a.opt.Executable},
		Endpoint: engine.EndpointConfig{OpenKey: func(m berth.Model) (string, error) {
			key, err := box.Open(m.SealedKey, m.Name)
			return string(key), err
		}},
	})
	a.prober = newProber()
	if a.meter, err = meter.Open(ctx, meter.Options{
		Store: a.store, Now: a.opt.Now, NewID: newID, Logger: a.opt.Logger,
		Journal: journal.Options{Dir: a.dir.file(journalDir), Instance: localNode},
	}); err != nil {
		return err
	}
	a.runner = scrape.New(scrape.Options{
		Runner: a.newRunner(drivers), Drivers: drivers, Book: a.meter, Client: a.prober, Now: a.opt.Now, Logger: a.opt.Logger,
	})
	a.desk = billing.New(billing.Options{
		Store: a.store, Now: a.opt.Now, NewID: newID, Logger: a.opt.Logger, Folded: a.meter.Folded, After: a.lookAtAccounts,
	})
	now := a.opt.Now()
	bookings, err := a.meter.LastMinute(now)
	if err != nil {
		return fmt.Errorf("read the last minute from the journal: %w", err)
	}
	a.gateway = a.newGateway(drivers, hash, &lastMinute{now: a.opt.Now, bookings: bookings, over: now.Add(time.Minute)})
	a.routing = &routing{store: a.store, now: a.opt.Now, swap: a.gateway.Swap}
	a.loop = a.newLoop(drivers)
	a.routing.address = a.loop.Address
	a.services = a.newServices(drivers, hash, func(model, key string) []byte { return box.Seal([]byte(key), model) })
	a.services.calibrations = a.newCalibrations(drivers)
	a.storeHTTP = newStoreTransport()
	a.services.imports, a.importer, err = a.newImports(a.services.models.Writer, a.services.models)
	return err
}

func (a *App) newRunner(drivers map[string]engine.Driver) engine.Runner {
	if a.opt.Runner != nil {
		return a.opt.Runner(drivers)
	}
	return process.New(process.Config{Executable: a.opt.Executable, Dir: a.dir.path, Drivers: drivers, Now: time.Now})
}

// newProber returns a client that reaches engines as the gateway does: no proxy, no
// redirect, nothing link-local.
func newProber() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:        (&net.Dialer{Timeout: 5 * time.Second, Control: berth.RefuseLinkLocal}).DialContext,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (a *App) newGateway(drivers map[string]engine.Driver, hash func(string) berth.KeyHash, last *lastMinute) *gateway.Gateway {
	limits := a.opt.Config.Limits
	return gateway.New(gateway.Options{
		Hash: hash, Meter: a.meter, Now: a.opt.Now, NewID: newID, Logger: a.opt.Logger,
		Engine: func(name string) gateway.Dialect {
			if d, ok := drivers[name]; ok {
				return d
			}
			return nil
		},
		Limits: last.newLimiter, WorkspaceDomain: a.opt.Config.WorkspaceDomain,
		Bounds: gateway.Bounds{Body: limits.Body, Calls: int64(limits.Calls), StreamIdle: limits.StreamIdle, Call: limits.Call, Wait: limits.Queue.Wait, LongestWait: limits.Queue.LongestWait},
		Pools: func() gateway.Scheduler {
			return sched.NewPool(sched.Bounds{Calls: limits.Queue.Calls, Tenant: limits.Queue.Each})
		},
	})
}

func (a *App) newLoop(drivers map[string]engine.Driver) *reconcile.Loop {
	return reconcile.New(reconcile.Options{
		Store: a.store, Runner: a.runner, Drivers: drivers, Traffic: a.gateway, Demand: a.gateway.Demand, Publish: a.routing.Refresh, Reservations: reservations{a},
		Verify: imports.Files{}.Verify, Alive: keeper.Alive, Used: func(i engine.Instance) (time.Duration, bool) { return keeper.Used(i.PID, i.StartTime) }, Drain: a.opt.Config.Limits.Call,
		Prober: reconcile.Prober{Client: a.prober}, Probes: a.meter,
		Now: a.opt.Now, NewID: newID, NewNonce: func() string { return newID("run_") },
		Logger: a.opt.Logger, Backoff: a.opt.Backoff, StartTimeout: a.opt.Config.Engines.StartTimeout,
		ParallelStarts: a.opt.Config.Engines.ParallelStarts,
	})
}

func (a *App) newServices(drivers map[string]engine.Driver, hash func(string) berth.KeyHash, seal func(model, key string) []byte) services {
	writer := berth.Writer{Store: a.store, Now: a.opt.Now, NewID: newID, Publish: a.routing.Publish}
	traits := map[string]berth.EngineTraits{}
	for name, d := range drivers {
		traits[name] = d.Traits()
	}
	s := services{
		deployments: &berth.Deployments{Writer: writer, Specs: specs(a.opt.Config.Specs), Engines: traits, Wake: a.loop.Wake, Zone: a.zone(), Reservations: a.reservations(), MaxPerWorkspace: int64(a.opt.Config.Limits.Deployments), RefuseUnpriced: a.opt.Config.Billing.Unpriced == "refuse"},
		usage:       &berth.Usage{Store: a.store},
		inventory:   &berth.Inventory{Store: a.store},
		prices:      &berth.Prices{Writer: writer},
		books:       &berth.Books{Writer: writer, Rate: a.desk.RateFor, Recheck: a.recheckArrears},
		statements:  &berth.Statements{Store: a.store, Now: a.opt.Now, Settle: a.desk.RateFor, Rerate: a.desk.Rerate, Parts: a.desk.Parts},
		backups:     &berth.Backups{Writer: writer, Take: a.takeBackup},
		push:        &berth.Push{Store: a.store, State: a.pushState},
		workspaces:  &berth.Workspaces{Writer: writer, NewWorkspaceID: newWorkspaceID, NewAccountID: newAccountID, Recheck: a.recheckArrears},
	}
	s.uploads = a.newUploads(writer)
	s.reconciliations = &berth.Reconciliations{Store: a.store}
	s.audits = &berth.Audits{Store: a.store}
	s.models = &berth.Models{
		Writer: writer, Engines: traits, Files: a.modelFiles(), Seal: seal, SpecsOf: s.deployments.SpecsOf,
		Uploads: s.uploads, Shelf: a.newShelf(),
	}
	s.fineTunes = &berth.FineTunes{Writer: writer, Models: s.models, Zone: a.zone()}
	s.keys = &berth.Keys{
		Writer: writer, NewKey: newKey, NewToken: newToken, Hash: hash, Hint: keyHint, NewWorkspaceID: newWorkspaceID, NewAccountID: newAccountID,
	}
	return s
}

// reservations are the services' rules of capacity instances for the loop, which is there
// before them.
type reservations struct{ *App }

// Settle implements reconcile.Reservations.
func (r reservations) Settle(ctx context.Context, tx berth.Tx, d *berth.Deployment) error {
	return r.services.deployments.Settle(ctx, tx, d)
}

// Due implements reconcile.Reservations.
func (r reservations) Due(ctx context.Context) (bool, time.Time, error) {
	return r.services.deployments.Due(ctx)
}

// reservations are the configured rules of capacity instances.
func (a *App) reservations() berth.Reservations {
	c := a.opt.Config.Reservations
	return berth.Reservations{StrictCapacity: c.StrictCapacity, MaxInstances: c.Instances, MaxInstancesEver: c.InstancesEver}
}

// zone is the one of days and of gmt times; the configuration has checked it.
func (a *App) zone() *time.Location {
	zone, err := time.LoadLocation(a.opt.Config.Billing.TimeZone)
	if err != nil {
		return time.FixedZone("UTC+8", 8*60*60)
	}
	return zone
}

// sayZones warns of a time zone that is configured and that no account has: days that were
// summed and months that were closed stay what they were, so that no instant is in two of
// them or in none.
func (a *App) sayZones(ctx context.Context) error {
	return a.store.View(ctx, func(tx berth.Tx) error {
		accounts, err := tx.Accounts().Accounts(ctx)
		zone := a.opt.Config.Billing.TimeZone
		if err == nil && len(accounts) > 0 && !slices.ContainsFunc(accounts, func(o berth.Account) bool { return o.TimeZone == zone }) {
			a.opt.Logger.WarnContext(ctx, "billing.time_zone is only for the first account of a new installation; the days and months of accounts that are there stay in their own time zone",
				"configured", zone, "account_id", accounts[0].ID, "time_zone", accounts[0].TimeZone)
		}
		return err
	})
}

// prepare brings the store up to the configuration: first account and key, this node,
// the configured models.
func (a *App) prepare(ctx context.Context) error {
	ctx = berth.WithCaller(ctx, berth.System())
	billing := a.opt.Config.Billing
	prices, err := seedPrices(billing)
	if err != nil {
		return err
	}
	err = a.services.keys.Bootstrap(ctx, berth.First{Currency: billing.Currency, TimeZone: billing.TimeZone, Prices: prices}, func(key string) error {
		a.ownerKey = key
		return a.dir.keepOwnerKey(key)
	})
	if err == nil {
		err = a.sayZones(ctx)
	}
	if err != nil {
		return err
	}
	node, accelerators, err := detectNode(ctx, a.opt.Config.Node)
	if err != nil {
		return err
	}
	if accelerators != nil {
		a.opt.Logger.Warn("some accelerators cannot be found out", "error", accelerators)
	}
	if err := a.store.Tx(ctx, func(tx berth.Tx) error { return tx.Nodes().Put(ctx, node) }); err != nil {
		return err
	}
	if err := a.preparePush(ctx); err != nil {
		return err
	}
	if err := a.services.calibrations.Interrupt(ctx); err != nil {
		return err
	}
	if err := a.endCrashedRuns(ctx); err != nil {
		return err
	}
	if _, err := a.bench.leftovers(ctx); err != nil {
		return err
	}
	if err := a.addConfiguredModels(ctx); err != nil {
		return err
	}
	return a.sweepShelf(ctx)
}

// Close gives back what New took. It is complete when it returns and may be called
// twice.
func (a *App) Close() error {
	var errs []error
	if a.runner != nil {
		errs = append(errs, a.stopEngines())
	}
	if a.listener != nil {
		if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.prober != nil {
		a.prober.CloseIdleConnections()
	}
	if a.bench != nil {
		a.bench.client.CloseIdleConnections()
	}
	if a.storeHTTP != nil {
		a.storeHTTP.CloseIdleConnections()
	}
	if a.meter != nil {
		errs = append(errs, a.meter.Stop())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
		a.store = nil
	}
	errs = append(errs, a.claim.Close())
	if a.dir != nil {
		errs = append(errs, a.dir.Close())
		a.dir = nil
	}
	return errors.Join(errs...)
}

// greet prints what a person must know, the owner key only the first time.
func (a *App) greet() {
	if a.opt.Out == nil {
		return
	}
	fmt.Fprintf(a.opt.Out, "berth %s listens on %s\n", a.opt.Version, a.URL())
	if a.ownerKey != "" {
		fmt.Fprintf(a.opt.Out, "owner key (shown once, kept in %s): %s\n", a.dir.file(ownerKeyFile), a.ownerKey)
	}
}

// logLines reads the end of a replica's log.
func (a *App) logLines(replicaID string, lines int) ([]string, error) {
	text, err := tail(filepath.Join(a.dir.path, "logs", filepath.Base(replicaID)+".log"), 1<<20)
	text = strings.TrimRight(text, "\n")
	if errors.Is(err, os.ErrNotExist) || err == nil && text == "" {
		return []string{}, nil
	}
	all := strings.Split(text, "\n")
	return all[max(0, len(all)-lines):], err
}

func (a *App) newServer() *server.Server {
	return server.New(server.Options{
		Deployments: a.services.deployments, Models: a.services.models, Uploads: a.services.uploads, FineTunes: a.services.fineTunes, Keys: a.services.keys,
		Usage: a.services.usage, Inventory: a.services.inventory, Imports: a.services.imports, Calibrations: a.services.calibrations, Prices: a.services.prices, Books: a.services.books, Statements: a.services.statements,
		Workspaces: a.services.workspaces, Backups: a.services.backups, Push: a.services.push, Reconciliations: a.services.reconciliations, Audits: a.services.audits,
		Authenticate: a.gateway.Authenticate, WorkspaceDomain: a.opt.Config.WorkspaceDomain,
		Logs:    a.logLines,
		Busy:    func(replicaID string) int { return a.gateway.InFlight("", replicaID) },
		Explain: a.gateway.Explain,
		Follow:  a.routing.watchers.watch, Stopping: a.stopping,
		Ready: a.ready, Warnings: a.warnings, Metrics: a.serveMetrics, ScrapeKey: a.scrapeKey,
		Zone: a.zone(), KiloTPM: a.opt.Config.Reservations.Unit == "ktpm", BodyBytes: a.opt.Config.Limits.Body, Version: a.opt.Version,
		NewUUID: newUUID, Logger: a.opt.Logger,
	})
}
