package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
)

// The causes of postings.
const (
	CausePayment    = "payment"
	CauseDeposit    = "deposit" // the first hour of a purchase, held back
	CauseRefund     = "refund"  // of what is left of one
	CauseCharge     = "charge"
	CauseCorrection = "correction" // a charge of a month that was closed
)

// Posting is one balanced set of entries in the ledger; it is never changed.
type Posting struct {
	ID           string    `json:"id"`
	At           time.Time `json:"at"`
	Cause        string    `json:"cause"`
	Reference    string    `json:"reference"` // with the cause, of this posting only
	AccountID    string    `json:"account_id"`
	WorkspaceID  string    `json:"workspace_id,omitempty"`
	DeploymentID string    `json:"deployment_id,omitempty"`
	Currency     string    `json:"currency"`
	Entries      []Entry   `json:"entries"` // add to 0
}

// Entry moves money into an account of the ledger, or out of it (below 0).
type Entry struct {
	Account    string `json:"account"` // such as customer/1000000000000001
	AmountNano int64  `json:"amount_nano"`
}

// Postings is one page of the ledger, oldest first.
type Postings struct {
	Postings []Posting `json:"postings"`
	Next     string    `json:"next,omitempty"` // cursor of the next page
}

// PostingFilter selects postings. Zero fields select everything.
type PostingFilter struct {
	AccountID, WorkspaceID, DeploymentID, Cause string
	From, To                                    time.Time
}

// Payment is money that came in for an account, or went back.
type Payment struct {
	ID         string    `json:"id"` // of its posting
	At         time.Time `json:"at"`
	AccountID  string    `json:"account_id"`
	AmountNano int64     `json:"amount_nano"` // below 0: given back
	Currency   string    `json:"currency"`
	Reference  string    `json:"reference"`
}

// AddPayment is the body of POST /berth/v1/accounts/{id}/payments. A repeat of a reference
// is the same payment.
type AddPayment struct {
	AmountNano int64  `json:"amount_nano"`
	Currency   string `json:"currency,omitempty"` // "": the account's
	Reference  string `json:"reference"`
}

// PaymentList is one page of an account's payments, oldest first.
type PaymentList struct {
	Payments []Payment `json:"payments"`
	Next     string    `json:"next,omitempty"` // cursor of the next page
}

// Balance is what an account has.
type Balance struct {
	AccountID string `json:"account_id"`
	Prepaid   bool   `json:"prepaid"`
	// CreditLimitNano is how much it may owe, in its present currency; nil: any amount.
	CreditLimitNano *int64 `json:"credit_limit_nano,omitempty"`
	// Balances are those of each currency, the present one first.
	Balances []Funds `json:"balances"`
}

// Funds is what an account has in one currency.
type Funds struct {
	Currency     string `json:"currency"`
	BalanceNano  int64  `json:"balance_nano"`  // paid, less charges and deposits; below 0: owed
	DepositsNano int64  `json:"deposits_nano"` // held back for what runs
	PaidNano     int64  `json:"paid_nano"`
	ChargedNano  int64  `json:"charged_nano"`
	// SpendableNano is what purchases may take; nil: any amount.
	SpendableNano *int64 `json:"spendable_nano,omitempty"`
}

func accountPath(id, what string) string { return accountsPath + "/" + url.PathEscape(id) + "/" + what }

func (f PostingFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"account_id": f.AccountID, "workspace_id": f.WorkspaceID, "deployment_id": f.DeploymentID, "cause": f.Cause, "from": moment(f.From), "to": moment(f.To),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

const ledgerPath = "/berth/v1/ledger"

// Ledger returns the page of postings that cursor names, "" for the first.
func (c *Client) Ledger(ctx context.Context, f PostingFilter, cursor string) (Postings, error) {
	return own[Postings](ctx, c, request{path: ledgerPath, query: withCursor(f.query(), cursor)})
}

// WriteLedger writes all postings that f selects, oldest first, as [FormatNDJSON], or their
// entries as [FormatCSV].
func (c *Client) WriteLedger(ctx context.Context, to io.Writer, format string, f PostingFilter) error {
	return c.export(ctx, to, format, request{path: ledgerPath, query: f.query()})
}

// AddPayment books a payment for an account, once.
func (c *Client) AddPayment(ctx context.Context, accountID string, p AddPayment) (Payment, error) {
	return own[Payment](ctx, c, request{method: http.MethodPost, path: accountPath(accountID, "payments"), body: p})
}

// Payments returns the page of an account's payments that cursor names, "" for the first.
func (c *Client) Payments(ctx context.Context, accountID, cursor string) (PaymentList, error) {
	return own[PaymentList](ctx, c, request{path: accountPath(accountID, "payments"), query: withCursor(url.Values{}, cursor)})
}

// Balance returns what an account has.
func (c *Client) Balance(ctx context.Context, accountID string) (Balance, error) {
	return own[Balance](ctx, c, request{path: accountPath(accountID, "balance")})
}
