package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/jackc/pgx/v5"
)

// content is the number of rows and a checksum in which their order does not matter: the
// sum of the hashes of the rows, of 256 bits.
type content struct {
	rows int64
	sum  big.Int
	row  []byte
	hash big.Int
}

var twoTo256 = new(big.Int).Lsh(big.NewInt(1), 8*sha256.Size)

// add takes a row of plain values: each with its type and its length, so that no two rows
// look alike.
func (c *content) add(values []any) {
	c.row = c.row[:0]
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			c.row = append(c.row, 'n')
		case bool: // as SQLite keeps it
			c.row = append(c.row, 'i', 0, 0, 0, 0, 0, 0, 0, 0)
			if v {
				c.row[len(c.row)-1] = 1
			}
		case int64:
			c.row = binary.BigEndian.AppendUint64(append(c.row, 'i'), uint64(v)) //nolint:gosec // its bits
		case string:
			c.row = append(binary.AppendUvarint(append(c.row, 's'), uint64(len(v))), v...)
		case []byte:
			c.row = append(binary.AppendUvarint(append(c.row, 'b'), uint64(len(v))), v...)
		}
	}
	digest := sha256.Sum256(c.row)
	c.hash.SetBytes(digest[:])
	c.sum.Add(&c.sum, &c.hash)
	if c.sum.Cmp(twoTo256) >= 0 {
		c.sum.Sub(&c.sum, twoTo256)
	}
	c.rows++
}

func (c *content) table(name string) CopiedTable {
	return CopiedTable{Name: name, Rows: c.rows, Checksum: hex.EncodeToString(c.sum.FillBytes(make([]byte, sha256.Size)))}
}

// plain makes values of either database alike, in place: as Postgres keeps them.
func plain(values []any, columns []copyColumn) error {
	for i, v := range values {
		switch v := v.(type) {
		case nil, bool, []byte:
		case string:
			values[i] = postgresText(v)
		case int64:
			if columns[i].kind == "boolean" {
				values[i] = v != 0
			}
		default:
			return fmt.Errorf("the column %s has a %T, which cannot be copied", columns[i].name, v)
		}
	}
	return nil
}

// textColumn returns the answer of a query of one column.
func textColumn(ctx context.Context, from querier, query string, args ...any) (list []string, err error) {
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

func selectColumns(table string, columns []copyColumn) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = pgx.Identifier{c.name}.Sanitize()
	}
	return "SELECT " + strings.Join(names, ", ") + " FROM " + pgx.Identifier{table}.Sanitize()
}

// cursor goes through the rows of a query of either driver.
type cursor interface {
	Next() bool
	read(values []any) error
	Err() error
	shut() error
}

// tableRows are the rows of a table, made alike and added up as they pass.
type tableRows struct {
	cursor  cursor
	columns []copyColumn
	values  []any
	sum     *content
	err     error
}

var _ pgx.CopyFromSource = (*tableRows)(nil)

func newTableRows(c cursor, columns []copyColumn) *tableRows {
	return &tableRows{cursor: c, columns: columns, values: make([]any, len(columns)), sum: new(content)}
}

// Next implements pgx.CopyFromSource.
func (r *tableRows) Next() bool {
	if r.err != nil || !r.cursor.Next() {
		return false
	}
	if r.err = r.cursor.read(r.values); r.err == nil {
		r.err = plain(r.values, r.columns)
	}
	if r.err != nil {
		return false
	}
	r.sum.add(r.values)
	return true
}

// Values implements pgx.CopyFromSource.
func (r *tableRows) Values() ([]any, error) { return r.values, nil }

// Err implements pgx.CopyFromSource.
func (r *tableRows) Err() error { return errors.Join(r.err, r.cursor.Err()) }

// drain reads the rest and returns what has passed.
func (r *tableRows) drain(table string) (CopiedTable, error) {
	for more := true; more; {
		more = r.Next()
	}
	return r.close(table)
}

// close returns what has passed.
func (r *tableRows) close(table string) (CopiedTable, error) {
	return r.sum.table(table), errors.Join(r.err, r.cursor.shut(), r.cursor.Err())
}
