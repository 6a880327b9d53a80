package billing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	berth "github.com/berthhq/berth"
)

// errPosted is a posting that is there already, though its line does not know of it.
var errPosted = errors.New("a charge was posted that its line does not know of")

// Charge makes the posting of what a line has grown by since it was posted last: out of the
// deposit of its deployment as far as that goes, the rest out of what the customer has, into
// what the workspace earned. What a line has shrunk by goes back to the customer. The
// line's growth must not be 0.
func Charge(l *berth.Line, deposit berth.Nano) berth.Posting {
	growth := l.Amount - l.Posted
	p := berth.Posting{
		AccountID: l.AccountID, WorkspaceID: l.WorkspaceID, DeploymentID: l.DeploymentID,
		Cause: berth.CauseCharge, Currency: l.Currency,
		// A line's postings are numbered, so each is made once whatever the line does.
		Reference: berth.ReferenceOf(
			l.AccountID, l.Month, l.Day, l.DeploymentID, string(l.Dimension), string(l.Class),
			strconv.FormatInt(l.FromTokens, 10), l.PriceID, l.Currency, strconv.FormatInt(l.Postings+1, 10)),
	}
	if l.Late() {
		p.Cause = berth.CauseCorrection
	}
	held := max(0, min(growth, deposit))
	for _, e := range []berth.Entry{
		{Side: berth.DepositSide(l.DeploymentID), Nano: -held},
		{Side: berth.CustomerSide(l.AccountID), Nano: held - growth},
		{Side: berth.RevenueSide(l.WorkspaceID), Nano: growth},
	} {
		if e.Nano != 0 {
			p.Entries = append(p.Entries, e)
		}
	}
	return p
}

// postAtOnce is how many lines are posted in one transaction.
const postAtOnce = 512

// postAll posts the growth of lines that were last posted before a moment. What an account
// cannot be charged keeps no other from it.
func (d *Desk) postAll(ctx context.Context, before time.Time, t *trouble) error {
	blocked, err := d.post(ctx, "", before)
	if err == nil && !blocked || general(ctx, err) {
		return err
	}
	return d.accounts(ctx, func(a *berth.Account) error {
		_, err := d.post(ctx, a.ID, before)
		if err != nil && !general(ctx, err) {
			err = t.add(a.ID, fmt.Errorf("the charges of account %s: %w", a.ID, err))
		}
		return err
	})
}

// post posts the growth of lines that were last posted before a moment, of one account ("" =
// all). What a balance has no room for goes behind all others and waits, so that it keeps
// none of them back; blocked says that there were so many of it that others may be behind.
func (d *Desk) post(ctx context.Context, accountID string, before time.Time) (blocked bool, err error) {
	for more := true; more; {
		err := d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
			list, err := tx.Lines().Growing(ctx, accountID, before, postAtOnce)
			if err != nil {
				return err
			}
			stuck, err := d.chargeAll(ctx, tx, list)
			if blocked = stuck == postAtOnce; err != nil {
				return err
			}
			more = len(list) == postAtOnce && !blocked
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return blocked, nil
}

// putBack lets a line wait that cannot be posted.
func (d *Desk) putBack(ctx context.Context, tx berth.Tx, l *berth.Line, why error) error {
	d.opt.Logger.Error("a charge is not in the ledger", "account_id", l.AccountID, "deployment_id", l.DeploymentID, "day", l.Day, "error", why)
	l.PostedAt = later(l.PostedAt, d.opt.Now())
	return tx.Lines().Posted(ctx, *l)
}

// chargeAll posts the growth of lines, and says of how many it could not, which wait.
func (d *Desk) chargeAll(ctx context.Context, tx berth.Tx, list []berth.Line) (stuck int, err error) {
	if err = d.charge(ctx, tx, list); berth.CodeOf(err) != berth.CodeInvalid {
		return 0, err
	}
	for i := range list { // nothing was written
		if err = d.charge(ctx, tx, list[i:i+1]); berth.CodeOf(err) == berth.CodeInvalid {
			stuck++
			err = d.putBack(ctx, tx, &list[i], err)
		}
		if err != nil {
			return stuck, err
		}
	}
	return stuck, nil
}

// charge posts the growth of lines, one after the other: what one takes from a deposit, the
// next does not find there. With [berth.CodeInvalid] nothing was written.
func (d *Desk) charge(ctx context.Context, tx berth.Tx, list []berth.Line) error {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	type held struct{ side, currency string }
	deposits := map[held]berth.Nano{}
	var sides []string
	for i := range list {
		k := held{berth.DepositSide(list[i].DeploymentID), list[i].Currency}
		if _, ok := deposits[k]; !ok {
			deposits[k] = 0
			sides = append(sides, k.side)
		}
	}
	balances, err := tx.Ledger().BalancesOf(ctx, sides)
	if err != nil {
		return err
	}
	for _, b := range balances {
		deposits[held{b.Side, b.Currency}] = b.Nano
	}
	postings := make([]berth.Posting, len(list))
	for i := range list {
		l := &list[i]
		k := held{berth.DepositSide(l.DeploymentID), l.Currency}
		p := Charge(l, deposits[k])
		p.ID, p.At = d.opt.NewID("post_"), d.opt.Now()
		for _, e := range p.Entries {
			if e.Side == k.side {
				deposits[k] += e.Nano
			}
		}
		postings[i] = p
		l.Posted, l.PostedAt, l.Postings = l.Amount, p.At, l.Postings+1
	}
	done, err := tx.Ledger().PostAll(ctx, postings)
	if err != nil {
		return err
	}
	if done < len(postings) {
		return errPosted
	}
	return tx.Lines().Posted(ctx, list...)
}
