package server

import (
	"context"
	"net/http"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// causes are the values of the ledger's filter.
var causes = []berth.PostingCause{berth.CausePayment, berth.CauseDeposit, berth.CauseRefund, berth.CauseCharge, berth.CauseCorrection}

// listPostings is GET /berth/v1/ledger (design 10).
func (s *Server) listPostings(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	f := berth.PostingFilter{
		AccountID: query.Get("account_id"), WorkspaceID: query.Get("workspace_id"), DeploymentID: query.Get("deployment_id"),
		Cause: berth.PostingCause(query.Get("cause")),
	}
	if f.Cause != "" && !slices.Contains(causes, f.Cause) {
		return nil, berth.Errorf(berth.CodeInvalid, "The cause %q is not known; use payment, deposit, refund, charge or correction.", f.Cause)
	}
	form, err := formOf(r)
	if err != nil {
		return nil, err
	}
	if f.From, f.To, err = period(r); err != nil {
		return nil, err
	}
	size, err := number(r, "limit", ownPage, 1, ownPage)
	if err != nil {
		return nil, err
	}
	list, err := s.Books.Postings(ctx, f, query.Get("cursor"), size)
	if err != nil {
		return nil, err
	}
	if form != formJSON {
		return s.postingsExport(ctx, form, f, list, size), nil
	}
	out := api.Postings{Postings: make([]api.Posting, 0, len(list))}
	for _, p := range list {
		out.Postings = append(out.Postings, posting(p))
	}
	if int64(len(list)) == size {
		out.Next = list[size-1].ID
	}
	return out, nil
}

var entryColumns = []string{
	"posting", "at", "cause", "reference", "account_id", "workspace_id", "deployment_id", "side", "amount", "currency",
}

// postingsExport has a row for each entry in CSV, and a posting on each line of NDJSON.
func (s *Server) postingsExport(ctx context.Context, form string, f berth.PostingFilter, list []berth.Posting, size int64) export {
	last := list
	more := func() (_ []berth.Posting, err error) {
		if int64(len(last)) < size {
			return nil, nil
		}
		last, err = s.Books.Postings(ctx, f, last[size-1].ID, size)
		return last, err
	}
	if form == formNDJSON {
		return paged(form, "ledger", entryColumns, list, more, func(p *berth.Posting) (any, []any) { return posting(*p), nil })
	}
	type entry struct {
		*berth.Posting
		berth.Entry
	}
	entries := func(list []berth.Posting) (all []entry) {
		for i := range list {
			for _, e := range list[i].Entries {
				all = append(all, entry{&list[i], e})
			}
		}
		return all
	}
	further := func() ([]entry, error) {
		page, err := more()
		return entries(page), err
	}
	return paged(form, "ledger", entryColumns, entries(list), further, func(e *entry) (any, []any) {
		p := e.Posting
		return nil, []any{
			p.ID, p.At, string(p.Cause), p.Reference, p.AccountID, p.WorkspaceID, p.DeploymentID, e.Side, exact(plainAmount(int64(e.Nano), p.Currency)), p.Currency,
		}
	})
}

func posting(p berth.Posting) api.Posting {
	out := api.Posting{
		ID: p.ID, At: p.At, Cause: string(p.Cause), Reference: p.Reference, AccountID: p.AccountID, WorkspaceID: p.WorkspaceID,
		DeploymentID: p.DeploymentID, Currency: p.Currency, Entries: make([]api.Entry, len(p.Entries)),
	}
	for i, e := range p.Entries {
		out.Entries[i] = api.Entry{Account: e.Side, AmountNano: int64(e.Nano)}
	}
	return out
}

// addPayment is POST /berth/v1/accounts/{id}/payments.
func (s *Server) addPayment(ctx context.Context, r *http.Request) (any, error) {
	p, err := decode[api.AddPayment](r)
	if err != nil {
		return nil, err
	}
	return shown(payment)(s.Books.Pay(ctx, r.PathValue("id"), berth.Payment{
		Nano: berth.Nano(p.AmountNano), Currency: p.Currency, Reference: p.Reference,
	}))
}

// listPayments is GET /berth/v1/accounts/{id}/payments.
func (s *Server) listPayments(ctx context.Context, r *http.Request) (any, error) {
	list, next, err := readPage(ctx, r, func(ctx context.Context, cursor string, size int64) ([]berth.Posting, error) {
		return s.Books.Payments(ctx, r.PathValue("id"), cursor, size)
	}, func(p berth.Posting) string { return p.ID })
	if err != nil {
		return nil, err
	}
	return api.PaymentList{Payments: each(list, payment), Next: next}, nil
}

func payment(p berth.Posting) api.Payment {
	out := api.Payment{ID: p.ID, At: p.At, AccountID: p.AccountID, Currency: p.Currency, Reference: berth.PaymentReference(&p)}
	for _, e := range p.Entries {
		if e.Side == berth.CustomerSide(p.AccountID) {
			out.AmountNano = int64(e.Nano)
		}
	}
	return out
}

// getBalance is GET /berth/v1/accounts/{id}/balance.
func (s *Server) getBalance(ctx context.Context, r *http.Request) (any, error) {
	return shown(balance)(s.Books.Balance(ctx, r.PathValue("id")))
}

func balance(b berth.Standing) api.Balance {
	out := api.Balance{
		AccountID: b.Account.ID, Prepaid: b.Account.Prepaid, CreditLimitNano: (*int64)(b.Account.CreditLimit), Balances: make([]api.Funds, len(b.Funds)),
	}
	for i, f := range b.Funds {
		out.Balances[i] = api.Funds{
			Currency: f.Currency, BalanceNano: int64(f.Balance), DepositsNano: int64(f.Deposits), PaidNano: int64(f.Paid),
			ChargedNano: int64(f.Spent), SpendableNano: (*int64)(f.Spendable),
		}
	}
	return out
}
