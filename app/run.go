package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berthhq/berth/internal/front"
)

// What a stop may take.
const (
	callGrace   = 30 * time.Second // running calls
	httpGrace   = 5 * time.Second  // connections without a call
	engineGrace = 30 * time.Second // engines, by force at the end
	deskGrace   = 10 * time.Second // the last charges
)

// Run serves until ctx ends: then no new calls are taken, running ones have 30 s, the
// last usage records are written and the engines are stopped.
func (a *App) Run(ctx context.Context) error {
	a.greet()
	lost, stopWatching := a.watchClaim(context.WithoutCancel(ctx))
	defer stopWatching()
	loopCtx, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoop()
	loopDone := make(chan error, 1)
	go func() { loopDone <- a.loop.Run(loopCtx) }()
	a.meter.Start()
	defer a.startPush(context.WithoutCancel(ctx))()
	beaten, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(beaten)
		a.beat(loopCtx)
	}()
	go func() {
		defer close(watched)
		a.watchAccounts(loopCtx)
	}()
	rated := make(chan struct{})
	go func() {
		defer close(rated)
		a.desk.Run(loopCtx)
	}()
	swept, emptied := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(swept)
		a.sweepTokens(loopCtx)
	}()
	go func() {
		defer close(emptied)
		a.sweepUploads(loopCtx)
	}()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		a.retain(loopCtx)
	}()
	importCtx, stopImports := context.WithCancel(context.WithoutCancel(ctx))
	defer stopImports()
	importsDone := make(chan error, 1)
	go func() { importsDone <- a.importer.Run(importCtx) }()

	benchCtx, stopBench := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBench()
	benchDone := make(chan struct{})
	go func() {
		defer close(benchDone)
		a.bench.run(benchCtx)
	}()

	readCtx, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	readingDone := make(chan struct{})
	go func() {
		defer close(readingDone)
		a.runner.Run(readCtx)
	}()

	audited := make(chan struct{})
	go func() {
		defer close(audited)
		a.audit(loopCtx)
	}()

	server := a.frontServer()
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	case err = <-lost:
	}
	close(a.stopping)
	a.opt.Logger.Info("stopping", "calls_have_s", int(callGrace.Seconds()))
	stopImports() // they begin anew at the next start
	stopBench()
	a.drain(context.WithoutCancel(ctx))
	err = errors.Join(err, shutDown(context.WithoutCancel(ctx), server))
	a.gateway.Close()
	<-benchDone // while the loop still takes the exits of engines
	stopLoop()
	<-swept
	<-emptied
	<-kept
	<-beaten
	<-watched
	<-rated
	err = errors.Join(err, <-loopDone, <-importsDone, a.endRuns(context.WithoutCancel(ctx)))
	<-audited
	stopReading()
	<-readingDone
	a.runner.Rest(context.WithoutCancel(ctx))
	err = errors.Join(err, a.meter.Stop(), a.lastCharges(context.WithoutCancel(ctx)), a.stopEngines()) // nobody makes marks any more
	a.opt.Logger.Info("stopped")
	return err
}

// sweepPause is the time between two sweeps of temporary tokens.
const sweepPause = time.Minute

// sweepTokens forgets temporary tokens that have ended, until ctx does.
func (a *App) sweepTokens(ctx context.Context) {
	every(ctx, sweepPause, func() {
		if err := a.services.keys.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.opt.Logger.Warn("temporary tokens were not swept; the next try is in a minute", "error", err)
		}
	})
}

// every does something at once, and again after each pause until ctx ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// drain lets running calls end and cuts those that take too long.
func (a *App) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callGrace)
	defer cancel()
	if err := a.gateway.Drain(ctx); err != nil {
		a.opt.Logger.Warn("calls are cut at the stop", "calls", a.gateway.InFlight("", ""))
		a.gateway.Cut("")
	}
}

// shutDown closes the HTTP server, by force when connections do not end in time.
func shutDown(ctx context.Context, s *front.Server) error {
	ctx, cancel := context.WithTimeout(ctx, httpGrace)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return s.Close()
	}
	return nil
}

// lastCharges brings lines and postings up to the stop, after the last usage records and the
// ends of runs are written. What there is no time for waits for the next start.
func (a *App) lastCharges(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deskGrace)
	defer cancel()
	if err := a.desk.Rate(ctx); err != nil {
		return fmt.Errorf("write the last charges, which the next start does: %w", err)
	}
	return nil
}

// stopEngines ends every engine. The loop does not take their exits any more, and the
// Runner must be rid of them.
func (a *App) stopEngines() error {
	go func() {
		for range a.runner.Exits() {
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), engineGrace)
	defer cancel()
	return a.runner.Close(ctx)
}

// ready says why the server is not ready to serve, nil when it is.
func (a *App) ready() error {
	select {
	case <-a.stopping:
		return errors.New("stopping: no new calls are taken")
	default:
	}
	select {
	case <-a.loop.Looked():
		return nil
	default:
		return errors.New("starting: the deployments have not been looked at yet")
	}
}
