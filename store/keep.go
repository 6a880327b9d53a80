package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// copiesKept is how many copies from before a migration stay beside the database.
const copiesKept = 3

const partial = ".partial" // ends the name of a copy that is not complete

// sqliteKeep copies the file at path before it is migrated to NN, as path.before-NN, for the
// owner only; the newest few copies are kept. Without a copy nothing is migrated.
func sqliteKeep(path string) func(context.Context, *slog.Logger, *sql.DB, int64, int64) error {
	return func(ctx context.Context, log *slog.Logger, db *sql.DB, from, to int64) error {
		return keepCopy(ctx, log, path, from, to, func(name string) error { return copySQLite(ctx, db, name) })
	}
}

// postgresKeep does the same for a Postgres database: the copy is a SQLite file of the same
// schema and content, which [Copy] puts into an empty database.
func postgresKeep(address, path string) func(context.Context, *slog.Logger, *sql.DB, int64, int64) error {
	return func(ctx context.Context, log *slog.Logger, _ *sql.DB, from, to int64) error {
		if path == "" {
			return keepNothing(ctx, address, from)
		}
		return keepCopy(ctx, log, path, from, to, func(name string) error {
			return writeCopy(name, func(aside string) error {
				return snapshotPostgres(ctx, address, aside, func(CopiedTable) {}, func() error { return nil })
			})
		})
	}
}

// keepNothing refuses a database in which there is something to keep.
func keepNothing(ctx context.Context, address string, schema int64) error {
	fresh, err := freshTables(ctx, schema)
	if err != nil {
		return err
	}
	var found map[string]CopiedTable
	err = pinPostgres(ctx, address, fresh, func(_ int64, side databaseSide) error {
		found, err = contentsOfSide(ctx, side)
		return err
	})
	if err != nil {
		return err
	}
	for name, is := range fresh {
		if found[name] != is {
			return berth.Errorf(berth.CodeConflict, "The database has data of an older Berth in it (schema %d), which a server copies before it changes anything; start berth serve on its data directory first, or name an empty database.", schema)
		}
	}
	return nil
}

func keepCopy(ctx context.Context, log *slog.Logger, path string, from, to int64, write func(name string) error) error {
	log.InfoContext(ctx, "the schema changes; the database is copied first, which takes a while when it is large", "from", from, "to", to)
	name, err := freeName(fmt.Sprintf("%s.before-%d", path, to))
	if err == nil {
		err = write(name)
	}
	if err != nil {
		return fmt.Errorf("copy the database before its schema changes: %w; make room for a copy beside %s and start again", err, path)
	}
	log.InfoContext(ctx, "the database was copied", "file", name)
	return forgetCopies(path)
}

// freeName returns name, or the first of name-2, name-3 and so on that is not there.
func freeName(name string) (string, error) {
	for n := 1; ; n++ {
		free := name
		if n > 1 {
			free = fmt.Sprintf("%s-%d", name, n)
		}
		_, err := os.Lstat(free)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return free, nil
		case err != nil:
			return "", err
		}
	}
}

// copySQLite makes a copy that is whole and on the disk, or none.
func copySQLite(ctx context.Context, db *sql.DB, name string) error {
	return writeCopy(name, func(aside string) error {
		_, err := db.ExecContext(ctx, "VACUUM INTO ?", aside)
		return err
	})
}

// writeCopy gives what write has written its name, which is free, when it is on the disk.
func writeCopy(name string, write func(aside string) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*"+partial) // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f.Name()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// forgetCopies removes all but the newest copies, and what is left of those that were not
// completed.
func forgetCopies(path string) error {
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	type made struct {
		name string
		at   time.Time
	}
	var copies []made
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), filepath.Base(path)+".before-") {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		c := made{filepath.Join(filepath.Dir(path), f.Name()), info.ModTime()}
		if strings.HasSuffix(f.Name(), partial) {
			c.at = time.Time{} // as good as none
		}
		copies = append(copies, c)
	}
	slices.SortFunc(copies, func(a, b made) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.name, a.name)) })
	for i, c := range copies {
		if i >= copiesKept || c.at.IsZero() {
			if err := os.Remove(c.name); err != nil {
				return err
			}
		}
	}
	return nil
}
