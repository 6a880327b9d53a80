package store

import (
	"context"
	"database/sql"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

// dialect is what the rest of the package must know of a database.
type dialect struct {
	goose      goose.Dialect
	migrations fs.FS
	// tx and view are how transactions begin.
	tx, view *sql.TxOptions
	// query returns a statement with ? marks as the database takes it.
	query func(statement string) string
	// line makes transactions that write usage records wait for each other when it is their
	// first statement; "": they do so anyway.
	line string
	// args prepares the arguments of a statement, in place.
	args func(args []any) error
	// taken reports whether err says that a unique column has the value already.
	taken func(err error) bool
	// beaten reports whether err says that the transaction was given up in favour of
	// another, so that it can be run again.
	beaten func(err error) bool
	// lost reports whether err says that the connection or the whole database is gone.
	lost func(err error) bool
	// name returns what a transaction that is about to commit can be asked for by, "" when
	// it wrote nothing.
	name func(ctx context.Context, t *sql.Tx) (string, error)
	// done reports whether the named transaction was committed; an error says that this is
	// not known yet.
	done func(ctx context.Context, db *sql.DB, name string) (bool, error)
	// schema hands over a connection pool for migrations; no other process migrates
	// meanwhile, where the database can see to that.
	schema func(ctx context.Context, fn func(db *sql.DB) error) error
	// contended reports whether err can come from another process that makes the same
	// schema at the same time.
	contended func(err error) bool
	// keep saves what is there before it is migrated from one version to another.
	keep func(ctx context.Context, log *slog.Logger, db *sql.DB, from, to int64) error
}
