package berth

import (
	"context"
	"errors"
	"time"
)

// Writer is how every service writes: one transaction with its audit entry, then a
// wait until the gateway has taken what changed.
type Writer struct {
	Store Store
	Now   func() time.Time
	NewID func(prefix string) string
	// Publish returns when the gateway has taken the routing version, so that what was
	// answered to a client holds from the next call (design 4).
	Publish func(ctx context.Context, version int64) error
}

// write runs fn in a transaction, books action on the target that fn returns and
// publishes the raised routing version. When Publish fails the write stands: the
// gateway takes it with the next one. A [*Shortage] is completed with the names of those
// who have the hardware.
func (w *Writer) write(ctx context.Context, action string, fn func(Tx) (target string, err error)) error {
	caller := CallerFrom(ctx)
	var version int64
	err := w.Store.Tx(ctx, func(tx Tx) error {
		target, err := fn(tx)
		if err != nil {
			return err
		}
		err = tx.Events().AppendAudit(ctx, Audit{
			ID: w.NewID("aud_"), At: w.Now(), KeyID: caller.KeyID, WorkspaceID: caller.WorkspaceID,
			Action: action, Target: target,
		})
		if err != nil {
			return err
		}
		version, err = tx.Route(ctx)
		return err
	})
	var short *Shortage
	if errors.As(err, &short) {
		return w.nameHolders(ctx, caller.WorkspaceID, short)
	}
	if err != nil {
		return err
	}
	return w.Publish(ctx, version)
}

// nameHolders reads who holds hardware after the purchase has given way to others: there
// may be thousands.
func (w *Writer) nameHolders(ctx context.Context, workspaceID string, short *Shortage) error {
	var holders []Holder
	err := w.Store.View(ctx, func(tx Tx) (err error) {
		holders, err = tx.Nodes().Holders(ctx, workspaceID)
		return err
	})
	if err != nil {
		return err
	}
	return short.Told(holders)
}
