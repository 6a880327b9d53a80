package berth

import (
	"context"
	"slices"
	"time"
)

// AccountChange says what to change of an account; nil leaves a field as it is.
type AccountChange struct {
	Prepaid *bool
	// CreditLimit is how much a post-paid account may owe, 0 or more.
	CreditLimit *Nano
	// Unlimited lifts the credit limit.
	Unlimited bool
	// Currency is what it is charged in from CurrencyFrom on, zero: the next full minute.
	Currency     string
	CurrencyFrom time.Time
}

// MaxCurrencies bounds how often an account's currency changes, ever.
const MaxCurrencies = 100

// UpdateAccount changes how an account pays. What it has bought stays; a limit or prepayment
// holds at once, also for who is overdue by it. Another currency holds from a moment in the
// future, 10 seconds from now at the earliest: what is used before is charged in the one
// before, and is paid in it.
func (s *Workspaces) UpdateAccount(ctx context.Context, id string, change AccountChange) (Account, error) {
	if err := ownerOnly(ctx); err != nil {
		return Account{}, err
	}
	var a Account
	err := s.write(ctx, "account.update", func(tx Tx) (_ string, err error) {
		if a, err = findAccount(ctx, tx, id); err != nil {
			return "", err
		}
		a.Prepaid = valueOr(change.Prepaid, a.Prepaid)
		switch {
		case change.Unlimited && change.CreditLimit != nil:
			return "", Errorf(CodeInvalid, "An account is unlimited or has a credit limit; leave one of unlimited and credit_limit_nano out.")
		case change.CreditLimit != nil && (*change.CreditLimit < 0 || *change.CreditLimit > MaxPayment):
			return "", Errorf(CodeInvalid, "Range of credit_limit_nano should be [0, %d]", int64(MaxPayment))
		case change.CreditLimit != nil:
			a.CreditLimit = change.CreditLimit
		case change.Unlimited:
			a.CreditLimit = nil
		}
		if change.Currency == "" && !change.CurrencyFrom.IsZero() {
			return "", Errorf(CodeInvalid, "Field required: currency; currency_from says from when it holds.")
		}
		if change.Currency != "" {
			if err := s.changeCurrency(ctx, tx, &a, change); err != nil {
				return "", err
			}
		}
		return id, tx.Accounts().UpdateAccount(ctx, a)
	})
	if err == nil && s.Recheck != nil {
		s.Recheck(ctx, id)
		return s.Account(ctx, id)
	}
	return a, err
}

// changeCurrency lets another currency begin. One that was to begin at the same moment, or
// later, does not any more.
func (s *Workspaces) changeCurrency(ctx context.Context, tx Tx, a *Account, change AccountChange) error {
	if !KnownCurrency(change.Currency) {
		return errCurrency(change.Currency)
	}
	from, soonest := change.CurrencyFrom, s.Now().Add(noticeOfPrices)
	if from.IsZero() {
		from = soonest.Truncate(time.Minute).Add(time.Minute)
	}
	if from.Before(soonest) {
		return Errorf(CodeInvalid, "currency_from is %s, but a currency holds from the future on; use %s or later, or leave it out for the next full minute.",
			from.Format(time.RFC3339), soonest.UTC().Format(time.RFC3339))
	}
	later := slices.DeleteFunc(slices.Clone(a.Later), func(l CurrencyFrom) bool { return !l.From.Before(from) })
	if len(later) >= MaxCurrencies {
		return Errorf(CodeInvalid, "The currency of account %s was changed %d times, which is the most; open another account.", a.ID, MaxCurrencies)
	}
	later = append(later, CurrencyFrom{From: from.UTC(), Currency: change.Currency})
	a.Later = later
	return tx.Usage().Split(ctx, from, 0)
}
