package berth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Times of arrears (api.md 6.4, design 9).
const (
	// ArrearsGrace is how long everything runs on, and is charged, once an account is overdue.
	ArrearsGrace = 24 * time.Hour
	// RecoverPause is the time between two tries to buy again what has no room yet.
	RecoverPause = time.Minute
)

// Arrears is what an account owes beyond what it may.
type Arrears struct {
	// Since is when it began to owe more than it may, in whatever currency; zero: it does not.
	Since time.Time `json:"since,omitzero"`
	// Down: its deployments were taken down, or are to be, and are not all back yet.
	Down bool `json:"down,omitempty"`
}

// After returns what becomes of arrears when the account owes more than it may, or does not.
func (a Arrears) After(overdue bool, now time.Time) Arrears {
	switch {
	case !overdue:
		a.Since = time.Time{} // what is down is bought again
	case a.Since.IsZero():
		a.Since = now
	}
	if !a.Since.IsZero() && !now.Before(a.Since.Add(ArrearsGrace)) {
		a.Down = true
	}
	return a
}

// arrearsTurn lets one at a time see to the arrears of an account.
type arrearsTurn struct {
	mu    sync.Mutex
	again time.Time // when to look at its deployments again
}

func (s *Deployments) arrearsOf(id string) *arrearsTurn {
	turn, _ := s.arrears.LoadOrStore(id, new(arrearsTurn))
	return turn.(*arrearsTurn)
}

