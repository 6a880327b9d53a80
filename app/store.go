package app

import (
	"context"
	"fmt"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
)

// claimStore keeps the database for this server, if it is one that others could use, too.
func (a *App) claimStore(ctx context.Context) (err error) {
	if a.opt.Config.Store == "sqlite" { // the lock of the data directory keeps it
		return nil
	}
	if a.claim, err = store.ClaimPostgres(ctx, store.ClaimOptions{URL: a.opt.Config.Store, Logger: a.opt.Logger}); err != nil {
		return fmt.Errorf("open the database of the key store: %w", err)
	}
	return nil
}

// watchClaim returns a channel that has an error when the database became another server's.
// stop ends the watch.
func (a *App) watchClaim(ctx context.Context) (lost <-chan error, stop func()) {
	if a.claim == nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	errs, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		if err := a.claim.Watch(ctx); err != nil {
			errs <- err
		}
	}()
	return errs, func() {
		cancel()
		<-over
	}
}

// openStore opens the configured store.
func openStore(ctx context.Context, opt Options, dir *dataDir) (berth.Store, error) {
	c := store.Config{Logger: opt.Logger, URL: opt.Config.Store, Copies: dir.file(databaseFile)}
	if opt.Config.Store == "sqlite" {
		c = store.Config{Logger: opt.Logger, Path: dir.file(databaseFile)}
	}
	s, err := store.Open(ctx, c)
	switch {
	case err == nil:
		return s, nil
	case c.URL != "":
		return nil, fmt.Errorf("open the database of the key store: %w", err)
	}
	return nil, fmt.Errorf("open %s: %w", c.Path, err)
}
