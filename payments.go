package berth

import (
	"cmp"
	"context"
	"math"
	"strings"
	"unicode"
)

// Books is where an owner pays money in and reads what was posted. All of it needs
// [RoleOwner].
type Books struct {
	Writer
	// Rate brings charges up to now; an error is one of this account ("": of any). nil: they are.
	Rate func(ctx context.Context, accountID string) error
	// Recheck does, before a payment is answered, what it asks for: what arrears took down is
	// bought again. nil: that is done later.
	Recheck func(ctx context.Context, accountID string)
}

// Payment is money that came in for an account, or above it went back (below 0).
type Payment struct {
	Nano     Nano
	Currency string // "": the account's now
	// Reference names the payment, such as the transfer's number: one of an account with
	// the same reference is the same payment.
	Reference string
}

const (
	// MaxPaymentReference bounds the reference of a payment, in bytes.
	MaxPaymentReference = 128
	// MaxPayment is the most that one payment can be: 1,000,000,000 of the currency.
	MaxPayment Nano = 1_000_000_000_000_000_000
)

// Pay books a payment and returns its posting, for a repeat that of the first time. When it
// returns, nothing is refused any more for what was paid.
// [CodeConflict] when the reference stands for another payment of the account.
func (s *Books) Pay(ctx context.Context, accountID string, p Payment) (Posting, error) {
	if err := ownerOnly(ctx); err != nil {
		return Posting{}, err
	}
	if err := p.check(); err != nil {
		return Posting{}, err
	}
	post, err := s.pay(ctx, accountID, p)
	if err == nil && s.Recheck != nil {
		s.Recheck(ctx, accountID)
	}
	return post, err
}

func (s *Books) pay(ctx context.Context, accountID string, p Payment) (Posting, error) {
	post, err := s.payment(ctx, accountID, p)
	if err == nil || CodeOf(err) != CodeNotFound || post.AccountID == "" {
		return post, err
	}
	err = s.write(ctx, "payment.add", func(tx Tx) (string, error) {
		before, err := tx.Ledger().Find(ctx, CausePayment, post.Reference)
		if CodeOf(err) == CodeNotFound {
			_, err = tx.Ledger().Post(ctx, post)
			return post.Reference, err
		}
		if err == nil {
			post, err = before, samePayment(&before, &post)
		}
		return post.Reference, err
	})
	return post, err
}

func (p *Payment) check() error {
	switch {
	case p.Nano == 0:
		return Errorf(CodeInvalid, "Field required: amount_nano; a payment of nothing is none.")
	case p.Nano > MaxPayment || p.Nano < -MaxPayment:
		return Errorf(CodeInvalid, "The payment is too large; book at most %d billionths of the currency at once.", MaxPayment)
	case strings.TrimSpace(p.Reference) == "":
		return Errorf(CodeInvalid, "Field required: reference; name the payment, such as the transfer's number, so that it is booked once.")
	case len(p.Reference) > MaxPaymentReference || strings.ContainsFunc(p.Reference, unicode.IsControl):
		return Errorf(CodeInvalid, "The reference has a control character or more than %d bytes; use a shorter one.", MaxPaymentReference)
	}
	return nil
}

// payment returns the posting of a payment that was booked before; else [CodeNotFound]
// with the posting to be, or without one when the account is not there.
func (s *Books) payment(ctx context.Context, accountID string, p Payment) (post Posting, err error) {
	err = s.Store.View(ctx, func(tx Tx) error {
		account, err := findAccount(ctx, tx, accountID)
		if err != nil {
			return err
		}
		if p.Currency, err = account.payable(cmp.Or(p.Currency, account.CurrencyAt(s.Now()))); err != nil {
			return err
		}
		post = Posting{
			ID: s.NewID("post_"), At: s.Now(), AccountID: account.ID, Cause: CausePayment,
			Reference: ReferenceOf(account.ID, p.Reference), Currency: p.Currency,
			Entries: []Entry{{Side: CashSide(account.ID), Nano: -p.Nano}, {Side: CustomerSide(account.ID), Nano: p.Nano}},
		}
		before, err := tx.Ledger().Find(ctx, CausePayment, post.Reference)
		if err == nil {
			err = samePayment(&before, &post)
			post = before
		}
		return err
	})
	return post, err
}

// payable refuses a currency in which the account is not charged, was not and will not be.
func (a *Account) payable(currency string) (string, error) {
	known := currency == a.Currency
	for _, l := range a.Later {
		known = known || currency == l.Currency
	}
	if !known {
		return "", Errorf(CodeInvalid, "The account %s is not kept in %q but in %s.", a.ID, currency, a.Currency)
	}
	return currency, nil
}

