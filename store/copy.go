package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	berth "github.com/berthhq/berth"
)

// CopiedTable is a table of which both sides have the same rows.
type CopiedTable struct {
	Name string
	Rows int64
	// Checksum is over all values of all rows in whatever order, 64 hexadecimal digits.
	Checksum string
}

// Copy copies everything from one database into another of the other kind, which has nothing
// in it, and compares, table by table, the number of rows and their content as it is read
// back. done is told of each table.
//
// From a SQLite file to Postgres nobody may write to the file meanwhile; who writes to the
// database waits. Both get the newest schema first. [berth.CodeConflict] when the database
// has anything in it. ready, if there is one, is called when all is there, before it is
// committed. From Postgres to a file it is all that was committed when it began, whoever
// writes meanwhile; the file, which must not be there, gets the schema of the database.
// After any error nothing is in either that was not there before.
func Copy(ctx context.Context, from, to Config, done func(CopiedTable), ready func() error) error {
	switch {
	case from.URL == "" && to.URL != "":
		return copyToPostgres(ctx, from, to, done, ready)
	case from.URL != "" && to.URL == "":
		return copyToFile(ctx, from.URL, to.Path, done, ready)
	}
	return errors.New("of the two databases that are copied one is a file and the other Postgres")
}

func copyToPostgres(ctx context.Context, from, to Config, done func(CopiedTable), ready func() error) (err error) {
	if _, err := os.Stat(from.Path); err != nil {
		return err // Open would make the file
	}
	fresh, err := freshTables(ctx, Schema())
	if err != nil {
		return fmt.Errorf("make an empty store to compare with: %w", err)
	}
	takeBack, err := untouched(ctx, to.URL, fresh)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, takeBack())
		}
	}()
	source, err := Open(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := Open(ctx, to)
	if err != nil {
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	conn, err := connectPatiently(ctx, to.URL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	err = source.View(ctx, func(t berth.Tx) error {
		return commitOnce(ctx, conn, to.URL, func(into pgx.Tx) error {
			c := &copier{from: fileSide{t.(*tx)}, into: databaseSide{into}, fresh: fresh, done: done}
			c.typed = c.into
			if err := c.all(ctx); err != nil || ready == nil {
				return err
			}
			return ready()
		})
	})
	if err != nil {
		return err
	}
	// Or the first queries were planned for empty tables; without it they are until the server does so itself.
	_, _ = conn.Exec(ctx, "ANALYZE")
	return nil
}

func copyToFile(ctx context.Context, url, path string, done func(CopiedTable), ready func() error) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, berth.Errorf(berth.CodeConflict, "%s is there already; name a file that is not.", path))
	}
	return writeCopy(path, func(aside string) error {
		err := snapshotPostgres(ctx, url, aside, done, func() error { return nil })
		if err != nil || ready == nil {
			return err
		}
		return ready()
	})
}

// madeQuery lists what a schema has of what migrations make.
const madeQuery = `SELECT
	(SELECT coalesce(array_agg(tablename::text), '{}') FROM pg_tables WHERE schemaname = current_schema()),
	(SELECT coalesce(array_agg(oid::regprocedure::text), '{}') FROM pg_proc WHERE pronamespace = current_schema()::regnamespace)`

// untouched looks at a database, and returns what takes Berth's empty tables out of it again
// if it has none yet.
func untouched(ctx context.Context, url string, fresh map[string]CopiedTable) (takeBack func() error, err error) {
	conn, err := connectPatiently(ctx, url)
	if err != nil {
		return nil, err
	}
	var tables, functions []string
	err = conn.QueryRow(ctx, madeQuery).Scan(&tables, &functions)
	if err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return nil, err
	}
	if slices.Contains(tables, versionTable) {
		return func() error { return nil }, nil
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		conn, err := connectPatiently(ctx, url)
		if err != nil {
			return err
		}
		err = pgx.BeginFunc(ctx, conn, func(t pgx.Tx) error { return takeOut(ctx, t, fresh, tables, functions) })
		return errors.Join(err, conn.Close(ctx))
	}, nil
}

// takeOut drops what came since, unless somebody has written to it meanwhile.
func takeOut(ctx context.Context, t pgx.Tx, fresh map[string]CopiedTable, tables, functions []string) error {
	var tablesNow, functionsNow []string
	if err := t.QueryRow(ctx, madeQuery).Scan(&tablesNow, &functionsNow); err != nil {
		return err
	}
	drop := []string{}
	for _, name := range tablesNow {
		_, ours := fresh[name]
		if name != versionTable && !ours || slices.Contains(tables, name) {
			continue
		}
		quoted := pgx.Identifier{name}.Sanitize()
		if _, err := t.Exec(ctx, "LOCK TABLE "+quoted+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		var rows int64
		if err := t.QueryRow(ctx, "SELECT count(*) FROM "+quoted).Scan(&rows); err != nil {
			return err
		}
		if ours && rows > fresh[name].Rows {
			return nil // somebody's
		}
		drop = append(drop, "DROP TABLE "+quoted+" CASCADE")
	}
	for _, f := range functionsNow {
		if !slices.Contains(functions, f) {
			drop = append(drop, "DROP FUNCTION "+f)
		}
	}
	for _, statement := range drop {
		if _, err := t.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// connectPatiently returns a connection whose statements may take their time.
func connectPatiently(ctx context.Context, url string) (*pgx.Conn, error) {
	c, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, patient(c))
}

// commitOnce runs fn in a transaction. An error says that nothing of it was done, or that
// this is not known.
func commitOnce(ctx context.Context, conn *pgx.Conn, url string, fn func(pgx.Tx) error) error {
	var name string
	err := pgx.BeginFunc(ctx, conn, func(t pgx.Tx) error {
		if err := fn(t); err != nil {
			return err
		}
		return t.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&name)
	})
	if err == nil || name == "" || !postgresLost(err) && ctx.Err() == nil {
		return err
	}
	c, parsed := postgresConfig(url)
	if parsed != nil {
		return errors.Join(err, parsed)
	}
	db := postgresPool(c, 1)
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostFor)
	defer cancel()
	committed, unknown := askAgain(asking, func() (bool, error) { return postgresDone(asking, db, name) })
	closed := db.Close()
	switch {
	case unknown != nil:
		return errors.Join(errUnknown, err, unknown, closed)
	case committed:
		return closed
	}
	return errors.Join(err, closed)
}

