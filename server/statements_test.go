package server_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	payer = "1000000000000001"
	spare = "1000000000000002"
)

// lines puts a month of an account into the store: time and tokens, tiers, two currencies,
// what has no price, a correction, and names that somebody else chose.
func (d *desk) lines() {
	d.Helper()
	line := func(change func(*berth.Line)) berth.Line {
		l := berth.Line{
			AccountID: payer, Month: "2026-09", Day: "2026-09-02", WorkspaceID: home, DeploymentID: "dep_1", DeployedModel: "qwen-1f0c77aa", ModelName: "qwen",
			Plan: berth.PlanMU, Dimension: berth.DimensionUnitMinute, Spec: "MU1", PriceID: "price_1", Quantity: 720, Price: 54_000_000_000, Per: 60,
			Currency: "CNY", Amount: 648_000_000_000,
		}
		change(&l)
		return l
	}
	tokens := func(change func(*berth.Line)) berth.Line {
		return line(func(l *berth.Line) {
			l.DeploymentID, l.DeployedModel, l.ModelName, l.Plan, l.Class, l.Spec = "dep_2", "poet", "poet", berth.PlanLoRA, berth.ClassShared, ""
			l.Dimension, l.PriceID, l.Quantity, l.Price, l.Per, l.Amount = berth.DimensionOutput, "price_2", 1_234_567, 4_800_000_000, 1_000_000, 5_925_921_600
			change(l)
		})
	}
	d.tx(func(ctx context.Context, tx berth.Tx) error {
		for _, l := range []berth.Line{
			line(func(*berth.Line) {}),
			line(func(l *berth.Line) { l.Day, l.Quantity, l.Amount = "2026-09-03", 60, 54_000_000_000 }),
			line(func(l *berth.Line) { l.Day, l.Quantity, l.Amount = "2026-08-31", 10, 9_000_000_000 }), // late
			tokens(func(*berth.Line) {}),
			tokens(func(l *berth.Line) {
				l.FromTokens, l.PriceID, l.Price, l.Quantity, l.Amount = 128_000, "price_3", 14_400_000_000, 1, 14_400
			}),
			tokens(func(l *berth.Line) {
				l.Dimension, l.PriceID, l.Price, l.Per, l.Quantity, l.Amount = berth.DimensionInput, "", 0, 1, 99, 0
			}),
			tokens(func(l *berth.Line) {
				l.DeploymentID, l.DeployedModel, l.ModelName = "dep_3", `=HYPERLINK("x")`, `<script>alert(1)</script>`
				l.Currency, l.Amount = "USD", 1_000_000_000
			}),
			tokens(func(l *berth.Line) {
				l.DeploymentID, l.DeployedModel, l.ModelName, l.WorkspaceID = "dep_4", "neighbour", "poet", "llm-neighbour"
				l.Plan, l.Class, l.Dimension = berth.PlanPTU, "", berth.DimensionInputTPMMinute
				l.PriceID, l.Quantity, l.Price, l.Per, l.Amount = "price_4", 3_600_000, 360_000_000, 600_000, 2_160_000_000
			}),
		} {
			must(d, tx.Lines().Put(ctx, l))
		}
		must(d, tx.Lines().Close(ctx, berth.Month{AccountID: payer, Month: "2026-09", ClosedAt: d.now().Add(-time.Hour)}))
		return nil
	})
}

// fetch reads an answer that is no JSON.
func (d *desk) fetch(key, path string) (header http.Header, text string) {
	d.Helper()
	r, err := http.NewRequestWithContext(d.Context(), http.MethodGet, d.server.URL+path, http.NoBody)
	must(d, err)
	r.Header.Set("Authorization", "Bearer "+d.keys[key])
	response, err := http.DefaultTransport.RoundTrip(r)
	must(d, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(d, err)
	if response.StatusCode != http.StatusOK || response.Header.Get("X-Request-Id") == "" {
		d.Fatalf("%s: %d %s", path, response.StatusCode, body)
	}
	return response.Header, string(body)
}

func TestAStatementInItsThreeForms(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.lines()
	a := d.mustAsk(request{key: "owner", call: "GET /berth/v1/statements/2026-09"})
	if a.string("month") != "2026-09" || a.string("account_id") != payer || a.string("currency") != "CNY" || a.integer("total_nano") != 719_085_936_000 ||
		a.at("provisional") != false || a.string("closed_at") == "" || a.string("from") != "2026-09-01T00:00:00Z" || a.string("to") != "2026-10-01T00:00:00Z" || len(a.list("lines")) != 8 || len(a.list("totals")) != 2 {
		t.Errorf("statement %s", a.text)
	}
	first, _ := a.list("lines")[0].(map[string]any)
	if first["day"] != "2026-08-31" || first["late"] != true || first["unit"] != "unit_minute" || first["id"] != "2026-08-31.dep_1.unit_minute..0.price_1.CNY" {
		t.Errorf("the first line is %v", first)
	}
	for form, c := range map[string]struct{ kind, file string }{
		"csv":  {"text/csv; charset=utf-8", `attachment; filename="statement-2026-09.csv"`},
		"html": {"text/html; charset=utf-8", ""},
	} {
		header, text := d.fetch("owner", "/berth/v1/statements/2026-09?format="+form)
		if header.Get("Content-Type") != c.kind || header.Get("Content-Disposition") != c.file || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %v", form, header)
		}
		file := filepath.Join("testdata", "statement."+form)
		if *update {
			must(t, os.WriteFile(file, []byte(text), 0o600))
		}
		want, err := os.ReadFile(file)
		if err != nil || text != string(want) {
			t.Errorf("%s (%v):\n%s", file, err, text)
		}
	}
	// An open month says so.
	if open := d.mustAsk(request{key: "owner", call: "GET /berth/v1/statements/current"}); open.string("month") != "2026-10" || open.at("provisional") != true || len(open.list("lines")) != 0 {
		t.Errorf("the present month: %s", open.text)
	}
	_, text := d.fetch("owner", "/berth/v1/statements/2026-10?format=html")
	if !strings.Contains(text, "Provisional") || !strings.Contains(text, "Nothing was used.") {
		t.Errorf("the present month:\n%s", text)
	}
	if _, text := d.fetch("owner", "/berth/v1/statements/2026-10?format=csv"); strings.Count(text, "\n") != 1 {
		t.Errorf("nothing as CSV is %q", text)
	}
}

