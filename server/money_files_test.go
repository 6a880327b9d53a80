package server_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

func TestTheLedgerAndThePricesAsFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const n = 450 // more than two pages
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		for i := range n {
			_, err := tx.Ledger().Post(ctx, berth.Posting{
				ID: fmt.Sprintf("post_%03d", i), At: d.now(), AccountID: payer, Cause: berth.CausePayment, Reference: fmt.Sprintf("=%d", i), Currency: "CNY",
				Entries: []berth.Entry{{Side: berth.CashSide(payer), Nano: -1_234_500_000_000}, {Side: berth.CustomerSide(payer), Nano: 1_234_500_000_000}},
			})
			if err != nil {
				return err
			}
		}
		return tx.Prices().Insert(ctx, berth.Price{ID: "price_1", Model: "*", Plan: berth.PlanLoRA, Dimension: berth.DimensionOutput, FromTokens: 128_000, Nano: 4_800_000_001, Per: 1_000_000, Currency: "CNY"})
	})
	table := d.send(request{key: "owner", call: "GET /berth/v1/ledger?format=csv"})
	rows, err := csv.NewReader(strings.NewReader(table.text)).ReadAll()
	if err != nil || len(rows) != 1+2*n || strings.Join(rows[0], " ") != "posting at cause reference account_id workspace_id deployment_id side amount currency" {
		t.Fatalf("%d rows, %v: %.300s", len(rows), err, table.text)
	}
	for i, want := range []string{"post_449", "cash/" + payer, "-1234.50", "'=449"} {
		if got := rows[2*n-1][[]int{0, 7, 8, 3}[i]]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	each := d.send(request{key: "owner", call: "GET /berth/v1/ledger?format=ndjson&account_id=" + payer})
	if strings.Count(each.text, "\n") != n || !strings.Contains(each.text, `"entries":[{"account":"cash/`) {
		t.Errorf("%d lines of NDJSON: %.300s", strings.Count(each.text, "\n"), each.text)
	}
	prices := d.send(request{key: "admin", call: "GET /berth/v1/prices?format=csv"})
	if want := "price_1,*,lora,,output,128000,4.800000001,1000000,CNY,"; !strings.Contains(prices.text, want) || prices.header.Get("Content-Disposition") != "attachment; filename=prices.csv" {
		t.Errorf("prices %q", prices.text)
	}
	for _, path := range []string{"ledger", "audit", "usage", "usage/records"} {
		call := "GET /berth/v1/" + path + "?from=2026-10-02T00:00:00Z&to=2026-10-01T00:00:00Z"
		d.mustRefuse("a period that ends before it begins in "+path, request{key: "owner", call: call}, 400, "InvalidParameter", "is before that of from")
	}
	d.mustRefuse("days in no order", request{key: "owner", call: "GET /berth/v1/usage?from=2026-10-02&to=2026-10-01"}, 400, "InvalidParameter", "is before that of from")
}
