package app

import (
	"context"
	"fmt"
	"time"

	berth "github.com/berthhq/berth"
)

// beatPause is the time between two signs of life in the store: what a crash may take off
// the end of the runs that it ends.
const beatPause = 5 * time.Second

// beat writes signs of life until ctx ends.
func (a *App) beat(ctx context.Context) {
	every(ctx, beatPause, func() {
		err := a.store.Tx(ctx, func(tx berth.Tx) error { return tx.Runs().Beat(ctx, localNode, a.opt.Now()) })
		if err != nil && ctx.Err() == nil {
			a.opt.Logger.Warn("no sign of life was written; after a crash charges would end at the last one", "error", err)
		}
	})
}

// endCrashedRuns ends the runs that a crash left, at the last sign of life: their engines
// ended with Berth, and those that are started now serve later.
func (a *App) endCrashedRuns(ctx context.Context) error {
	var last time.Time
	err := a.store.View(ctx, func(tx berth.Tx) (err error) {
		last, err = tx.Runs().LastBeat(ctx, localNode)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the last sign of life: %w", err)
	}
	if now := a.opt.Now(); last.After(now) { // the clock was set back
		last = now
	}
	return a.services.deployments.EndRuns(ctx, last)
}

// endRuns ends the runs of the engines that a stop is about to end. What fails is left to
// the next start.
func (a *App) endRuns(ctx context.Context) error {
	if err := a.services.deployments.EndRuns(ctx, a.opt.Now()); err != nil {
		return fmt.Errorf("end what is charged: %w", err)
	}
	return nil
}

// lookAtAccounts has them looked at by watchAccounts: charges are up to date.
func (a *App) lookAtAccounts(context.Context) {
	select {
	case a.rated <- struct{}{}:
	default: // they will be
	}
}

// watchAccounts looks, whenever charges were brought up to date, who is overdue, takes down
// what runs of those who are for too long, buys it again when they have paid, and looks at
// budgets, until ctx ends.
func (a *App) watchAccounts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.rated:
			if err := a.services.deployments.CheckArrears(ctx); err != nil && ctx.Err() == nil {
				a.opt.Logger.Error("arrears were not all seen to; this is tried again", "error", err)
			}
			a.checkBudgets(ctx)
		}
	}
}

// recheckTimeout bounds what a payment waits for that lets deployments be bought again; what
// is left is done behind the next charges.
const recheckTimeout = 10 * time.Second

// recheckArrears does what the funds or terms of an account, which were changed right now, ask
// for. That they were changed stands, whoever asked for it and whatever comes of this.
func (a *App) recheckArrears(ctx context.Context, accountID string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recheckTimeout)
	defer cancel()
	if err := a.services.deployments.RecheckArrears(ctx, accountID); err != nil {
		a.opt.Logger.Error("the arrears of an account were not seen to; this is tried again", "account", accountID, "error", err)
	}
}

// checkBudgets stops workspaces that have spent theirs, and says who is about to.
func (a *App) checkBudgets(ctx context.Context) {
	said, err := a.services.workspaces.CheckBudgets(ctx)
	if err != nil && ctx.Err() == nil {
		a.opt.Logger.Error("budgets were not all looked at; this is tried again", "error", err)
	}
	for i := range said {
		n := &said[i]
		state := "four fifths are spent"
		switch n.Kind {
		case berth.BudgetStopped:
			state = "spent; calls are refused until the month is over or the budget is larger"
		case berth.BudgetSpent:
			state = "spent"
		case berth.BudgetWarned:
		}
		a.opt.Logger.Warn("the budget of a workspace", "workspace", n.WorkspaceID, "state", state, "month", n.Month, "spent_nano", int64(n.Spent), "budget_nano", int64(n.Amount), "currency", n.Currency)
	}
}
