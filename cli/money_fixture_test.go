package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/berthhq/berth/api"
)

// What the furnished server says of money.
var (
	priceBook = []api.Price{
		{ID: "price_1", Model: "*", Plan: "mu", Spec: "MU1", Dimension: "unit_minute", PriceNano: 54_000_000_000, Per: 60, Currency: "CNY", From: noon.Add(-48 * time.Hour), To: noon.Add(24 * time.Hour)},
		{ID: "price_2", Model: "*", Plan: "mu", Spec: "MU1", Dimension: "unit_minute", Per: 1, Currency: "CNY", From: noon.Add(24 * time.Hour), Withdrawn: true, Creator: "key_1"},
		{ID: "price_3", Model: "qwen3.5-27b", Plan: "lora", Dimension: "output", FromTokens: 128_000, PriceNano: 14_400_000_000, Per: 1_000_000, Currency: "CNY", From: noon.Add(-48 * time.Hour)},
	}
	paymentList = []api.Payment{
		{ID: "post_1", At: noon.Add(-time.Hour), AccountID: "1000000000000001", AmountNano: 1_500_000_000_000, Currency: "CNY", Reference: "transfer 7"},
		{ID: "post_3", At: noon, AccountID: "1000000000000001", AmountNano: -500_000_000_000, Currency: "CNY", Reference: "back"},
	}
	postingList = []api.Posting{
		{ID: "post_1", At: noon.Add(-time.Hour), Cause: "payment", Reference: "1000000000000001/transfer 7", AccountID: "1000000000000001", Currency: "CNY", Entries: []api.Entry{
			{Account: "cash/1000000000000001", AmountNano: -1_500_000_000_000}, {Account: "customer/1000000000000001", AmountNano: 1_500_000_000_000},
		}},
		{ID: "post_2", At: noon.Add(-time.Minute), Cause: "charge", Reference: "1000000000000001/2026-10/2026-10-02/dep_1/input/shared/0/price_3/CNY/1", AccountID: "1000000000000001", WorkspaceID: "llm-4kd02x9a", DeploymentID: "dep_1", Currency: "CNY", Entries: []api.Entry{
			{Account: "customer/1000000000000001", AmountNano: -1_234_500}, {Account: "revenue/llm-4kd02x9a", AmountNano: 1_234_500},
		}},
	}
	auditLog = []api.AuditEntry{
		{ID: "aud_2", At: noon, WorkspaceID: "llm-4kd02x9a", KeyID: "key_1", Action: "deployment.create", Target: "abacus-1f0c77aa"},
		{ID: "aud_1", At: noon.Add(-time.Hour), KeyID: "system", Action: "deployment.arrears", Target: "poet"},
	}
	september = api.Statement{
		Month: "2026-09", TimeZone: "UTC", AccountID: "1000000000000001", AccountName: "default", Provisional: true, Currency: "CNY", TotalNano: 657_000_014_400,
		Totals: []api.Total{{Currency: "CNY", TotalNano: 657_000_014_400}, {Currency: "USD", TotalNano: 0}},
		Lines: []api.StatementLine{
			{ID: "2026-08-31.dep_1.unit_minute..0.price_1.CNY", WorkspaceID: "llm-4kd02x9a", Day: "2026-08-31", DeployedModel: "abacus-1f0c77aa", Plan: "mu", Spec: "MU1", Dimension: "unit_minute", Quantity: 10, Unit: "unit_minute", PriceID: "price_1", PriceNano: 54_000_000_000, Per: 60, AmountNano: 9_000_000_000, Currency: "CNY", Late: true},
			{ID: "2026-09-02.dep_1.unit_minute..0.price_1.CNY", WorkspaceID: "llm-4kd02x9a", Day: "2026-09-02", DeployedModel: "abacus-1f0c77aa", Plan: "mu", Spec: "MU1", Dimension: "unit_minute", Quantity: 720, Unit: "unit_minute", PriceID: "price_1", PriceNano: 54_000_000_000, Per: 60, AmountNano: 648_000_000_000, Currency: "CNY"},
			{ID: "2026-09-02.dep_2.output.shared.128000.price_3.CNY", WorkspaceID: "llm-4kd02x9a", Day: "2026-09-02", DeployedModel: "poet", Plan: "lora", Class: "shared", Dimension: "output", FromTokens: 128_000, Quantity: 1, Unit: "token", PriceID: "price_3", PriceNano: 14_400_000_000, Per: 1_000_000, AmountNano: 14_400, Currency: "CNY"},
			{ID: "2026-09-03.dep_2.input.shared.0..USD", WorkspaceID: "llm-4kd02x9a", Day: "2026-09-03", DeployedModel: "poet", Plan: "lora", Class: "shared", Dimension: "input", Quantity: 1_234, Unit: "token", Per: 1, Currency: "USD"},
		},
	}
)