// errUnknown says that nobody knows what became of a commit.
var errUnknown = errors.New("the database went away at the moment of the commit, and it is not known whether it was done; look before you repeat it")

// freshTables returns the tables of a store in which nothing was written, by name.
func freshTables(ctx context.Context, schema int64) (tables map[string]CopiedTable, err error) {
	folder, err := os.MkdirTemp("", "berth-copy-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	err = newFile(ctx, filepath.Join(folder, "fresh.db"), schema, func(side fileSide) error {
		tables, err = contentsOfSide(ctx, side)
		return err
	})
	return tables, err
}

// copier copies all tables in one transaction of each side.
type copier struct {
	from  side
	into  target
	typed side // the one of the two that knows types
	fresh map[string]CopiedTable
	done  func(CopiedTable)
}

func (c *copier) all(ctx context.Context) error {
	tables, err := c.tables(ctx)
	if err != nil {
		return err
	}
	if err := c.into.begin(ctx, tables); err != nil {
		return err
	}
	for i := range tables {
		found, err := contentOf(ctx, c.into, &tables[i])
		if err != nil {
			return err
		}
		if found != c.fresh[found.Name] {
			return berth.Errorf(berth.CodeConflict, "The database to copy to is not empty: its table %s has %d rows of its own. Name an empty database.", found.Name, found.Rows)
		}
	}
	for i := range tables {
		if err := c.copy(ctx, &tables[i]); err != nil {
			return fmt.Errorf("copy the table %s: %w", tables[i].name, err)
		}
	}
	return nil
}

func (c *copier) copy(ctx context.Context, t *copyTable) error {
	if c.fresh[t.name].Rows > 0 {
		if err := c.into.clear(ctx, t.name); err != nil {
			return err
		}
	}
	rows, err := c.from.rows(ctx, t)
	if err != nil {
		return err
	}
	err = c.into.fill(ctx, t, rows)
	source, closed := rows.close(t.name)
	if err = errors.Join(err, closed); err != nil {
		return err
	}
	copied, err := contentOf(ctx, c.into, t)
	if err != nil {
		return err
	}
	if source != copied {
		return fmt.Errorf("the copy has %d rows with the checksum %s, the original has %d with %s", copied.Rows, copied.Checksum, source.Rows, source.Checksum)
	}
	c.done(copied)
	return nil
}

// tables returns the tables, those first that others refer to. Both sides must have those
// of the schema with the same columns; what else is in a database is not Berth's.
func (c *copier) tables(ctx context.Context) ([]copyTable, error) {
	typed, err := c.typed.tables(ctx)
	if err != nil {
		return nil, err
	}
	other := c.from
	if c.typed == c.from {
		other = c.into
	}
	plain, err := other.tables(ctx)
	if err != nil {
		return nil, err
	}
	typed = slices.DeleteFunc(typed, func(t copyTable) bool { _, ours := c.fresh[t.name]; return !ours })
	same := slices.EqualFunc(typed, plain, func(a, b copyTable) bool {
		return a.name == b.name && slices.Equal(a.names(), b.names())
	})
	if !same {
		return nil, fmt.Errorf("the file has the tables %v, the database %v", plain, typed)
	}
	return inOrder(typed), nil
}

// copyTable is a table that both sides have.
type copyTable struct {
	name    string
	columns []copyColumn // by name
	refers  []string     // to these tables
}

// copyColumn is a column of any of the four types that schemas use.
type copyColumn struct {
	name string
	kind string // as Postgres calls it
}

// String names a table with its columns, for errors.
func (t copyTable) String() string { return fmt.Sprintf("%s%v", t.name, t.names()) }

func (t copyTable) names() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// inOrder puts tables behind those that they refer to; of a circle, which references that
// are checked at the commit allow, any may be first.
func inOrder(tables []copyTable) []copyTable {
	var sorted []copyTable
	taken := map[string]bool{}
	for len(tables) > 0 {
		next := slices.IndexFunc(tables, func(t copyTable) bool {
			return !slices.ContainsFunc(t.refers, func(name string) bool { return name != t.name && !taken[name] })
		})
		next = max(next, 0)
		taken[tables[next].name] = true
		sorted = append(sorted, tables[next])
		tables = slices.Delete(tables, next, next+1)
	}
	return sorted
}