func TestWhoSeesWhichStatement(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.lines()
	if a := d.mustAsk(request{key: "admin", call: "GET /berth/v1/statements/2026-09"}); len(a.list("lines")) != 7 || strings.Contains(a.text, "neighbour") || a.string("workspace_id") != home {
		t.Errorf("an admin sees %s", a.text)
	}
	for _, form := range []string{"csv", "html"} {
		if _, text := d.fetch("admin", "/berth/v1/statements/2026-09?format="+form); strings.Contains(text, "neighbour") || !strings.Contains(text, "qwen-1f0c77aa") {
			t.Errorf("an admin sees as %s:\n%s", form, text)
		}
	}
	if a := d.mustAsk(request{key: "owner", call: "GET /berth/v1/statements/2026-09?account_id=" + spare}); len(a.list("lines")) != 0 || a.string("account_id") != spare {
		t.Errorf("another account: %s", a.text)
	}
	if a := d.mustAsk(request{key: "owner", call: "GET /berth/v1/statements/2026-09?workspace_id=llm-neighbour"}); len(a.list("lines")) != 1 {
		t.Errorf("a workspace's part: %s", a.text)
	}
	for name, c := range map[string]struct {
		q    request
		code int
		says string
	}{
		"a guest":                       {request{key: "guest", call: "GET /berth/v1/statements/current"}, 403, "Access denied."},
		"an admin in another account":   {request{key: "admin", call: "GET /berth/v1/statements/current?account_id=" + spare}, 403, "Workspace access denied."},
		"an admin in another workspace": {request{key: "admin", call: "GET /berth/v1/statements/current?workspace_id=llm-neighbour"}, 403, "Workspace access denied."},
		"no month":                      {request{key: "owner", call: "GET /berth/v1/statements/2026-13"}, 400, "is no month"},
		"a month to come":               {request{key: "owner", call: "GET /berth/v1/statements/2026-11"}, 400, "has not begun"},
		"no account":                    {request{key: "owner", call: "GET /berth/v1/statements/2026-09?account_id=7"}, 404, "The account 7 is not there."},
		"no form":                       {request{key: "owner", call: "GET /berth/v1/statements/2026-09?format=pdf"}, 400, "use json, csv or html"},
	} {
		if a := d.ask(c.q); a.status != c.code || !strings.Contains(a.string("message"), c.says) {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}

func TestAMonthUnderOtherPrices(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.lines()
	d.trial = []berth.Line{{
		AccountID: payer, Month: "2026-09", Day: "2026-09-02", WorkspaceID: home, DeploymentID: "dep_1", DeployedModel: "qwen-1f0c77aa", ModelName: "qwen",
		Plan: berth.PlanMU, Dimension: berth.DimensionUnitMinute, Spec: "MU1", Quantity: 720, Currency: "CNY", Amount: 588_000_000_000,
	}}
	a := d.mustAsk(request{
		key: "owner", call: "POST /berth/v1/prices/dry-run",
		body: `{"month":"2026-09","prices":[{"dimension":"unit_minute","spec":"MU1","price_nano":49000000000,"per":60}]}`,
	})
	if a.integer("cost_nano") != 710_085_936_000 || a.integer("trial_nano") != 588_000_000_000 || len(a.list("totals")) != 2 || a.at("provisional") != false {
		t.Errorf("totals %s", a.text)
	}
	var found bool
	for _, l := range a.list("lines") {
		line, _ := l.(map[string]any)
		if line["day"] == "2026-09-02" && line["deployed_model"] == "qwen-1f0c77aa" {
			found = fmt.Sprintf("%v %v %v %v", line["cost_nano"], line["trial_nano"], line["quantity"], line["unit"]) == "648000000000 588000000000 720 unit_minute"
		}
	}
	if !found || strings.Contains(a.text, "2026-08-31") {
		t.Errorf("lines %s", a.text)
	}
	d.mustRefuse("an admin", request{key: "admin", call: "POST /berth/v1/prices/dry-run", body: `{"month":"2026-09","prices":[]}`}, 403, "AccessDenied", "")
}

func TestALineOpensDownToItsRecords(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.lines()
	at := time.Date(2026, 9, 2, 8, 0, 0, 0, time.UTC)
	d.parts = map[berth.Dimension]berth.Opened{
		berth.DimensionUnitMinute: {Spans: []berth.Span{
			{RunID: "svc_1", From: at, To: at.Add(90 * time.Minute), Minutes: 90, QuantityPerMinute: 8, Quantity: 720},
			{OrderID: "ord_1", From: at, Minutes: -5, QuantityPerMinute: 2, Quantity: -10},
		}},
		berth.DimensionOutput: {KeptFrom: at, Next: "2", Records: []berth.OpenedRecord{{Quantity: 1, UsageRecord: berth.UsageRecord{
			ID: "use_1", CallID: "7b0e", WorkspaceID: home, KeyID: "key_1", DeploymentID: "dep_2", DeployedModel: "poet", ModelName: "poet", Plan: berth.PlanLoRA,
			Class: berth.ClassShared, StartedAt: at, EndedAt: at, InputTokens: 128_000, OutputTokens: 1, Billable: true, End: berth.EndStop, Source: berth.SourceEngine,
		}}}},
	}
	const (
		opened  = "GET /berth/v1/statements/2026-09/records?line="
		minutes = "2026-09-02.dep_1.unit_minute..0.price_1.CNY"
		output  = "2026-09-02.dep_2.output.shared.128000.price_3.CNY"
		input   = "2026-09-02.dep_2.input.shared.0..CNY"
		theirs  = "2026-09-02.dep_4.10k_input_tpm_minute..0.price_4.CNY"
	)
	for _, key := range []string{"owner", "admin"} {
		a := d.mustAsk(request{key: key, call: opened + minutes})
		want := `"spans":[{"run":"svc_1","from":"2026-09-02T08:00:00Z","to":"2026-09-02T09:30:00Z","minutes":90,"quantity_per_minute":8,"quantity":720},` +
			`{"order":"ord_1","from":"2026-09-02T08:00:00Z","minutes":-5,"quantity_per_minute":2,"quantity":-10}]`
		if !strings.HasPrefix(a.text, `{"line":{"id":"`+minutes+`",`) || !strings.Contains(a.text, `"quantity":720,"unit":"unit_minute"`) || !strings.Contains(a.text, want) || strings.Contains(a.text, "records") {
			t.Errorf("minutes as %s: %s", key, a.text)
		}
		a = d.mustAsk(request{key: key, call: opened + output + "&cursor=2"})
		if !strings.Contains(a.text, `"records":[{"id":"use_1",`) || !strings.Contains(a.text, `"source":"engine","quantity":1}]`) ||
			a.string("records_kept_from") != "2026-09-02T08:00:00Z" || a.string("next") != "2" || strings.Contains(a.text, "spans") {
			t.Errorf("tokens as %s: %s", key, a.text)
		}
		if a = d.mustAsk(request{key: key, call: opened + input}); len(a.list("records")) != 0 || !strings.Contains(a.text, `"records":[]`) {
			t.Errorf("a page of none as %s: %s", key, a.text)
		}
	}
	d.mustAsk(request{key: "owner", call: opened + theirs})
	d.mustAsk(request{key: "owner", call: opened + theirs + "&workspace_id=llm-neighbour"})
	for name, c := range map[string]struct {
		q    request
		code int
		says string
	}{
		"a guest":                 {request{key: "guest", call: opened + minutes}, 403, "Access denied."},
		"an admin elsewhere":      {request{key: "admin", call: opened + theirs}, 404, "The statement of 2026-09 has no line " + theirs + ";"},
		"an admin of no account":  {request{key: "admin", call: opened + minutes + "&account_id=" + spare}, 403, "Workspace access denied."},
		"another workspace":       {request{key: "owner", call: opened + minutes + "&workspace_id=llm-neighbour"}, 404, "has no line"},
		"another account":         {request{key: "owner", call: opened + minutes + "&account_id=" + spare}, 404, "has no line"},
		"another month":           {request{key: "owner", call: strings.Replace(opened, "2026-09", "2026-10", 1) + minutes}, 404, "The statement of 2026-10 has no line"},
		"no line":                 {request{key: "owner", call: opened}, 400, "Field required: line"},
		"a line that never was":   {request{key: "owner", call: opened + "x"}, 404, "has no line x;"},
		"a cursor that never was": {request{key: "owner", call: opened + minutes + "&cursor=x"}, 400, "The cursor is not one of this list"},
	} {
		if a := d.ask(c.q); a.status != c.code || !strings.Contains(a.string("message"), c.says) {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}