func samePayment(before, asked *Posting) error {
	if before.Same(asked) {
		return nil
	}
	return Errorf(CodeConflict, "The payment %s of account %s was booked already, as %s; use another reference for another payment.",
		PaymentReference(before), before.AccountID, money(before.Entries[1].Nano, before.Currency))
}

// PaymentReference returns the payer's part of the reference of a payment.
func PaymentReference(p *Posting) string { return strings.TrimPrefix(p.Reference, p.AccountID+"/") }

// Payments returns one page of an account's payments, oldest first, after the given id.
func (s *Books) Payments(ctx context.Context, accountID, after string, limit int64) ([]Posting, error) {
	return owned(ctx, s.Store, func(tx Tx) ([]Posting, error) {
		if _, err := findAccount(ctx, tx, accountID); err != nil {
			return nil, err
		}
		return tx.Ledger().Postings(ctx, PostingFilter{AccountID: accountID, Cause: CausePayment}, after, limit)
	})
}

// Postings returns one page of the ledger, oldest first, after the given id.
func (s *Books) Postings(ctx context.Context, f PostingFilter, after string, limit int64) ([]Posting, error) {
	if err := ownerOnly(ctx); err != nil {
		return nil, err
	}
	if err := s.rate(ctx, f.AccountID); err != nil {
		return nil, err
	}
	return owned(ctx, s.Store, func(tx Tx) ([]Posting, error) { return tx.Ledger().Postings(ctx, f, after, limit) })
}

func (s *Books) rate(ctx context.Context, accountID string) error {
	if s.Rate == nil {
		return nil
	}
	return s.Rate(ctx, accountID)
}

// Standing is what an account has in each currency, by its code.
type Standing struct {
	Account Account
	Funds   []Funds
}

// Funds is what an account has in one currency.
type Funds struct {
	Currency string
	Balance  Nano // of [CustomerSide]; below 0: owed
	Deposits Nano // of all [DepositSide]
	Spent    Nano // charged so far, over all workspaces
	Paid     Nano // came in so far
	// Spendable is what purchases may still take; nil: any amount.
	Spendable *Nano
}

// Spendable returns what purchases may still take from a balance, at least 0; nil: any
// amount (post-paid without a credit limit).
func (a *Account) Spendable(balance Nano) *Nano {
	var left Nano
	switch {
	case a.Prepaid:
		left = balance
	case a.CreditLimit == nil:
		return nil
	default:
		var err error
		if left, err = balance.Plus(*a.CreditLimit); err != nil {
			left = math.MaxInt64
		}
	}
	left = max(left, 0)
	return &left
}

// Balance returns what an account has.
func (s *Books) Balance(ctx context.Context, accountID string) (Standing, error) {
	if err := ownerOnly(ctx); err != nil {
		return Standing{}, err
	}
	if err := s.rate(ctx, accountID); err != nil {
		return Standing{}, err
	}
	return owned(ctx, s.Store, func(tx Tx) (Standing, error) {
		account, err := findAccount(ctx, tx, accountID)
		if err != nil {
			return Standing{}, err
		}
		balances, err := tx.Ledger().Balances(ctx, accountID)
		if err != nil {
			return Standing{}, err
		}
		return Standing{Account: account, Funds: account.funds(account.CurrencyAt(s.Now()), balances)}, nil
	})
}

// funds adds the sides of an account up by currency: its own first, then those of which
// there is something.
func (a *Account) funds(present string, balances []Balance) []Funds {
	list := []Funds{{Currency: present}}
	for _, b := range balances {
		f := fundsIn(&list, b.Currency)
		kind, _, _ := strings.Cut(b.Side, "/")
		switch kind {
		case "customer":
			f.Balance = b.Nano
		case "deposit":
			f.Deposits += b.Nano
		case "revenue":
			f.Spent += b.Nano
		case "cash":
			f.Paid = -b.Nano
		}
	}
	for i := range list {
		list[i].Spendable = a.Spendable(list[i].Balance)
		if list[i].Currency != present && list[i].Spendable != nil { // the limit is in the present one
			left := max(list[i].Balance, 0)
			list[i].Spendable = &left
		}
	}
	return list
}

func fundsIn(list *[]Funds, currency string) *Funds {
	for i := range *list {
		if (*list)[i].Currency == currency {
			return &(*list)[i]
		}
	}
	*list = append(*list, Funds{Currency: currency})
	return &(*list)[len(*list)-1]
}
