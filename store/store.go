package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	berth "github.com/berthhq/berth"
)

// Config says where the store is.
type Config struct {
	// Path of the database file of SQLite, made with mode 0600 when it is absent. Its
	// folder must exist.
	Path string
	// URL of a Postgres database, used instead of a file when it is set.
	URL string
	// Copies is the path beside which copies of a Postgres database are kept from before its
	// schema changes, as PATH.before-NN; those of a file are beside the file. Without it one
	// that has data in it is not changed.
	Copies string
	// Logger is told of migrations; nil: nobody is.
	Logger *slog.Logger
}

// Store implements [berth.Store]. It is safe for concurrent use.
//
// Calling Tx from inside a Tx waits for itself, until its context ends.
type Store struct {
	writer  *sql.DB
	readers *sql.DB
	// turn has room for one transaction that writes; who waits for it is served in order,
	// as those who wait for a connection of database/sql are not.
	turn    chan struct{}
	dialect *dialect
	names   usageNames
}

var _ berth.Store = (*Store)(nil)

// Open opens the store and brings its schema up to date. A schema that a newer Berth
// wrote is refused with [berth.CodeUnsupported] and left as it is. The caller closes
// the store.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := connected(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.migrate(ctx, cmp.Or(c.Logger, slog.New(slog.DiscardHandler))); err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(err, s.Close()))
	}
	if err := s.moveUsage(ctx); err != nil {
		return nil, fmt.Errorf("open store: move usage records: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// connected returns a store whose schema may be any.
func connected(ctx context.Context, c Config) (*Store, error) {
	if c.URL != "" {
		return openPostgres(ctx, c.URL, c.Copies)
	}
	return openSQLite(c.Path)
}

// Tx implements [berth.Store].
func (s *Store) Tx(ctx context.Context, fn func(berth.Tx) error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("begin: %w", context.Cause(ctx))
	}
	return s.run(ctx, s.writer, s.dialect.tx, fn)
}

// View implements [berth.Store].
func (s *Store) View(ctx context.Context, fn func(berth.Tx) error) error {
	return s.run(ctx, s.readers, s.dialect.view, fn)
}

// Close refuses new transactions and releases the file, at the latest when the running
// ones are done. It may be called twice.
func (s *Store) Close() error {
	// The writer goes last: the last connection to go empties the write-ahead log, which
	// a reader could not do.
	return errors.Join(s.readers.Close(), s.writer.Close())
}
