package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

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

// Copy copies everything from a SQLite file into an empty Postgres database and compares,
// table by table, the number of rows and their content as it is read back. Nobody may write
// to the file meanwhile; who writes to the database waits. Both get the newest schema first.
// done is told of each table. [berth.CodeConflict] when the database has anything in it;
// after any error nothing is in it that was not there before.
func Copy(ctx context.Context, from, to Config, done func(CopiedTable)) (err error) {
	if _, err := os.Stat(from.Path); err != nil {
		return err // Open would make the file
	}
	fresh, err := freshTables(ctx)
	if err != nil {
		return fmt.Errorf("make an empty store to compare with: %w", err)
	}
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
		return pgx.BeginFunc(ctx, conn, func(into pgx.Tx) error {
			return (&copier{from: t.(*tx).sql, into: into, fresh: fresh, done: done}).all(ctx)
		})
	})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ANALYZE") // or the first queries were planned for empty tables
	return err
}

// connectPatiently returns a connection whose statements may take their time.
func connectPatiently(ctx context.Context, url string) (*pgx.Conn, error) {
	c, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, patient(c))
}

// freshTables returns the tables of a store in which nothing was written, by name.
func freshTables(ctx context.Context) (tables map[string]CopiedTable, err error) {
	folder, err := os.MkdirTemp("", "berth-copy-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	s, err := Open(ctx, Config{Path: filepath.Join(folder, "fresh.db")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = s.View(ctx, func(t berth.Tx) error {
		tables = map[string]CopiedTable{}
		from := t.(*tx).sql
		names, err := sqliteTables(ctx, from)
		if err != nil {
			return err
		}
		for _, name := range names {
			columns, err := sqliteColumns(ctx, from, name)
			if err != nil {
				return err
			}
			rows, err := readSQLite(ctx, from, name, columns)
			if err != nil {
				return err
			}
			if tables[name], err = rows.drain(name); err != nil {
				return err
			}
		}
		return nil
	})
	return tables, err
}

// copier copies all tables in one transaction of each side.
type copier struct {
	from  querier
	into  pgx.Tx
	fresh map[string]CopiedTable
	done  func(CopiedTable)
}

func (c *copier) all(ctx context.Context) error {
	tables, err := c.tables(ctx)
	if err != nil {
		return err
	}
	for i := range tables {
		name := pgx.Identifier{tables[i].name}.Sanitize()
		if _, err := c.into.Exec(ctx, "LOCK TABLE "+name+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		found, err := c.target(ctx, &tables[i])
		if err != nil {
			return err
		}
		if found != c.fresh[found.Name] {
			return berth.Errorf(berth.CodeConflict, "The database to copy to is not empty: its table %s has %d rows of its own. Name an empty database.", found.Name, found.Rows)
		}
	}
	if _, err := c.into.Exec(ctx, "SET CONSTRAINTS ALL DEFERRED"); err != nil {
		return err
	}
	for i := range tables {
		if err := c.copy(ctx, &tables[i]); err != nil {
			return fmt.Errorf("copy the table %s: %w", tables[i].name, err)
		}
	}
	return nil
}

func (c *copier) copy(ctx context.Context, t *copyTable) error {
	name := pgx.Identifier{t.name}
	if c.fresh[t.name].Rows > 0 {
		if _, err := c.into.Exec(ctx, "DELETE FROM "+name.Sanitize()); err != nil {
			return err
		}
	}
	rows, err := readSQLite(ctx, c.from, t.name, t.columns)
	if err != nil {
		return err
	}
	_, err = c.into.CopyFrom(ctx, name, t.names(), rows)
	source, closed := rows.close(t.name)
	if err = errors.Join(err, closed); err != nil {
		return err
	}
	target, err := c.target(ctx, t)
	if err != nil {
		return err
	}
	if source != target {
		return fmt.Errorf("the database has %d rows with the checksum %s, the file has %d with %s", target.Rows, target.Checksum, source.Rows, source.Checksum)
	}
	c.done(target)
	return nil
}

// target reads what the database has of a table.
func (c *copier) target(ctx context.Context, t *copyTable) (CopiedTable, error) {
	rows, err := c.into.Query(ctx, selectColumns(t.name, t.columns))
	if err != nil {
		return CopiedTable{}, err
	}
	defer rows.Close()
	sum := new(content)
	for rows.Next() {
		values, err := rows.Values()
		if err == nil {
			err = plain(values, t.columns)
		}
		if err != nil {
			return CopiedTable{}, err
		}
		sum.add(values)
	}
	return sum.table(t.name), rows.Err()
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

func (t *copyTable) names() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// tables returns the tables, those first that others refer to. Both sides must have the
// same with the same columns.
func (c *copier) tables(ctx context.Context) ([]copyTable, error) {
	names, err := sqliteTables(ctx, c.from)
	if err != nil {
		return nil, err
	}
	found, err := postgresTables(ctx, c.into)
	if err != nil {
		return nil, err
	}
	var there []string
	for i := range found {
		t := &found[i]
		there = append(there, t.name)
		columns, err := sqliteColumns(ctx, c.from, t.name)
		if err != nil {
			return nil, err
		}
		if !slices.EqualFunc(columns, t.columns, func(a, b copyColumn) bool { return a.name == b.name }) {
			return nil, fmt.Errorf("the table %s has other columns in the file than in the database", t.name)
		}
	}
	if !slices.Equal(names, there) {
		return nil, fmt.Errorf("the file has the tables %v, the database %v", names, there)
	}
	return inOrder(found), nil
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

// The tables of either side in order of name, without goose's own.

func sqliteTables(ctx context.Context, from querier) ([]string, error) {
	return textColumn(ctx, from, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> ? ORDER BY name", versionTable)
}

func sqliteColumns(ctx context.Context, from querier, table string) ([]copyColumn, error) {
	names, err := textColumn(ctx, from, "SELECT name FROM pragma_table_info(?) ORDER BY name", table)
	var columns []copyColumn
	for _, name := range names {
		columns = append(columns, copyColumn{name: name})
	}
	return columns, err
}

func postgresTables(ctx context.Context, into pgx.Tx) ([]copyTable, error) {
	rows, err := into.Query(ctx, `SELECT c.table_name::text, c.column_name::text, c.data_type::text
		FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' AND c.table_name <> $1
		ORDER BY c.table_name COLLATE "C", c.column_name COLLATE "C"`, versionTable)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tables []copyTable
	for rows.Next() {
		var table string
		var c copyColumn
		if err := rows.Scan(&table, &c.name, &c.kind); err != nil {
			return nil, err
		}
		if len(tables) == 0 || tables[len(tables)-1].name != table {
			tables = append(tables, copyTable{name: table})
		}
		last := &tables[len(tables)-1]
		last.columns = append(last.columns, c)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return tables, postgresReferences(ctx, into, tables)
}

func postgresReferences(ctx context.Context, into pgx.Tx, tables []copyTable) error {
	rows, err := into.Query(ctx, `SELECT a.relname::text, b.relname::text FROM pg_constraint k
		JOIN pg_class a ON a.oid = k.conrelid JOIN pg_class b ON b.oid = k.confrelid
		WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var table, other string
		if err := rows.Scan(&table, &other); err != nil {
			return err
		}
		i, ok := slices.BinarySearchFunc(tables, table, func(t copyTable, name string) int { return cmp.Compare(t.name, name) })
		if ok {
			tables[i].refers = append(tables[i].refers, other)
		}
	}
	return rows.Err()
}
