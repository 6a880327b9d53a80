package store

import (
	"context"
	"database/sql"
	"fmt"

	berth "github.com/berthhq/berth"
)

// tx is one transaction. All SQL but that of the migrations goes through its
// methods exec, execEach, each and queryRow.
type tx struct {
	sql     *sql.Tx
	dialect dialect
	version int64              // routing version; 0: none yet
	changes map[berth.Ref]bool // written so far
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
func (t *tx) Lines() berth.LineStore               { return lines{t} }
func (t *tx) Ledger() berth.LedgerStore            { return ledger{t} }

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

// exec returns the number of rows that were changed.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := t.sql.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// execEach runs one statement n times, compiled once, with the arguments of each i.
func (t *tx) execEach(ctx context.Context, query string, n int, args func(i int) []any) error {
	stmt, err := t.sql.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }() // the transaction closes it, too
	for i := range n {
		if _, err := stmt.ExecContext(ctx, args(i)...); err != nil {
			return err
		}
	}
	return nil
}

// each runs fn for every row of a query.
func (t *tx) each(ctx context.Context, fn func(*sql.Rows) error, query string, args ...any) error {
	rows, err := t.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // what can go wrong is in rows.Err
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *tx) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return t.sql.QueryRowContext(ctx, query, args...)
}
