package billing_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/billing"
)

func order(id string, minutes int64, input, output int64) berth.Order {
	return berth.Order{
		ID: id, AccountID: payer, WorkspaceID: workspace, DeploymentID: "dep_1", DeployedModel: "a", ModelName: "m", BaseModel: "b",
		InstanceID: "cap_1", OperationID: id, At: noon, PriceAt: noon, Minutes: minutes, PTU: berth.PTUCapacity{InputTPM: input, OutputTPM: output},
	}
}

var reserved = []berth.Price{price(berth.DimensionInputTPMMinute, 36*nano/100, 60), price(berth.DimensionOutputTPMMinute, 36*nano/100, 60)}

// Two days of 20,000 and 2,000 tokens per minute are twelve hours each of 1.44 CNY; what is
// given back stands beside it, at the same price.
func TestOrdersStandOnTheDayOfTheOrder(t *testing.T) {
	t.Parallel()
	lines := linesOf(t, noon, reserved, billing.Facts{Orders: []berth.Order{
		order("ord_1", 2*720, 20_000, 2_000), order("ord_2", -576, 10_000, 1_000), order("ord_3", 720, 0, 0),
	}})
	var text string
	for _, l := range lines {
		text += fmt.Sprintf("%s %s %d %d, ", l.Class, l.Dimension, l.Quantity, l.Amount)
	}
	if want := "prepaid 10k_input_tpm_minute 28800000 17280000000, refund 10k_input_tpm_minute -5760000 -3456000000, " +
		"prepaid 1k_output_tpm_minute 2880000 17280000000, refund 1k_output_tpm_minute -576000 -3456000000, "; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// Orders become lines once, and are taken from the deposit that was held for them; a refund
// goes to the customer, at the price that was paid, whatever the book says by then.
func TestOrdersArePosted(t *testing.T) {
	t.Parallel()
	cheap := reserved[0]
	cheap.ID, cheap.Nano, cheap.From = "price_later", 1, noon.Add(time.Hour)
	o := newOffice(t, openSQLite(t), berth.Account{ID: payer, Currency: "CNY", TimeZone: "UTC"}, append([]berth.Price{cheap}, reserved...), noon)
	o.pay(35*nano, "deposit", berth.DepositSide("dep_1"))
	insert := func(r berth.Order) {
		o.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Orders().Insert(ctx, r) })
	}
	insert(order("ord_1", 2*720, 20_000, 2_000))
	for range 2 {
		o.rate()
		if d, n := o.balance(berth.DepositSide("dep_1")), o.balance(berth.CustomerSide(payer)); d != 44*nano/100 || n != 0 {
			t.Errorf("the deposit is %d and the customer has %d", d, n)
		}
	}
	back := order("ord_2", -576, 10_000, 1_000)
	back.At = noon.Add(25 * time.Hour)
	o.set(back.At)
	insert(back)
	o.rate()
	if n := o.balance(berth.CustomerSide(payer)); n != 2*3456*nano/1000 {
		t.Errorf("the customer has %d", n)
	}
	o.audit()
}
