package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	berth "github.com/berthhq/berth"
)

// tx is one transaction. All SQL but that of the migrations goes through its
// methods exec, execEach, each and queryRow.
type tx struct {
	sql     *sql.Tx
	dialect *dialect
	// fault is the first failure that running the transaction again may mend.
	fault   error
	version int64              // routing version; 0: none yet
	changes map[berth.Ref]bool // written so far
	usage   usageTx
}

func (t *tx) Accounts() berth.AccountStore         { return accounts{t} }
func (t *tx) Keys() berth.KeyStore                 { return keys{t} }
func (t *tx) Models() berth.ModelStore             { return models{t} }
func (t *tx) Nodes() berth.NodeStore               { return nodes{t} }
func (t *tx) Deployments() berth.DeploymentStore   { return deployments{t} }
func (t *tx) Capacities() berth.CapacityStore      { return capacities{t} }
func (t *tx) Pools() berth.PoolStore               { return pools{t} }
func (t *tx) Calibrations() berth.CalibrationStore { return calibrations{t} }
func (t *tx) Replicas() berth.ReplicaStore         { return replicas{t} }
func (t *tx) Events() berth.EventStore             { return events{t} }
func (t *tx) Receipts() berth.ReceiptStore         { return receipts{t} }
func (t *tx) Usage() berth.UsageStore              { return usage{t} }
func (t *tx) Uploads() berth.UploadStore           { return uploads{t} }
func (t *tx) Imports() berth.ImportJobStore        { return imports{t} }
func (t *tx) FineTunes() berth.FineTuneStore       { return fineTunes{t} }
func (t *tx) Prices() berth.PriceStore             { return prices{t} }
func (t *tx) Runs() berth.RunStore                 { return runs{t} }
func (t *tx) Orders() berth.OrderStore             { return orders{t} }
func (t *tx) Lines() berth.LineStore               { return lines{t} }
func (t *tx) Ledger() berth.LedgerStore            { return ledger{t} }
func (t *tx) Pushes() berth.PushStore              { return pushes{t} }

func (t *tx) Reconciliations() berth.ReconciliationStore { return reconciliations{t} }

func (t *tx) Route(ctx context.Context) (int64, error) {
	if t.version > 0 {
		return t.version, nil
	}
	version, err := t.number(ctx, "raise routing version", "UPDATE routing SET version = version + 1 RETURNING version")
	t.version = version
	return version, err
}

func (t *tx) RoutingVersion(ctx context.Context) (int64, error) {
	return t.number(ctx, "read routing version", "SELECT version FROM routing")
}

// number runs a query whose answer is one integer; what names it in an error.
func (t *tx) number(ctx context.Context, what, query string, args ...any) (n int64, err error) {
	if err := t.queryRow(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return n, nil
}

// note remembers an error that has nothing to do with what was asked.
func (t *tx) note(err error) error {
	if err != nil && t.fault == nil && (t.dialect.beaten(err) || t.dialect.lost(err)) {
		t.fault = err
	}
	return err
}

// exec returns the number of rows that were changed.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := t.dialect.args(args); err != nil {
		return 0, err
	}
	result, err := t.sql.ExecContext(ctx, t.dialect.query(query), args...)
	if err != nil {
		return 0, t.note(err)
	}
	return result.RowsAffected()
}

// execEach runs one statement n times, compiled once, with the arguments of each i.
func (t *tx) execEach(ctx context.Context, query string, n int, args func(i int) []any) error {
	stmt, err := t.sql.PrepareContext(ctx, t.dialect.query(query))
	if err != nil {
		return t.note(err)
	}
	defer func() { _ = stmt.Close() }() // the transaction closes it, too
	for i := range n {
		values := args(i)
		if err := t.dialect.args(values); err != nil {
			return err
		}
		if _, err := stmt.ExecContext(ctx, values...); err != nil {
			return t.note(err)
		}
	}
	return nil
}

// manyRows is how many rows one statement inserts at most, and manyArgs how many values.
const (
	manyRows = 64
	manyArgs = 2048
)

// insertMany inserts n rows of the given number of columns, many with one statement: head,
// their values, tail. args appends the values of each i. It returns the number of rows that
// were written.
func (t *tx) insertMany(ctx context.Context, head, tail string, columns, n int, args func(dst []any, i int) []any) (int64, error) {
	return t.execMany(ctx, head, "("+strings.Repeat("?, ", columns-1)+"?)", tail, columns, n, args)
}

// execMany is insertMany for any statement with a list of rows in it, each as values has it.
func (t *tx) execMany(ctx context.Context, head, values, tail string, columns, n int, args func(dst []any, i int) []any) (int64, error) {
	most := min(manyRows, manyArgs/columns)
	statement := func(rows int) string {
		return t.dialect.query(head + strings.Repeat(values+", ", rows-1) + values + tail)
	}
	var full *sql.Stmt // for several full statements
	if n >= 2*most {
		var err error
		if full, err = t.sql.PrepareContext(ctx, statement(most)); err != nil {
			return 0, t.note(err)
		}
		defer func() { _ = full.Close() }() // the transaction closes it, too
	}
	written := int64(0)
	list := make([]any, 0, min(n, most)*columns)
	for from := 0; from < n; from += most {
		rows := min(most, n-from)
		list = list[:0]
		for i := range rows {
			list = args(list, from+i)
		}
		if err := t.dialect.args(list); err != nil {
			return written, err
		}
		var result sql.Result
		var err error
		if full != nil && rows == most {
			result, err = full.ExecContext(ctx, list...)
		} else {
			result, err = t.sql.ExecContext(ctx, statement(rows), list...)
		}
		if err != nil {
			return written, t.note(err)
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return written, err
		}
		written += changed
	}
	return written, nil
}

// each runs fn for every row of a query.
func (t *tx) each(ctx context.Context, fn func(*sql.Rows) error, query string, args ...any) error {
	if err := t.dialect.args(args); err != nil {
		return err
	}
	rows, err := t.sql.QueryContext(ctx, t.dialect.query(query), args...)
	if err != nil {
		return t.note(err)
	}
	defer func() { _ = rows.Close() }() // what can go wrong is in rows.Err
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return t.note(rows.Err())
}

func (t *tx) queryRow(ctx context.Context, query string, args ...any) row {
	if err := t.dialect.args(args); err != nil {
		return row{tx: t, err: err}
	}
	return row{tx: t, sql: t.sql.QueryRowContext(ctx, t.dialect.query(query), args...)}
}

// row is the answer of a query with one row.
type row struct {
	tx  *tx
	sql *sql.Row
	err error // before the query was sent
}

// Scan reads the row, as that of [sql.Row] does.
func (r row) Scan(fields ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.tx.note(r.sql.Scan(fields...))
}
