package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"modernc.org/sqlite"

	berth "github.com/berthhq/berth"
)

// snapshotPages are copied between two looks at the context: 16 MiB.
const snapshotPages = 4096

// Snapshot copies a database, which others may be writing to, also other processes, into a
// new SQLite file at to, as it was at one moment. pinned is called right after that moment,
// while nothing has been copied yet. A schema that a newer Berth wrote is refused with
// [berth.CodeUnsupported]. What was copied is not on the disk for sure; after an error
// there may be part of a file.
func Snapshot(ctx context.Context, from Config, to string, pinned func() error) error {
	if from.URL != "" {
		return snapshotPostgres(ctx, from.URL, to, func(CopiedTable) {}, pinned)
	}
	return snapshotSQLite(ctx, from.Path, to, pinned)
}

// Size is about how many bytes a snapshot has; for Postgres, whose tables and indexes have
// more in them than a file, it is too much rather than too little.
func Size(ctx context.Context, of Config) (n int64, err error) {
	if of.URL == "" {
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(of.Path + suffix); err == nil {
				n += info.Size()
			}
		}
		return n, nil
	}
	conn, err := connectPatiently(ctx, of.URL)
	if err != nil {
		return 0, fmt.Errorf("size of the database: %w", err)
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
		WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`).Scan(&n)
	return n, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// snapshotPostgres reads all tables in one transaction and compares what was written. done
// is told of each table.
func snapshotPostgres(ctx context.Context, address, to string, done func(CopiedTable), pinned func() error) error {
	conn, err := connectPatiently(ctx, address)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	schema, err := postgresSchemaOf(ctx, conn)
	if err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := KnownSchema(schema); err != nil {
		return err
	}
	err = newFile(ctx, to, schema, func(file fileSide) error {
		fresh, err := contentsOfSide(ctx, file)
		if err != nil {
			return err
		}
		return pinPostgres(ctx, address, fresh, func(found int64, side databaseSide) error {
			if found != schema {
				return berth.Errorf(berth.CodeUnavailable, "The schema of the database has just changed; try again.")
			}
			if err := pinned(); err != nil {
				return err
			}
			return (&copier{from: side, into: file, typed: side, fresh: fresh, done: done}).all(ctx)
		})
	})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// pinPostgres runs fn in a transaction that sees one moment, while nobody changes the tables
// themselves.
func pinPostgres(ctx context.Context, address string, tables map[string]CopiedTable, fn func(schema int64, side databaseSide) error) (err error) {
	conn, err := connectPatiently(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(t pgx.Tx) error {
		// The moment is that of the first query, which LOCK is not.
		for _, name := range slices.Sorted(maps.Keys(tables)) {
			if _, err := t.Exec(ctx, "LOCK TABLE "+pgx.Identifier{name}.Sanitize()+" IN ACCESS SHARE MODE"); err != nil {
				return err
			}
		}
		schema, err := postgresSchemaOf(ctx, t)
		if err != nil {
			return err
		}
		return fn(schema, databaseSide{t})
	})
}

// postgresSchemaOf returns the version of a schema; an error when there is none.
func postgresSchemaOf(ctx context.Context, q interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
},
) (n int64, err error) {
	var there bool
	if err := q.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", versionTable).Scan(&there); err != nil {
		return 0, err
	}
	if !there {
		return 0, berth.Errorf(berth.CodeNotFound, "There is no Berth's data in the database; name the one of your server.")
	}
	err = q.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+versionTable+" WHERE is_applied").Scan(&n)
	return n, err
}

func snapshotSQLite(ctx context.Context, from, to string, pinned func() error) (err error) {
	if to, err = private(to); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if from, err = filepath.Abs(from); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	db, err := connect(from, 1, url.Values{"mode": {"ro"}})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("snapshot of %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// The first read of a transaction decides which moment it sees, and the copy is made by
	// the same connection inside of it.
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return fmt.Errorf("snapshot of %s: %w", from, err)
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") }()
	schema, err := schemaOf(ctx, conn)
	if err != nil {
		return fmt.Errorf("snapshot of %s: %w", from, err)
	}
	if err := KnownSchema(schema); err != nil {
		return err
	}
	if err := pinned(); err != nil {
		return err
	}
	if err := conn.Raw(func(driver any) error { return copyPages(ctx, driver, to) }); err != nil {
		return fmt.Errorf("snapshot of %s: %w", from, err)
	}
	return nil
}

func copyPages(ctx context.Context, driver any, to string) (err error) {
	c, ok := driver.(interface {
		NewBackup(uri string) (*sqlite.Backup, error)
	})
	if !ok {
		return fmt.Errorf("the driver's connection is %T", driver)
	}
	uri := url.URL{Scheme: "file", Path: filepath.ToSlash(to)}
	b, err := c.NewBackup(uri.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Finish()) }()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if more, err = b.Step(snapshotPages); err != nil {
			return err
		}
	}
	return nil
}

// Schema is the newest schema that this version knows.
func Schema() int64 {
	newest := int64(0)
	files, _ := sqliteFiles.ReadDir("migrations/sqlite") // embedded
	for _, f := range files {
		digits, _, _ := strings.Cut(f.Name(), "_")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

// KnownSchema refuses with [berth.CodeUnsupported] a schema that a newer Berth wrote.
func KnownSchema(schema int64) error {
	if know := Schema(); schema > know {
		return newerSchema(schema, know)
	}
	return nil
}

// querier is a connection or a pool of them.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func schemaOf(ctx context.Context, q querier) (n int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM schema_version WHERE is_applied").Scan(&n)
	return n, err
}

// Contents are what a database file holds.
type Contents struct {
	Schema int64
	Tables []TableContents // by name
	Models []StoredModel   // with files on the server, by name
}

// TableContents are the rows of a table.
type TableContents struct {
	Name string
	Rows int64
	// Checksum is the sum, modulo 2^64 and as hex, of the first 8 bytes of the SHA-256 of each
	// row: the same in whichever order the rows are.
	Checksum string
}

// StoredModel is a model with files.
type StoredModel struct {
	Name       string
	File       berth.ModelFile
	Configured bool
}

// Inspect reads a SQLite file that nobody has open, to the last row: it is whole, or the
// error says what is wrong. Nothing is written beside it.
func Inspect(ctx context.Context, path string) (c Contents, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return c, fmt.Errorf("inspect: %w", err)
	}
	db, err := connect(path, 1, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	if err != nil {
		return c, fmt.Errorf("inspect: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := integrity(ctx, db); err != nil {
		return c, fmt.Errorf("inspect %s: %w", path, err)
	}
	if c.Schema, err = schemaOf(ctx, db); err != nil {
		return c, fmt.Errorf("inspect %s: %w", path, err)
	}
	if c.Models, err = storedModels(ctx, db); err != nil {
		return c, fmt.Errorf("inspect %s: %w", path, err)
	}
	names, err := textColumn(ctx, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
	if err != nil {
		return c, fmt.Errorf("inspect %s: %w", path, err)
	}
	for _, name := range names {
		t, err := contentsOf(ctx, db, name)
		if err != nil {
			return c, fmt.Errorf("inspect %s of %s: %w", name, path, err)
		}
		c.Tables = append(c.Tables, t)
	}
	return c, nil
}

// integrity asks the database itself.
func integrity(ctx context.Context, db *sql.DB) error {
	for query, fine := range map[string]string{"PRAGMA integrity_check(1)": "ok", "PRAGMA foreign_key_check": ""} {
		said := ""
		err := db.QueryRowContext(ctx, query).Scan(&said)
		if errors.Is(err, sql.ErrNoRows) || err == nil && said == fine {
			continue
		}
		if err == nil {
			err = fmt.Errorf("the database is damaged: %s says %s", query, said)
		}
		return err
	}
	return nil
}

func storedModels(ctx context.Context, db *sql.DB) (list []StoredModel, err error) {
	rows, err := db.QueryContext(ctx, "SELECT name, file, configured FROM models ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var m StoredModel
		if err := rows.Scan(&m.Name, document{&m.File}, &m.Configured); err != nil {
			return nil, err
		}
		if m.File.Path != "" {
			list = append(list, m)
		}
	}
	return list, rows.Err()
}

func contentsOf(ctx context.Context, db *sql.DB, table string) (t TableContents, err error) {
	t.Name = table
	rows, err := db.QueryContext(ctx, `SELECT * FROM "`+strings.ReplaceAll(table, `"`, `""`)+`"`)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return t, err
	}
	values, fields := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		fields[i] = &values[i]
	}
	var sum uint64
	var line []byte
	for rows.Next() {
		if err := rows.Scan(fields...); err != nil {
			return t, err
		}
		if line, err = appendRow(line[:0], values); err != nil {
			return t, err
		}
		digest := sha256.Sum256(line)
		sum += binary.LittleEndian.Uint64(digest[:])
		t.Rows++
	}
	t.Checksum = hex.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
	return t, rows.Err()
}

// appendRow appends the values of a row so that different rows give different bytes.
func appendRow(b []byte, values []any) ([]byte, error) {
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case bool:
			b = append(b, 'i')
			n := uint64(0)
			if v {
				n = 1
			}
			b = binary.LittleEndian.AppendUint64(b, n)
		case int64:
			b = binary.LittleEndian.AppendUint64(append(b, 'i'), uint64(v))
		case float64:
			b = binary.LittleEndian.AppendUint64(append(b, 'f'), math.Float64bits(v))
		case string:
			b = append(binary.LittleEndian.AppendUint32(append(b, 't'), uint32(len(v))), v...)
		case []byte:
			b = append(binary.LittleEndian.AppendUint32(append(b, 'b'), uint32(len(v))), v...)
		default:
			text, err := json.Marshal(v) // goose keeps times as such
			if err != nil {
				return nil, err
			}
			b = append(binary.LittleEndian.AppendUint32(append(b, 't'), uint32(len(text))), text...)
		}
	}
	return b, nil
}
