package berth_test

import (
	"context"
	"math"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

func TestAPaymentIsBookedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	pay := berth.Payment{Nano: 500_000_000_000, Reference: "transfer 7"}
	first, err := h.ledger.Pay(h.owner(), payer, pay)
	must(t, err)
	before := h.books()
	again, err := h.ledger.Pay(h.owner(), payer, berth.Payment{Nano: pay.Nano, Reference: pay.Reference, Currency: "CNY"})
	if err != nil || again.ID != first.ID || len(h.books().Audits) != len(before.Audits) {
		t.Errorf("a repeat is %+v, %v; the first was %+v", again, err, first)
	}
	if berth.PaymentReference(&again) != "transfer 7" || again.Currency != "CNY" || again.Entries[1] != (berth.Entry{Side: berth.CustomerSide(payer), Nano: pay.Nano}) {
		t.Errorf("booked %+v", again)
	}
	if last := before.Audits[len(before.Audits)-1]; last.Action != "payment.add" || last.Target != payer+"/transfer 7" {
		t.Errorf("audit %+v", last)
	}
	// The same reference is another payer's own.
	_, err = h.ledger.Pay(h.owner(), spare, berth.Payment{Nano: 1, Reference: pay.Reference})
	must(t, err)
	// What was paid by mistake is taken back.
	_, err = h.ledger.Pay(h.owner(), payer, berth.Payment{Nano: -100_000_000_000, Reference: "back"})
	must(t, err)
	list, err := h.ledger.Payments(h.owner(), payer, "", 10)
	if err != nil || len(list) != 2 || list[0].ID != first.ID {
		t.Errorf("payments %+v, %v", list, err)
	}
	next, err := h.ledger.Payments(h.owner(), payer, first.ID, 10)
	if err != nil || len(next) != 1 || next[0].ID != list[1].ID {
		t.Errorf("after the first %+v, %v", next, err)
	}
	got, err := h.ledger.Balance(h.owner(), payer)
	if err != nil || len(got.Funds) != 1 || got.Funds[0] != (berth.Funds{Currency: "CNY", Balance: 400_000_000_000, Paid: 400_000_000_000}) {
		t.Errorf("balance %+v, %v", got, err)
	}
	all, err := h.ledger.Postings(h.owner(), berth.PostingFilter{}, "", 10)
	if err != nil || len(all) != 3 {
		t.Errorf("ledger %+v, %v", all, err)
	}
}

