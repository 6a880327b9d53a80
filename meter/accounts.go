package meter

import (
	"context"

	berth "github.com/berthhq/berth"
)

// changed reports whether an account has something to write. Accounts whose engine and
// calls have ended are closed first.
func (f *fold) changed() bool {
	some := false
	for a := range f.touched {
		a.finish()
		some = some || a.fresh
	}
	return some
}

// writeAccounts adds to the rows of hours what has come since they were written last, and
// keeps the accounts as they are now. It returns the rows in which something is unexplained
// that was not before.
func (f *fold) writeAccounts(ctx context.Context, tx berth.Tx) (found []berth.Reconciliation, err error) {
	store := tx.Reconciliations()
	for a := range f.touched {
		if !a.fresh {
			continue
		}
		for _, more := range a.rows {
			row, err := store.Row(ctx, a.ReplicaID, a.Nonce, more.Hour)
			if err != nil {
				return nil, err
			}
			before := row.Differs()
			row.ModelName = a.ModelName
			row.Add(more)
			if before == 0 && row.Differs() > 0 {
				found = append(found, row)
			}
			if err := store.PutRow(ctx, row); err != nil {
				return nil, err
			}
		}
		if a.closed {
			err = store.CloseAccount(ctx, a.ReplicaID, a.Nonce)
		} else {
			err = store.PutAccount(ctx, a.EngineAccount)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// accountsWritten: what they had to write is kept.
func (f *fold) accountsWritten(found []berth.Reconciliation) {
	for a := range f.touched {
		a.fresh = false
		clear(a.rows)
		if a.closed {
			delete(f.accounts, a.Nonce)
			f.meter.settled.Delete(a.Nonce)
		}
	}
	clear(f.touched)
	for i := range found {
		r := &found[i]
		f.meter.opt.Logger.Error("an engine's counters and the usage records differ, and nothing explains it; see berth reconciliation",
			"replica", r.ReplicaID, "nonce", r.Nonce, "hour", r.Hour,
			"unexplained_input_tokens", r.Unexplained.Input, "unexplained_output_tokens", r.Unexplained.Output,
			"engine_input_tokens", r.Engine.Input, "engine_output_tokens", r.Engine.Output)
	}
}
