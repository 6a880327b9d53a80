package billing

import (
	"context"
	"errors"
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
const postAtOnce = 100

// post posts the growth of lines that were last posted before a moment, of one account ("" =
// all). What a balance has no room for goes behind all others and waits, so that it keeps
// none of them back.
func (d *Desk) post(ctx context.Context, accountID string, before time.Time) error {
	for more := true; more; {
		err := d.opt.Store.Tx(ctx, func(tx berth.Tx) error {
			list, err := tx.Lines().Growing(ctx, accountID, before, postAtOnce)
			if err != nil {
				return err
			}
			stuck := 0
			for i := range list {
				err := d.charge(ctx, tx, &list[i])
				if berth.CodeOf(err) == berth.CodeInvalid {
					stuck++
					err = d.putBack(ctx, tx, &list[i], err)
				}
				if err != nil {
					return err
				}
			}
			more = len(list) == postAtOnce && stuck < len(list)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// putBack lets a line wait that cannot be posted.
func (d *Desk) putBack(ctx context.Context, tx berth.Tx, l *berth.Line, why error) error {
	d.opt.Logger.Error("a charge is not in the ledger", "account_id", l.AccountID, "deployment_id", l.DeploymentID, "day", l.Day, "error", why)
	l.PostedAt = later(l.PostedAt, d.opt.Now())
	return tx.Lines().Posted(ctx, *l)
}

func (d *Desk) charge(ctx context.Context, tx berth.Tx, l *berth.Line) error {
	deposit, err := tx.Ledger().Balance(ctx, berth.DepositSide(l.DeploymentID), l.Currency)
	if err != nil {
		return err
	}
	p := Charge(l, deposit)
	p.ID, p.At = d.opt.NewID("post_"), d.opt.Now()
	done, err := tx.Ledger().Post(ctx, p)
	if err != nil {
		return err
	}
	if !done {
		return errPosted
	}
	l.Posted, l.PostedAt, l.Postings = l.Amount, p.At, l.Postings+1
	return tx.Lines().Posted(ctx, *l)
}