func TestPaymentsThatCannotBe(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := h.ledger.Pay(h.owner(), payer, berth.Payment{Nano: 5, Reference: "seven"})
	must(t, err)
	for name, c := range map[string]struct {
		as      berth.Role
		account string
		pay     berth.Payment
		code    berth.Code
		want    string
	}{
		"another amount":      {berth.RoleOwner, payer, berth.Payment{Nano: 6, Reference: "seven"}, berth.CodeConflict, "The payment seven of account " + payer + " was booked already, as 0.000000005 CNY"},
		"nothing":             {berth.RoleOwner, payer, berth.Payment{Reference: "x"}, berth.CodeInvalid, "amount_nano"},
		"more than there is":  {berth.RoleOwner, payer, berth.Payment{Nano: math.MaxInt64, Reference: "x"}, berth.CodeInvalid, "too large"},
		"less than there is":  {berth.RoleOwner, payer, berth.Payment{Nano: math.MinInt64, Reference: "x"}, berth.CodeInvalid, "too large"},
		"without a reference": {berth.RoleOwner, payer, berth.Payment{Nano: 1, Reference: " "}, berth.CodeInvalid, "reference"},
		"a line break":        {berth.RoleOwner, payer, berth.Payment{Nano: 1, Reference: "a\nb"}, berth.CodeInvalid, "control character"},
		"a long reference":    {berth.RoleOwner, payer, berth.Payment{Nano: 1, Reference: strings.Repeat("x", 129)}, berth.CodeInvalid, "128 bytes"},
		"another currency":    {berth.RoleOwner, payer, berth.Payment{Nano: 1, Reference: "x", Currency: "USD"}, berth.CodeInvalid, "is not kept in \"USD\" but in CNY"},
		"another account":     {berth.RoleOwner, "7", berth.Payment{Nano: 1, Reference: "x"}, berth.CodeNotFound, "The account 7 is not there."},
		"an admin":            {berth.RoleAdmin, payer, berth.Payment{Nano: 1, Reference: "x"}, berth.CodeForbidden, ""},
	} {
		err := h.unchanged(func() error { _, err := h.ledger.Pay(h.as(home, c.as), c.account, c.pay); return err })
		if berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, read := range map[string]func(context.Context, string) error{
		"payments": func(ctx context.Context, id string) error { _, err := h.ledger.Payments(ctx, id, "", 1); return err },
		"balance":  func(ctx context.Context, id string) error { _, err := h.ledger.Balance(ctx, id); return err },
	} {
		if err := read(h.admin(), payer); berth.CodeOf(err) != berth.CodeForbidden {
			t.Errorf("an admin reads %s: %v", name, err)
		}
		if err := read(h.owner(), "7"); berth.CodeOf(err) != berth.CodeNotFound {
			t.Errorf("%s of nobody: %v", name, err)
		}
	}
	if _, err := h.ledger.Postings(h.admin(), berth.PostingFilter{}, "", 1); berth.CodeOf(err) != berth.CodeForbidden {
		t.Errorf("an admin reads the ledger: %v", err)
	}
}

func TestWhatAnAccountMaySpend(t *testing.T) {
	t.Parallel()
	limit := berth.Nano(100)
	for name, c := range map[string]struct {
		account berth.Account
		balance berth.Nano
		want    *berth.Nano
	}{
		"post-paid without a limit": {berth.Account{}, -1000, nil},
		"post-paid":                 {berth.Account{CreditLimit: &limit}, -30, nano(70)},
		"beyond its limit":          {berth.Account{CreditLimit: &limit}, -130, nano(0)},
		"prepaid":                   {berth.Account{Prepaid: true, CreditLimit: &limit}, 30, nano(30)},
		"more than can be said":     {berth.Account{CreditLimit: &limit}, math.MaxInt64, nano(math.MaxInt64)},
	} {
		got := c.account.Spendable(c.balance)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestABalanceIsOfEachCurrency(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	limit := berth.Nano(50)
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		must(t, tx.Accounts().UpdateAccount(ctx, berth.Account{
			ID: payer, Name: "n", Currency: "CNY", TimeZone: "UTC", CreditLimit: &limit, Later: []berth.CurrencyFrom{{From: h.now(), Currency: "USD"}},
		}))
		post := func(id, currency string, cause berth.PostingCause, entries ...berth.Entry) {
			_, err := tx.Ledger().Post(ctx, berth.Posting{ID: id, At: h.now(), AccountID: payer, Cause: cause, Reference: id, Currency: currency, Entries: entries})
			must(t, err)
		}
		post("post_1", "CNY", berth.CauseDeposit, berth.Entry{Side: berth.CustomerSide(payer), Nano: -40}, berth.Entry{Side: berth.DepositSide("dep_1"), Nano: 40})
		post("post_2", "CNY", berth.CauseCharge, berth.Entry{Side: berth.DepositSide("dep_1"), Nano: -30}, berth.Entry{Side: berth.RevenueSide(home), Nano: 30})
		post("post_3", "USD", berth.CauseCharge, berth.Entry{Side: berth.CustomerSide(payer), Nano: -20}, berth.Entry{Side: berth.RevenueSide(home), Nano: 20})
		return nil
	})
	rated := 0
	h.ledger.Rate = func(context.Context, string) error { rated++; return nil }
	got, err := h.ledger.Balance(h.owner(), payer)
	must(t, err)
	dollars, yuan := got.Funds[0], got.Funds[1]
	if dollars.Currency != "USD" || dollars.Balance != -20 || dollars.Spent != 20 || *dollars.Spendable != 30 || rated != 1 {
		t.Errorf("the present currency: %+v", dollars)
	}
	if yuan.Currency != "CNY" || yuan.Balance != -40 || yuan.Deposits != 10 || yuan.Spent != 30 || *yuan.Spendable != 0 {
		t.Errorf("the one before: %+v", yuan)
	}
	if _, err := h.ledger.Pay(h.owner(), payer, berth.Payment{Nano: 40, Currency: "CNY", Reference: "old debts"}); err != nil {
		t.Errorf("a payment in the currency before: %v", err)
	}
}

func nano(n berth.Nano) *berth.Nano { return &n }
