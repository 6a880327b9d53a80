package berth

import (
	"strings"
	"time"
)

// PostingCause says why a posting was made.
type PostingCause string

// The causes. A cause and its reference name one posting, ever.
const (
	// CausePayment: money came in; the reference is the payer's.
	CausePayment PostingCause = "payment"
	// CauseDeposit: a purchase held what its first hour will cost; the reference is the
	// purchase.
	CauseDeposit PostingCause = "deposit"
	// CauseRefund gives back what is left of a deposit, or was paid for in advance.
	CauseRefund PostingCause = "refund"
	// CauseCharge: what a deployment used of a day grew; the reference is the line's key and
	// how much of it is posted now.
	CauseCharge PostingCause = "charge"
	// CauseCorrection is a charge of a month that was closed, in the next.
	CauseCorrection PostingCause = "correction"
)

// Posting is one balanced set of entries in the ledger of an account. It is never changed
// and never deleted; a mistake is put right by another one.
type Posting struct {
	ID           string // post_ + UUIDv7
	At           time.Time
	AccountID    string
	WorkspaceID  string // that it is about; "": the account as a whole
	DeploymentID string // likewise
	Cause        PostingCause
	Reference    string // at most [MaxReference] bytes
	Currency     string
	Entries      []Entry // at most [MaxEntries]
}

// Entry moves money into one side of the ledger (above 0) or out of it (below).
type Entry struct {
	Side string
	Nano Nano
}

// Bounds of a posting.
const (
	MaxReference = 256
	MaxEntries   = 64
)

// CustomerSide is what an account may spend, or owes when it is below 0: what was paid,
// less its charges and the deposits for what comes up.
func CustomerSide(accountID string) string { return "customer/" + accountID }

// DepositSide holds the deposit of a deployment; charges are taken from it first.
func DepositSide(deploymentID string) string { return "deposit/" + deploymentID }

// RevenueSide is what was earned by the deployments of a workspace.
func RevenueSide(workspaceID string) string { return "revenue/" + workspaceID }

// CashSide is where the payments of an account come from.
func CashSide(accountID string) string { return "cash/" + accountID }

// Check refuses a posting that does not balance: its entries must add to 0, each must move
// something, and a side stands once.
func (p *Posting) Check() error {
	var sum Nano
	sides := make(map[string]bool, len(p.Entries))
	for _, e := range p.Entries {
		var err error
		if sum, err = sum.Plus(e.Nano); err != nil {
			return err
		}
		if e.Nano == 0 || e.Side == "" || sides[e.Side] {
			return Errorf(CodeInternal, "A posting has an entry that moves nothing, or twice on %q.", e.Side)
		}
		sides[e.Side] = true
	}
	switch {
	case len(p.Entries) < 2 || len(p.Entries) > MaxEntries || sum != 0:
		return Errorf(CodeInternal, "A posting of %d entries adds to %d instead of 0.", len(p.Entries), sum)
	case p.ID == "" || p.AccountID == "" || p.Cause == "" || p.Currency == "" || p.Reference == "" || len(p.Reference) > MaxReference:
		return Errorf(CodeInternal, "A posting needs an id, an account, a cause, a currency and a reference of at most %d bytes.", MaxReference)
	}
	return nil
}

// Same reports whether q is a repeat of p: the same cause for the same money.
func (p *Posting) Same(q *Posting) bool {
	if p.AccountID != q.AccountID || p.Cause != q.Cause || p.Reference != q.Reference || p.Currency != q.Currency || len(p.Entries) != len(q.Entries) {
		return false
	}
	for i := range p.Entries {
		if p.Entries[i] != q.Entries[i] {
			return false
		}
	}
	return true
}

// Balance is what one side of the ledger has.
type Balance struct {
	Side     string
	Currency string
	Nano     Nano
}

// PostingFilter selects postings. Zero fields select everything.
type PostingFilter struct {
	AccountID, WorkspaceID, DeploymentID string
	Cause                                PostingCause
	From, To                             time.Time // At in [From, To)
}

// ReferenceOf joins the parts of a reference.
func ReferenceOf(parts ...string) string { return strings.Join(parts, "/") }
