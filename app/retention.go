package app

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

const (
	// retainPause is the time between two looks for what is over.
	retainPause = time.Hour
	// retainRest is left to others after each transaction that deletes.
	retainRest = 20 * time.Millisecond
)

// retain deletes what the configuration keeps no longer, until ctx ends.
func (a *App) retain(ctx context.Context) {
	k := a.opt.Config.Retention
	policy := berth.Retention{
		Store: a.store, Now: a.opt.Now, Keep: berth.Keep{Records: k.Records, Audit: k.Audit, Tombstones: k.Tombstones}, Rest: rest,
	}
	every(ctx, retainPause, func() {
		deleted, err := policy.Sweep(ctx)
		if deleted != (berth.Deleted{}) {
			a.opt.Logger.Info("deleted what is kept no longer", "records", deleted.Records, "audits", deleted.Audits, "deployments", deleted.Deployments)
		}
		if deleted.Unpushed > 0 {
			a.opt.Logger.Error("records and events were deleted before the push URL took them; keep them longer (retention) or see why it does not (berth push)", "events", deleted.Unpushed)
		}
		if err != nil && ctx.Err() == nil {
			a.opt.Logger.Warn("what is kept no longer was not all deleted; the next try is in an hour", "error", err)
		}
	})
}

func rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retainRest):
		return nil
	}
}