// quotes are the answers by plan.
var quotes = map[string]api.Quote{
	"mu": {
		Possible: true, DeployedModel: "abacus-1f0c77aa", Plan: "mu", Spec: "MU1", Capacity: 4, ReadySeconds: ptr(3.2),
		Replicas: []api.QuotedReplica{{NodeID: "local", Lane: "dedicated", Threads: 4, MemoryBytes: 1 << 30}},
		Cost: &api.Cost{
			Currency: "CNY", PerHourNano: 216_000_000_000, DepositNano: 216_000_000_000,
			Lines: []api.CostLine{{Dimension: "unit_minute", Quantity: 240, Unit: "unit_minute", PriceNano: 54_000_000_000, Per: 60, AmountNano: 216_000_000_000}},
		},
	},
	"ptu": {
		Reason: "The account 1000000000000001 has 0.50 CNY to spend and the purchase needs 0.72 CNY now.",
		Cost: &api.Cost{
			Currency: "CNY", PerHourNano: 720_000_000, DepositNano: 720_000_000, SpendableNano: ptr(int64(500_000_000)), Unpriced: true,
			Lines: []api.CostLine{
				{Dimension: "10k_input_tpm_minute", Quantity: 1_200_000, Unit: "input_tpm_minute", PriceNano: 360_000_000, Per: 600_000, AmountNano: 720_000_000},
				{Dimension: "1k_output_tpm_minute", Quantity: 120_000, Unit: "output_tpm_minute", Per: 1, Unpriced: true},
			},
		},
	},
	"lora": {
		Possible: true, DeployedModel: "poet", Plan: "lora",
		Cost: &api.Cost{Currency: "CNY", SpendableNano: ptr(int64(1_648_500_000_000)), Lines: []api.CostLine{
			{Dimension: "input", Unit: "token", PriceNano: 500_000_000, Per: 1_000_000},
			{Dimension: "output", Unit: "token", PriceNano: 4_800_000_000, Per: 1_000_000},
			{Dimension: "output", FromTokens: 128_000, Unit: "token", PriceNano: 14_400_000_000, Per: 1_000_000},
		}},
	},
}

// orFile answers with the name of the form when a file is asked for.
func orFile(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if format := r.URL.Query().Get("format"); format != "" {
			_, _ = io.WriteString(w, format+"\n")
			return
		}
		answer(w, r)
	}
}

