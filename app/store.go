package app

import (
	"context"
	"fmt"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/store"
)

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
