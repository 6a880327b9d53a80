package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// side is one of two databases that are copied, in one transaction.
type side interface {
	// tables returns all but goose's own, by name, with their columns by name.
	tables(ctx context.Context) ([]copyTable, error)
	// rows reads a table; the caller closes them.
	rows(ctx context.Context, t *copyTable) (*tableRows, error)
}

// target is the one that is copied to.
type target interface {
	side
	// begin keeps others from writing to the tables.
	begin(ctx context.Context, tables []copyTable) error
	// clear lets a table forget what migrations put into it.
	clear(ctx context.Context, table string) error
	fill(ctx context.Context, t *copyTable, rows *tableRows) error
}

var (
	_ target = fileSide{}
	_ target = databaseSide{}
)

// contentOf reads what a side has of a table.
func contentOf(ctx context.Context, s side, t *copyTable) (CopiedTable, error) {
	rows, err := s.rows(ctx, t)
	if err != nil {
		return CopiedTable{}, err
	}
	return rows.drain(t.name)
}

// contentsOfSide reads all that a side has, by name.
func contentsOfSide(ctx context.Context, s side) (map[string]CopiedTable, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return nil, err
	}
	contents := map[string]CopiedTable{}
	for i := range tables {
		if contents[tables[i].name], err = contentOf(ctx, s, &tables[i]); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

// fileSide is a SQLite file. It does not know which of its integers are booleans.
type fileSide struct{ *tx }

// newFile makes a file of a schema with nothing in it but what migrations put there, and
// runs fn in a transaction on it. It is made to be thrown away when anything goes wrong:
// nothing of it is on the disk for sure.
func newFile(ctx context.Context, path string, schema int64, fn func(fileSide) error) (err error) {
	if path, err = private(path); err != nil {
		return err
	}
	db, err := connect(path, 1, url.Values{"_journal_mode": {"OFF"}, "_synchronous": {"OFF"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	d, err := sqliteDialect(path, db)
	if err != nil {
		return err
	}
	provider, err := d.provider(db)
	if err != nil {
		return err
	}
	if _, err := provider.UpTo(ctx, schema); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // does nothing after the commit
	if err := fn(fileSide{&tx{sql: t, dialect: d}}); err != nil {
		return err
	}
	return t.Commit()
}

func (f fileSide) tables(ctx context.Context) ([]copyTable, error) {
	names, err := textColumn(ctx, f.sql, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> ? ORDER BY name", versionTable)
	if err != nil {
		return nil, err
	}
	list := make([]copyTable, len(names))
	for i, name := range names {
		columns, err := textColumn(ctx, f.sql, "SELECT name FROM pragma_table_info(?) ORDER BY name", name)
		if err != nil {
			return nil, err
		}
		list[i].name = name
		for _, c := range columns {
			list[i].columns = append(list[i].columns, copyColumn{name: c})
		}
	}
	return list, nil
}

func (f fileSide) rows(ctx context.Context, t *copyTable) (*tableRows, error) {
	rows, err := f.sql.QueryContext(ctx, selectColumns(t.name, t.columns)) //nolint:rowserrcheck // see close
	if err != nil {
		return nil, err
	}
	return newTableRows(&sqlCursor{Rows: rows}, t.columns), nil
}

func (f fileSide) begin(context.Context, []copyTable) error { return nil } // nobody else has it

func (f fileSide) clear(ctx context.Context, table string) error {
	_, err := f.exec(ctx, "DELETE FROM "+pgx.Identifier{table}.Sanitize())
	return err
}

// fillRows is how many rows are read before they are written.
const fillRows = 2048

func (f fileSide) fill(ctx context.Context, t *copyTable, rows *tableRows) error {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = pgx.Identifier{c.name}.Sanitize()
	}
	head := "INSERT INTO " + pgx.Identifier{t.name}.Sanitize() + " (" + strings.Join(names, ", ") + ") VALUES "
	some := make([][]any, 0, fillRows)
	for more := true; more; {
		some = some[:0]
		for len(some) < fillRows {
			if more = rows.Next(); !more {
				break
			}
			some = append(some, slices.Clone(rows.values))
		}
		_, err := f.insertMany(ctx, head, "", len(names), len(some), func(dst []any, i int) []any { return append(dst, some[i]...) })
		if err != nil {
			return err
		}
	}
	return nil // of the rows close says it
}

// sqlCursor reads the rows of database/sql.
type sqlCursor struct {
	*sql.Rows
	fields []any // pointers to values
}

func (c *sqlCursor) read(values []any) error {
	if c.fields == nil {
		for i := range values {
			c.fields = append(c.fields, &values[i])
		}
	}
	return c.Scan(c.fields...)
}

func (c *sqlCursor) shut() error { return c.Close() }

// databaseSide is a Postgres database.
type databaseSide struct{ tx pgx.Tx }

func (d databaseSide) tables(ctx context.Context) ([]copyTable, error) {
	return postgresTables(ctx, d.tx)
}

func (d databaseSide) rows(ctx context.Context, t *copyTable) (*tableRows, error) {
	rows, err := d.tx.Query(ctx, selectColumns(t.name, t.columns))
	if err != nil {
		return nil, err
	}
	return newTableRows(&pgxCursor{rows}, t.columns), nil
}

// begin also lets what refers to each other come in any order.
func (d databaseSide) begin(ctx context.Context, tables []copyTable) error {
	for i := range tables {
		if _, err := d.tx.Exec(ctx, "LOCK TABLE "+pgx.Identifier{tables[i].name}.Sanitize()+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
	}
	_, err := d.tx.Exec(ctx, "SET CONSTRAINTS ALL DEFERRED")
	return err
}

func (d databaseSide) clear(ctx context.Context, table string) error {
	_, err := d.tx.Exec(ctx, "DELETE FROM "+pgx.Identifier{table}.Sanitize())
	return err
}

func (d databaseSide) fill(ctx context.Context, t *copyTable, rows *tableRows) error {
	_, err := d.tx.CopyFrom(ctx, pgx.Identifier{t.name}, t.names(), rows)
	return err
}

// pgxCursor reads the rows of pgx.
type pgxCursor struct{ pgx.Rows }

func (c *pgxCursor) read(values []any) error {
	v, err := c.Values()
	copy(values, v)
	return err
}

func (c *pgxCursor) shut() error { c.Close(); return nil }

func postgresTables(ctx context.Context, from pgx.Tx) ([]copyTable, error) {
	rows, err := from.Query(ctx, `SELECT c.table_name::text, c.column_name::text, c.data_type::text
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
	return tables, postgresReferences(ctx, from, tables)
}

func postgresReferences(ctx context.Context, from pgx.Tx, tables []copyTable) error {
	rows, err := from.Query(ctx, `SELECT a.relname::text, b.relname::text FROM pg_constraint k
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
