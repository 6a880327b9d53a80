package berth

import (
	"context"
	"errors"
	"time"
)

// Keep says how long what is over is kept; 0 in a field: for ever.
type Keep struct {
	Records    time.Duration // usage records and their sums by hour, since their admission
	Audit      time.Duration // audit entries, since they were written
	Tombstones time.Duration // deployments with their events and capacity, since their deletion
}

// Retention deletes what is older than the policy keeps. Sums by day, prices, lines of
// statements and the ledger stay for ever, and so does whatever billing has not rated.
type Retention struct {
	Store Store
	Now   func() time.Time
	Keep  Keep
	// Rest is called between two transactions, so that others have their turn; it returns
	// an error to end the sweep. nil: it goes on at once.
	Rest func(ctx context.Context) error
}

// Deleted is what a sweep deleted.
type Deleted struct {
	Records, Audits, Deployments int64 // records with their sums by hour
	// Unpushed is how many of them, and of events of the deployments, the push URL should have
	// been told of and was not.
	Unpushed int64
}

// sweepRows is how many rows one transaction deletes at most: some milliseconds.
const sweepRows = 1000

// Sweep deletes what is over, in small transactions. What it has deleted before an error
// stays deleted; the next sweep goes on.
func (r *Retention) Sweep(ctx context.Context) (Deleted, error) {
	lost, err := r.lost(ctx)
	if err != nil {
		return Deleted{}, err
	}
	done, err := r.sweep(ctx)
	// Also of what was done before an error.
	after, lostErr := r.lost(context.WithoutCancel(ctx))
	done.Unpushed = max(0, after-lost)
	return done, errors.Join(err, lostErr)
}

func (r *Retention) lost(ctx context.Context) (n int64, err error) {
	err = r.Store.View(ctx, func(tx Tx) error {
		w, err := tx.Pushes().Waiting(ctx)
		n = w.Lost
		return err
	})
	return n, err
}

func (r *Retention) sweep(ctx context.Context) (Deleted, error) {
	var done Deleted
	now := r.Now()
	if r.Keep.Records > 0 {
		if err := r.records(ctx, now.Add(-r.Keep.Records), &done.Records); err != nil {
			return done, err
		}
	}
	if r.Keep.Audit > 0 {
		before := now.Add(-r.Keep.Audit)
		err := r.each(ctx, func(tx Tx) (int64, error) { return tx.Events().ExpireAudits(ctx, before, sweepRows) }, &done.Audits)
		if err != nil {
			return done, err
		}
	}
	if r.Keep.Tombstones > 0 {
		if err := r.tombstones(ctx, now.Add(-r.Keep.Tombstones), &done.Deployments); err != nil {
			return done, err
		}
	}
	return done, nil
}

func (r *Retention) records(ctx context.Context, before time.Time, done *int64) error {
	var workspaces []string
	err := r.Store.View(ctx, func(tx Tx) (err error) {
		workspaces, err = tx.Usage().Expired(ctx, before)
		return err
	})
	for _, id := range workspaces {
		if err == nil {
			err = r.each(ctx, func(tx Tx) (int64, error) { return tx.Usage().Expire(ctx, id, before, sweepRows) }, done)
		}
	}
	return err
}

func (r *Retention) tombstones(ctx context.Context, before time.Time, done *int64) error {
	for after := ""; ; {
		var ids []string
		err := r.Store.View(ctx, func(tx Tx) (err error) {
			ids, err = tx.Deployments().Expired(ctx, before, after, sweepRows)
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			var rows int64
			err := r.each(ctx, func(tx Tx) (int64, error) { return tx.Deployments().Forget(ctx, id, sweepRows) }, &rows)
			if err != nil {
				return err
			}
			*done++
		}
		after = ids[len(ids)-1]
	}
}

// each runs transactions until one deletes nothing, and adds up what they delete.
func (r *Retention) each(ctx context.Context, expire func(Tx) (int64, error), done *int64) error {
	for {
		var n int64
		err := r.Store.Tx(ctx, func(tx Tx) (err error) {
			n, err = expire(tx)
			return err
		})
		if err != nil {
			return err
		}
		if *done += n; n == 0 {
			return nil
		}
		if r.Rest != nil {
			if err := r.Rest(ctx); err != nil {
				return err
			}
		}
	}
}
