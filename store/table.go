package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// column is a column and the field it is kept in. The field is a pointer (or one of
// the wrappers of column.go): what it points at is written, and read into.
type column struct {
	name  string
	field any
}

// table is where values of T are kept: one row each, found by the first column.
type table[T any] struct {
	noun    string // for errors
	columns func(*T) []column

	insertSQL, updateSQL, deleteSQL, selectSQL string
}

func newTable[T any](name, noun string, columns func(*T) []column) table[T] {
	var names, marks, sets []string
	for _, c := range columns(new(T)) {
		names = append(names, c.name)
		marks = append(marks, "?")
		sets = append(sets, c.name+" = ?")
	}
	return table[T]{
		noun:      noun,
		columns:   columns,
		insertSQL: fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", name, strings.Join(names, ", "), strings.Join(marks, ", ")),
		updateSQL: fmt.Sprintf("UPDATE %s SET %s WHERE %s = ?", name, strings.Join(sets[1:], ", "), names[0]),
		deleteSQL: fmt.Sprintf("DELETE FROM %s WHERE %s = ?", name, names[0]),
		selectSQL: fmt.Sprintf("SELECT %s FROM %s", strings.Join(names, ", "), name),
	}
}

// head returns what stands before the values of an INSERT.
func (t *table[T]) head() string {
	return t.insertSQL[:strings.LastIndex(t.insertSQL, " (")+1]
}

// fields returns the fields of v in the order of the columns.
func (t *table[T]) fields(v *T) []any {
	columns := t.columns(v)
	fields := make([]any, len(columns))
	for i, c := range columns {
		fields[i] = c.field
	}
	return fields
}

// insert finds a row that is there already without an error of the database, after which
// Postgres would let the transaction do nothing more.
func (t *table[T]) insert(ctx context.Context, tx *tx, v T) error {
	n, err := tx.exec(ctx, t.insertSQL+" ON CONFLICT DO NOTHING", t.fields(&v)...)
	if err == nil && n == 0 {
		return exists(t.noun, nil)
	}
	return tx.dialect.wrote(t.noun, err)
}

func (t *table[T]) update(ctx context.Context, tx *tx, v T) error {
	fields := t.fields(&v)
	n, err := tx.exec(ctx, t.updateSQL, append(fields[1:], fields[0])...)
	return t.changedOne(tx, n, err)
}

func (t *table[T]) delete(ctx context.Context, tx *tx, id string) error {
	n, err := tx.exec(ctx, t.deleteSQL, id)
	return t.changedOne(tx, n, err)
}

func (t *table[T]) changedOne(tx *tx, n int64, err error) error {
	if err == nil && n == 0 {
		return missing(t.noun)
	}
	return tx.dialect.wrote(t.noun, err)
}

// one returns the row that tail, the SQL after the table's name, selects.
func (t *table[T]) one(ctx context.Context, tx *tx, tail string, args ...any) (T, error) {
	var v T
	err := tx.queryRow(ctx, t.selectSQL+" "+tail, args...).Scan(t.fields(&v)...)
	return v, read(t.noun, err)
}

// all returns the rows that tail selects, in its order.
func (t *table[T]) all(ctx context.Context, tx *tx, tail string, args ...any) ([]T, error) {
	var list []T
	err := tx.each(ctx, func(rows *sql.Rows) error {
		var v T
		err := rows.Scan(t.fields(&v)...)
		list = append(list, v)
		return err
	}, t.selectSQL+" "+tail, args...)
	return list, read(t.noun, err)
}
