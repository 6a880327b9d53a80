package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/sqlite/*.sql
var sqliteFiles embed.FS

const (
	// busyTimeoutMS is how long a transaction waits for another process's.
	busyTimeoutMS = "10000"
	// sqliteReaders is how many views can be open at once; a further one waits.
	sqliteReaders = 4
)

func openSQLite(path string) (*Store, error) {
	path, err := private(path)
	if err != nil {
		return nil, err
	}
	writer, err := connect(path, 1, url.Values{
		"_txlock":       {"immediate"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
	})
	if err != nil {
		return nil, err
	}
	readers, err := connect(path, sqliteReaders, url.Values{"mode": {"ro"}})
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	d, err := sqliteDialect(path, writer)
	if err != nil {
		return nil, errors.Join(err, readers.Close(), writer.Close())
	}
	return &Store{writer: writer, readers: readers, turn: make(chan struct{}, 1), dialect: d}, nil
}

func sqliteDialect(path string, writer *sql.DB) (*dialect, error) {
	migrations, err := fs.Sub(sqliteFiles, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return &dialect{
		goose: goose.DialectSQLite3, migrations: migrations,
		view:  &sql.TxOptions{ReadOnly: true},
		query: func(statement string) string { return statement },
		args:  func([]any) error { return nil },
		taken: sqliteTaken,
		// Transactions of the one writer are never given up, and a file does not go away.
		beaten: func(error) bool { return false },
		lost:   func(error) bool { return false },
		schema: func(_ context.Context, fn func(*sql.DB) error) error { return fn(writer) }, contended: sqliteContended,
		keep: sqliteKeep(path),
	}, nil
}

// private returns the absolute path of the file, made readable by its owner only: it
// has the hashes of keys in it. SQLite gives the files beside it the same mode.
func private(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// connect returns a pool of exactly n connections with the given settings, opened when
// they are needed and kept.
func connect(path string, n int, settings url.Values) (*sql.DB, error) {
	settings.Set("_busy_timeout", busyTimeoutMS)
	settings.Set("_dqs", "false")     // "x" is a column, never a string
	settings.Set("_error_rc", "true") // no stale text in errors
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/…
	}
	uri := url.URL{Scheme: "file", Path: slashed, RawQuery: settings.Encode()}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

func sqliteTaken(err error) bool {
	code := sqliteCode(err)
	return code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// sqliteContended: the change to a write-ahead log does not wait for its turn, and a
// table that exists already is an error without a code of its own.
func sqliteContended(err error) bool {
	primary := sqliteCode(err) & 0xff
	return primary == sqlite3.SQLITE_BUSY || primary == sqlite3.SQLITE_ERROR
}

// sqliteCode returns the extended result code in err, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code()
}