// withMoney makes the server answer about money.
func (f *fake) withMoney() {
	for call, answer := range map[string]http.HandlerFunc{
		"POST /berth/v1/quote": func(w http.ResponseWriter, r *http.Request) {
			var d api.CreateDeployment
			if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
			bare(quotes[d.Plan])(w, r)
		},
		"GET /berth/v1/audit": func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			if query.Get("format") != "" {
				_, _ = io.WriteString(w, "id,at\r\n")
				return
			}
			if query.Get("action") != "deployment" && query.Get("cursor") == "" {
				bare(api.AuditEntries{Entries: auditLog[:1], Next: "2"})(w, r)
				return
			}
			bare(api.AuditEntries{Entries: auditLog})(w, r)
		},
		"GET /berth/v1/prices":                              orFile(bare(api.PriceList{Prices: priceBook})),
		"GET /berth/v1/accounts/1000000000000001":           bare(api.Account{ID: "1000000000000001", Name: "default", Currency: "CNY", TimeZone: "Asia/Shanghai", CreditLimitNano: ptr(int64(2_000_000_000_000))}),
		"POST /berth/v1/prices":                             bare(api.PriceList{Prices: priceBook[1:2]}),
		"GET /berth/v1/ledger":                              orFile(bare(api.Postings{Postings: postingList})),
		"GET /berth/v1/accounts/1000000000000001/payments":  bare(api.PaymentList{Payments: paymentList}),
		"POST /berth/v1/accounts/1000000000000001/payments": bare(paymentList[0]),
		"GET /berth/v1/accounts/1000000000000001/balance": bare(api.Balance{AccountID: "1000000000000001", CreditLimitNano: ptr(int64(2_000_000_000_000)), Balances: []api.Funds{
			{Currency: "CNY", BalanceNano: -351_500_000_000, DepositsNano: 216_000_000_000, PaidNano: 1_000_000_000_000, ChargedNano: 1_135_500_000_000, SpendableNano: ptr(int64(1_648_500_000_000))},
			{Currency: "EUR", ChargedNano: 1},
		}}),
		"POST /berth/v1/prices/dry-run": bare(api.PriceTrial{
			Month: "2026-09", Currency: "CNY", CostNano: 648_000_000_000, TrialNano: 588_000_000_000,
			Totals: []api.TrialTotal{{Currency: "CNY", CostNano: 648_000_000_000, TrialNano: 588_000_000_000}, {Currency: "USD", TrialNano: 5_000_000_000}},
			Lines: []api.TrialLine{
				{Day: "2026-09-02", DeployedModel: "abacus-1f0c77aa", Dimension: "unit_minute", Quantity: 720, Unit: "unit_minute", CostNano: 648_000_000_000, TrialNano: 588_000_000_000, Currency: "CNY"},
				{Day: "2026-09-03", DeployedModel: "poet", Dimension: "input", Quantity: 1_234, Unit: "token", TrialNano: 5_000_000_000, Currency: "USD"},
			},
		}),
		"GET /berth/v1/statements/2026-09": func(w http.ResponseWriter, r *http.Request) {
			if format := r.URL.Query().Get("format"); format != "" {
				_, _ = io.WriteString(w, format+" of "+r.URL.Query().Get("workspace_id")+"\n")
				return
			}
			bare(september)(w, r)
		},
		"GET /berth/v1/statements/2026-09/records": func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			if format := query.Get("format"); format != "" {
				if format == "html" && query.Get("line") == september.Lines[2].ID && query.Get("cursor") == "" {
					w.Header().Set("Link", `<?cursor=1.5.x&format=html>; rel="next"`)
				}
				_, _ = io.WriteString(w, format+" of "+query.Get("line")+" at "+query.Get("cursor")+" with "+query.Get("links")+"\n")
				return
			}
			opened := api.OpenedLine{Line: september.Lines[1], Spans: []api.Span{
				{Run: "svc_1", From: noon, To: noon.Add(time.Hour), Minutes: 60, QuantityPerMinute: 8, Quantity: 480},
				{Run: "svc_2", From: noon.Add(2 * time.Hour), To: noon.Add(150 * time.Minute), Minutes: 30, QuantityPerMinute: 8, Quantity: 240},
			}}
			if query.Get("line") != "2026-09-02.dep_1.unit_minute..0.price_1.CNY" { // the second of two pages
				opened = api.OpenedLine{Line: september.Lines[2], Elsewhere: 2, KeptFrom: noon.Add(-time.Hour), Next: "2", Records: []api.OpenedRecord{}}
			}
			if query.Get("cursor") == "2" {
				opened.Next = ""
				opened.Records = []api.OpenedRecord{{Quantity: 3, UsageRecord: api.UsageRecord{
					ID: "use_1", CallID: "7b0e", KeyID: "key_1", StartedAt: noon, EndedAt: noon.Add(1500 * time.Millisecond), End: "stop",
				}}}
			}
			bare(opened)(w, r)
		},
		"GET /berth/v1/statements/current": bare(api.Statement{Month: "2026-10", Totals: []api.Total{{Currency: "CNY"}}}),
	} {
		f.on(call, answer)
	}
}