// CheckArrears does what the balances of accounts ask for: it notes who is overdue, takes
// down what runs of those who have been for [ArrearsGrace], and buys again what was down of
// those who have paid. Called again and again, behind rating; it may be killed anywhere. An
// account that fails keeps no other back.
func (s *Deployments) CheckArrears(ctx context.Context) error {
	var ids []string
	err := s.Store.View(ctx, func(tx Tx) error {
		ids = nil
		accounts, err := tx.Accounts().Accounts(ctx)
		for i := range accounts {
			if err != nil {
				return err
			}
			var before Arrears
			a := &accounts[i]
			if before, err = s.judge(ctx, tx, a); a.Arrears != before || a.Arrears.Down {
				ids = append(ids, a.ID)
			}
		}
		return err
	})
	failed := []error{err}
	for _, id := range ids {
		if err := s.checkArrears(ctx, id, false); err != nil {
			failed = append(failed, fmt.Errorf("account %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

// RecheckArrears is [Deployments.CheckArrears] of one account whose funds or terms were
// changed. When it returns, nothing is down or refused any more for what it owed before.
func (s *Deployments) RecheckArrears(ctx context.Context, id string) error {
	return s.checkArrears(ctx, id, true)
}

// judge brings the arrears of an account up to what it owes now, and returns what they were.
func (s *Deployments) judge(ctx context.Context, tx Tx, a *Account) (before Arrears, err error) {
	before = a.Arrears
	f, err := fundsOf(ctx, tx, a, s.Now())
	if err == nil {
		a.Arrears = before.After(f.overdue > 0, s.Now())
	}
	return before, err
}

// checkArrears sees to one account: at most once in [RecoverPause] to what it has deployed,
// unless it is now said, or something has changed.
func (s *Deployments) checkArrears(ctx context.Context, id string, now bool) error {
	turn := s.arrearsOf(id)
	turn.mu.Lock()
	defer turn.mu.Unlock()
	var a Account
	var before Arrears
	look := func(ctx context.Context, tx Tx) (err error) {
		if a, err = tx.Accounts().Account(ctx, id); err == nil {
			before, err = s.judge(ctx, tx, &a)
		}
		return err
	}
	err := s.Store.View(ctx, func(tx Tx) error { return look(ctx, tx) })
	if err == nil && a.Arrears != before {
		err = s.Store.Tx(ctx, func(tx Tx) error {
			if err := look(ctx, tx); err != nil {
				return err
			}
			return tx.Accounts().UpdateAccount(ctx, a)
		})
	}
	if err != nil || !a.Arrears.Down {
		return err
	}
	at := s.Now()
	if !now && a.Arrears == before && at.Before(turn.again) {
		return nil
	}
	turn.again = at.Add(RecoverPause)
	if !a.Arrears.Since.IsZero() {
		return s.takeDown(ctx, id)
	}
	return s.bringBack(ctx, id)
}

// ofAccount returns the live deployments of an account's workspaces.
func (s *Deployments) ofAccount(ctx context.Context, id string) ([]Deployment, error) {
	var all []Deployment
	err := s.Store.View(ctx, func(tx Tx) error {
		all = nil
		workspaces, err := tx.Accounts().Workspaces(ctx)
		if err != nil {
			return err
		}
		for _, w := range workspaces {
			if w.AccountID != id {
				continue
			}
			list, _, err := tx.Deployments().List(ctx, DeploymentFilter{WorkspaceID: w.ID})
			if err != nil {
				return err
			}
			all = append(all, list...)
		}
		return nil
	})
	return all, err
}

// byItself writes what fn does to a deployment as a sale that nobody asked for, if picked
// still says so.
func (s *Deployments) byItself(ctx context.Context, action, id string, picked func(*Deployment) bool, fn func(*sale) error) error {
	err := s.write(WithCaller(ctx, System()), action, func(tx Tx) (string, error) {
		d, err := tx.Deployments().Get(ctx, id)
		if err != nil || !picked(&d) {
			return d.DeployedModel, err
		}
		caller := System()
		caller.WorkspaceID, caller.AccountID = d.WorkspaceID, d.Modifier
		return d.DeployedModel, fn(&sale{Deployments: s, ctx: ctx, tx: tx, caller: caller, d: d})
	})
	s.Wake()
	return err
}

// takeDown stops everything of an account that has been overdue for too long: names and rows
// are kept, hardware is freed and charges end. What was wholly paid in advance serves on.
func (s *Deployments) takeDown(ctx context.Context, accountID string) error {
	list, err := s.ofAccount(ctx, accountID)
	runs := func(d *Deployment) bool {
		_, ok := d.Status.Next(CauseArrears)
		return ok
	}
	failed := []error{err}
	for i := range list {
		if !runs(&list[i]) {
			continue
		}
		paid, err := s.isPaid(ctx, &list[i])
		if err == nil && !paid {
			err = s.byItself(ctx, "deployment.arrears", list[i].ID, runs, (*sale).takeDown)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// isPaid reports whether all of a deployment was paid in advance.
func (s *Deployments) isPaid(ctx context.Context, d *Deployment) (paid bool, err error) {
	if d.Prepaid.InstanceID == "" {
		return false, nil
	}
	err = s.Store.View(ctx, func(tx Tx) error {
		instances, err := tx.Capacities().OfDeployment(ctx, d.ID)
		now, _ := d.bought(instances)
		paid = now.IsZero()
		return err
	})
	return paid, err
}

func (b *sale) takeDown() error {
	if b.d.Capacity > 0 {
		b.d.EndChange(true) // a change under way is what is bought again
	}
	if err := b.leave(); err != nil {
		return err
	}
	b.d.ReadyCapacity, b.d.PartPPM = 0, 0
	b.d.Reason = fmt.Sprintf("The account has been overdue for %d hours. Pay what is owed, and the deployment is bought again by itself.", int(ArrearsGrace.Hours()))
	return b.transition(b.ctx, b.tx, &b.d, CauseArrears, b.d.Reason)
}

// bringBack buys again what arrears took down. What cannot be bought yet says why and is
// tried again.
func (s *Deployments) bringBack(ctx context.Context, accountID string) error {
	list, err := s.ofAccount(ctx, accountID)
	down := func(d *Deployment) bool { return d.Status == StatusArrearsDown || d.Status == StatusArrearsRecover }
	failed, waits := []error{err}, false
	for i := range list {
		if !down(&list[i]) {
			continue
		}
		err := s.byItself(ctx, "deployment.recover", list[i].ID, down, (*sale).recover)
		var refused *Error
		if errors.As(err, &refused) && refused.Code != CodeInternal {
			waits = true
			err = s.byItself(ctx, "deployment.recover", list[i].ID, down, func(b *sale) error { return b.recoverLater(refused) })
		}
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil || waits {
		return err
	}
	return s.Store.Tx(ctx, func(tx Tx) error {
		a, err := tx.Accounts().Account(ctx, accountID)
		if err != nil || !a.Arrears.Since.IsZero() {
			return err
		}
		a.Arrears.Down = false
		return tx.Accounts().UpdateAccount(ctx, a)
	})
}

// recover buys a deployment again that arrears took down, unless that is done.
func (b *sale) recover() error {
	if b.d.Status == StatusArrearsRecover && !b.d.Waits() {
		return nil
	}
	if err := b.again(); err != nil {
		return err
	}
	if err := b.dropFailed(); err != nil {
		return err
	}
	if b.d.Plan.Pooled() {
		if err := b.rejoin(); err != nil {
			return err
		}
	}
	if err := b.hold(); err != nil {
		return err
	}
	if err := b.depositAll(); err != nil {
		return err
	}
	b.d.Reason, b.d.ReadyCapacity, b.d.PartPPM = "", 0, 0
	return b.recovering("The account has paid; bought again, and the hardware is held.")
}

// recoverLater says why a deployment whose account has paid cannot be bought again yet.
func (b *sale) recoverLater(why *Error) error {
	reason := "The account has paid; this is tried again each minute: " + why.Message
	if b.d.Waits() && b.d.Reason == reason {
		return nil
	}
	b.d.Reason = reason
	return b.recovering(reason)
}

func (b *sale) recovering(reason string) error {
	if b.d.Status == StatusArrearsDown {
		return b.transition(b.ctx, b.tx, &b.d, CausePaid, reason)
	}
	b.d.ModifiedAt = b.Now()
	if err := b.tx.Deployments().Update(b.ctx, b.d); err != nil {
		return err
	}
	return b.tx.Events().Append(b.ctx, b.d.Event(b.NewID("evt_"), b.d.ModifiedAt, reason))
}

// Waits reports whether a deployment whose account has paid could not be bought again yet:
// nothing of it is to run. Its reason says why.
func (d *Deployment) Waits() bool { return d.Status == StatusArrearsRecover && d.Reason != "" }
