package storetest

import (
	"context"
	"errors"

	berth "github.com/berthhq/berth"
)

// Twice returns a store that runs every function twice, as a database does that asks for a
// retry: what the first run wrote is given up. Tests of those who write functions use it,
// to see that they have no effect but through their Tx.
func Twice(store berth.Store) berth.Store { return twice{store} }

type twice struct{ berth.Store }

var errOnceMore = errors.New("once more")

// Tx implements [berth.Store].
func (s twice) Tx(ctx context.Context, fn func(berth.Tx) error) error {
	return again(ctx, s.Store.Tx, fn)
}

// View implements [berth.Store].
func (s twice) View(ctx context.Context, fn func(berth.Tx) error) error {
	return again(ctx, s.Store.View, fn)
}

// again runs fn in two transactions, or in one if the first of them fails.
func again(ctx context.Context, run func(context.Context, func(berth.Tx) error) error, fn func(berth.Tx) error) error {
	err := run(ctx, func(tx berth.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return errOnceMore
	})
	if !errors.Is(err, errOnceMore) {
		return err
	}
	return run(ctx, fn)
}
